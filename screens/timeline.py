"""The partitions of one set in order, as the time line draws them; on an axis of time or of ids.

Every partition is a slot, whatever it spans, and so is each partition that is missing: in a gap, where now is
already past the newest one, or among those that should have been made ahead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from backend.core.declare import Health
from backend.partman.bounds import EPOCHS, NUMBERS, TIMES, Scale

# More missing partitions than this in one place are drawn as so many: what is there matters more.
MISSING_DRAWN = 6


class Mark(Enum):
    """What stands out about a slot: glyph, words and health; the worst first."""

    STRANDED = "✖", "in default", Health.CRITICAL
    LATE = "✖", "no partition for what comes now", Health.CRITICAL
    GAP = "▲", "gap", Health.WARNING
    DETACHING = "◐", "detach not ended", Health.WARNING
    UNKNOWN = "?", "locked, not measured", Health.UNKNOWN
    DUE = "▽", "due", Health.OK
    WANTED = "·", "not made ahead yet", Health.OK
    DETACHED = "○", "detached", Health.OK
    SUBDIVIDED = "≡", "partitioned again", Health.OK

    def __init__(self, glyph: str, words: str, health: Health) -> None:
        self.glyph, self.words, self.health = glyph, words, health


class Zone(Enum):
    """The three parts of the drawing, from left to right."""

    DETACHED = "detached"
    LINE = ""
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Slot:
    """A partition, several that share a bar, or a place where one is missing.

    `keys` are the partitions' names; `bytes` and `rows` those of the largest, None where nobody knows;
    `missing` how many partitions there should be here; `span` how many slots share it.
    """

    keys: tuple[str, ...]
    label: str = ""
    bytes: int | None = None
    rows: int | None = None
    marks: tuple[Mark, ...] = ()
    zone: Zone = Zone.LINE
    missing: int = 0
    ahead: bool = False
    span: int = 1

    @property
    def absent(self) -> bool:
        """Whether there is no partition."""
        return not self.keys

    @property
    def worst(self) -> Mark | None:
        """The mark that is shown when there is room for one."""
        return min(self.marks, key=list(Mark).index, default=None)


@dataclass(frozen=True, slots=True)
class TimeLine:
    """Slots from left to right; `now` and `horizon` are places between them, 1.5 in the middle of the second.

    The horizon is where the partitions that the premake setting asks for would end.
    """

    slots: tuple[Slot, ...] = ()
    now: float | None = None
    horizon: float | None = None

    def of(self, zone: Zone) -> tuple[Slot, ...]:
        """The slots of one zone."""
        return tuple(s for s in self.slots if s.zone is zone)

    def first(self, mark: Mark) -> str:
        """Where the first slot with the mark begins."""
        return next((s.label for s in self.slots if mark in s.marks), "")

    def count(self, mark: Mark) -> int:
        """How many slots bear the mark; of missing partitions how many are missing."""
        return sum(s.missing or 1 for s in self.slots if mark in s.marks)


@dataclass(frozen=True, slots=True)
class _Spot:
    """A measured range: of a partition, or of so many that are missing."""

    lower: Any
    upper: Any
    row: Any = None
    missing: int = 0
    mark: Mark | None = None


def time_line(of: Any, rows: Sequence[Any]) -> TimeLine:
    """The line of a set (a row of `partman.sets`) with these partitions (of `partman.partitions`)."""
    attached = [r for r in rows if r.state != "detached" and not r.default]
    scale = _scale(of, attached)
    measured = _measured(attached, scale)
    known = {id(spot.row) for spot in measured}
    others = [r for r in attached if id(r) not in known]
    endless = [r for r in others if of.kind == "range" and r.lower is not None and r.upper is None]
    first = [_slot(r) for r in others if r not in endless]
    now = _now(of, measured)
    spots = _with_missing(of, measured, now, bool(endless))
    outside = [_slot(r, Zone.DETACHED) for r in rows if r.state == "detached"]
    before = len(outside) + len(first)
    return TimeLine(
        (
            *outside,
            *first,
            *(_drawn(spot, scale, now) for spot in spots),
            *(_slot(r) for r in endless),
            *(_default(of, r) for r in rows if r.default),
        ),
        _shifted(_place(spots, now, bool(endless)), before),
        _shifted(None if endless else _horizon(of, spots, now), before),
    )


def _scale(of: Any, rows: Iterable[Any]) -> Scale:
    """How the bounds are measured: what the set says of its intervals tells which kind of key it has."""
    if of.one_interval is None:
        return Scale(NUMBERS[-1])
    bound = next((r for r in rows if r.lower and r.upper), None)
    if bound is None or not bound.lower.lstrip("-").isdecimal():
        return Scale(TIMES[0])
    ticks = (int(bound.upper) - int(bound.lower)) / of.one_interval.total_seconds()
    return Scale(NUMBERS[-1], min(EPOCHS, key=lambda name: abs(EPOCHS[name] - ticks)))


def _measured(rows: Iterable[Any], scale: Scale) -> list[_Spot]:
    found = [
        _Spot(lower, upper, r)
        for r in rows
        if r.upper and (lower := scale.measure(r.lower)) is not None
        and (upper := scale.measure(r.upper)) is not None
    ]  # fmt: skip
    return sorted(found, key=lambda spot: spot.lower)


def _now(of: Any, spots: Sequence[_Spot]) -> Any:
    """The server's time, or the newest id; None where nobody knows."""
    if not spots:
        return None
    end = max(spot.upper for spot in spots)
    if of.time_left is not None:
        return end - of.time_left
    if of.ids_left is not None:
        return end - 1 - of.ids_left
    return datetime.now(UTC) if isinstance(end, datetime) else None


def _with_missing(of: Any, measured: Sequence[_Spot], now: Any, endless: bool) -> list[_Spot]:
    """The partitions, and what is missing between them, up to now, and ahead of now."""
    spots: list[_Spot] = []
    for spot in measured:
        if of.gaps and spots and spot.lower > spots[-1].upper:
            spots += _missing(spots[-1].upper, spot.lower, spot.upper - spot.lower, Mark.GAP)
        spots.append(spot)
    if not spots or now is None or endless or (of.time_left, of.ids_left) == (None, None):
        return spots  # nobody knows, or no more are to follow
    width = spots[-1].upper - spots[-1].lower
    if now >= (end := spots[-1].upper):
        spots += _missing(end, end + ((now - end) // width + 1) * width, width, Mark.LATE)
    horizon = _asked_for(of, spots, now)
    if horizon is not None and horizon - spots[-1].upper > width / 2:
        spots += _missing(spots[-1].upper, horizon, width, Mark.WANTED)
    return spots


def _missing(lower: Any, upper: Any, width: Any, mark: Mark) -> list[_Spot]:
    """The missing partitions between two bounds, several in one spot where there are many."""
    count = max(1, round((upper - lower) / width))
    drawn = min(count, MISSING_DRAWN)
    edges = [lower + (upper - lower) * n / drawn for n in range(drawn)] + [upper]
    shares = [count // drawn + (n < count % drawn) for n in range(drawn)]
    return [_Spot(edges[n], edges[n + 1], None, shares[n], mark) for n in range(drawn)]


def _asked_for(of: Any, spots: Sequence[_Spot], now: Any) -> Any:
    """Where the partitions would end that premake asks for: so many after the one of now."""
    current = next((s for s in spots if s.lower <= now < s.upper), None)
    if not of.premake or current is None:
        return None
    newest = [s for s in spots if s.row][-1]
    return current.upper + of.premake * (newest.upper - newest.lower)


def _place(spots: Sequence[_Spot], now: Any, endless: bool) -> float | None:
    if now is None:
        return None
    for number, spot in enumerate(spots):
        if spot.lower <= now < spot.upper:
            return number + float((now - spot.lower) / (spot.upper - spot.lower))
    return len(spots) + 0.5 if endless and spots and now >= spots[-1].upper else None


def _horizon(of: Any, spots: Sequence[_Spot], now: Any) -> float | None:
    wanted = _asked_for(of, spots, now) if now is not None and spots else None
    if wanted is None:
        return None
    # Months differ in length, so the horizon is where a partition ends nearest to it.
    half = (spots[-1].upper - spots[-1].lower) / 2
    return next((n + 1.0 for n, s in enumerate(spots) if s.upper >= wanted - half), float(len(spots)))


def _shifted(place: float | None, by: int) -> float | None:
    return None if place is None else place + by


def _drawn(spot: _Spot, scale: Scale, now: Any) -> Slot:
    label = _label(spot.lower, spot.upper) if scale.timed else str(int(spot.lower))
    ahead = now is not None and spot.lower > now
    if spot.row is None:
        marks = (spot.mark,) if spot.mark else ()
        return Slot((), label, marks=marks, missing=spot.missing, ahead=ahead)
    return replace(_slot(spot.row), label=label, ahead=ahead)


def _label(lower: datetime, upper: datetime) -> str:
    """When a partition begins, as exactly as its length wants it."""
    days = (upper - lower).total_seconds() / 86400
    if days > 360:
        return f"{lower:%Y}"
    if days > 27:
        return f"{lower:%Y-%m}"
    return f"{lower:%m-%d}" if days >= 1 else f"{lower:%m-%d %H:%M}"


def _slot(row: Any, zone: Zone = Zone.LINE) -> Slot:
    found = {
        Mark.DETACHED: row.state == "detached",
        Mark.DETACHING: row.state == "detaching",
        Mark.DUE: row.due,
        Mark.SUBDIVIDED: row.partitioned,
        Mark.UNKNOWN: row.bytes is None,
    }
    marks = tuple(mark for mark, holds in found.items() if holds)
    return Slot((row.partition,), row.lower or "", row.bytes, row.exact_rows or row.rows, marks, zone)


def _default(of: Any, row: Any) -> Slot:
    slot = _slot(row, Zone.DEFAULT)
    return replace(slot, marks=(Mark.STRANDED, *slot.marks)) if of.default_rows else slot


def grouped(slots: Sequence[Slot], most: int) -> tuple[tuple[Slot, ...], int]:
    """At most so many slots, and how many of them share one: the worst of each and the largest are kept.

    What is missing, and what is ahead, shares with its like only, as long as that is enough.
    """
    if len(slots) <= most:
        return tuple(slots), 1
    share = -(-len(slots) // max(most, 1))
    for size in range(share, 3 * share + 1):
        runs = _runs(slots, size)
        if len(runs) <= most:
            return tuple(map(_joined, runs)), size
    return tuple(_joined(slots[n : n + share]) for n in range(0, len(slots), share)), share


def _runs(slots: Sequence[Slot], size: int) -> list[list[Slot]]:
    runs: list[list[Slot]] = []
    for slot in slots:
        last = runs[-1] if runs else None
        if last and len(last) < size and (last[0].absent, last[0].ahead) == (slot.absent, slot.ahead):
            last.append(slot)
        else:
            runs.append([slot])
    return runs


def _joined(slots: Sequence[Slot]) -> Slot:
    return Slot(
        tuple(key for s in slots for key in s.keys),
        slots[0].label,
        max((s.bytes for s in slots if s.bytes is not None), default=None),
        max((s.rows for s in slots if s.rows is not None), default=None),
        tuple(dict.fromkeys(mark for s in slots for mark in s.marks)),
        slots[0].zone,
        sum(s.missing for s in slots),
        all(s.ahead for s in slots),
        sum(s.span for s in slots),
    )
