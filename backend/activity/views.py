"""Views of the room `activity`."""

from __future__ import annotations

import asyncio
from typing import Annotated

from backend.activity import databases as dbs
from backend.activity import horizon as xmin
from backend.activity import locks as waits
from backend.activity import prepared as twophase
from backend.activity import progress as work
from backend.activity import session_locks as held
from backend.activity import sessions as who
from backend.core.declare import Ask, view
from backend.core.session import Session


@view("activity.sessions", every=2, verdict=who.verdict, overall=who.overall, empty="nobody is connected")
async def sessions(s: Session) -> list[who.SessionRow]:
    """Who is connected and what each session does."""
    return await s.fetch(who.SessionRow, who.SESSIONS, s.own_pids)


@view(
    "activity.locks", every=2, verdict=waits.verdict, overall=waits.overall, empty="nobody waits for a lock"
)
async def locks(s: Session) -> list[waits.LockRow]:
    """Who waits for whose lock, as a tree with the root blockers first."""
    return waits.tree(await s.fetch(waits.Involved, waits.BLOCKING))


@view("activity.session_locks", every=2, empty="it holds no locks, or has ended")
async def session_locks(
    s: Session, pid: Annotated[int, Ask("Process id", choices="activity.sessions.pid")]
) -> list[held.SessionLock]:
    """The locks that one session holds and waits for."""
    return held.named(await s.fetch(held.HeldLock, held.SESSION_LOCKS, pid))


@view(
    "activity.horizon",
    every=10,
    verdict=xmin.verdict,
    overall=xmin.overall,
    empty="nothing holds back vacuum",
)
async def horizon(s: Session) -> list[xmin.HorizonRow]:
    """Who keeps vacuum from removing dead rows, the oldest first."""
    holders, counted = await asyncio.gather(
        s.fetch(xmin.Holder, xmin.HORIZON, s.own_pids), s.fetch(xmin.DeadRows, xmin.DEAD_ROWS)
    )
    return xmin.ranked(holders, counted[0])


@view("activity.prepared", every=10, empty="no transaction is prepared")
async def prepared(s: Session) -> list[twophase.PreparedRow]:
    """Prepared transactions that wait for their commit or rollback, the oldest first."""
    return await s.fetch(twophase.PreparedRow, twophase.PREPARED)


@view("activity.progress", every=2, verdict=work.verdict, empty="no command that reports progress is running")
async def progress(s: Session) -> list[work.ProgressRow]:
    """How far vacuum, analyze, index builds, rewrites, copies and base backups are."""
    return work.in_words(await s.fetch(work.Reported, work.PROGRESS, s.own_pids))


@view("activity.databases", every=5)
async def databases(s: Session) -> list[dbs.DatabaseRow]:
    """What each database uses and counts: connections, transactions, cache hits, age to wraparound."""
    return await s.fetch(dbs.DatabaseRow, dbs.DATABASES)


@view("activity.server", every=2)
async def server(s: Session) -> list[dbs.ServerRow]:
    """Connections against the limit and transactions per second of the server as a whole."""
    return await s.fetch(dbs.ServerRow, dbs.SERVER)
