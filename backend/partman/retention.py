"""Which partitions are older than a set's retention."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from backend.core.clean import clean
from backend.core.errors import PgtuiError, Refused, Usage
from backend.core.facts import Query
from backend.core.session import Session
from backend.core.values import Interval
from backend.partman.catalog import Partition, PartitionSet
from backend.partman.place import ask

# The server counts months and years back as the calendar has them.
_CUTOFFS = Query("""
SELECT t.retention,
       pg_catalog.now() - t.retention::pg_catalog.interval AS cutoff
  FROM pg_catalog.unnest(%s::pg_catalog.text[]) AS t (retention)
""")


class Untold(Refused):
    """Only pg_partman itself knows what a retention lets go."""

    def __init__(self, of: PartitionSet) -> None:
        super().__init__(
            f"which partitions the retention of {clean(of.at.parent)} lets go cannot be told from here",
            hint="their bounds are neither times nor numbers, or the key has no index; partman.maintain lets"
            " pg_partman decide",
        )


@dataclass(frozen=True, slots=True)
class Cutoff:
    """The time before which a retention lets everything go."""

    retention: str
    cutoff: datetime


async def cutoffs(s: Session, retentions: Iterable[str | None]) -> dict[str, datetime]:
    """The cutoff of each retention that is an interval."""
    wanted = sorted({r for r in retentions if r and _interval(r)})
    if not wanted:
        return {}
    try:
        return {c.retention: c.cutoff for c in await ask(s, Cutoff, _CUTOFFS, wanted)}
    except PgtuiError as e:
        if (e.sqlstate or "").startswith("22"):
            return {}
        raise


def _interval(text: str) -> bool:
    try:
        return bool(Interval.parse(text))
    except Usage:
        return False


def due(
    of: PartitionSet, retention: str | None, cutoff: datetime | None, highest: int | None
) -> list[Partition]:
    """The partitions that a retention lets go, the oldest first; the last one of a set stays."""
    limit = _limit(of, retention, cutoff, highest)
    if limit is None:
        return []
    ended = [(upper, p) for p in of.partitions if (upper := of.scale.measure(p.range.upper)) is not None]
    # As pg_partman has it: a time has to be past, a number reached.
    gone = [(upper, p) for upper, p in ended if upper < limit or (upper == limit and not of.scale.timed)]
    ordered = [p for _, p in sorted(gone, key=lambda pair: pair[0])]
    others = [p for p in of.partitions if not p.range.default]
    return ordered[:-1] if len(ordered) == len(others) else ordered


def _limit(of: PartitionSet, retention: str | None, cutoff: datetime | None, highest: int | None) -> Any:
    if of.scale.timed:
        return cutoff
    if highest is None or not (retention or "").isdecimal():
        return None
    return highest - int(retention or 0)
