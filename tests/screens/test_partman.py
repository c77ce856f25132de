"""The room `partman` on a real server: sets, and below them the partitions of one."""

from __future__ import annotations

from typing import Any

import pytest
from textual.pilot import Pilot

from backend.core.registry import find_action
from backend.core.target import Inventory, Target
from screens.below import DetailPane
from screens.console import Console
from screens.room import RoomPane
from screens.widgets.moves import Moves
from screens.widgets.timeline import TimeLineView
from tests.rooms.partman.conftest import partman as partman
from tests.rooms.partman.conftest import unmanaged
from tests.screens.samples import text
from tests.screens.samples import until as until_soon
from tests.servers import Database
from tui.app import Options, PgtuiApp
from tui.settings import Settings

ROOM = "partman"


async def until(pilot: Pilot[Any], holds: Any) -> None:
    await until_soon(pilot, holds, 30)


def console(database: Database) -> PgtuiApp:
    target = Target("lab", database.dsn, listed=True)
    return PgtuiApp(target, Options(Inventory(targets={"lab": target})), Settings())


def base(app: PgtuiApp) -> Console:
    found = app.screen_stack[0]
    assert isinstance(found, Console)
    return found


def pane(app: PgtuiApp) -> DetailPane:
    found: RoomPane | None = base(app).pane
    assert isinstance(found, DetailPane)
    return found


async def opened(pilot: Pilot[Any], app: PgtuiApp) -> DetailPane:
    """The room, once its first rows are there."""
    await until(pilot, lambda: app.is_running and base(app).pane)
    base(app).show_room(next(r for r in base(app).rooms if r.name == ROOM))
    await until(pilot, lambda: pane(app).table.rows)
    return pane(app)


@pytest.fixture
def two_sets(database: Database) -> Database:
    """A database with a set by day and a set by number."""
    unmanaged(database)
    database.execute("CREATE TABLE orders (id bigint) PARTITION BY RANGE (id)")
    for start in (0, 1000, 2000):
        database.execute(
            f"CREATE TABLE orders_{start} PARTITION OF orders FOR VALUES FROM ({start}) TO ({start + 1000})"
        )
    return database


async def test_the_partitions_follow_the_set_under_the_cursor(two_sets: Database) -> None:
    app = console(two_sets)
    async with app.run_test(size=(120, 40)) as pilot:
        room = await opened(pilot, app)
        assert [r.parent for r in room.table.rows] == ["public.logs", "public.orders"]
        await until(pilot, lambda: len(room.detail.rows) == 4)
        await pilot.press("down")
        await until(pilot, lambda: [r.partition for r in room.detail.rows] == [
            f"public.orders_{start}" for start in (0, 1000, 2000)
        ])  # fmt: skip
        await pilot.press("w", "down")
        assert room.detail.has_focus and room.detail.cursor_row.partition == "public.orders_1000"
        await pilot.press("escape")
        assert room.table.has_focus and room.detail.cursor_row.partition == "public.orders_1000"


async def test_the_selected_bar_is_the_selected_row(two_sets: Database) -> None:
    app = console(two_sets)
    async with app.run_test(size=(120, 40)) as pilot:
        room = await opened(pilot, app)
        room.table.move_to(("public.orders",))
        line = room.query_one(TimeLineView)
        await until(pilot, lambda: len(line.bars) == 3)
        assert line.selected == room.detail.cursor_row.partition == "public.orders_0"
        await pilot.click(TimeLineView, offset=(line.bars[2].x + 1, 2))
        await until(pilot, lambda: line.selected == "public.orders_2000")
        assert room.detail.cursor_row.partition == "public.orders_2000"
        await pilot.press("w", "up")
        assert line.selected == "public.orders_1000"


async def test_says_in_words_what_is_wrong_where_there_is_little_room(two_sets: Database) -> None:
    app = console(two_sets)
    async with app.run_test(size=(80, 24)) as pilot:
        room = await opened(pilot, app)
        await until(pilot, lambda: "✖ 1 row in default  ▲ gap of 1, from" in text(app))
        assert room.query_one(TimeLineView).size.height == 2


async def test_the_worst_sets_come_first_and_healthy_sets_within_sets_last_when_asked_for(
    two_sets: Database,
) -> None:
    two_sets.execute("CREATE TABLE a (id bigint) PARTITION BY RANGE (id)")
    two_sets.execute("CREATE TABLE a_0 PARTITION OF a FOR VALUES FROM (0) TO (9) PARTITION BY RANGE (id)")
    two_sets.execute("CREATE TABLE a_0_0 PARTITION OF a_0 FOR VALUES FROM (0) TO (9)")
    app = console(two_sets)
    async with app.run_test(size=(120, 40)) as pilot:
        room = await opened(pilot, app)
        assert [r.parent for r in room.table.rows] == ["public.logs", "public.a", "public.orders"]
        await until(pilot, lambda: "1 set within a set is not shown; f shows it" in text(app))
        await pilot.press("f")
        assert [r.parent for r in room.table.rows][1:] == ["public.a", "public.a_0", "public.orders"]


async def test_a_low_terminal_shows_the_sets_alone(two_sets: Database) -> None:
    app = console(two_sets)
    async with app.run_test(size=(80, 14)) as pilot:
        room = await opened(pilot, app)
        assert not room.detail.display and "w partitions" not in text(app)
        await pilot.resize_terminal(80, 30)
        await until(pilot, lambda: room.detail.rows and "partitions" in text(app))


async def test_leaving_the_room_stops_asking_for_partitions(two_sets: Database) -> None:
    app = console(two_sets)
    async with app.run_test(size=(120, 40)) as pilot:
        room = await opened(pilot, app)
        await until(pilot, lambda: room.detail.rows)
        feed = base(app).desk.feed(room.detail.view, parent="public.logs")
        assert feed.watched
        base(app).show_room(base(app).rooms[0])
        assert not feed.watched


async def test_a_running_move_is_told_with_rows_and_batches(partman: Database) -> None:
    partman.execute(
        "INSERT INTO events SELECT now() + n * interval '1 day', 'x' FROM generate_series(30, 33) n"
    )
    app = console(partman)
    async with app.run_test(size=(140, 40)) as pilot:
        room = await opened(pilot, app)
        moves, desk = room.query_one(Moves), base(app).desk
        assert not moves.display
        values = {"parent": "public.events", "pause": 60}
        action = find_action("partman.move_data")
        run = await desk.confirmed(action, values, await desk.plan(action, values))
        desk.carry_out(run, lambda ended: None)
        await until(pilot, lambda: "▶ partman.move_data public.events" in text(app))
        assert "25%  1 of 4 rows  batch 1" in text(app)
        await run.cancel()
        await until(pilot, lambda: not moves.display)
    assert partman.execute("SELECT count(*) FROM events_default") == [(3,)]
