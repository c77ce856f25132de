"""Rows and runs as scripts read them: JSON, one object a line in pure ASCII, and CSV.

Values stay exact: text with every character it has, times in ISO 8601, durations as seconds, sizes as
bytes. What people read on a terminal is made elsewhere, by `backend.core.show`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any

from backend.core.clean import clean
from backend.core.declare import View
from backend.core.errors import Missing, PgtuiError
from backend.core.snapshot import Snapshot
from backend.core.values import INFINITY, MINUS_INFINITY


@dataclass(frozen=True, slots=True)
class Answered:
    """One view as one target, in one of its databases where that was asked for, answered it."""

    target: str
    snapshot: Snapshot
    database: str | None = None
    failure: PgtuiError | None = None

    @property
    def view(self) -> View[Any]:
        """The view that was asked."""
        return self.snapshot.view

    @property
    def error(self) -> PgtuiError | None:
        """Why there are no rows: the target, the view itself, or something that is missing."""
        if self.snapshot.missing:
            return Missing(self.snapshot.missing)
        return self.failure or self.snapshot.error


def plain(value: Any) -> Any:
    """The value in the types that JSON has, losing nothing that matters."""
    if isinstance(value, Enum):
        return plain(value.value)
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float, Decimal)):
        return _number(value)
    if isinstance(value, (datetime, date, time, timedelta)):
        return _time(value)
    return _composite(value)


def _number(value: float | Decimal) -> Any:
    if isinstance(value, int):
        return int(value)
    if not math.isfinite(value):
        return {"inf": "infinity", "-inf": "-infinity"}.get(str(float(value)), "nan")
    return int(value) if isinstance(value, Decimal) and value == value.to_integral_value() else float(value)


def _time(value: date | time | timedelta) -> Any:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if value == INFINITY:
        return "infinity"
    return "-infinity" if value == MINUS_INFINITY else value.isoformat()


def _composite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in value]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "\\x" + bytes(value).hex()
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    return str(value)


def line(value: Any) -> str:
    """The value as one line of JSON in pure ASCII; lone surrogates become escapes, as every other."""
    return json.dumps(plain(value), ensure_ascii=True)


def row_names(view: View[Any]) -> list[str]:
    """The names of a row's values: each column's, and after a counter's its rate's."""
    return [n for c in view.columns for n in ([c.name, f"{c.name}_per_second"] if c.col.rate else [c.name])]


def row_object(answered: Answered, row: Any) -> dict[str, Any]:
    """A row by the names of `row_names`, with the database in front where one was asked for."""
    values: dict[str, Any] = {}
    for column in answered.view.columns:
        values[column.name] = plain(getattr(row, column.name))
        if column.col.rate:
            values[f"{column.name}_per_second"] = plain(answered.snapshot.value(row, column.name))
    if answered.database and "database" not in values:
        return {"database": answered.database, **values}
    return values


def show_object(answered: Answered) -> dict[str, Any]:
    """What `show` says of one target."""
    snapshot, error = answered.snapshot, answered.error
    return {
        "view": answered.view.name,
        **place(answered.target, answered.database),
        "collected_at": plain(snapshot.collected_at),
        "seconds": round(snapshot.seconds, 3),
        "rows": [] if error else [row_object(answered, row) for row in snapshot.rows],
        **({"error": error.to_json()} if error else {}),
    }


def place(target: str, database: str | None) -> dict[str, str]:
    """The target, and the database where one was asked for."""
    return {"target": target, "database": database} if database else {"target": target}


def csv_line(values: Iterable[Any], *, for_terminal: bool = False) -> str:
    """One CSV line with exact values; for a terminal, what could drive it is made visible."""
    return ",".join(_quoted(_csv_text(v), for_terminal) for v in values)


def _csv_text(value: Any) -> str:
    value = plain(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, dict)):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def _quoted(text: str, for_terminal: bool) -> str:
    shown = clean(text) if for_terminal else text
    if any(c in shown for c in ',"\r\n') or shown != shown.strip():
        return '"' + shown.replace('"', '""') + '"'
    return shown


def csv_head(view: View[Any], with_database: bool) -> list[str]:
    """The head over the rows of one or several targets."""
    names = row_names(view)
    database = ["database"] if with_database and "database" not in names else []
    return ["target", *database, *names]


def csv_rows(answered: Answered) -> list[list[Any]]:
    """The rows under `csv_head`; none when the target did not answer."""
    if answered.error:
        return []
    return [[answered.target, *row_object(answered, row).values()] for row in answered.snapshot.rows]


def result_rows(result: Any) -> tuple[list[str], list[list[Any]]]:
    """A run's result as a head and rows: the union of what its objects name, else one column."""
    rows = result if isinstance(result, (list, tuple)) else ([] if result is None else [result])
    objects: Sequence[Mapping[str, Any]] = [r if isinstance(r, Mapping) else {"result": r} for r in rows]
    head = list(dict.fromkeys(str(name) for o in objects for name in o))
    return head, [[o.get(name) for name in head] for o in objects]
