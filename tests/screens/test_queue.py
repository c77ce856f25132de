"""The room `queue` on screen: lanes are drawn right, consumers and events follow the cursor."""

from __future__ import annotations

from typing import Any

from textual.pilot import Pilot

from backend.core.declare import Health
from screens.modals.form import Form
from screens.modals.preview import Preview
from screens.queue import QueuesPane
from screens.widgets.lanes import Lanes, LanesView, lanes_of
from tests.rooms.queue.conftest import Hand, bare, hand, pgq
from tests.screens.samples import text
from tests.screens.samples import until as until_soon
from tests.screens.test_partman import base, console
from tests.servers import Database
from tui.app import PgtuiApp

__all__ = ["bare", "hand", "pgq"]


class Row:
    """What lanes read of a consumer's row."""

    def __init__(self, consumer: str, last: int | None, batch_to: int | None = None) -> None:
        self.consumer, self.last_tick, self.next_tick = consumer, last, batch_to
        self.queue_tick, self.state = 100, "working"
        self.batch = 7 if batch_to else None
        self.batch_age = None
        self.pending_ticks = None if last is None else 100 - last


def test_lanes_begin_at_the_lowest_position_and_end_at_the_newest_tick() -> None:
    lanes = lanes_of([Row("near", 100), Row("far", 50), Row("new", None)], [Health.OK] * 3)
    assert [lane.name for lane in lanes.lanes] == ["far", "near", "new"]
    assert (lanes.low, lanes.high) == (50, 100)
    assert [lanes.column(tick, 11) for tick in (50, 55, 99, 100)] == [0, 1, 9, 10]


def test_lanes_of_one_tick_are_at_their_end() -> None:
    lanes = lanes_of([Row("only", 100)], [Health.OK])
    assert lanes.column(100, 20) == 19
    assert Lanes().column(0, 20) == 19


async def until(pilot: Pilot[Any], holds: Any) -> None:
    await until_soon(pilot, holds, 30)


async def opened(pilot: Pilot[Any], app: PgtuiApp) -> QueuesPane:
    """The room, once its first rows are there."""
    await until(pilot, lambda: app.is_running and base(app).pane)
    base(app).show_room(next(r for r in base(app).rooms if r.name == "queue"))
    await until(pilot, lambda: getattr(base(app).pane, "peek", None))
    found = base(app).pane
    assert isinstance(found, QueuesPane)
    await until(pilot, lambda: found.table.rows)
    return found


async def test_consumers_lanes_and_events_follow_the_cursor(pgq: Database) -> None:
    app = console(pgq)
    async with app.run_test(size=(140, 44)) as pilot:
        room = await opened(pilot, app)
        room.table.move_to(("orders",))
        await until(pilot, lambda: {r.consumer for r in room.detail.rows} == {"good", "slow"})
        await until(pilot, lambda: "slow" in text(app) and "●" in text(app))
        lanes = room.query_one(LanesView)
        assert [lane.name for lane in lanes.lanes.lanes] == ["slow", "good"]
        assert not room.peek.display

        await pilot.press("w")
        await until(pilot, lambda: room.detail.has_focus)
        room.detail.move_to(("orders", "slow"))
        await pilot.press("p")
        await until(pilot, lambda: room.peek.display and room.peek.rows)
        assert {(e.queue, e.consumer) for e in room.peek.rows} == {("orders", "slow")}
        delivered = pgq.execute("SELECT ev_id FROM pgq.get_batch_events(pgq.next_batch('orders', 'slow'))")
        assert sorted(e.event for e in room.peek.rows) == sorted(n for (n,) in delivered)
        room.detail.move_to(("orders", "good"))
        await until(pilot, lambda: not room.peek.rows)
        await pilot.press("p")
        assert not room.peek.display

        await pilot.press("escape")
        room.detail.watch_row({"queue": "idle"})
        assert room.detail.snapshot.loading
        assert lanes.display and not lanes.lanes.lanes, "nothing is laid out anew for a moment"
        room.table.move_to(("idle",))
        await until(pilot, lambda: "orders" not in {r.queue for r in room.detail.rows})


async def test_a_low_screen_shows_events_in_place_of_consumers(pgq: Database) -> None:
    app = console(pgq)
    async with app.run_test(size=(80, 24)) as pilot:
        room = await opened(pilot, app)
        room.table.move_to(("orders",))
        await until(pilot, lambda: room.detail.rows)
        await pilot.press("p")
        await until(pilot, lambda: room.peek.rows)
        assert room.peek.display and not room.detail.display
        assert {e.queue for e in room.peek.rows} == {"orders"}
        await pilot.press("p")
        await until(pilot, lambda: room.detail.display)


async def test_why_a_rotation_is_stuck_is_said(pgq: Database) -> None:
    pgq.execute(
        "UPDATE pgq.queue SET queue_rotation_period = '1s', queue_switch_time = now() - interval '1 hour'"
        " WHERE queue_name = 'orders'"
    )
    app = console(pgq)
    async with app.run_test(size=(140, 44)) as pilot:
        room = await opened(pilot, app)
        room.table.move_to(("orders",))
        await until(pilot, lambda: "rotation waits for consumer slow" in text(app))


async def chosen(pilot: Pilot[Any], action: str) -> None:
    """An action on the row under the cursor."""
    await pilot.press("a", *action, "enter")


async def test_what_a_row_does_not_say_is_asked_for(pgq: Database) -> None:
    app = console(pgq)
    async with app.run_test(size=(100, 40)) as pilot:
        room = await opened(pilot, app)
        room.table.move_to(("orders",))
        await chosen(pilot, "configure")
        await until(pilot, lambda: isinstance(app.screen, Form))
        form = app.screen
        assert isinstance(form, Form)
        fields = {f.param.name: f for f in form.fields}
        assert fields["queue"].value() == "orders"
        await until(pilot, lambda: form.focused is fields["ticker_max_count"].entry)
        await pilot.press("7", "enter")
        await until(pilot, lambda: isinstance(app.screen, Preview) and app.screen.ready)
        assert "ticker_max_count: 500 becomes 7" in text(app)
        await pilot.press("enter")
        asked = "SELECT queue_ticker_max_count FROM pgq.queue WHERE queue_name = 'orders'"
        await until(pilot, lambda: pgq.execute(asked) == [(7,)])


async def test_a_batch_is_skipped_once_its_name_is_typed(pgq: Database, hand: Hand) -> None:
    hand.open_batch("orders", "slow")
    app = console(pgq)
    async with app.run_test(size=(100, 40)) as pilot:
        room = await opened(pilot, app)
        room.table.move_to(("orders",))
        await until(pilot, lambda: {r.consumer for r in room.detail.rows} == {"good", "slow"})
        await pilot.press("w")
        await until(pilot, lambda: room.detail.has_focus)
        room.detail.move_to(("orders", "slow"))
        await chosen(pilot, "skip")
        await until(pilot, lambda: isinstance(app.screen, Preview) and app.screen.ready)
        assert "slow loses 1 event; others still get them" in text(app)
        await pilot.press(*"orders/slow", "enter")
        asked = "SELECT count(*) FROM pgq.subscription WHERE sub_batch IS NOT NULL"
        await until(pilot, lambda: pgq.execute(asked) == [(0,)])
