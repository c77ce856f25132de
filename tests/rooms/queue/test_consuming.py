"""Consumers registered, moved, copied and removed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backend.core.declare import Danger
from backend.core.errors import Missing, Refused, Usage
from tests.rooms.jobmon.conftest import Console, Consoles
from tests.rooms.queue.conftest import ODD, Hand

POSITION = (
    "SELECT sub_last_tick, sub_batch FROM pgq.subscription JOIN pgq.consumer ON co_id = sub_consumer"
    " JOIN pgq.queue ON queue_id = sub_queue WHERE queue_name = %s AND co_name = %s"
)


def position(hand: Hand, consumer: str, queue: str = "orders") -> tuple[Any, ...] | None:
    rows = hand.database.execute(POSITION, [queue, consumer])
    return rows[0] if rows else None


def ticks(hand: Hand, number: int = 3) -> list[int]:
    """So many ticks an hour apart, with an event before each."""
    made = []
    for n in range(number):
        hand.age_ticks("orders", "1 hour")
        hand.insert("orders", ("t", str(n)))
        made.append(hand.tick("orders"))
    return made


def ago(**length: float) -> str:
    return (datetime.now(UTC) - timedelta(**length)).isoformat()


async def test_registers_at_the_last_tick(console: Console, hand: Hand) -> None:
    last = ticks(hand)[-1]
    plan = await console.plan("queue.register", queue="orders", consumer=ODD)
    assert (plan.subject, plan.danger) == (f"orders/{ODD}", Danger.CHANGE)
    assert position(hand, ODD) is None
    result = await console.done("queue.register", queue="orders", consumer=ODD)
    assert (result["consumer"], result["tick"]) == (ODD, last)
    assert position(hand, ODD) == (last, None)


async def test_registers_at_a_time(console: Console, hand: Hand) -> None:
    made = ticks(hand)
    at = ago(minutes=90)
    plan = await console.plan("queue.register", queue="orders", consumer="c", at_time=at)
    assert f"tick {made[0]} of" in plan.notes[0]
    await console.done("queue.register", queue="orders", consumer="c", at_time=at)
    assert position(hand, "c") == (made[0], None)
    assert [d for _, _, d in hand.consume("orders", "c")] == ["1", "2"]


async def test_registers_where_another_one_stands(console: Console, hand: Hand) -> None:
    ticks(hand)
    hand.open_batch("orders", "slow")
    await console.done("queue.register", queue="orders", consumer="c", like="slow")
    found = position(hand, "slow")
    assert found is not None
    assert position(hand, "c") == (found[0], None)


@pytest.mark.parametrize("how", [{}, {"at_time": "2020-01-01"}, {"like": "good"}])
async def test_never_moves_a_consumer_that_was_registered_meanwhile(
    console: Console, hand: Hand, how: dict[str, str]
) -> None:
    hand.database.execute("UPDATE pgq.tick SET tick_time = '2019-01-01' WHERE tick_id = 1")
    ticks(hand)
    hand.consume("orders", "good")
    run = await console.start("queue.register", queue="orders", consumer="c", **how)
    hand.value("SELECT pgq.register_consumer_at('orders', 'c', 2)")
    report = await run.execute()
    assert report.error is not None
    assert report.error.message == "consumer c was registered elsewhere meanwhile and stays where it is"
    assert position(hand, "c") == (2, None)


@pytest.mark.parametrize(
    ("params", "error", "sentence"),
    [
        ({"consumer": ""}, Usage, "--consumer is empty"),
        ({"consumer": "good"}, Refused, "has a consumer good already"),
        ({"queue": "order"}, Refused, "has no queue order"),
        ({"like": "goood"}, Refused, "has no consumer goood"),
        ({"at_time": "yesterday"}, Usage, "--at-time wants a time such as"),
        ({"at_time": "2999-01-01"}, Usage, "is in the future"),
        ({"at_time": "2001-01-01"}, Refused, "has no tick from before 2001"),
        ({"at_time": "2001-01-01", "like": "good"}, Usage, "give either --at-time or --like"),
    ],
)
async def test_nonsense_is_not_registered(
    console: Console, hand: Hand, params: dict[str, str], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        await console.plan("queue.register", **({"queue": "orders", "consumer": "c"} | params))
    assert position(hand, "c") is None


async def test_a_queue_that_has_never_ticked_says_so(console: Console, hand: Hand) -> None:
    hand.create("fresh")
    hand.database.execute("DELETE FROM pgq.tick WHERE tick_queue = 3")
    with pytest.raises(Refused, match="queue fresh has no tick yet"):
        await console.plan("queue.register", queue="fresh", consumer="c")


async def test_copies_a_consumer(console: Console, hand: Hand) -> None:
    ticks(hand)
    await console.done("queue.copy_consumer", queue="orders", consumer="slow", to="copy")
    assert position(hand, "copy") == position(hand, "slow")
    assert [d for _, _, d in hand.consume("orders", "copy")] == ["first", "0", "1", "2"]
    with pytest.raises(Refused, match="has a consumer good already"):
        await console.plan("queue.copy_consumer", queue="orders", consumer="slow", to="good")
    with pytest.raises(Refused, match="has no consumer nobody"):
        await console.plan("queue.copy_consumer", queue="orders", consumer="nobody", to="c")


async def test_moves_a_consumer_back_to_get_events_again(console: Console, hand: Hand) -> None:
    made = ticks(hand)
    hand.consume("orders", "good")
    before = position(hand, "good")
    plan = await console.plan("queue.reposition", queue="orders", consumer="good", at_tick=made[0])
    assert (plan.subject, plan.danger) == ("orders/good", Danger.DESTROY)
    assert "it gets about 2 events again" in plan.notes
    assert position(hand, "good") == before
    result = await console.done("queue.reposition", queue="orders", consumer="good", at_tick=made[0])
    assert (result["tick"], result["was_at"]) == (made[0], made[2])
    assert [d for _, _, d in hand.consume("orders", "good")] == ["1", "2"]


async def test_moves_a_consumer_forward_out_of_its_batch(console: Console, hand: Hand) -> None:
    made = ticks(hand)
    batch = hand.open_batch("orders", "good")
    plan = await console.plan("queue.reposition", queue="orders", consumer="good", at_time=ago(minutes=50))
    assert "it never sees about 2 events" in plan.notes
    assert f"its open batch {batch} is given up" in plan.notes
    await console.done("queue.reposition", queue="orders", consumer="good", at_time=ago(minutes=50))
    assert position(hand, "good") == (made[1], None)


async def test_a_lost_tick_names_those_that_are_left(console: Console, hand: Hand) -> None:
    last = ticks(hand)[-1]
    hand.consume("orders", "good")
    hand.consume("orders", "slow")
    hand.database.execute("DELETE FROM pgq.tick WHERE tick_queue = 1 AND tick_id < 3")
    for tick, sentence in (
        (1, "tick 1 of queue orders is lost"),
        (99, "tick 99 of queue orders is not there"),
    ):
        with pytest.raises(Refused, match=sentence) as caught:
            await console.plan("queue.reposition", queue="orders", consumer="good", at_tick=tick)
        assert caught.value.hint is not None
        assert caught.value.hint.startswith("it has the ticks from 3 (")
        assert f" to {last} (" in caught.value.hint


async def test_a_consumer_that_went_meanwhile_is_not_registered_anew(console: Console, hand: Hand) -> None:
    tick = ticks(hand)[0]
    run = await console.start("queue.reposition", queue="orders", consumer="good", at_tick=tick)
    hand.value("SELECT pgq.unregister_consumer('orders', 'good')")
    report = await run.execute()
    assert report.error is not None
    assert report.error.message == "consumer good was unregistered meanwhile; nothing was moved"
    assert position(hand, "good") is None


@pytest.mark.parametrize(
    ("params", "error", "sentence"),
    [
        ({}, Usage, "give either --at-time or --at-tick"),
        ({"at_tick": 1, "at_time": "2020-01-01"}, Usage, "give either"),
        ({"at_tick": 2}, Refused, "is at tick 2 already"),
        ({"at_tick": 1, "consumer": "god"}, Refused, "has no consumer god"),
    ],
)
async def test_nonsense_does_not_move_it(
    console: Console, params: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        await console.plan("queue.reposition", **({"queue": "orders", "consumer": "good"} | params))


async def test_a_subconsumer_is_moved_by_its_main(console: Console, hand: Hand) -> None:
    hand.subscribe("orders", "mail", "mail.1")
    hand.share("orders", "mail", "mail.1")
    with pytest.raises(Refused) as caught:
        await console.plan("queue.reposition", queue="orders", consumer="mail.1", at_tick=1)
    assert caught.value.message == "consumer mail.1 is a subconsumer of mail and has no position of its own"
    assert caught.value.hint == "move its main consumer mail"


async def test_unregisters_a_consumer_with_what_it_wanted_to_retry(console: Console, hand: Hand) -> None:
    ticks(hand)
    hand.retry("orders", "slow", 3600)
    plan = await console.plan("queue.unregister", queue="orders", consumer="slow")
    assert (plan.subject, plan.danger) == ("orders/slow", Danger.DESTROY)
    assert "lost with it: 1 event waiting to be retried" in plan.notes
    assert position(hand, "slow") is not None
    result = await console.done("queue.unregister", queue="orders", consumer="slow")
    assert result == {"queue": "orders", "consumer": "slow", "removed": 1}
    assert position(hand, "slow") is None
    assert hand.value("SELECT count(*) FROM pgq.retry_queue") == 0


async def test_a_group_goes_with_its_main(console: Console, hand: Hand) -> None:
    hand.subscribe("orders", "mail", "mail.1", "mail.2")
    hand.share("orders", "mail", "mail.1", "mail.2")
    plan = await console.plan("queue.unregister", queue="orders", consumer="mail")
    assert "with it go 2 subconsumers" in plan.notes
    assert (await console.done("queue.unregister", queue="orders", consumer="mail.2"))["removed"] == 1
    assert (await console.done("queue.unregister", queue="orders", consumer="mail"))["removed"] == 2
    with pytest.raises(Refused, match="has no consumer mail"):
        await console.plan("queue.unregister", queue="orders", consumer="mail")


async def test_a_consumer_that_went_meanwhile_is_told(console: Console, hand: Hand) -> None:
    run = await console.start("queue.unregister", queue="orders", consumer="slow")
    hand.value("SELECT pgq.unregister_consumer('orders', 'slow')")
    report = await run.execute()
    assert report.error is not None
    assert report.error.message == "consumer slow was unregistered elsewhere meanwhile"


async def test_consuming_names_the_role_that_it_takes(
    role_in: Callable[..., str], consoles: Consoles
) -> None:
    writer = await consoles(role_in("pgq_writer"))
    with pytest.raises(Missing, match="GRANT pgq_reader TO"):
        await writer.plan("queue.register", queue="orders", consumer="c")
    reader = await consoles(role_in("pgq_reader"))
    await reader.done("queue.register", queue="orders", consumer="c")
    await reader.done("queue.reposition", queue="orders", consumer="c", at_tick=1)
    await reader.done("queue.unregister", queue="orders", consumer="c")
