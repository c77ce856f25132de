"""Verdicts and values as monitoring systems read them: Nagios plugins' one line, OpenMetrics' exposition."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from backend.core.clean import clean
from backend.core.declare import Column, Health, Verdict
from backend.core.measures import Measure, plain_number, worst_of_each_column
from backend.core.report import Answered, place

# Nagios keeps 8 kB of a plugin's output; the worst findings and values stand first.
_MOST_FINDINGS = 20
_LONGEST_FINDING = 300
_MOST_VALUES = 20


@dataclass(frozen=True, slots=True)
class Checked:
    """The verdict on one view of one target, with the values that it rests on."""

    check: str
    target: str
    verdict: Verdict
    measures: Sequence[Measure] = ()
    database: str | None = None
    answered: Answered | None = None

    @property
    def health(self) -> Health:
        """How bad it is."""
        return self.verdict.health

    @property
    def place(self) -> str:
        """Where it was asked: the target, with the database where one was asked for."""
        return f"{self.target}/{self.database}" if self.database else self.target

    def to_json(self) -> dict[str, Any]:
        """The verdict as scripts read it."""
        return {
            "check": self.check,
            **place(self.target, self.database),
            "status": self.health.name,
            "message": self.verdict.sentence,
            "perfdata": {m.label: m.to_json() for m in self.measures},
        }


def worst(checks: Sequence[Checked]) -> Health:
    """The worst of several; nothing checked is nothing known."""
    return max((c.health for c in checks), default=Health.UNKNOWN)


def worst_first(checks: Sequence[Checked]) -> list[Checked]:
    """The checks by health, the worst in front, otherwise in their order."""
    return sorted(checks, key=lambda c: -c.health)


def nagios(checks: Sequence[Checked]) -> str:
    """All verdicts as the one line that Nagios plugins print; the only `|` stands before the values."""
    health = worst(checks)
    said = [_finding(c) for c in worst_first(checks) if c.health is not Health.OK]
    if not checks:
        said = ["nothing could be checked"]
    elif not said:
        said = [_finding(checks[0])] if len(checks) == 1 else [f"{len(checks)} checks, nothing to report"]
    more = [f"and {len(said) - _MOST_FINDINGS} more"] if len(said) > _MOST_FINDINGS else []
    values = " ".join(_values(checks))
    line = f"{health.name}: {'; '.join([*said[:_MOST_FINDINGS], *more])}"
    return f"{line} | {values}" if values else line


def _finding(checked: Checked) -> str:
    said = _one_line(checked.verdict.sentence)
    return f"{_one_line(checked.place)} {checked.check}: {said}"[:_LONGEST_FINDING]


def _one_line(text: str) -> str:
    return clean(" ".join(text.split())).replace("|", "¦")


def _values(checks: Sequence[Checked]) -> Iterator[str]:
    """What is wrong, then the worst of each column under a lasting label, then rows while there is room."""
    found = [(c, m) for c in checks for m in worst_of_each_column(c.measures)]
    found += [(c, m) for c in checks for m in c.measures if m.label != m.column]
    finite = [(c, m) for c, m in found if math.isfinite(m.value)]
    for checked, measure in sorted(finite, key=lambda of: -of[1].health)[:_MOST_VALUES]:
        yield _value(measure, f"{checked.place}/{checked.check}/" if len(checks) > 1 else "")


def _value(measure: Measure, prefix: str) -> str:
    low = ":" if measure.low else ""  # a range: alarm below it
    limits = (_plain(measure.warn, low), _plain(measure.crit, low))
    said = f"{_label(prefix + measure.label)}={_plain(measure.value)}{measure.unit};{';'.join(limits)}"
    return said.rstrip(";")


def _label(text: str) -> str:
    # A label may hold neither quote nor equals sign, whatever quotes it.
    return "'" + re.sub(r"['=]", "_", _one_line(text)) + "'"


def _plain(value: float | None, after: str = "") -> str:
    return "" if value is None else f"{value:.15g}{after}"


@dataclass(slots=True)
class _Family:
    """A metric with its samples, in the order in which they came."""

    help: str
    unit: str
    samples: dict[tuple[tuple[str, str], ...], float] = field(default_factory=dict)


def openmetrics(checks: Sequence[Checked]) -> str:
    """The exposition: each check's status, and the numbers of its rows, labelled by their keys."""
    families = {"pgtui_check_status": _Family("Verdict: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN", "")}
    for checked in checks:
        labels = (*_where(checked), ("check", checked.check))
        families["pgtui_check_status"].samples[labels] = checked.health.exit_code
        if checked.answered and not checked.answered.error:
            _add_rows(families, checked, checked.answered)
    return "".join(_exposed(name, family) for name, family in families.items()) + "# EOF\n"


def _where(checked: Checked) -> tuple[tuple[str, str], ...]:
    target = ("target", checked.target)
    return (target, ("in_database", checked.database)) if checked.database else (target,)


def _add_rows(families: dict[str, _Family], checked: Checked, answered: Answered) -> None:
    view = answered.view
    for column in view.columns:
        if column.col.key or not _is_number(column):
            continue
        for name, unit, values in _series(column, answered):
            family = families.setdefault(name, _Family(column.col.help or f"{column.col.title}", unit))
            for row, value in zip(answered.snapshot.rows, values, strict=True):
                if value is not None:
                    keys = ((_key_label(c), _key_text(getattr(row, c.name))) for c in view.key_columns)
                    family.samples[(*_where(checked), *keys)] = value


def _is_number(column: Column) -> bool:
    judged = column.col.warn is not None or column.col.crit is not None
    return column.numeric or (judged and column.type is not bool)


def _key_label(column: Column) -> str:
    return "row_target" if column.name == "target" else column.name


def _key_text(value: Any) -> str:
    return "" if value is None else str(value)


def _series(column: Column, answered: Answered) -> Iterator[tuple[str, str, list[float | None]]]:
    """The column's metrics, with their values row by row: its own, and its rate's where it is a counter."""
    snapshot = answered.snapshot
    unit = "seconds" if column.type is timedelta else ("bytes" if column.col.unit == "bytes" else "")
    base = _metric(f"pgtui_{answered.view.name}_{column.name}")
    name = base if not unit or base.endswith(f"_{unit}") else f"{base}_{unit}"
    yield name, unit, [plain_number(getattr(row, column.name)) for row in snapshot.rows]
    if column.col.rate:
        rates = [plain_number(snapshot.value(row, column.name)) for row in snapshot.rows]
        yield f"{name}_per_second", "", rates


def _metric(name: str) -> str:
    return re.sub(r"[^a-z0-9_]", "_", name.lower())


def _exposed(name: str, family: _Family) -> str:
    if not family.samples:
        return ""
    head = [f"# TYPE {name} gauge"]
    if family.unit:
        head.append(f"# UNIT {name} {family.unit}")
    head.append(f"# HELP {name} {_escape(family.help)}")
    samples = [f"{name}{{{_labels(of)}}} {_sample(value)}" for of, value in family.samples.items()]
    return "\n".join([*head, *samples]) + "\n"


def _labels(labels: Sequence[tuple[str, str]]) -> str:
    return ",".join(f'{name}="{_escape(value)}"' for name, value in labels)


def _escape(text: str) -> str:
    # An exposition is UTF-8, which has no form for a byte that was none.
    valid = text.encode("utf-8", "backslashreplace").decode()
    return valid.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _sample(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return f"{value:.15g}"
