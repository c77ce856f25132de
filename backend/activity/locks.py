"""Who waits for whom: the statement, and the tree that its rows make."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated

from backend.activity.blocking import Branch, arrange
from backend.activity.locknames import LockTag, conflict
from backend.core.declare import Col, Health, Verdict
from backend.core.facts import Query
from backend.core.record import record
from backend.core.show import counted
from backend.core.values import minutes

# Who waits is known from pg_stat_activity; pg_locks is read only when somebody does, or when the role may
# not see whether somebody does. A prepared transaction blocks as process 0; its locks have no process, and
# the virtual transaction of the session that prepared it, or another one since the last restart.
BLOCKING = Query("""
  WITH waiting AS MATERIALIZED (
       SELECT a.pid, pg_catalog.pg_blocking_pids(a.pid) AS blockers
         FROM pg_catalog.pg_stat_activity a
        WHERE a.wait_event_type = 'Lock'
           OR (a.backend_type IS NULL
               AND a.pid IN (SELECT l.pid FROM pg_catalog.pg_locks l WHERE NOT l.granted))),
       locks AS MATERIALIZED (
       SELECT l.*
         FROM pg_catalog.pg_locks l
        WHERE EXISTS (SELECT FROM waiting)
          AND (NOT l.granted OR l.pid IS NULL OR l.locktype = 'tuple')),
       prepared AS MATERIALIZED (
       SELECT x.gid, x.owner, x.database, x.prepared, h.virtualtransaction
         FROM pg_catalog.pg_prepared_xacts x
         LEFT JOIN locks h ON h.locktype = 'transactionid'
                          AND h.pid IS NULL
                          AND h.transactionid = x.transaction
        WHERE EXISTS (SELECT FROM waiting w WHERE 0 = ANY (w.blockers)))
SELECT a.pid,
       NULL AS gid,
       w.blockers,
       ARRAY(SELECT ARRAY[x.gid, h.mode]
               FROM locks h
               JOIN prepared x USING (virtualtransaction)
              WHERE h.pid IS NULL
                AND 0 = ANY (w.blockers)
                AND (h.locktype, h.database, h.relation, h.page, h.tuple, h.transactionid,
                     h.virtualxid, h.classid, h.objid, h.objsubid)
                    IS NOT DISTINCT FROM
                    (l.locktype, l.database, l.relation, l.page, l.tuple, l.transactionid,
                     l.virtualxid, l.classid, l.objid, l.objsubid)) AS held_prepared,
       a.datname AS database,
       a.usename AS username,
       a.application_name AS application,
       a.backend_type,
       a.state,
       pg_catalog.clock_timestamp() - a.xact_start AS transaction_age,
       pg_catalog.clock_timestamp() - a.state_change AS state_age,
       pg_catalog.clock_timestamp() - l.waitstart AS waiting,
       l.locktype AS lock_type,
       l.mode,
       CASE WHEN coalesce(l.relation, t.relation) IS NULL THEN NULL
            WHEN coalesce(l.database, t.database) IN (0, d.oid)
            THEN coalesce(l.relation, t.relation)::pg_catalog.regclass::pg_catalog.text
            ELSE 'oid ' || coalesce(l.relation, t.relation)
       END AS relation,
       l.page,
       l.tuple::pg_catalog.int4 AS tuple,
       l.transactionid::pg_catalog.text AS transaction,
       l.virtualxid AS virtual_transaction,
       l.classid::pg_catalog.int8 AS classid,
       l.objid::pg_catalog.int8 AS objid,
       l.objsubid::pg_catalog.int4 AS objsubid,
       a.backend_start,
       a.query
  FROM pg_catalog.pg_stat_activity a
  JOIN pg_catalog.pg_database d ON d.datname = pg_catalog.current_database()
  LEFT JOIN waiting w ON w.pid = a.pid
  LEFT JOIN locks l ON l.pid = a.pid AND NOT l.granted
  LEFT JOIN locks t ON t.pid = a.pid AND t.granted AND l.locktype = 'transactionid'
 WHERE w.pid IS NOT NULL
    OR a.pid IN (SELECT pg_catalog.unnest(w.blockers) FROM waiting w)
UNION ALL
SELECT NULL, x.gid, NULL, '{}', x.database, x.owner, NULL, 'prepared transaction', NULL,
       pg_catalog.clock_timestamp() - x.prepared, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
       NULL, NULL, NULL, NULL, NULL
  FROM prepared x
""")

Node = tuple[int | None, str | None]


@record
class Involved:
    """A session that waits or blocks, or a prepared transaction that may."""

    pid: int | None
    gid: str | None
    blockers: list[int] | None
    held_prepared: list[list[str]]
    database: str | None
    username: str | None
    application: str | None
    backend_type: str | None
    state: str | None
    transaction_age: timedelta | None
    state_age: timedelta | None
    waiting: timedelta | None
    lock_type: str | None
    mode: str | None
    relation: str | None
    page: int | None
    tuple: int | None
    transaction: str | None
    virtual_transaction: str | None
    classid: int | None
    objid: int | None
    objsubid: int | None
    backend_start: datetime | None
    query: str | None

    @property
    def node(self) -> Node:
        """What names it in the tree."""
        return self.pid, self.gid

    @property
    def above(self) -> list[Node]:
        """Whom it waits for; process 0 stands for the prepared transactions whose locks are in its way."""
        sessions: list[Node] = [(pid, None) for pid in self.blockers or () if pid]
        prepared: list[Node] = [(None, gid) for gid, held in self.held_prepared if conflict(self.mode, held)]
        if 0 in (self.blockers or ()) and not prepared:
            prepared.append((0, None))
        return list(dict.fromkeys(sessions + prepared))

    @property
    def object(self) -> str | None:
        """What it waits for; a transaction is told with the table whose row it is about, where known."""
        tag = LockTag(
            self.lock_type, self.relation, self.page, self.tuple, self.transaction, self.virtual_transaction,
            self.classid, self.objid, self.objsubid,
        )  # fmt: skip
        if self.lock_type == "transactionid" and self.relation:
            return f"{tag.words} (a row of {self.relation})"
        return tag.words


@record
class LockRow:
    """A place in the tree of blockers: a root, or a victim below who blocks it."""

    tree: Annotated[str, Col("Blocker and victims", priority=1, help="Each session below who blocks it")]
    pid: Annotated[int | None, Col("Pid", key=True, hidden=True)]
    gid: Annotated[str | None, Col("Prepared", key=True, hidden=True)]
    depth: Annotated[int, Col("Depth", hidden=True, help="0 for who blocks and is not blocked")]
    victims: Annotated[int, Col("Victims", priority=1, help="Sessions that wait for it, directly or not")]
    total_wait: Annotated[
        timedelta, Col("Costs", priority=2, help="How long its victims have waited, together")
    ]
    waiting: Annotated[
        timedelta | None,
        Col(
            "Waits", priority=1, warn=minutes(1), crit=minutes(5), help="How long it has waited for its lock"
        ),
    ]
    state: Annotated[str | None, Col("State", priority=2)]
    mode: Annotated[str | None, Col("Wants", priority=5, help="The mode of the lock that it waits for")]
    lock_type: Annotated[str | None, Col("On", priority=7, help="What kind of thing the lock is on")]
    object: Annotated[str | None, Col("Object", priority=3, help="What the lock is on")]
    blocked_by: Annotated[
        list[str] | None, Col("Blocked by", priority=6, help="All it waits for: process ids, prepared names")
    ]
    transaction_age: Annotated[
        timedelta | None, Col("Transaction", priority=4, help="Age of its transaction")
    ]
    state_age: Annotated[timedelta | None, Col("In state", priority=6, help="Time in its state")]
    database: Annotated[str | None, Col("Database", priority=6)]
    username: Annotated[str | None, Col("User", priority=3)]
    application: Annotated[str | None, Col("Application", priority=7)]
    backend_start: Annotated[datetime | None, Col("Connected", hidden=True)]
    cyclic: Annotated[bool, Col("Circle", hidden=True, help="It waits, in the end, for itself: a deadlock")]
    query: Annotated[str | None, Col("Query", text=True, priority=1)]


def tree(involved: Sequence[Involved]) -> list[LockRow]:
    """The tree of blockers that these make; who neither blocks nor is blocked is left out."""
    by_node = {i.node: i for i in involved}
    above = {i.node: i.above for i in involved}
    for node in [n for blockers in above.values() for n in blockers]:
        by_node.setdefault(node, _gone(node))
    waits = {i.node: i.waiting for i in involved if i.waiting is not None}
    branches = arrange(by_node, above, waits)
    return [_row(b, by_node[b.node]) for b in branches if b.victims or by_node[b.node].above]


def _gone(node: Node) -> Involved:
    """A blocker that ended while the others were read."""
    pid, gid = node
    return Involved(pid, gid, None, [], *[None] * 20)


def _label(who: Involved) -> str:
    if who.gid is not None:
        return f"prepared {who.gid}"
    return str(who.pid) if who.pid else "prepared transaction"


def _row(branch: Branch[Node], who: Involved) -> LockRow:
    return LockRow(
        tree=branch.prefix + _label(who),
        pid=who.pid,
        gid=who.gid,
        depth=branch.depth,
        victims=branch.victims,
        total_wait=branch.total_wait,
        waiting=who.waiting,
        state=who.state or who.backend_type,
        mode=who.mode,
        lock_type=who.lock_type,
        object=who.object,
        blocked_by=[gid if gid is not None else str(pid) for pid, gid in who.above] or None,
        transaction_age=who.transaction_age,
        state_age=who.state_age,
        database=who.database,
        username=who.username,
        application=who.application,
        backend_start=who.backend_start,
        cyclic=branch.cyclic,
        query=who.query,
    )


def verdict(row: LockRow) -> Verdict | None:
    """What is wrong with a place in the tree beyond its columns' limits."""
    if row.cyclic:
        return Verdict(Health.WARNING, "waits for itself in the end: a deadlock, unless it has just resolved")
    if row.depth or not row.victims:
        return None
    held = counted(row.victims, "session")
    if not row.pid:
        return Verdict(Health.WARNING, f"is prepared, not committed, and blocks {held}")
    if (row.state or "").startswith("idle in transaction"):
        return Verdict(Health.WARNING, f"is {row.state} and blocks {held}")
    return None


def overall(rows: Sequence[LockRow]) -> Verdict:
    """How many wait, and for how many roots."""
    roots = sum(1 for r in rows if r.depth == 0)
    victims = sum(1 for r in rows if r.blocked_by)
    return Verdict(Health.OK, f"{victims} waiting, {roots} blocking" if rows else "nobody waits for a lock")
