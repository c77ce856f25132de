"""Views of the room `tables`."""

from __future__ import annotations

from typing import Annotated

from backend.core.declare import Ask, view
from backend.core.errors import Usage
from backend.core.session import Session
from backend.tables import health, indexes, sequences

MOST = 100_000

Limit = Annotated[int, Ask("How many at most", help="Those with findings first, then the largest")]


@view("tables.tables", every=30, verdict=health.verdict, empty="the database has no tables of its own")
async def tables(s: Session, limit: Limit = 200) -> list[health.Table]:
    """Size, dead rows, what autovacuum would do next, and how far each table is from being frozen."""
    return await s.fetch(health.Table, health.TABLES, _demand(limit))


@view("tables.indexes", every=30, verdict=indexes.verdict, empty="no index is unused, duplicate or invalid")
async def all_indexes(
    s: Session,
    limit: Limit = 200,
    findings: Annotated[bool, Ask("Only findings", help="no lists all indexes")] = True,
) -> list[indexes.Index]:
    """Indexes that are invalid, do the work of another, or were never used since the statistics began."""
    return await s.fetch(indexes.Index, indexes.INDEXES, findings, _demand(limit))


@view("tables.sequences", every=30, overall=sequences.overall, empty="the database has no sequences")
async def all_sequences(s: Session, limit: Limit = 500) -> list[sequences.Sequence]:
    """How far each sequence is used up, against the type of the column that it fills."""
    return await s.fetch(sequences.Sequence, sequences.SEQUENCES, _demand(limit))


def _demand(limit: int) -> int:
    if not 1 <= limit <= MOST:
        raise Usage(f"--limit wants 1 to {MOST}, not {limit}")
    return limit
