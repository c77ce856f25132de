"""The judged values of a view's rows, as monitoring systems plot them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from backend.core.declare import Column, Health, View
from backend.core.judge import Judgement, Rates, measured, thresholds
from backend.core.record import record
from backend.core.target import Limits


@record
class Measure:
    """One judged value: durations in seconds, sizes in bytes, with what it is judged by.

    `label` is the column and the row's key, or the column alone for the worst of all rows.
    """

    column: str
    label: str
    value: float
    unit: str
    warn: float | None
    crit: float | None
    low: bool = False
    health: Health = Health.OK

    def to_json(self) -> dict[str, Any]:
        """The value as scripts read it."""
        return {"value": self.value, "unit": self.unit, "warn": self.warn, "crit": self.crit}


def measures(
    view: View[Any], rows: Sequence[Any], limits: Limits, judgement: Judgement, rates: Rates | None = None
) -> list[Measure]:
    """The values of the judged columns, row by row; a silenced row's are never unhealthy."""
    found: list[Measure] = []
    for column in view.columns:
        warn, crit = (plain_number(limit) for limit in thresholds(view, column, limits))
        if warn is None and crit is None:
            continue
        name = f"{column.name}_per_second" if column.col.rate else column.name
        for row in rows:
            key = view.key(row)
            value = plain_number(measured(row, column, (rates or {}).get(key, {})))
            if value is None:
                continue
            label = "_".join([name, *(str(k) for k in key if k is not None)])
            health = judgement.of(key).cells.get(column.name, Health.OK)
            found.append(Measure(name, label, value, unit_of(column), warn, crit, column.col.low, health))
    return found


def worst_of_each_column(found: Iterable[Measure]) -> list[Measure]:
    """For each column the worst of its values, under a label that does not change with the rows."""
    worst: dict[str, Measure] = {}
    for measure in found:
        known = worst.get(measure.column)
        if known is None or _badness(measure) > _badness(known):
            worst[measure.column] = measure
    return [replace(m, label=m.column) for m in worst.values()]


def _badness(measure: Measure) -> tuple[Health, float]:
    return measure.health, -measure.value if measure.low else measure.value


def plain_number(value: Any) -> float | int | None:
    """A number as monitoring systems want it: durations in seconds."""
    with contextlib.suppress(AttributeError):
        return float(value.total_seconds())
    return value if isinstance(value, (int, float)) else None


def unit_of(column: Column) -> str:
    """The unit of a column as Nagios writes it: s, B, % or nothing."""
    if column.type is timedelta:
        return "s"
    return {"bytes": "B", "percent": "%"}.get(column.col.unit, "")
