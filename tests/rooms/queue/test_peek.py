"""Peeked events are exactly those that the consumer is given, and looking holds nothing up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import sql

from backend.core.errors import Missing, Refused, Usage
from backend.core.registry import find_view
from tests.rooms.jobmon.conftest import Console, Consoles
from tests.rooms.queue.conftest import ODD, Hand
from tests.servers import Database


async def peeked(console: Console, queue: str, consumer: str, **more: Any) -> list[tuple[Any, ...]]:
    rows = await console.rows("queue.events", queue=queue, consumer=consumer, **more)
    return [(r.event, r.type, r.data) for r in rows]


async def demand_the_same(console: Console, hand: Hand, queue: str, consumer: str) -> int:
    """Peek at, take and finish every batch there is; how many events came."""
    number = 0
    while True:
        before = await peeked(console, queue, consumer)
        batch = hand.open_batch(queue, consumer)
        if batch is None:
            assert before == []
            return number
        given = hand.events(batch)
        assert before == given
        assert await peeked(console, queue, consumer) == given
        hand.finish(batch)
        number += len(given)


async def test_the_next_batch_is_what_is_delivered_next(console: Console, hand: Hand) -> None:
    for number in range(3):
        hand.insert("orders", (f"n{number}", "a"), (f"n{number}", "b"))
        hand.tick("orders")
    hand.insert("orders", ("not yet", "ticked"))
    assert await demand_the_same(console, hand, "orders", "slow") == 7
    assert await demand_the_same(console, hand, "orders", "good") == 6


async def test_the_open_batch_is_shown_until_it_is_finished(console: Console, hand: Hand) -> None:
    batch = hand.open_batch("orders", "slow")
    hand.insert("orders", ("later", "x"))
    hand.tick("orders")
    [row] = await console.rows("queue.events", queue="orders", consumer="slow")
    assert (row.batch, row.type, row.data, row.consumer) == (batch, "note", "first", "slow")


async def test_long_transactions_and_undone_ones_do_not_deceive_it(
    console: Console, hand: Hand, pgq: Database
) -> None:
    with psycopg.connect(pgq.dsn) as long, psycopg.connect(pgq.dsn) as longer:
        for each, name in ((long, "long"), (longer, "longer")):
            each.execute("SELECT pgq.insert_event('orders', %s, 'early')", [name])
        hand.insert("orders", ("between", "1"))
        hand.tick("orders")
        long.execute("SELECT pgq.insert_event('orders', 'long', 'late')")
        long.commit()
        hand.insert("orders", ("between", "2"))
        hand.tick("orders")
        longer.rollback()
        hand.insert("orders", ("between", "3"))
        with psycopg.connect(pgq.dsn) as undone:
            undone.execute("SELECT pgq.insert_event('orders', 'undone', '')")
            undone.rollback()
        hand.tick("orders")
    assert await demand_the_same(console, hand, "orders", "slow") == 1 + 3 + 2


async def test_retried_events_come_back_to_their_consumer_alone(console: Console, hand: Hand) -> None:
    hand.consume("orders", "slow")
    hand.insert("orders", ("again", "1"), ("again", "2"))
    hand.tick("orders")
    batch = hand.open_batch("orders", "slow")
    assert batch is not None
    hand.retry("orders", "slow")
    hand.finish(batch)
    hand.value("SELECT pgq.maint_retry_events()")
    hand.insert("orders", ("new", "3"))
    hand.tick("orders")
    assert len(await peeked(console, "orders", "slow")) == 3
    assert await demand_the_same(console, hand, "orders", "slow") == 3
    assert await demand_the_same(console, hand, "orders", "good") == 3
    newest = await console.rows("queue.events", queue="orders")
    assert sorted((r.type, r.retry, r.owner is None) for r in newest if r.retry) == [
        ("again", 1, False),
        ("again", 1, False),
    ]


async def test_a_batch_that_two_tables_hold_is_whole(console: Console, hand: Hand, pgq: Database) -> None:
    hand.consume("orders", "slow")
    hand.insert("orders", ("before", "rotation"))
    hand.age_rotation("orders", "1 day")
    hand.tick("orders")
    hand.consume("orders", "slow")
    hand.insert("orders", ("again before", "rotation"))
    hand.maintain("orders")
    assert hand.current_table("orders") == 1
    hand.insert("orders", ("after", "rotation"))
    hand.tick("orders")
    assert await demand_the_same(console, hand, "orders", "slow") == 2


async def test_looking_does_not_hold_rotation_up(console: Console, hand: Hand, pgq: Database) -> None:
    """Even while a reader has the tables open that events are looked for in."""
    with psycopg.connect(pgq.dsn) as reading:
        for number in (2, 0):  # the previous and the current one
            reading.execute(sql.SQL("SELECT FROM {}").format(hand.event_table("orders", number)))
        hand.consume("orders", "slow")
        hand.age_rotation("orders", "1 day")
        hand.tick("orders")
        for consumer in ("good", "slow"):
            hand.consume("orders", consumer)
        hand.maintain("orders")
    assert hand.current_table("orders") == 1
    await console.rows("queue.events", queue="orders")
    await console.rows("queue.consumers", exact=True)
    assert pgq.execute("SELECT count(*) FROM pg_locks WHERE relation::regclass::text LIKE 'pgq.%'") == [(0,)]


async def test_the_newest_events_come_first(console: Console, hand: Hand) -> None:
    for number in range(5):
        hand.insert("orders", ("n", str(number)))
    rows = await console.rows("queue.events", queue="orders", limit=3)
    assert [r.data for r in rows] == ["4", "3", "2"]
    assert {r.consumer for r in rows} == {None}


async def test_a_long_text_is_cut_and_its_size_is_told(console: Console, hand: Hand) -> None:
    hand.insert("orders", ("long", "ü" * 70_000))
    [row] = await console.rows("queue.events", queue="orders", limit=1)
    assert (len(row.data), row.bytes) == (65_536, 140_000)


async def test_a_group_is_given_the_batch_of_its_main(console: Console, hand: Hand) -> None:
    hand.subscribe("orders", "mail", "mail.1")
    hand.share("orders", "mail", "mail.1")
    hand.insert("orders", ("to", "the group"))
    hand.tick("orders")
    assert [e[1] for e in await peeked(console, "orders", "mail.1")] == ["to"]
    assert await peeked(console, "orders", "mail") == await peeked(console, "orders", "mail.1")


async def test_any_name_can_be_looked_at(console: Console, hand: Hand) -> None:
    hand.create(ODD)
    hand.subscribe(ODD, ODD)
    hand.insert(ODD, (ODD, ODD), (None, None))
    hand.tick(ODD)
    assert await demand_the_same(console, hand, ODD, ODD) == 2
    rows = await console.rows("queue.events", queue=ODD)
    assert {(r.queue, r.type, r.decoded) for r in rows} == {(ODD, ODD, ODD), (ODD, None, "")}


@pytest.mark.parametrize(
    ("params", "kind", "message"),
    [
        ({"queue": "order"}, Refused, "has no queue order"),
        ({"queue": "orders", "consumer": "nobody"}, Refused, "queue orders has no consumer nobody"),
        ({"queue": "orders", "limit": 0}, Usage, "--limit wants a number from 1 to 10000, not 0"),
    ],
)
async def test_what_is_not_there_is_refused(
    console: Console, params: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        await console.rows("queue.events", **params)


async def test_a_lost_tick_is_told(console: Console, hand: Hand, pgq: Database) -> None:
    pgq.execute("DELETE FROM pgq.tick WHERE tick_id = 1")
    with pytest.raises(Refused, match="tick 1 of consumer slow is gone"):
        await console.rows("queue.events", queue="orders", consumer="slow")


async def test_who_may_not_read_events_is_told_the_role(
    role_in: Callable[..., str], consoles: Consoles
) -> None:
    view = find_view("queue.events")
    plain = await consoles(role_in())
    assert f"GRANT pgq_reader TO {plain.session.facts.user}" in view.needs.missing(plain.session.facts)
    with pytest.raises(Missing) as caught:
        await plain.rows("queue.events", queue="orders")
    assert "GRANT" in (caught.value.hint or "")
    assert "pgq_reader" in (caught.value.hint or "")
    reader = await consoles(role_in("pgq_reader"))
    assert [r.data for r in await reader.rows("queue.events", queue="orders")] == ["first"]


async def test_retries_are_shown_with_their_consumer(console: Console, hand: Hand) -> None:
    hand.insert("orders", ("I:id", "id=7"), extra1="public.goods")
    hand.tick("orders")
    hand.consume("orders", "slow")
    hand.open_batch("orders", "good")
    hand.retry("orders", "good", seconds=3600)
    [row] = await console.rows("queue.retries")
    assert (row.queue, row.consumer, row.retry, row.overdue) == ("orders", "good", 1, None)
    assert (row.operation, row.table, row.decoded) == ("insert", "public.goods", "id=7")
    assert (await console.judged("queue.retries")).findings == {}


async def test_overdue_and_endless_retries_are_warned_of(
    console: Console, hand: Hand, pgq: Database, role_in: Callable[..., str], consoles: Consoles
) -> None:
    hand.retry("orders", "slow")
    pgq.execute("UPDATE pgq.retry_queue SET ev_retry_after = now() - interval '3 min', ev_retry = 12")
    judged = await console.judged("queue.retries")
    [finding] = judged.findings.values()
    assert set(finding.cells) == {"retry", "overdue"}
    [queue] = [q for q in await console.rows("queue.queues") if q.queue == "orders"]
    assert (queue.retries, queue.retries_overdue) == (1, 1)
    assert "1 retries were due" in (await console.judged("queue.queues")).findings[("orders",)].sentence
    reader = await consoles(role_in("pgq_reader"))
    view = find_view("queue.retries")
    assert "GRANT pgq_admin" in view.needs.missing(reader.session.facts)
    assert {q.retries for q in await reader.rows("queue.queues")} == {None}
    with pytest.raises(Missing) as caught:
        await reader.rows("queue.retries")
    assert "pgq_admin" in (caught.value.hint or "")
