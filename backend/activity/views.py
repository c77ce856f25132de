"""Views of the room `activity`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from backend.core.declare import Col, view
from backend.core.facts import Query
from backend.core.session import Session

SESSIONS = Query("""
SELECT a.pid,
       a.datname::text AS database,
       a.usename::text AS username,
       a.application_name AS application,
       a.backend_start,
       a.state,
       clock_timestamp() - a.query_start AS duration,
       a.query
  FROM pg_catalog.pg_stat_activity a
 WHERE a.pid <> ALL (%s)
""")


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One backend."""

    pid: Annotated[int, Col("Pid", key=True, priority=1)]
    database: Annotated[str | None, Col("Database")]
    username: Annotated[str | None, Col("User")]
    application: Annotated[str | None, Col("Application")]
    backend_start: Annotated[datetime | None, Col("Started", hidden=True)]
    state: Annotated[str | None, Col("State")]
    duration: Annotated[timedelta | None, Col("Duration")]
    query: Annotated[str | None, Col("Query", text=True)]


@view("activity.sessions", every=2)
async def sessions(s: Session) -> list[SessionRow]:
    """Who is connected and what each session does."""
    return await s.fetch(SessionRow, SESSIONS, s.own_pids)
