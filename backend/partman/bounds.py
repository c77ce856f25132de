"""The bounds of partitions: read from the catalog's text, put in order, and measured."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from itertools import pairwise
from typing import Any

TIMES = ("timestamp with time zone", "timestamp without time zone", "date")
NUMBERS = ("smallint", "integer", "bigint", "numeric")
EPOCHS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}

_ITEM = r"(?:'(?:[^']|'')*'|[^,()']+)"
_RANGE = re.compile(rf"FOR VALUES FROM \(({_ITEM})(?:, {_ITEM})*\) TO \(({_ITEM})(?:, {_ITEM})*\)", re.DOTALL)

Measure = datetime | int


@dataclass(frozen=True, slots=True)
class Scale:
    """How the bounds of one set are measured: as times, as numbers, or as numbers that count time."""

    type: str | None
    epoch: str | None = None
    zone: tzinfo = UTC

    @property
    def timed(self) -> bool:
        """Whether partitions are spans of time."""
        return self.type in TIMES or self.epoch in EPOCHS

    def measure(self, text: str | None) -> Measure | None:
        """The bound as a time or a number; None where it is open or neither."""
        if text is None:
            return None
        try:
            return self._time(text) if self.type in TIMES else self._number(text)
        except (ValueError, OverflowError):
            return None

    def _time(self, text: str) -> datetime:
        found = datetime.fromisoformat(text)
        return found if found.tzinfo else found.replace(tzinfo=self.zone)

    def _number(self, text: str) -> Measure | None:
        if self.type not in NUMBERS:
            return None
        if self.epoch in EPOCHS:
            return datetime.fromtimestamp(int(text) / EPOCHS[self.epoch], UTC)
        return int(text)


@dataclass(frozen=True, slots=True)
class Bound:
    """What a partition holds: between two bounds (None is open), a list, or all the rest."""

    lower: str | None = None
    upper: str | None = None
    default: bool = False
    ranged: bool = False


def parse(text: str | None) -> Bound:
    """The bound that the catalog shows as text."""
    if text == "DEFAULT":
        return Bound(default=True)
    if text and (match := _RANGE.fullmatch(text)):
        return Bound(_value(match[1]), _value(match[2]), ranged=True)
    return Bound(lower=text and text.removeprefix("FOR VALUES "))


def _value(item: str) -> str | None:
    if item in ("MINVALUE", "MAXVALUE"):
        return None
    return item[1:-1].replace("''", "'") if item.startswith("'") else item


@dataclass(frozen=True, slots=True)
class Span:
    """A measured range; it ends before `upper`."""

    lower: Any
    upper: Any
    first: str
    last: str

    @property
    def width(self) -> Any:
        """How much it holds: a duration, or how many numbers."""
        return self.upper - self.lower


def spans(bounds: Sequence[Bound], scale: Scale) -> list[Span]:
    """The ranges that are closed on both sides and can be measured, in order."""
    found = [
        Span(lower, upper, b.lower or "", b.upper or "")
        for b in bounds
        if b.ranged
        and (lower := scale.measure(b.lower)) is not None
        and (upper := scale.measure(b.upper)) is not None
    ]
    return sorted(found, key=lambda span: span.lower)


def gaps(found: Sequence[Span]) -> list[Span]:
    """What lies between the ranges and belongs to none."""
    return [
        Span(one.upper, other.lower, one.last, other.first)
        for one, other in pairwise(found)
        if other.lower > one.upper
    ]


def endless(bounds: Sequence[Bound]) -> bool:
    """Whether a partition goes on without an end."""
    return any(b.ranged and b.upper is None for b in bounds)


def missing(gap: Span, width: Any) -> int:
    """How many partitions of that width a gap has room for."""
    if not width:
        return 1
    count: int = round(gap.width / width)
    return max(1, count)


def zone(offset: timedelta) -> tzinfo:
    """The zone with that offset, in whole minutes."""
    return timezone(timedelta(minutes=round(offset.total_seconds() / 60)))
