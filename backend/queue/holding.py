"""Transactions of the whole cluster that hold ticks, and with them rotations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Literal

from backend.core.clean import clean
from backend.core.declare import Col, Health, Verdict
from backend.core.facts import Query
from backend.core.session import Session
from backend.core.show import duration
from backend.queue.ground import ask
from backend.queue.snapshot import full_xid

# Ticks see the transactions of every database, prepared ones too; only those that have written have an id.
_TRANSACTIONS = Query("""
SELECT a.pid,
       NULL::pg_catalog.text AS gid,
       a.datname::pg_catalog.text AS database,
       a.usename::pg_catalog.text AS role,
       a.application_name AS application,
       a.state,
       pg_catalog.clock_timestamp() - a.xact_start AS age,
       pg_catalog.clock_timestamp() - a.state_change AS since,
       a.backend_xid::pg_catalog.text::pg_catalog.int8 AS xid,
       pg_catalog.left(a.query, 1000) AS query,
       pg_catalog.txid_snapshot_xmax(pg_catalog.txid_current_snapshot()) AS next_xid
  FROM pg_catalog.pg_stat_activity AS a
 WHERE a.backend_xid IS NOT NULL
    OR a.pid = ANY (%s)
 UNION ALL
SELECT NULL AS pid,
       p.gid,
       p.database::pg_catalog.text AS database,
       p.owner::pg_catalog.text AS role,
       NULL AS application,
       'prepared' AS state,
       pg_catalog.clock_timestamp() - p.prepared AS age,
       pg_catalog.clock_timestamp() - p.prepared AS since,
       p.transaction::pg_catalog.text::pg_catalog.int8 AS xid,
       NULL AS query,
       pg_catalog.txid_snapshot_xmax(pg_catalog.txid_current_snapshot()) AS next_xid
  FROM pg_catalog.pg_prepared_xacts AS p
""")


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction that is open; `xid` has 32 bits and is None for one that only reads."""

    pid: int | None
    gid: str | None
    database: str | None
    role: str | None
    application: str | None
    state: str | None
    age: timedelta | None
    since: timedelta | None
    xid: int | None
    query: str | None
    next_xid: int

    @property
    def full_xid(self) -> int | None:
        """Its id in the 64 bits that PgQ counts in."""
        return None if self.xid is None else full_xid(self.xid, self.next_xid)

    @property
    def told(self) -> str:
        """Who it is, in words: `pid 4711, idle in transaction for 2h 03m in database crm`."""
        who = f"prepared transaction {clean(self.gid)}" if self.gid is not None else f"pid {self.pid}"
        long = self.since if self.state and self.state.startswith("idle") else self.age
        lasting = f" for {duration(long)}" if long is not None else ""
        state = f", {self.state}" if self.gid is None and self.state else ""
        named = f" ({clean(self.application)})" if self.application else ""
        return f"{who}{named}{state}{lasting} in database {clean(self.database or '')}"


async def transactions(s: Session, readers: Sequence[int] = ()) -> list[Transaction]:
    """Every transaction of the cluster that has written, the oldest first, and those of the pids given.

    Without pg_read_all_stats, no more is known of others' than process and database.
    """
    found = await ask(s, Transaction, _TRANSACTIONS, list(readers))
    return sorted(found, key=lambda t: (t.xid is None, t.full_xid or 0))


_TICKS = Query("""
SELECT q.queue_name AS queue,
       q.queue_switch_step2 AS step2,
       q.queue_switch_time + q.queue_rotation_period < pg_catalog.clock_timestamp() AS due,
       pg_catalog.txid_snapshot_xmin(t.tick_snapshot) AS xmin,
       pg_catalog.txid_snapshot_xmax(t.tick_snapshot) AS xmax,
       pg_catalog.clock_timestamp() - t.tick_time AS lag
  FROM pgq.queue AS q
 CROSS JOIN LATERAL (SELECT k.tick_snapshot,
                            k.tick_time
                       FROM pgq.tick AS k
                      WHERE k.tick_queue = q.queue_id
                      ORDER BY k.tick_queue DESC,
                               k.tick_id DESC
                      LIMIT 1) AS t
 ORDER BY q.queue_name
""")


@dataclass(frozen=True, slots=True)
class _Tick:
    """The newest tick of a queue."""

    queue: str
    step2: int | None
    due: bool | None
    xmin: int
    xmax: int
    lag: timedelta


@dataclass(frozen=True, slots=True)
class Blocker:
    """A transaction that the newest ticks saw running."""

    id: Annotated[str, Col("Who", key=True, priority=1, help="Process, or the name of a prepared one")]
    kind: Annotated[Literal["session", "prepared"], Col("Kind", priority=7)]
    pid: Annotated[int | None, Col("Pid", hidden=True)]
    database: Annotated[str | None, Col("Database", priority=2, help="Any of the cluster can hold ticks")]
    role: Annotated[str | None, Col("User", priority=3)]
    application: Annotated[str | None, Col("Application", priority=4)]
    state: Annotated[str | None, Col("State", priority=2)]
    age: Annotated[timedelta | None, Col("Age", priority=1, help="Of the transaction")]
    since: Annotated[timedelta | None, Col("In state", priority=5)]
    ticks: Annotated[
        int, Col("Ticks", priority=2, help="Queues whose newest tick saw it running: its events come later")
    ]
    rotations: Annotated[
        str, Col("Holds rotation of", priority=1, help="Queues that are due and wait for its end")
    ]
    query: Annotated[str | None, Col("Query", text=True, priority=3)]
    gid: Annotated[str | None, Col("Prepared as", hidden=True)]
    xid: Annotated[int, Col("Xid", priority=8, help="As PgQ counts it, in 64 bits")]


def blocker_verdict(row: Blocker) -> Verdict | None:
    """A transaction that holds ticks is everyday; one that a due rotation waits for is not."""
    if not row.rotations:
        return None
    lasting = f" for {duration(row.age)}" if row.age is not None else ""
    return Verdict(Health.WARNING, f"holds the rotation of {clean(row.rotations)}{lasting}")


async def blocker_rows(s: Session) -> list[Blocker]:
    """The transactions that newest ticks saw running, the oldest first."""
    found = await transactions(s)
    if not found:
        return []
    ticks = await ask(s, _Tick, _TICKS)
    return [row for t in found if (xid := t.full_xid) is not None and (row := _row(t, xid, ticks))]


def _row(of: Transaction, xid: int, ticks: Sequence[_Tick]) -> Blocker | None:
    seen = [t for t in ticks if xid < t.xmax]
    held = [t.queue for t in ticks if t.due and t.step2 is not None and xid <= t.step2]
    if not seen and not held:
        return None
    return Blocker(
        id=of.gid if of.gid is not None else str(of.pid),
        kind="session" if of.gid is None else "prepared",
        pid=of.pid,
        database=of.database,
        role=of.role,
        application=of.application,
        state=of.state,
        age=of.age,
        since=of.since,
        ticks=len(seen),
        rotations=", ".join(held),
        query=of.query,
        gid=of.gid,
        xid=xid,
    )
