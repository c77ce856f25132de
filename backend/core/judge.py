"""Verdicts: pure functions of a view's rows, its thresholds and a target's own limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import timedelta
from typing import Any

from backend.core.declare import Column, Health, Threshold, Verdict, View
from backend.core.errors import Usage, unknown
from backend.core.record import record
from backend.core.show import counted, show
from backend.core.target import Limits
from backend.core.values import Interval, Size

Key = tuple[Any, ...]
# By row key and column the change per second between two samples; None where there is only one.
Rates = Mapping[Key, Mapping[str, float | None]]


@record
class Finding:
    """The health of one row, why, and the health of its cells that are not OK."""

    health: Health
    sentence: str = ""
    cells: Mapping[str, Health] = field(default_factory=dict)


@record
class Judgement:
    """The verdict on a whole view, and the findings by row key for rows that are not OK."""

    overall: Verdict
    findings: Mapping[Key, Finding] = field(default_factory=dict)

    def of(self, key: Key) -> Finding:
        """The finding for a row."""
        return self.findings.get(key, FINE)


FINE = Finding(Health.OK)
NOTHING = Judgement(Verdict(Health.OK, ""))


def judge(
    view: View[Any], rows: Sequence[Any], limits: Limits | None = None, rates: Rates | None = None
) -> Judgement:
    """Judge every row and the whole; the worst finding speaks for the view.

    The limits of a column that is a rate are per second; without `rates` there is no finding on it.
    """
    limits = limits or Limits()
    check_limits(view, limits)
    findings: dict[Key, Finding] = {}
    for row in rows:
        found = _judge_row(view, row, limits, (rates or {}).get(view.key(row), {}))
        if found.health is not Health.OK and not _silenced(view, row, limits):
            findings[view.key(row)] = found
    return Judgement(_overall(view, rows, findings), findings)


def check_limits(view: View[Any], limits: Limits) -> None:
    """Raise a usage error when the inventory sets limits on a column that the view does not have."""
    known = {c.name for c in view.columns}
    for name in limits.columns:
        if name not in known:
            raise unknown(f"column of {view.name} (in the inventory's check table)", name, known)


def thresholds(view: View[Any], column: Column, limits: Limits) -> tuple[Threshold | None, Threshold | None]:
    """Where a column turns to warning and to critical: the target's own limits, else the declared ones."""
    if column.name not in limits.columns:
        return column.col.warn, column.col.crit
    warn, crit = (_as_limit(view, column, given) for given in limits.columns[column.name])
    return warn, crit


def _as_limit(view: View[Any], column: Column, given: Threshold | str | None) -> Threshold | None:
    """A limit of the inventory in the column's own unit; a plain number for a duration is seconds."""
    if given is None:
        return None
    try:
        if column.type in (timedelta, Interval):
            return Interval.parse(given).approximate if isinstance(given, str) else _as_duration(given)
        return float(Size.parse(given)) if isinstance(given, str) else _as_number(given)
    except Usage as e:
        raise Usage(
            f"the inventory's check table sets {column.name} of {view.name} to {given!r}: {e.message}",
            hint=e.hint,
        ) from None


def _as_duration(given: Threshold) -> timedelta:
    return given if isinstance(given, timedelta) else timedelta(seconds=given)


def _as_number(given: Threshold) -> float:
    return given.total_seconds() if isinstance(given, timedelta) else given


def judges_rates(view: View[Any], limits: Limits) -> bool:
    """Whether a verdict on the view takes rates, and so two samples."""
    return any(c.col.rate and thresholds(view, c, limits) != (None, None) for c in view.columns)


def _judge_row(view: View[Any], row: Any, limits: Limits, rates: Mapping[str, float | None]) -> Finding:
    cells: dict[str, Health] = {}
    said: list[tuple[Health, str]] = []
    for column in view.columns:
        warn, crit = thresholds(view, column, limits)
        if warn is None and crit is None:
            continue
        value = measured(row, column, rates)
        health = column.judge(value, warn, crit)
        if health is not Health.OK:
            cells[column.name] = health
            said.append((health, f"{column.title.lower()} {show(column, value)}"))
    if view.verdict and (own := view.verdict(row)):
        said.append((own.health, own.sentence))
    if not said:
        return FINE
    worst = max(health for health, _ in said)
    return Finding(worst, "; ".join(s for h, s in said if h is worst), cells)


def measured(row: Any, column: Column, rates: Mapping[str, float | None]) -> Any:
    """What is judged of a row: a column's value, for a counter its change per second; None where unknown."""
    return rates.get(column.name) if column.col.rate else getattr(row, column.name)


def _silenced(view: View[Any], row: Any, limits: Limits) -> bool:
    """Whether the inventory is silent about the row: `column=value`, or just the value of a key column."""
    names = {c.name: str(getattr(row, c.name)) for c in view.columns}
    keys = {str(part) for part in view.key(row)}
    return any(_matches(rule, names, keys) for rule in limits.silenced)


def _matches(rule: str, values: Mapping[str, str], keys: set[str]) -> bool:
    name, equals, value = rule.partition("=")
    return values.get(name) == value if equals else rule in keys


def _overall(view: View[Any], rows: Sequence[Any], findings: Mapping[Key, Finding]) -> Verdict:
    whole = view.overall(rows) if view.overall else None
    if not findings:
        return whole or Verdict(Health.OK, _fine(view, rows))
    worst = max(f.health for f in findings.values())
    if whole and whole.health > worst:
        return whole
    bad = [(key, f) for key, f in findings.items() if f.health is worst]
    key, first = bad[0]
    more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
    return Verdict(worst, f"{' '.join(str(k) for k in key if k is not None)}: {first.sentence}{more}")


def _fine(view: View[Any], rows: Sequence[Any]) -> str:
    return view.empty if not rows else f"{counted(rows, 'row')}, nothing to report"
