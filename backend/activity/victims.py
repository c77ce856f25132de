"""Whom an action on sessions would hit: the statement that finds them, and who of them is spared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from backend.core.declare import Col
from backend.core.errors import Missing
from backend.core.facts import Query
from backend.core.show import counted

# What the server itself asks before it signals a process: superusers' sessions, and processes of no role,
# are for superusers; pg_signal_autovacuum_worker exists since PostgreSQL 18.
MAY_SIGNAL = """
  EXISTS (SELECT
            FROM pg_catalog.pg_roles me
           WHERE me.rolname = current_user
             AND (me.rolsuper
                  OR (NOT r.rolsuper
                      AND (pg_catalog.pg_has_role(a.usesysid, 'USAGE')
                           OR pg_catalog.pg_has_role('pg_signal_backend', 'USAGE')))
                  OR (a.usesysid IS NULL
                      AND a.backend_type = 'autovacuum worker'
                      AND EXISTS (SELECT
                                    FROM pg_catalog.pg_roles w
                                   WHERE w.rolname = 'pg_signal_autovacuum_worker'
                                     AND pg_catalog.pg_has_role(w.oid, 'USAGE')))))"""

VICTIMS = Query(
    """
SELECT a.pid,
       a.usename AS username,
       a.application_name AS application,
       a.datname AS database,
       a.backend_type,
       a.state,
       pg_catalog.clock_timestamp() - a.xact_start AS transaction_age,
       pg_catalog.clock_timestamp()
         - CASE a.state WHEN 'active' THEN a.query_start ELSE a.state_change END AS duration,
       coalesce(a.state LIKE 'idle in transaction%%'
                AND pg_catalog.clock_timestamp() - a.state_change >= %s::pg_catalog.interval,
                false) AS idle_longer,
       coalesce(r.rolsuper, true) AS superuser,
       """
    + MAY_SIGNAL
    + """ AS permitted,
       a.backend_start,
       a.query_start,
       a.query
  FROM pg_catalog.pg_stat_activity a
  LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid
 WHERE a.pid <> ALL (%s::pg_catalog.int4[])
 ORDER BY a.backend_start
"""
)

# These have no place where a signal of this kind would be taken.
_DEAF = {
    "archiver",
    "background writer",
    "checkpointer",
    "io worker",
    "startup",
    "walreceiver",
    "walsummarizer",
    "walwriter",
}
# Programs whose session is a backup even while it looks idle, and pgtui's own sessions.
_SPARED = ("pg_basebackup", "pg_dump", "pg_dumpall", "pgbackrest", "barman", "pgtui")


@dataclass(frozen=True, slots=True)
class Victim:
    """A session that an action would hit."""

    pid: Annotated[int, Col("Pid", key=True, priority=1)]
    username: Annotated[str | None, Col("User", priority=1)]
    application: Annotated[str | None, Col("Application", priority=2)]
    database: Annotated[str | None, Col("Database", priority=3)]
    backend_type: Annotated[str | None, Col("Type", priority=6)]
    state: Annotated[str | None, Col("State", priority=2)]
    transaction_age: Annotated[timedelta | None, Col("Transaction", priority=3)]
    duration: Annotated[timedelta | None, Col("Duration", priority=2)]
    idle_longer: Annotated[bool, Col("Idle longer", hidden=True)]
    superuser: Annotated[bool, Col("Superuser", hidden=True)]
    permitted: Annotated[bool, Col("Permitted", hidden=True)]
    backend_start: Annotated[datetime | None, Col("Connected", priority=7)]
    query_start: Annotated[datetime | None, Col("Began", hidden=True)]
    query: Annotated[str | None, Col("Query", text=True, priority=1)]

    @property
    def client(self) -> bool:
        """Whether it is a client's session, not a walsender or one of the server's own processes."""
        return self.backend_type == "client backend"

    @property
    def deaf(self) -> bool:
        """Whether it is a process of the server that takes no such signal."""
        return self.backend_type in _DEAF

    @property
    def spared(self) -> bool:
        """Whether a selection leaves it alone unless it is named: a backup, or pgtui itself."""
        return (self.application or "").lower().startswith(_SPARED)

    @property
    def idle_in_transaction(self) -> bool:
        """Whether it keeps a transaction open without using it."""
        return (self.state or "").startswith("idle in transaction")


@dataclass(frozen=True, slots=True)
class Chosen:
    """The victims of a selection, and what to tell about those that were left out."""

    victims: tuple[Victim, ...]
    notes: tuple[str, ...] = ()


def choose(
    everybody: Sequence[Victim], fits: Callable[[Victim], bool], *, named: bool, acts_as_other: bool
) -> Chosen:
    """The client sessions that fit; backups and pgtui's own only when the application was `named`.

    What the looking role may signal decides nothing when another role acts: the statement asks again.
    """
    fitting = [v for v in everybody if v.client and fits(v)]
    spared = [] if named else [v for v in fitting if v.spared]
    open_to = [v for v in fitting if v not in spared]
    barred = [v for v in open_to if not v.permitted and not acts_as_other]
    victims = tuple(v for v in open_to if v not in barred)
    if barred and not victims:
        raise refusal(barred)
    notes: list[str] = []
    if spared:
        notes.append(
            f"left out, being backups or pgtui's own: {_pids(spared)}; --pid or --application names them"
        )
    if barred:
        notes.append(f"left out, not permitted: {_pids(barred)}; {refusal(barred).hint}")
    if hidden := sum(v.backend_type is None for v in everybody):
        notes.append(f"not visible to the role: {counted(hidden, 'session')}; GRANT pg_monitor shows them")
    return Chosen(victims, tuple(notes))


def _pids(victims: Sequence[Victim]) -> str:
    return ", ".join(str(v.pid) for v in victims)


def refusal(barred: Sequence[Victim]) -> Missing:
    """Why these may not be signalled, and which role to grant."""
    pids = f"process{'es' if len(barred) > 1 else ''} {_pids(barred)}"
    automatic = [v for v in barred if v.backend_type == "autovacuum worker"]
    if len(automatic) == len(barred):
        hint = "only superusers may, and from PostgreSQL 18 on members of pg_signal_autovacuum_worker"
    elif all(v.superuser for v in barred):
        hint = "only a superuser may signal a superuser's session"
    else:
        hint = "GRANT pg_signal_backend to pgtui's role allows it"
    return Missing(f"the role may not signal {pids}", hint=hint, sqlstate="42501")
