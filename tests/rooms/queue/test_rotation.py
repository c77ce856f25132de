"""Why a queue does not rotate, each cause brought about for real."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import sql

from backend.core.declare import Health
from backend.core.judge import judge
from backend.core.registry import find_view
from tests.rooms.jobmon.conftest import Console, Consoles
from tests.rooms.queue.conftest import ODD, Hand
from tests.servers import Database, Databases

PERIOD_AND_MORE = "5 hours"  # two and a half periods


@pytest.fixture
def due(hand: Hand) -> Hand:
    """The queue `orders` with everybody caught up at a fresh tick, and its rotation long due."""
    hand.age_rotation("orders", PERIOD_AND_MORE)
    go_on(hand)
    return hand


def go_on(hand: Hand, *but: str) -> None:
    """One event, a tick, and all but these consumers take it."""
    hand.insert("orders", ("n", "n"))
    hand.tick("orders")
    for consumer in {"good", "slow"} - set(but):
        hand.consume("orders", consumer)


async def orders(console: Console) -> Any:
    [row] = [r for r in await console.rows("queue.queues") if r.queue == "orders"]
    return row


async def stuck(console: Console, hand: Hand, cause: str) -> str:
    """Why the queue is stuck; maintenance agrees, and the verdict says it."""
    before = hand.current_table("orders")
    hand.value("SELECT pgq.maint_rotate_tables_step1('orders')")
    assert hand.current_table("orders") == before, "it does rotate"
    row = await orders(console)
    assert row.rotation == cause
    finding = judge(find_view("queue.queues"), [row]).of(("orders",))
    assert finding.health is Health.WARNING
    assert finding.sentence.endswith(row.why)
    why: str = row.why
    return why


async def test_a_queue_at_rest_is_fine(console: Console, hand: Hand) -> None:
    row = await orders(console)
    assert (row.rotation, row.why, row.rotation_late) == ("not due", "", None)
    assert (await console.judged("queue.queues")).findings == {}


async def test_nobody_maintains_it(console: Console, due: Hand) -> None:
    row = await orders(console)
    assert row.rotation == "no maintenance"
    sentence = (await console.judged("queue.queues")).findings[("orders",)].sentence
    assert sentence == "rotated 5h 00m ago: nothing is in the way: maintenance does not run, or fails"
    due.maintain("orders")
    assert due.current_table("orders") == 1
    assert (await orders(console)).rotation == "not due"


async def test_a_slow_consumer_is_named(console: Console, hand: Hand) -> None:
    hand.age_rotation("orders", PERIOD_AND_MORE)
    hand.consume("orders", "slow")
    hand.age_rotation("orders", PERIOD_AND_MORE)
    go_on(hand)
    hand.maintain("orders")
    assert hand.current_table("orders") == 1
    for _ in range(3):
        go_on(hand, "slow")
    hand.age_rotation("orders", PERIOD_AND_MORE)
    assert await stuck(console, hand, "slow consumer") == "waits for consumer slow, 3 ticks behind"
    hand.consume("orders", "slow")
    assert (await orders(console)).rotation == "no maintenance"


async def test_a_watermark_holds_rotation_too(console: Console, hand: Hand) -> None:
    hand.subscribe("orders", ".n2.watermark")
    hand.consume("orders", "slow")
    go_on(hand)
    hand.consume("orders", ".n2.watermark")
    hand.age_rotation("orders", PERIOD_AND_MORE)
    hand.maintain("orders")
    go_on(hand)
    hand.age_rotation("orders", PERIOD_AND_MORE)
    assert "consumer .n2.watermark" in await stuck(console, hand, "slow consumer")
    row = await orders(console)
    assert (row.worst_consumer, row.worst_behind.total_seconds()) == ("good", 0)


async def test_a_transaction_of_another_database_is_named(
    console: Console, hand: Hand, databases: Databases, database: Database
) -> None:
    go_on(hand)
    with psycopg.connect(database.dsn, application_name="crm [red]") as long:
        long.execute("SELECT txid_current()")
        hand.age_rotation("orders", PERIOD_AND_MORE)
        hand.maintain("orders")  # one rotation passes, for the last ticks saw no such transaction
        assert hand.current_table("orders") == 1
        go_on(hand)
        hand.age_rotation("orders", PERIOD_AND_MORE)
        why = await stuck(console, hand, "transaction")
        assert why.startswith(f"waits for pid {long.info.backend_pid} (crm [red]), idle in transaction for ")
        assert why.endswith(f"in database {database.name}")
        [blocker] = [b for b in await console.rows("queue.blockers") if b.rotations]
        assert (blocker.pid, blocker.database, blocker.rotations) == (
            long.info.backend_pid,
            database.name,
            "orders",
        )
        assert blocker.ticks == 1
        [finding] = (await console.judged("queue.blockers")).findings.values()
        assert finding.sentence.startswith("holds the rotation of orders")
        long.rollback()
    row = await orders(console)
    assert row.rotation == "no newer tick"
    assert row.why == "waits for a tick newer than the transaction that held it; no ticker runs"
    go_on(hand)
    assert (await orders(console)).rotation == "no maintenance"


async def test_a_prepared_transaction_is_named(console: Console, hand: Hand, pgq: Database) -> None:
    go_on(hand)
    with psycopg.connect(pgq.dsn, autocommit=True) as preparing:
        preparing.execute("BEGIN")
        preparing.execute("SELECT txid_current()")
        preparing.execute("PREPARE TRANSACTION 'left [over]'")
    hand.age_rotation("orders", PERIOD_AND_MORE)
    hand.maintain("orders")
    go_on(hand)
    hand.age_rotation("orders", PERIOD_AND_MORE)
    why = await stuck(console, hand, "transaction")
    assert why.startswith("waits for prepared transaction left [over] for ")
    assert why.endswith(f"in database {pgq.name}")
    [blocker] = await console.rows("queue.blockers")
    assert (blocker.kind, blocker.id, blocker.pid, blocker.rotations) == (
        "prepared",
        "left [over]",
        None,
        "orders",
    )
    pgq.execute("ROLLBACK PREPARED 'left [over]'")
    assert await console.rows("queue.blockers") == []


async def test_who_may_not_see_sessions_is_told_the_process(
    hand: Hand, pgq: Database, role_in: Callable[..., str], consoles: Consoles
) -> None:
    go_on(hand)
    with psycopg.connect(pgq.dsn) as long:
        long.execute("SELECT txid_current()")
        hand.age_rotation("orders", PERIOD_AND_MORE)
        hand.maintain("orders")
        go_on(hand)
        hand.age_rotation("orders", PERIOD_AND_MORE)
        plain = await consoles(role_in())
        row = await orders(plain)
        assert row.rotation == "transaction"
        assert row.why == f"waits for pid {long.info.backend_pid} in database {pgq.name}"
        [blocker] = await plain.rows("queue.blockers")
        assert (blocker.pid, blocker.rotations, blocker.state) == (long.info.backend_pid, "orders", None)


async def test_a_reader_of_the_next_table_is_named(console: Console, due: Hand, pgq: Database) -> None:
    with psycopg.connect(pgq.dsn, application_name="pg_dump") as reading:
        reading.execute(sql.SQL("SELECT FROM {}").format(due.event_table("orders", 1)))
        why = await stuck(console, due, "table locked")
        assert why.startswith(f"waits for pid {reading.info.backend_pid} (pg_dump), idle in transaction for ")
        assert why.endswith("which has the next event table open")


async def test_a_rotation_that_is_half_done(console: Console, due: Hand) -> None:
    due.value("SELECT pgq.maint_rotate_tables_step1('orders')")
    row = await orders(console)
    assert (row.rotation, row.flags, row.half_rotated) == ("half done", "rotation half done", True)
    assert (await console.judged("queue.queues")).findings == {}
    due.age_rotation("orders", PERIOD_AND_MORE)
    assert "second step" in await stuck(console, due, "half done")
    due.maintain("orders")
    assert (await orders(console)).flags == ""


async def test_a_lost_tick_is_critical_at_once(console: Console, hand: Hand, pgq: Database) -> None:
    pgq.execute("DELETE FROM pgq.tick WHERE tick_id = 1 AND tick_queue = 1")
    row = await orders(console)
    assert row.rotation == "lost tick"
    finding = (await console.judged("queue.queues")).findings[("orders",)]
    assert finding.health is Health.CRITICAL
    assert "tick 1 of consumer slow is gone, so maintenance fails" in finding.sentence
    consumers = await console.judged("queue.consumers")
    assert "its tick 1 is gone" in consumers.findings["orders", "slow"].sentence


async def test_a_queue_from_a_dump_is_told(console: Console, hand: Hand, pgq: Database) -> None:
    pgq.execute("UPDATE pgq.queue SET queue_switch_step1 = txid_current() + 1000000")
    row = await orders(console)
    assert row.rotation == "ids went back"
    finding = (await console.judged("queue.queues")).findings[("orders",)]
    assert "restored from a dump" in finding.sentence


async def test_a_paused_ticker_is_the_reason_for_no_newer_tick(
    console: Console, hand: Hand, pgq: Database
) -> None:
    go_on(hand)
    with psycopg.connect(pgq.dsn) as long:
        long.execute("SELECT txid_current()")
        hand.age_rotation("orders", PERIOD_AND_MORE)
        hand.maintain("orders")
        go_on(hand)
    hand.configure("orders", ticker_paused="true")
    hand.age_rotation("orders", PERIOD_AND_MORE)
    row = await orders(console)
    assert (row.rotation, row.flags) == ("no newer tick", "ticker paused")
    assert row.why.endswith("the ticker is paused")


async def test_four_periods_are_critical_and_short_periods_get_time(console: Console, due: Hand) -> None:
    due.age_rotation("orders", "9 hours")
    assert (await console.judged("queue.queues")).overall.health is Health.CRITICAL
    due.configure("orders", rotation_period="1 second")
    due.age_rotation("orders", "2 min")
    assert (await console.judged("queue.queues")).overall.health is Health.OK


async def test_odd_names_are_named(console: Console, hand: Hand) -> None:
    hand.create(ODD)
    hand.subscribe(ODD, ODD)
    for _ in range(2):
        hand.age_rotation(ODD, "1 day")
        hand.maintain(ODD)
        hand.insert(ODD, ("n", "n"))
        hand.tick(ODD)
    hand.age_rotation(ODD, "1 day")
    [row] = [r for r in await console.rows("queue.queues") if r.queue == ODD]
    assert row.rotation == "slow consumer"
    assert "\x1b" not in row.why
    assert "it's" in row.why
