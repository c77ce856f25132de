"""A database with the API in it, and sessions of several roles."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.errors import Diagnostic

from backend.core.judge import Judgement, judge
from backend.core.local import LocalHost
from backend.core.plan import Plan
from backend.core.registry import find_action, find_view
from backend.core.run import Report, Run, make_plan
from backend.core.session import Session
from backend.core.target import Target
from backend.jobmon.api import dblink_statements, install_statements
from backend.jobmon.api.connection import connection_statement
from tests.servers import Database, Databases, Rows, Statement

DEADLINE = 30


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A session that remembers what the server told it besides rows."""

    heard: list[str]

    def ask(self, statement: Statement, params: Sequence[Any] | None = None) -> Rows:
        if isinstance(statement, str):
            statement = sql.SQL(statement)  # pyright: ignore[reportArgumentType]
        cursor = self.execute(statement, params)
        return cursor.fetchall() if cursor.description else []

    def value(self, statement: Statement, params: Sequence[Any] | None = None) -> Any:
        return self.ask(statement, params)[0][0]


@dataclass
class Sessions:
    """Opens sessions on one database and closes them at the end of the test."""

    database: Database
    opened: list[Connection] = field(default_factory=list)

    def __call__(self, *, autocommit: bool = True, **more: str | int) -> Connection:
        heard: list[str] = []

        def hear(notice: Diagnostic) -> None:
            heard.append(f"{notice.severity_nonlocalized}: {notice.message_primary}")

        connection = Connection.connect(make_conninfo(self.database.dsn, **more), autocommit=autocommit)
        connection.heard = heard
        connection.add_notice_handler(hear)
        self.opened.append(connection)
        return connection

    def close(self) -> None:
        for connection in self.opened:
            connection.close()


def set_up(database: Database, schema: str = "jobmon", dblink: str = "dblink") -> None:
    """Install the API and connect it to its own database."""
    [(superuser,)] = database.execute("SELECT current_user")
    with psycopg.connect(database.dsn) as connection:
        for statement in (*dblink_statements(dblink), *install_statements(schema, dblink)):
            connection.execute(statement)
        connection.execute(connection_statement(schema, username=superuser))


def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "the awaited condition never came"
        time.sleep(0.01)


@pytest.fixture
def jobmon(database_from: Callable[[str, Callable[[Database], None]], Database]) -> Database:
    """A fresh database that logs jobs in schema `jobmon`."""
    return database_from("jobmon_sample", set_up)


@pytest.fixture
def bare(databases: Databases) -> Iterator[Database]:
    """A fresh database with nothing in it."""
    made = databases.new()
    yield made
    databases.drop(made)


@pytest.fixture
def sessions(jobmon: Database) -> Iterator[Sessions]:
    """Opens sessions of the superuser on the database `jobmon`."""
    opener = Sessions(jobmon)
    yield opener
    opener.close()


@pytest.fixture
def dba(sessions: Sessions) -> Connection:
    """A session of the superuser in which every statement commits."""
    return sessions()


@pytest.fixture
def plain(jobmon: Database, sessions: Sessions) -> Iterator[Connection]:
    """A session of a role that may use the schema and nothing else."""
    role = f"{jobmon.name} plain"
    name = sql.Identifier(role)
    jobmon.execute(sql.SQL("CREATE ROLE {} LOGIN").format(name))
    jobmon.execute(sql.SQL("GRANT USAGE ON SCHEMA jobmon TO {}").format(name))
    yield sessions(user=role)
    sessions.close()
    jobmon.execute(sql.SQL("DROP OWNED BY {}").format(name))
    jobmon.execute(sql.SQL("DROP ROLE {}").format(name))


@dataclass
class Console:
    """What somebody sees and does at one target."""

    session: Session

    async def rows(self, view: str, **params: Any) -> list[Any]:
        found: list[Any] = await find_view(view).fn(self.session, **params)
        return found

    async def judged(self, view: str, **params: Any) -> Judgement:
        return judge(find_view(view), await self.rows(view, **params))

    async def plan(self, action: str, **params: Any) -> Plan:
        return await make_plan(self.session, find_action(action), params)

    async def start(self, action: str, **params: Any) -> Run:
        """The run of an action that was planned, not yet begun."""
        plan = await self.plan(action, **params)
        return Run(self.session, find_action(action), params, plan)

    async def run(self, action: str, **params: Any) -> Report:
        """What an action did; facts are asked anew, as after any run."""
        report = await (await self.start(action, **params)).execute()
        await self.session.refresh_facts()
        return report

    async def done(self, action: str, **params: Any) -> Any:
        """The result of an action that succeeded."""
        report = await self.run(action, **params)
        assert report.error is None, report.error.message
        return report.result


@pytest.fixture
async def consoles() -> AsyncIterator[Consoles]:
    """Opens consoles on connection strings, closed at the end of the test."""
    opener = Consoles()
    yield opener
    for each in opener.opened:
        await each.session.close()


@dataclass
class Consoles:
    """Opens consoles: `await consoles(dsn)`."""

    opened: list[Console] = field(default_factory=list)

    async def __call__(self, dsn: str, **more: Any) -> Console:
        session = Session(Target("lab", dsn, **more), LocalHost())
        self.opened.append(Console(await session.open()))
        return self.opened[-1]


@pytest.fixture
async def console(jobmon: Database, consoles: Consoles) -> Console:
    """A console of the superuser on the database `jobmon`."""
    return await consoles(jobmon.dsn)
