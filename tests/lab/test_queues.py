"""The queues of the lab, and its pgqd."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from backend.core.declare import Health
from backend.lab import lab
from backend.lab.lab import Lab
from backend.lab.queues import make_queues
from backend.lab.servers import find_installations, preferred
from tests.rooms.jobmon.conftest import Console, Consoles
from tests.rooms.queue.conftest import consoles as consoles
from tests.rooms.queue.conftest import has_pgq
from tests.servers import Database, Workspace, execute, until


@pytest.fixture(scope="module")
def running(workspace: Workspace) -> Iterator[Lab]:
    """A lab on a server with PgQ; skipped where there is none."""
    if shutil.which("pgqd") is None:
        pytest.skip("there is no pgqd here")
    chosen = preferred(find_installations())
    if chosen is None or not has_extension(chosen.bindir):
        pytest.skip("the lab's server here has no pgq")
    folder = workspace.new_folder("lab")
    yield lab.up(folder)
    lab.down(folder)
    shutil.rmtree(folder, ignore_errors=True)


def has_extension(bindir: Path) -> bool:
    share = Path("/usr/share/postgresql") / bindir.parent.name
    return (share / "extension" / "pgq.control").exists()


def part(found: Lab, name: str) -> Any:
    [one] = [p for p in found.parts if p.name == name]
    return one


@pytest.fixture
async def console(running: Lab, consoles: Consoles) -> Console:
    """A console on the lab."""
    return await consoles(part(running, "primary").dsn)


async def awaited(console: Console, view: str, params: dict[str, Any] | None = None, **wanted: Any) -> Any:
    """The first row of a view that has these values."""
    for _ in range(600):
        for row in await console.rows(view, **(params or {})):
            if all(getattr(row, name) == value for name, value in wanted.items()):
                return row
        await asyncio.sleep(0.1)
    raise AssertionError(f"{view} never showed {wanted}")


async def test_pgqd_ticks_and_its_room_moves(running: Lab, console: Console) -> None:
    assert part(running, "pgqd").kind == "pgqd"
    row = await awaited(console, "queue.daemon", state="ticking", pgqd=True)
    assert row.serves == "shop"
    first = await awaited(console, "queue.queues", queue="order_changes")
    dsn = part(running, "primary").dsn
    question = "SELECT max(tick_id) FROM pgq.tick WHERE tick_queue = 1"
    until(lambda: execute(dsn, question)[0][0] > first.last_tick)


async def test_its_consumers_are_as_they_are_meant(console: Console) -> None:
    dead = await awaited(console, "queue.consumers", consumer="newsletter", state="stuck")
    assert dead.batch is not None
    assert await console.rows("queue.events", queue="mails", consumer="newsletter")
    slow = await awaited(console, "queue.consumers", consumer="search_index")
    assert slow.state in ("caught up", "working", "lagging")
    retry = await awaited(console, "queue.retries", consumer="mailer", type="bounce")
    assert retry.retry >= 1
    paused = await awaited(console, "queue.queues", queue="invoices", flags="ticker paused")
    assert paused.consumers == 1
    judged = await console.judged("queue.consumers")
    assert ("mails", "newsletter") in judged.findings
    assert judged.of(("order_changes", "warehouse")).health is Health.OK


async def test_row_changes_are_events(console: Console) -> None:
    await awaited(console, "queue.triggers", queue="order_changes", table="public.orders", problem="")
    change = await awaited(
        console, "queue.events", {"queue": "order_changes", "limit": 1}, table="public.orders"
    )
    assert "customer=" in change.decoded


def test_pgqd_does_not_run_as_root_and_is_started_again(running: Lab) -> None:
    pid = part(running, "pgqd").pid
    if os.geteuid() == 0:
        assert Path(f"/proc/{pid}").stat().st_uid != 0
    os.kill(pid, signal.SIGKILL)
    until(lambda: part(lab.status(running.folder), "pgqd").status == "failed")
    again = part(lab.up(running.folder), "pgqd")
    assert again.status == "running"
    assert again.pid != pid


@pytest.fixture
def shop(database: Database) -> Iterator[Database]:
    """A database with what the queues are made on."""
    made = [r for r in ("web", "billing") if not _role_exists(database, r)]
    for role in made:
        database.execute(f"CREATE ROLE {role}")
    database.execute("CREATE TABLE orders (id int PRIMARY KEY, created_at date)")
    yield database
    for role in made:
        database.execute(f"DROP ROLE {role}")


def _role_exists(database: Database, role: str) -> bool:
    return bool(database.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", params=[role]))


def test_what_is_there_already_is_left_alone(shop: Database) -> None:
    for _ in range(2):
        with psycopg.connect(shop.dsn) as connection:
            make_queues(connection)
    if not has_pgq(shop):
        assert shop.execute("SELECT to_regnamespace('pgq')") == [(None,)]
        return
    assert shop.execute("SELECT count(*) FROM pgq.queue") == [(3,)]
    assert shop.execute("SELECT count(*) FROM pgq.subscription") == [(5,)]
