"""The console on a real server: actions from the key to what the server did, and who may not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import sql
from textual.pilot import Pilot

from backend.core.declare import ACTIONS, Health
from backend.core.registry import find_view, room
from backend.core.target import Inventory, Target
from backend.core.where import EVERYTHING
from screens.acting import offered
from screens.console import Console
from screens.modals.confirm import Confirm
from screens.modals.dialog import QUIET
from screens.modals.form import Form
from screens.modals.picker import Picker
from screens.modals.preview import Preview
from screens.modals.reading import TextDialog
from screens.modals.runlog import RunLog
from screens.room import RoomPane, worst
from screens.widgets.states import state
from tests.cli.samples import by_name
from tests.screens.samples import text
from tests.screens.samples import until as until_soon
from tests.servers import Database, OwnClusters, Server
from tui.app import Options, PgtuiApp
from tui.settings import Settings

SIZE = (100, 30)


async def until(pilot: Pilot[Any], holds: Any) -> None:
    await until_soon(pilot, holds, 30)


def console(target: Target, **options: Any) -> PgtuiApp:
    inventory = Inventory(targets={target.name: target})
    return PgtuiApp(target, Options(inventory, **options), Settings())


def lab(dsn: str, **more: Any) -> Target:
    return Target("lab", dsn, listed=True, **more)


def pane(app: PgtuiApp) -> RoomPane:
    base = app.screen_stack[0]
    assert isinstance(base, Console) and base.pane
    return base.pane


@contextmanager
def sleeping(server: Server, seconds: int = 600) -> Iterator[psycopg.Connection]:
    """A session whose statement sleeps."""
    connection = psycopg.connect(server.dsn(), autocommit=True)
    try:
        connection.pgconn.send_query(f"SELECT pg_sleep({seconds})".encode())
        yield connection
    finally:
        server.psql("SELECT pg_terminate_backend(%s)", params=[connection.info.backend_pid])
        connection.close()


async def choose(pilot: Pilot[Any], app: PgtuiApp, key: Any, action: str) -> None:
    """Put the cursor on that row and pick an action for it."""
    await until(pilot, lambda: app.is_running and pane(app).table.move_to(key))
    await pilot.press("a")
    await until(pilot, lambda: isinstance(app.screen, Picker))
    await pilot.press(*action, "enter")


async def previewed(pilot: Pilot[Any], app: PgtuiApp) -> None:
    await until(pilot, lambda: isinstance(app.screen, Preview) and app.screen.ready)


def test_the_dangerous_actions_on_a_row_come_last() -> None:
    view = find_view("queue.queues")
    listed = offered(room("queue"), view)
    on_rows = [a.danger for a in listed if view.name in a.on]
    assert [a.danger for a in listed[: len(on_rows)]] == on_rows == sorted(on_rows)
    assert on_rows[0] < on_rows[-1]


async def test_a_statement_is_cancelled_from_the_screen(server: Server) -> None:
    app = console(lab(server.dsn()))
    with sleeping(server) as session:
        pid = session.info.backend_pid
        async with app.run_test(size=SIZE) as pilot:
            await choose(pilot, app, (pid,), "activity.cancel")
            await previewed(pilot, app)
            await pilot.press("enter")
            await until(pilot, lambda: isinstance(app.screen, RunLog) and "done in" in text(app))
            rows = server.psql("SELECT state FROM pg_stat_activity WHERE pid = %s", params=[pid])
            assert rows == [("idle",)]
            await pilot.press("escape", "R")
            await until(pilot, lambda: isinstance(app.screen, Picker) and "activity.cancel" in text(app))


async def test_what_destroys_wants_its_subject_typed(database: Database) -> None:
    database.execute("CREATE TABLE t ()")
    with psycopg.connect(database.dsn) as connection:
        connection.execute("BEGIN; DROP TABLE t; PREPARE TRANSACTION 'left behind'")
    app = console(lab(database.dsn))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: pane(app).snapshot.collected_at)
        pane(app).look_at("activity.prepared")
        await choose(pilot, app, ("left behind",), "activity.rollback_prepared")
        await previewed(pilot, app)
        await pilot.press(*"left", "enter")
        await until(pilot, lambda: "that is not it" in text(app))
        assert database.execute("SELECT count(*) FROM pg_prepared_xacts WHERE gid = 'left behind'") == [(1,)]
        preview = app.screen
        assert isinstance(preview, Preview)
        # An Enter that follows another within half a second never counts.
        await until(pilot, lambda: time.monotonic() - preview.gate._last_enter > QUIET)
        await pilot.press("space", *"behind", "enter")
        await until(pilot, lambda: isinstance(app.screen, RunLog) and "done in" in text(app))
    assert database.execute("SELECT count(*) FROM pg_prepared_xacts WHERE gid = 'left behind'") == [(0,)]
    assert database.execute("SELECT count(*) FROM t") == [(0,)]


async def test_a_plan_that_changed_since_it_was_shown_is_refused(server: Server) -> None:
    app = console(lab(server.dsn()))
    with sleeping(server) as session:
        pid = session.info.backend_pid
        async with app.run_test(size=SIZE) as pilot:
            await choose(pilot, app, (pid,), "activity.cancel")
            await previewed(pilot, app)
            server.psql("SELECT pg_cancel_backend(%s)", params=[pid])
            while session.pgconn.get_result():
                pass
            session.pgconn.send_query(b"SELECT pg_sleep(601)")
            await pilot.press("enter")
            await until(pilot, lambda: "the plan has changed since it was shown" in text(app))
            rows = server.psql("SELECT state, query FROM pg_stat_activity WHERE pid = %s", params=[pid])
            assert rows == [("active", "SELECT pg_sleep(601)")]


async def test_a_guard_by_name_wants_the_name_of_the_target(server: Server) -> None:
    app = console(lab(server.dsn(), guard="name"))
    with sleeping(server) as session:
        async with app.run_test(size=SIZE) as pilot:
            await until(pilot, lambda: "guard: name" in text(app))
            await choose(pilot, app, (session.info.backend_pid,), "activity.cancel")
            await previewed(pilot, app)
            assert "Type lab to run it" in text(app)


async def test_a_form_that_is_refused_comes_back_with_what_it_held_and_why(server: Server) -> None:
    app = console(lab(server.dsn()))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "primary" in text(app))
        await pilot.press(":", *"extensions.create", "enter")
        await until(pilot, lambda: isinstance(app.screen, Form))
        await pilot.press(*"no_such", "enter")
        await until(pilot, lambda: "the server has no files of the extension no_such" in text(app))
        assert isinstance(app.screen, Form) and app.screen.fields[0].value() == "no_such"
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, Console))


async def test_without_privilege_the_room_says_which_role_to_grant(server: Server) -> None:
    server.psql("CREATE ROLE nobody_special LOGIN")
    try:
        with sleeping(server) as session:
            app = console(lab(server.dsn(user="nobody_special")))
            async with app.run_test(size=SIZE) as pilot:
                await until(pilot, lambda: pane(app).table.move_to((session.info.backend_pid,)))
                assert "GRANT pg_monitor to pgtui's role shows it" in text(app)
                await pilot.press("enter")
                await until(pilot, lambda: "activity.sessions  " in text(app) and "pg_monitor" in text(app))
    finally:
        server.psql("DROP ROLE nobody_special")


async def test_another_database_is_shown(server: Server, database: Database) -> None:
    app = console(lab(server.dsn()))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: "lab/postgres" in text(app))
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, Picker))
        await pilot.press(*database.name, "enter")
        await until(pilot, lambda: f"lab/{database.name}" in text(app) and "primary" in text(app))
        await until(pilot, lambda: pane(app).snapshot.collected_at)


@pytest.fixture
def scram(own_cluster: OwnClusters) -> Server:
    """A server whose role `u` needs a password."""
    server = own_cluster()
    server.psql("CREATE ROLE u LOGIN PASSWORD 'right'")
    server.psql("CREATE DATABASE other")
    hba = server.cluster.data / "pg_hba.conf"
    hba.write_text("local all u scram-sha-256\n" + hba.read_text())
    server.psql("SELECT pg_reload_conf()")
    return server


async def test_a_password_is_asked_for_once_and_never_shown(scram: Server) -> None:
    app = console(lab(scram.dsn(user="u")))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: isinstance(app.screen, Form))
        await pilot.press(*"right")
        assert "right" not in text(app)
        await pilot.press("enter")
        await until(pilot, lambda: pane(app).snapshot.collected_at)
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, Picker))
        await pilot.press(*"other", "enter")
        await until(pilot, lambda: "lab/other" in text(app) and pane(app).snapshot.collected_at)
        assert isinstance(app.screen, Console)


async def test_behind_the_password_prompt_the_room_says_what_it_waits_for(scram: Server) -> None:
    app = console(lab(scram.dsn(user="u")))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: isinstance(app.screen, Form))
        await until(pilot, lambda: pane(app).snapshot.error)
        snapshot = pane(app).snapshot
        [said] = state(snapshot, EVERYTHING, 0, 80)
        assert said == (Health.UNKNOWN, "lab waits for a password")
        assert worst(snapshot) is Health.UNKNOWN
        await pilot.press(*"right", "enter")
        await until(pilot, lambda: pane(app).snapshot.collected_at)
        assert pane(app).snapshot.error is None


async def test_a_wrong_password_is_said_and_asked_again_on_request(scram: Server) -> None:
    app = console(lab(scram.dsn(user="u")))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: isinstance(app.screen, Form))
        await pilot.press(*"wrong", "enter")
        await until(pilot, lambda: "password authentication failed" in text(app))
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, Form))
        await pilot.press(*"right", "enter")
        await until(pilot, lambda: pane(app).snapshot.collected_at)


async def test_quitting_asks_while_a_run_goes_on_and_then_cancels_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ACTIONS, "activity.nap", by_name()["activity.nap"])
    app = console(lab(server.dsn()))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: pane(app).snapshot.collected_at)
        await pilot.press("colon")
        await until(pilot, lambda: isinstance(app.screen, Picker))
        await pilot.press(*"activity.nap", "enter")
        await until(pilot, lambda: isinstance(app.screen, Form))
        await pilot.press(*"600", "enter")
        await previewed(pilot, app)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, RunLog) and "running for" in text(app))
        await pilot.press("ctrl+c")
        await until(pilot, lambda: isinstance(app.screen, Confirm) and app.screen.ready)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, RunLog))
        await pilot.press("escape", "q")
        await until(pilot, lambda: isinstance(app.screen, Confirm) and app.screen.ready)
        await pilot.press("right", "enter")
        await until(pilot, lambda: not app.is_running)
    assert server.psql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600%'"
                       " AND pid <> pg_backend_pid() AND state = 'active'") == [(0,)]  # fmt: skip


async def test_the_statement_behind_a_view_is_that_of_the_servers_version(server: Server) -> None:
    app = console(lab(server.dsn()))
    async with app.run_test(size=(120, 60)) as pilot:
        await until(pilot, lambda: pane(app).snapshot.collected_at)
        await pilot.press("S")
        await until(pilot, lambda: isinstance(app.screen, TextDialog) and "pg_stat_activity" in text(app))
        assert "pgtui show activity.sessions --target lab" in text(app)
        assert "LIKE 'idle%'" in text(app)
        server.psql(f"EXPLAIN {pane(app).desk.sql_of(find_view('activity.sessions'))}")


async def test_a_table_named_like_markup_is_shown_literally(database: Database) -> None:
    name = "[red]x[/] [/y]\x1b[2J"
    database.execute(sql.SQL("CREATE TABLE {} (n int)").format(sql.Identifier(name)))
    app = console(lab(database.dsn))
    with psycopg.connect(database.dsn) as holder, psycopg.connect(database.dsn, autocommit=True) as waiter:
        table = sql.Identifier(name)
        holder.execute(sql.SQL("LOCK TABLE {}").format(table))
        waiter.pgconn.send_query(sql.SQL("SELECT * FROM {}").format(table).as_bytes(waiter))
        async with app.run_test(size=(200, 30)) as pilot:
            await until(pilot, lambda: pane(app).table.rows)
            pane(app).look_at("activity.locks")
            await until(pilot, lambda: "[red]x[/] [/y]␛[2J" in text(app))
        holder.rollback()
        while waiter.pgconn.get_result():
            pass
