"""What the server says of a statement while it runs: phase, how much is done, and who holds it up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import psycopg
from psycopg.rows import class_row

from backend.core.connection import Connection, guarded
from backend.core.errors import PgtuiError
from backend.core.plan import Sql
from backend.core.record import record
from backend.core.surroundings import Progress, Surroundings

EVERY = 1.0
_PATIENCE = 2.0

_ASKED = b"""
SELECT p.phase,
       coalesce(p.done, 0) AS done,
       nullif(p.total, 0) AS total,
       coalesce(p.unit, '') AS unit,
       pg_catalog.pg_blocking_pids(m.pid) AS blockers
  FROM (SELECT %s::pg_catalog.int4 AS pid) AS m
  LEFT JOIN (SELECT v.pid,
                    v.phase,
                    CASE v.phase WHEN 'scanning heap' THEN v.heap_blks_scanned
                                 WHEN 'vacuuming heap' THEN v.heap_blks_vacuumed
                    END AS done,
                    CASE WHEN v.phase IN ('scanning heap', 'vacuuming heap') THEN v.heap_blks_total
                    END AS total,
                    'blocks' AS unit
               FROM pg_catalog.pg_stat_progress_vacuum AS v
              UNION ALL
             SELECT k.pid, k.phase, k.heap_blks_scanned, k.heap_blks_total, 'blocks'
               FROM pg_catalog.pg_stat_progress_cluster AS k
              UNION ALL
             SELECT y.pid, y.phase, y.sample_blks_scanned, y.sample_blks_total, 'blocks'
               FROM pg_catalog.pg_stat_progress_analyze AS y
              UNION ALL
             SELECT i.pid,
                    i.phase,
                    CASE WHEN i.phase LIKE 'waiting%%' THEN i.lockers_done
                         WHEN i.blocks_total > 0 THEN i.blocks_done
                         ELSE i.tuples_done
                    END,
                    CASE WHEN i.phase LIKE 'waiting%%' THEN i.lockers_total
                         WHEN i.blocks_total > 0 THEN i.blocks_total
                         ELSE i.tuples_total
                    END,
                    CASE WHEN i.phase LIKE 'waiting%%' THEN 'transactions'
                         WHEN i.blocks_total > 0 THEN 'blocks'
                         ELSE 'rows'
                    END
               FROM pg_catalog.pg_stat_progress_create_index AS i) AS p
    ON p.pid = m.pid
"""


@record
class Reported:
    """What the server reports of one session: nothing but its blockers where it shows no progress."""

    phase: str | None
    done: int
    total: int | None
    unit: str
    blockers: list[int]

    @property
    def progress(self) -> Progress | None:
        """The same as a run shows it; None where there is nothing to tell."""
        waits = f"waits for process {', '.join(map(str, self.blockers))}" if self.blockers else ""
        phase = ", ".join(filter(None, (self.phase, waits)))
        told = self.unit if self.done or self.total else ""
        return Progress(self.done, self.total, told, phase=phase) if phase else None


@contextlib.asynccontextmanager
async def followed(connection: Connection, step: Sql, around: Surroundings) -> AsyncIterator[None]:
    """Tell of a statement's progress while the block goes on; what cannot be told is left out."""
    over = asyncio.Event()
    following = asyncio.create_task(_follow(connection.pgconn.backend_pid, step, around, over))
    try:
        yield
    finally:
        over.set()
        await following


async def _follow(pid: int, step: Sql, around: Surroundings, over: asyncio.Event) -> None:
    with contextlib.suppress(PgtuiError, psycopg.Error):
        while not await _passed(over):
            spare = await around.connection(step.on, step.dbname, spare=True)
            found = await guarded(_ask(spare, pid), _PATIENCE, spare, "the server")
            if found and not over.is_set():
                around.progress(found)


async def _passed(over: asyncio.Event) -> bool:
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(over.wait(), EVERY)
    return over.is_set()


async def _ask(connection: Connection, pid: int) -> Progress | None:
    async with connection.cursor(row_factory=class_row(Reported)) as cursor:
        await cursor.execute(_ASKED, [pid])
        row = await cursor.fetchone()
        return row.progress if row else None
