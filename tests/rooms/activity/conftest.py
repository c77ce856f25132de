"""People on a server: sessions that work, wait and idle, and a console that looks at them."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from backend.core.local import LocalHost
from backend.core.plan import Plan
from backend.core.registry import find_action, find_view
from backend.core.run import Report, Run, make_plan
from backend.core.session import Session
from backend.core.target import Target
from tests.servers import Database, OwnClusters, Server, execute

Connection = psycopg.Connection[tuple[Any, ...]]
DEADLINE = 20


@dataclass
class Person:
    """One session, which may be busy in a thread of its own."""

    connection: Connection
    dsn: str
    thread: threading.Thread | None = None
    error: str | None = None

    @property
    def pid(self) -> int:
        return self.connection.info.backend_pid

    def does(self, *statements: str) -> Person:
        for statement in statements:
            self.connection.execute(statement.encode())
        return self

    def starts(self, statement: str) -> Person:
        """Run it in the background, and return once the server works on it."""
        self.thread = threading.Thread(target=self._work, args=(statement,), daemon=True)
        self.thread.start()
        self.until("state = 'active'")
        return self

    def waits(self, statement: str) -> Person:
        """Run it in the background, and return once it waits for a lock."""
        self.starts(statement)
        self.until("wait_event_type = 'Lock'")
        return self

    def until(self, condition: str) -> None:
        until(lambda: self.is_so(condition))

    def is_so(self, condition: str) -> bool:
        found = execute(self.dsn, f"SELECT {condition} FROM pg_stat_activity WHERE pid = {self.pid}")
        return bool(found and found[0][0])

    @property
    def alive(self) -> bool:
        return bool(execute(self.dsn, f"SELECT 1 FROM pg_stat_activity WHERE pid = {self.pid}"))

    def finished(self) -> str | None:
        """The SQLSTATE that the statement in the background ended with."""
        assert self.thread is not None
        self.thread.join(DEADLINE)
        assert not self.thread.is_alive()
        return self.error

    def _work(self, statement: str) -> None:
        try:
            self.connection.execute(statement.encode())
        except psycopg.Error as e:
            self.error = e.sqlstate


@dataclass
class Crowd:
    """Opens sessions, and closes them at the end of the test."""

    dsn: str
    people: list[Person] = field(default_factory=list)

    def __call__(self, *statements: str, **more: Any) -> Person:
        connection: Connection = psycopg.connect(make_conninfo(self.dsn, **more), autocommit=True)
        person = Person(connection, self.dsn)
        self.people.append(person)
        return person.does(*statements)

    def leave(self) -> None:
        for person in self.people:
            with suppress(psycopg.Error):
                execute(person.dsn, f"SELECT pg_terminate_backend({person.pid})")
            if person.thread:
                person.thread.join(DEADLINE)
            with suppress(psycopg.Error):
                person.connection.close()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "the awaited condition never came"
        time.sleep(0.01)


class Look(Protocol):
    """Opens a session that looks at a server."""

    async def __call__(self, dsn: str | None = None, **more: Any) -> Session: ...


@pytest.fixture
def crowd(database: Database) -> Iterator[Crowd]:
    """Sessions on the test's database."""
    made = Crowd(database.dsn)
    yield made
    made.leave()


@pytest.fixture
def crowd_on() -> Iterator[Callable[[str], Crowd]]:
    """Sessions on any server: `crowd_on(dsn)`."""
    made: list[Crowd] = []

    def make(dsn: str) -> Crowd:
        made.append(Crowd(dsn))
        return made[-1]

    yield make
    for each in made:
        each.leave()


@pytest.fixture
async def look() -> AsyncIterator[Look]:
    """Opens looking sessions, closed at the end of the test."""
    made: list[Session] = []

    async def opened(dsn: str | None = None, **more: Any) -> Session:
        made.append(Session(Target("t", dsn or "", **more), LocalHost()))
        return await made[-1].open()

    yield opened
    for session in made:
        await session.close()


@pytest.fixture
async def console(look: Look, database: Database) -> Session:
    """A session that looks at the test's database."""
    return await look(database.dsn)


@pytest.fixture
def few_rights(own_cluster: OwnClusters) -> Server:
    """A server with roles: `mon` monitors, `signaller` also signals, `app` and `other` may log in."""
    server = own_cluster()
    for role in ("mon", "signaller", "app", "other"):
        server.psql(f"CREATE ROLE {role} LOGIN")
    server.psql("GRANT pg_monitor TO mon, signaller")
    server.psql("GRANT pg_signal_backend TO signaller")
    server.psql("GRANT CREATE ON SCHEMA public TO app, other")
    return server


async def rows(session: Session, view: str, **params: Any) -> list[Any]:
    """What the view answers."""
    answer: list[Any] = await find_view(view).fn(session, **params)
    return answer


async def row(session: Session, view: str, **fields: Any) -> Any:
    """The one row of the view in which these fields have these values."""
    [found] = [r for r in await rows(session, view) if all(getattr(r, k) == v for k, v in fields.items())]
    return found


async def plan(session: Session, action: str, **params: Any) -> Plan:
    """The plan; nothing has been done yet."""
    return await make_plan(session, find_action(action), params)


async def carry_out(session: Session, action: str, planned: Plan, **params: Any) -> Report:
    """Run a plan that was made before."""
    return await Run(session, find_action(action), params, planned).execute()


async def run(session: Session, action: str, **params: Any) -> Report:
    """Plan and run."""
    return await carry_out(session, action, await plan(session, action, **params), **params)
