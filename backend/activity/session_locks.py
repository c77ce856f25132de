"""The locks of one session: the statement and its rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated

from backend.activity.locknames import LockTag
from backend.core.declare import Col
from backend.core.facts import Query
from backend.core.record import record

SESSION_LOCKS = Query("""
SELECT l.locktype AS lock_type,
       CASE WHEN l.relation IS NULL THEN NULL
            WHEN l.database IN (0, d.oid) THEN l.relation::pg_catalog.regclass::pg_catalog.text
            ELSE 'oid ' || l.relation
       END AS relation,
       l.page,
       l.tuple::pg_catalog.int4 AS tuple,
       l.transactionid::pg_catalog.text AS transaction,
       l.virtualxid AS virtual_transaction,
       l.classid::pg_catalog.int8 AS classid,
       l.objid::pg_catalog.int8 AS objid,
       l.objsubid::pg_catalog.int4 AS objsubid,
       l.mode,
       l.granted,
       l.fastpath,
       pg_catalog.clock_timestamp() - l.waitstart AS waiting
  FROM pg_catalog.pg_locks l
  JOIN pg_catalog.pg_database d ON d.datname = pg_catalog.current_database()
 WHERE l.pid = %s
 ORDER BY l.granted, l.locktype <> 'relation', relation, l.mode
""")


@record
class HeldLock:
    """One row of pg_locks."""

    lock_type: str
    relation: str | None
    page: int | None
    tuple: int | None
    transaction: str | None
    virtual_transaction: str | None
    classid: int | None
    objid: int | None
    objsubid: int | None
    mode: str
    granted: bool
    fastpath: bool
    waiting: timedelta | None


@record
class SessionLock:
    """A lock that the session holds or waits for."""

    object: Annotated[str, Col("Object", key=True, text=True, priority=1)]
    lock_type: Annotated[str, Col("On", key=True, priority=2, help="What kind of thing the lock is on")]
    mode: Annotated[str, Col("Mode", key=True, priority=1)]
    granted: Annotated[bool, Col("Held", key=True, priority=1, help="No while it is waited for")]
    waiting: Annotated[timedelta | None, Col("Waits", priority=1, help="How long it has been waited for")]
    fastpath: Annotated[
        bool, Col("Fast path", priority=8, help="Kept in the session's own slots, not the shared lock table")
    ]


def named(locks: Sequence[HeldLock]) -> list[SessionLock]:
    """The locks with what they are on in words; a lock known in two places is told once."""
    rows = [_named(lock) for lock in locks]
    return list({(r.object, r.lock_type, r.mode, r.granted): r for r in rows}.values())


def _named(lock: HeldLock) -> SessionLock:
    tag = LockTag(
        lock.lock_type, lock.relation, lock.page, lock.tuple, lock.transaction, lock.virtual_transaction,
        lock.classid, lock.objid, lock.objsubid,
    )  # fmt: skip
    return SessionLock(tag.words or "", lock.lock_type, lock.mode, lock.granted, lock.waiting, lock.fastpath)
