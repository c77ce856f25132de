"""How large the event tables are: measured now and then, since that opens every one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backend.core.facts import Query
from backend.core.remembered import Remembered
from backend.core.session import Session
from backend.queue.ground import ask

# For 200 queues it costs the server twice as much as all else that is asked of them.
AGAIN_AFTER = 60.0  # seconds

# Measuring a table waits for whoever has it locked alone, so such are left out.
_SIZES = Query("""
  WITH locked AS MATERIALIZED (
    SELECT l.relation
      FROM pg_catalog.pg_locks AS l
     WHERE l.mode = 'AccessExclusiveLock'
       AND l.relation IS NOT NULL
)
SELECT q.queue_id AS id,
       pg_catalog.sum(
           pg_catalog.pg_total_relation_size(i.inhrelid)
       )::pg_catalog.int8 AS bytes
  FROM pgq.queue AS q
  JOIN pg_catalog.pg_inherits AS i
    ON i.inhparent = pg_catalog.to_regclass(q.queue_data_pfx)::pg_catalog.oid
 WHERE i.inhrelid NOT IN (SELECT k.relation FROM locked AS k)
 GROUP BY q.queue_id
""")


@dataclass(frozen=True, slots=True)
class _Size:
    """The bytes of one queue's event tables, with indexes and large values."""

    id: int
    bytes: int


_measured = Remembered[Mapping[int, int]](AGAIN_AFTER)


async def sizes(s: Session) -> Mapping[int, int]:
    """Bytes by queue id, at most a minute old; a newer queue is missing."""
    return await _measured.get(s, lambda: _asked(s))


async def _asked(s: Session) -> Mapping[int, int]:
    return {z.id: z.bytes for z in await ask(s, _Size, _SIZES)}
