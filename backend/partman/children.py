"""The partitions of one set, and tables that have been partitions of it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from backend.core.declare import Col, Health, Verdict
from backend.core.facts import Query
from backend.core.session import Session
from backend.core.show import counted
from backend.partman.catalog import Partition, PartitionSet, count_of, numbers
from backend.partman.found import NoSuchSet, find_set
from backend.partman.place import ask
from backend.partman.retention import Untold, cutoffs, due
from backend.partman.sets import highest_of

State = Literal["attached", "detaching", "detached"]

# pg_partman names every partition after its table; what it let go keeps the name.
_DETACHED = Query("""
SELECT c.oid,
       pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS partition,
       pg_catalog.pg_total_relation_size(c.oid) AS bytes,
       nullif(c.reltuples, -1)::pg_catalog.float8 AS rows
  FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n
    ON n.oid = c.relnamespace
 WHERE n.nspname = %s
   AND pg_catalog.starts_with(c.relname, %s)
   AND c.relkind = 'r'
   AND pg_catalog.substr(c.relname, %s) ~ '^([0-9]{4}|default$)'
   AND NOT EXISTS (SELECT
                     FROM pg_catalog.pg_inherits AS i
                    WHERE i.inhrelid = c.oid)
   AND NOT EXISTS (SELECT
                     FROM pg_catalog.pg_locks AS l
                    WHERE l.relation = c.oid
                      AND l.mode = 'AccessExclusiveLock')
 ORDER BY c.relname
""")


@dataclass(frozen=True, slots=True)
class Detached:
    """A table that was a partition."""

    oid: int
    partition: str
    bytes: int | None
    rows: float | None


@dataclass(frozen=True, slots=True)
class PartitionRow:
    """One partition of a set."""

    partition: Annotated[str, Col("Partition", key=True, text=True, priority=1)]
    lower: Annotated[str | None, Col("From", priority=1, help="Empty: open, or the default partition")]
    upper: Annotated[str | None, Col("To", priority=1, help="Its rows are below this")]
    bytes: Annotated[
        int | None, Col("Size", unit="bytes", priority=2, help="Empty while somebody has it locked")
    ]
    rows: Annotated[int | None, Col("Rows", priority=3, help="Estimated when it was last analyzed")]
    exact_rows: Annotated[int | None, Col("Counted", priority=6, help="Counted when --exact was asked for")]
    default: Annotated[bool, Col("Default", priority=5)]
    state: Annotated[State, Col("State", priority=4)]
    due: Annotated[bool, Col("Due", priority=3, help="The retention lets it go")]
    partitioned: Annotated[bool, Col("Partitioned", priority=7, help="It is a set itself")]
    analyzed: Annotated[datetime | None, Col("Analyzed", priority=7)]


def partition_verdict(row: PartitionRow) -> Verdict | None:
    """What to look at: rows that found no partition, and a detach that did not end."""
    if row.state == "detaching":
        return Verdict(Health.WARNING, "a detach has begun and not ended; FINALIZE ends it")
    if row.default and row.exact_rows:
        return Verdict(Health.WARNING, f"holds {counted(row.exact_rows, 'row')} that found no partition")
    return None


async def partition_rows(s: Session, parent: str, exact: bool) -> list[PartitionRow]:
    """The partitions of a set in the order of their bounds, the default one and detached tables last."""
    try:
        found = await find_set(s, parent)
    except NoSuchSet:
        return []
    gone: set[int] = set()
    with suppress(Untold):
        gone = {p.oid for p in await due_of(s, found)}
    counted = await numbers(s, [count_of(p) for p in found.partitions if p.countable] if exact else [])
    spans = {span.first: number for number, span in enumerate(found.spans)}
    ordered = sorted(found.partitions, key=lambda p: _order(p, spans))
    start = f"{found.at.name}_p"
    detached = await ask(s, Detached, _DETACHED, found.at.schema, start, len(start) + 1)
    return [_row(found, p, gone, counted) for p in ordered] + [_detached(d) for d in detached]


def _order(of: Partition, spans: dict[str, int]) -> tuple[bool, int, str]:
    return (of.range.default, spans.get(of.range.lower or "", -1), of.partition)


async def due_of(s: Session, of: PartitionSet, retention: str | None = None) -> list[Partition]:
    """The partitions of one set that its retention, or the given one, lets go.

    Raises `Untold` where only pg_partman can tell.
    """
    wanted = retention or (of.config or {}).get("retention")
    if wanted is None:
        return []
    asked = highest_of(of)
    if not of.measured or (asked is None and not of.scale.timed):
        raise Untold(of)
    highest = (await numbers(s, [asked])).get(of.at.oid) if asked is not None else None
    return due(of, wanted, (await cutoffs(s, [wanted])).get(wanted), highest)


def _row(of: PartitionSet, at: Partition, gone: set[int], counted: dict[int, int | None]) -> PartitionRow:
    bound = at.range
    return PartitionRow(
        partition=at.partition,
        lower=bound.lower,
        upper=bound.upper,
        bytes=of.size(at),
        rows=None if at.rows is None else round(at.rows),
        exact_rows=counted.get(at.oid),
        default=bound.default,
        state="detaching" if at.detaching else "attached",
        due=at.oid in gone,
        partitioned=at.relkind == "p",
        analyzed=at.analyzed,
    )


def _detached(at: Detached) -> PartitionRow:
    rows = None if at.rows is None else round(at.rows)
    return PartitionRow(at.partition, None, None, at.bytes, rows, None, False, "detached", False, False, None)
