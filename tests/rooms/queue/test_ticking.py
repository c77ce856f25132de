"""Ticks and maintenance by hand."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from backend.core.errors import Refused
from backend.core.run import Run
from tests.rooms.jobmon.conftest import Console
from tests.rooms.queue.conftest import ODD, Hand

LAST = (
    "SELECT max(tick_id) FROM pgq.tick"
    " WHERE tick_queue = (SELECT queue_id FROM pgq.queue WHERE queue_name = %s)"
)


def sequence(hand: Hand, queue: str = "orders") -> int:
    number: int = hand.value(
        "SELECT pgq.seq_getval(queue_event_seq) FROM pgq.queue WHERE queue_name = %s", queue
    )
    return number


async def test_ticks_at_once_so_that_events_are_delivered(console: Console, hand: Hand) -> None:
    hand.insert("orders", ("t", "new"))
    before, last = sequence(hand), hand.value(LAST, "orders")
    plan = await console.plan("queue.tick", queue="orders")
    assert plan.notes == ("unless a tick is due, the event sequence jumps by 2000, and counters with it",)
    assert (sequence(hand), hand.value(LAST, "orders")) == (before, last)
    assert (await console.done("queue.tick", queue="orders"))["tick"] == last + 1
    assert [d for _, _, d in hand.consume("orders", "good")] == ["new"]
    assert sequence(hand) == before + 2001


async def test_a_tick_that_is_due_leaves_the_counters_alone(console: Console, hand: Hand) -> None:
    hand.create(ODD)
    hand.configure(ODD, ticker_max_count="1")
    hand.insert(ODD, ("t", "new"))
    before = sequence(hand, ODD)
    assert (await console.done("queue.tick", queue=ODD))["tick"] == hand.value(LAST, ODD)
    assert sequence(hand, ODD) == before


@pytest.fixture
def pgqd(hand: Hand) -> Iterator[psycopg.Connection]:
    """A session that has just ticked as pgqd does, and stays."""
    with psycopg.connect(hand.database.dsn, autocommit=True) as connection:
        connection.execute("select pgq.ticker()")
        yield connection


async def test_where_a_daemon_ticks_the_tick_is_left_to_it(
    console: Console, hand: Hand, pgqd: psycopg.Connection
) -> None:
    last = hand.value(LAST, "orders")
    hand.insert("orders", ("t", "new"))
    run = await console.start("queue.tick", queue="orders")
    assert f"server process {pgqd.info.backend_pid} ticks here, and the tick is left to it" in run.plan.notes
    assert [s.kind for s in run.plan.steps] == ["sql", "check", "wait", "sql"]

    def tick_once_asked(of: Run) -> None:
        if of.report.steps[1].status == "done":
            pgqd.execute("select pgq.ticker()")

    run.changed = tick_once_asked
    report = await run.execute()
    assert report.error is None
    assert report.result["tick"] > last


@pytest.mark.parametrize(
    ("setting", "sentence"), [("ticker_paused", "is paused"), ("external_ticker", "come from elsewhere")]
)
async def test_a_queue_that_does_not_tick_here_is_not_ticked(
    console: Console, hand: Hand, setting: str, sentence: str
) -> None:
    run = await console.start("queue.tick", queue="orders")
    hand.configure("orders", **{setting: "true"})
    with pytest.raises(Refused, match=sentence):
        await console.plan("queue.tick", queue="orders")
    assert (await run.execute()).error is not None


async def test_rotates_what_is_due_and_ends_what_is_half_done(console: Console, hand: Hand) -> None:
    hand.create("half", "later")
    hand.age_rotation("orders", "3 hours")
    hand.age_rotation("half", "3 hours")
    hand.value("SELECT pgq.maint_rotate_tables_step1('half')")
    for _ in range(2):
        hand.tick("orders")
        hand.consume("orders", "good")
        hand.consume("orders", "slow")
    plan = await console.plan("queue.maintain")
    assert set(plan.notes) == {
        "queue orders is due for rotation",
        "the rotation of queue half is half done, and is ended",
        "2 queues not due for rotation",
        "0 events due to be retried",
    }
    assert hand.current_table("orders") == 0
    result = await console.done("queue.maintain")
    assert result["retried"] == 0
    assert {q["queue"]: (q["rotated"], q["complete"]) for q in result["queues"]} == {
        "orders": (True, True),
        "half": (False, True),
    }
    assert hand.current_table("orders") == 1
    assert hand.value("SELECT count(*) FROM pgq.queue WHERE queue_switch_step2 IS NULL") == 0


async def test_tells_why_a_queue_was_not_rotated(console: Console, hand: Hand) -> None:
    for _ in range(3):
        hand.tick("orders")
        hand.consume("orders", "good")
    hand.age_rotation("orders", "3 hours")
    hand.value(
        "UPDATE pgq.queue SET queue_switch_step2 = txid_current() WHERE queue_name = 'orders' RETURNING 1"
    )
    hand.tick("orders")
    result = await console.done("queue.maintain", queue="orders")
    [told] = result["queues"]
    assert told["rotated"] is False
    assert "consumer slow" in told["waits"]


async def test_says_that_a_queue_without_consumers_loses_events(console: Console, hand: Hand) -> None:
    hand.create("orphan")
    hand.age_rotation("orphan", "3 hours")
    plan = await console.plan("queue.maintain", queue="orphan")
    assert "queue orphan has no consumer: what is in its oldest table goes unread" in plan.notes


async def test_puts_back_all_events_that_are_due(console: Console, hand: Hand) -> None:
    hand.insert("orders", *(("t", str(n)) for n in range(25)))
    hand.tick("orders")
    assert hand.retry("orders", "good") == 25
    assert "25 events due to be retried" in (await console.plan("queue.maintain")).notes
    assert (await console.done("queue.maintain"))["retried"] == 25
    assert hand.value("SELECT count(*) FROM pgq.retry_queue") == 0
    hand.finish(hand.open_batch("orders", "good") or 0)
    hand.tick("orders")
    assert len(hand.consume("orders", "good")) == 25
