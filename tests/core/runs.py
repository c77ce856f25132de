"""Runs for tests, of whatever steps, on the test's database."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from backend.core.audit import Audit
from backend.core.declare import Action, Danger
from backend.core.facts import Needs
from backend.core.plan import Plan, Sql, Step, statement
from backend.core.run import Report, Run
from backend.core.session import Session
from tests.core.conftest import OpenSession, eventually
from tests.servers import Database


async def _nothing(session: Session) -> Plan:
    """Do nothing."""
    return Plan("x", ())


def action(danger: Danger = Danger.CHANGE, **more: Any) -> Action:
    return Action("test.act", _nothing, danger, Needs(), (), more.get("exclusive", True))


Prepare = Callable[..., Run]


@pytest.fixture
async def prepare(database: Database, open_session: OpenSession) -> AsyncIterator[Prepare]:
    """Makes a run of steps on the test's database: `prepare(step, …, danger=…)`."""
    database.execute("CREATE TABLE public.log (what text)")
    session = await open_session(database.dsn)

    def make(*steps: Step, danger: Danger = Danger.CHANGE, always: tuple[Step, ...] = (), **more: Any) -> Run:
        plan = Plan("x", steps, danger=danger, always=always)
        return Run(session, action(danger), {}, plan, **more)

    yield make
    await session.close()


def say(what: str, **more: Any) -> Sql:
    return statement(
        sql.SQL("INSERT INTO public.log SELECT {} RETURNING what").format(sql.Literal(what)), **more
    )


def said(database: Database) -> list[str]:
    return [what for (what,) in database.execute("SELECT what FROM public.log ORDER BY ctid")]


def statuses(report: Report) -> list[str]:
    return [s.status for s in report.steps]


def records(path: Path | None = None) -> list[dict[str, Any]]:
    text = (path or Audit().path).read_text("ascii")
    return [json.loads(line) for line in text.splitlines()]


def files_of(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


FAIL = statement("SELECT 1/0")
SLEEP = statement("SELECT pg_catalog.pg_sleep(3600)")


async def busy(database: Database, pattern: str) -> None:
    """Return when a backend runs a statement like that."""

    async def found() -> bool:
        rows = database.execute(
            "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query ~ %s"
            " AND pid <> pg_backend_pid() AND application_name LIKE 'pgtui: %%'",
            [pattern],
        )
        return bool(rows)

    await eventually(found)


async def being(value: bool) -> bool:
    return value
