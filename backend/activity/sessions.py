"""Who is connected and what each session does: the statement, its rows, and what is wrong with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated

from backend.core.declare import Col, Health, Verdict
from backend.core.facts import Query
from backend.core.record import record
from backend.core.values import hours, minutes

# pg_blocking_pids() takes the lock manager's locks, so it is asked for those alone that wait for a lock.
SESSIONS = Query("""
SELECT a.pid,
       a.leader_pid,
       a.datname AS database,
       a.usename AS username,
       a.application_name AS application,
       CASE WHEN a.client_addr IS NOT NULL THEN pg_catalog.host(a.client_addr)
            WHEN a.client_port = -1 THEN 'local'
       END AS client,
       a.backend_type,
       a.state,
       CASE WHEN a.state LIKE 'idle%%' OR a.wait_event_type = 'Activity' THEN NULL
            ELSE a.wait_event_type || ':' || a.wait_event
       END AS wait,
       pg_catalog.clock_timestamp() - a.xact_start AS transaction_age,
       pg_catalog.clock_timestamp()
         - CASE a.state WHEN 'active' THEN a.query_start ELSE a.state_change END AS duration,
       CASE WHEN a.state LIKE 'idle in transaction%%'
            THEN pg_catalog.clock_timestamp() - a.state_change
       END AS idle_in_transaction,
       CASE a.wait_event_type WHEN 'Lock' THEN pg_catalog.pg_blocking_pids(a.pid) END AS blocked_by,
       pg_catalog.age(a.backend_xmin) AS xmin_age,
       a.query_id,
       a.backend_start,
       a.query
  FROM pg_catalog.pg_stat_activity a
 WHERE a.pid <> ALL (%s::pg_catalog.int4[])
   AND a.pid <> pg_catalog.pg_backend_pid()
""")

NOT_VISIBLE = "what it does is not visible; GRANT pg_monitor to pgtui's role shows it"
BLOCKED_TOO_LONG = minutes(1)


@record
class SessionRow:
    """One server process."""

    pid: Annotated[int, Col("Pid", key=True, priority=1)]
    leader_pid: Annotated[
        int | None, Col("Leader", priority=9, help="The process that a parallel worker helps")
    ]
    database: Annotated[str | None, Col("Database", priority=3)]
    username: Annotated[str | None, Col("User", priority=2)]
    application: Annotated[str | None, Col("Application", priority=5)]
    client: Annotated[str | None, Col("Client", priority=6, help="Its address, or local for a Unix socket")]
    backend_type: Annotated[str | None, Col("Type", priority=8)]
    state: Annotated[str | None, Col("State", priority=1)]
    wait: Annotated[
        str | None, Col("Wait", priority=3, help="What it waits for while it works; an idle session has none")
    ]
    transaction_age: Annotated[
        timedelta | None,
        Col("Transaction", priority=4, warn=hours(12), crit=hours(24), help="Age of its transaction"),
    ]
    duration: Annotated[
        timedelta | None,
        Col(
            "Duration", priority=1, help="Age of the statement while active, otherwise the time in this state"
        ),
    ]
    idle_in_transaction: Annotated[
        timedelta | None,
        Col(
            "Idle in transaction",
            priority=9,
            warn=minutes(5),
            crit=minutes(15),
            help="How long it has kept a transaction open without using it",
        ),
    ]
    blocked_by: Annotated[
        list[int] | None,
        Col("Blocked by", priority=3, help="Processes it waits for; 0 is a prepared transaction"),
    ]
    xmin_age: Annotated[
        int | None,
        Col(
            "Xmin age", priority=7, help="How many transactions back its snapshot keeps dead rows from vacuum"
        ),
    ]
    query_id: Annotated[int | None, Col("Query id", priority=9, help="The key to pg_stat_statements")]
    backend_start: Annotated[datetime | None, Col("Connected", hidden=True)]
    query: Annotated[str | None, Col("Query", text=True, priority=1)]

    @property
    def visible(self) -> bool:
        """Whether the role may see what it does; the server hides even its type otherwise."""
        return self.backend_type is not None


def verdict(row: SessionRow) -> Verdict | None:
    """What is wrong with a session beyond its columns' limits."""
    if not row.visible:
        return Verdict(Health.UNKNOWN, NOT_VISIBLE)
    if row.blocked_by and row.duration and row.duration >= BLOCKED_TOO_LONG:
        return Verdict(Health.WARNING, f"waits for {_who(row.blocked_by)}")
    return None


def _who(pids: Sequence[int]) -> str:
    if list(pids) == [0]:
        return "a prepared transaction"
    return f"process{'es' if len(pids) > 1 else ''} {', '.join(map(str, pids))}"


def overall(rows: Sequence[SessionRow]) -> Verdict:
    """How many sessions there are, by state."""
    clients = [r for r in rows if r.backend_type == "client backend"]
    states = Counter(r.state or "unknown" for r in clients)
    counts = ", ".join(f"{n} {state}" for state, n in states.most_common())
    return Verdict(
        Health.OK, f"{len(clients)} client sessions: {counts}" if clients else "no client sessions"
    )
