"""Whether a ticker is at work: pgqd's sessions on the server, and whether ticks come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Literal

from backend.core.clean import clean
from backend.core.declare import Col, Health, Verdict
from backend.core.facts import Query
from backend.core.session import Session
from backend.core.show import duration
from backend.queue.ground import ask, sees_sessions

State = Literal["ticking", "stalled", "absent", "not needed", "connected"]
Work = Literal["ticker", "maintenance", "retry"]

# pgqd names no application by itself, and what pgtui writes into its configuration names it so.
_SESSIONS = Query("""
SELECT a.datname::pg_catalog.text AS database,
       a.pid,
       a.usename::pg_catalog.text AS role,
       pg_catalog.host(a.client_addr) AS client,
       a.backend_start AS since,
       pg_catalog.clock_timestamp() - a.query_start AS called,
       CASE a.query WHEN 'select pgq.ticker()' THEN 'ticker'
                    WHEN 'select * from pgq.maint_retry_events()' THEN 'retry'
                    ELSE 'maintenance'
       END AS work
  FROM pg_catalog.pg_stat_activity AS a
 WHERE a.application_name IN ('', 'pgqd')
   AND a.query IN ('select pgq.ticker()',
                   'select * from pgq.maint_retry_events()',
                   'select func_name, func_arg from pgq.maint_operations()',
                   'select pgq.maint_rotate_tables_step1($1)',
                   'select pgq.maint_rotate_tables_step2()',
                   'select * from pgq.maint_tables_to_vacuum()',
                   'select queue_name from pgq.get_queue_info()',
                   'select pgq.version()')
 ORDER BY a.datname,
          a.pid
""")

_TICKS = Query("""
SELECT pg_catalog.count(*) AS queues,
       pg_catalog.count(*) FILTER (
           WHERE t.age IS NULL OR t.age > q.queue_ticker_idle_period * 1.5 + interval '5 seconds'
       ) AS late,
       pg_catalog.min(t.age) AS last_tick
  FROM pgq.queue AS q
  LEFT JOIN LATERAL (SELECT pg_catalog.clock_timestamp() - k.tick_time AS age
                       FROM pgq.tick AS k
                      WHERE k.tick_queue = q.queue_id
                      ORDER BY k.tick_queue DESC,
                               k.tick_id DESC
                      LIMIT 1) AS t
    ON TRUE
 WHERE NOT q.queue_external_ticker
   AND NOT q.queue_ticker_paused
""")


@dataclass(frozen=True, slots=True)
class _Session:
    """A session of pgqd's, and the last thing that it asked."""

    database: str
    pid: int
    role: str | None
    client: str | None
    since: datetime
    called: timedelta | None
    work: Work


@dataclass(frozen=True, slots=True)
class _Ticks:
    """The queues of this database that want ticks, and how many of them get none."""

    queues: int
    late: int
    last_tick: timedelta | None


@dataclass(frozen=True, slots=True)
class DaemonRow:
    """One database and the ticker that serves it."""

    serves: Annotated[str, Col("Database", key=True, text=True, priority=1)]
    state: Annotated[
        State,
        Col(
            "State",
            priority=1,
            help="ticking: ticks come; stalled: pgqd is there and they do not;"
            " connected: of another database only the sessions are known",
        ),
    ]
    queues: Annotated[int | None, Col("Queues", priority=2, help="That want ticks; only of this database")]
    late: Annotated[int | None, Col("Without ticks", priority=2, help="Of these, those that get none")]
    last_tick: Annotated[timedelta | None, Col("Last tick", priority=1, help="Of any queue of this database")]
    pgqd: Annotated[
        bool | None, Col("pgqd", priority=1, help="Whether one is connected; empty: may not be seen")
    ]
    pids: Annotated[str, Col("Pids", priority=3, help="Its sessions on the server")]
    role: Annotated[str | None, Col("User", priority=4)]
    client: Annotated[
        str | None, Col("From", priority=4, help="Empty: through a socket of the server's host")
    ]
    since: Annotated[datetime | None, Col("Connected", priority=5)]
    ticker_called: Annotated[
        timedelta | None, Col("Ticker", priority=4, help="Since pgqd last asked for ticks")
    ]
    maintenance_called: Annotated[
        timedelta | None, Col("Maintenance", priority=5, help="Since it last looked for rotations")
    ]
    retry_called: Annotated[timedelta | None, Col("Retry", priority=6, help="Since it last put retries back")]


async def daemon_rows(s: Session) -> list[DaemonRow]:
    """This database, and every other that a pgqd is connected to."""
    [ticks] = await ask(s, _Ticks, _TICKS)
    sessions = await ask(s, _Session, _SESSIONS)
    others = sorted({e.database for e in sessions} - {s.facts.database})
    own = [e for e in sessions if e.database == s.facts.database]
    seen = bool(own) if own or sees_sessions(s.facts) else None
    return [
        _row(s.facts.database, _state(ticks, own), ticks, own, seen),
        *(_row(o, "connected", None, [e for e in sessions if e.database == o], True) for o in others),
    ]


def _state(ticks: _Ticks, sessions: Sequence[_Session]) -> State:
    if not ticks.queues:
        return "not needed"
    if not ticks.late:
        return "ticking"
    return "stalled" if sessions else "absent"


def _row(
    database: str, state: State, ticks: _Ticks | None, sessions: Sequence[_Session], seen: bool | None
) -> DaemonRow:
    first = sessions[0] if sessions else None
    return DaemonRow(
        serves=database,
        state=state,
        queues=ticks.queues if ticks else None,
        late=ticks.late if ticks else None,
        last_tick=ticks.last_tick if ticks else None,
        pgqd=seen,
        pids=", ".join(str(e.pid) for e in sessions),
        role=first.role if first else None,
        client=first.client if first else None,
        since=min((e.since for e in sessions), default=None),
        ticker_called=_called(sessions, "ticker"),
        maintenance_called=_called(sessions, "maintenance"),
        retry_called=_called(sessions, "retry"),
    )


def _called(sessions: Sequence[_Session], work: Work) -> timedelta | None:
    return min((e.called for e in sessions if e.work == work and e.called is not None), default=None)


def daemon_verdict(row: DaemonRow) -> Verdict | None:
    """No ticker, or one that does not tick: said once for the database, whatever the number of its queues."""
    if row.state not in ("stalled", "absent"):
        return None
    who = {True: "pgqd is connected, and", False: "no pgqd is connected:", None: "no ticker is at work:"}
    lasting = f"; the last tick was {duration(row.last_tick)} ago" if row.last_tick is not None else ""
    return Verdict(
        Health.CRITICAL,
        f"{who[row.pgqd]} {row.late} of {row.queues} queues of {clean(row.serves)} get no ticks{lasting}",
    )
