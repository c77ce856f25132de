"""A consumer's open batch: given up, or put off."""

from __future__ import annotations

from typing import Any

import pytest

from backend.core.declare import Danger
from backend.core.errors import Refused, Usage
from backend.core.values import Interval
from tests.rooms.jobmon.conftest import Console
from tests.rooms.queue.conftest import Hand

AT = {"queue": "orders", "consumer": "good"}
RETRIES = (
    "SELECT ev_id, ev_data, round(extract(epoch FROM ev_retry_after - now()))"
    " FROM pgq.retry_queue ORDER BY ev_id"
)


@pytest.fixture
def batch(hand: Hand) -> int:
    """An open batch of three events, with more behind it."""
    hand.insert("orders", ("t", "a"), ("t", "b"), ("t", "c"))
    hand.tick("orders")
    hand.insert("orders", ("t", "later"))
    hand.tick("orders")
    return hand.open_batch("orders", "good") or 0


async def test_skips_a_batch(console: Console, hand: Hand, batch: int) -> None:
    plan = await console.plan("queue.skip_batch", **AT)
    assert (plan.subject, plan.danger) == ("orders/good", Danger.DESTROY)
    assert "good loses 3 events; others still get them" in plan.notes
    assert hand.open_batch("orders", "good") == batch
    result = await console.done("queue.skip_batch", **AT)
    assert (result["batch"], result["events"]) == (batch, 3)
    assert [d for _, _, d in hand.consume("orders", "good")] == ["later"]


async def test_another_batch_than_the_one_seen_is_never_skipped(
    console: Console, hand: Hand, batch: int
) -> None:
    run = await console.start("queue.skip_batch", **AT)
    hand.finish(batch)
    other = hand.open_batch("orders", "good")
    report = await run.execute()
    assert report.error is not None
    assert report.error.message == f"batch {batch} was finished or given up meanwhile; nothing was done"
    assert hand.open_batch("orders", "good") == other


async def test_has_a_batch_delivered_once_more(console: Console, hand: Hand, batch: int) -> None:
    after = Interval("90s")
    plan = await console.plan("queue.retry_batch", **AT, after=after)
    assert plan.danger is Danger.CHANGE
    assert hand.database.execute(RETRIES) == []
    result = await console.done("queue.retry_batch", **AT, after=after)
    assert (result["events"], result["finished"]) == (3, False)
    assert [(d, s) for _, d, s in hand.database.execute(RETRIES)] == [("a", 90), ("b", 90), ("c", 90)]
    assert hand.open_batch("orders", "good") == batch
    again = await console.done("queue.retry_batch", **AT, after=after)
    assert (again["events"], again["waited_already"]) == (0, 3)


async def test_takes_a_batch_from_its_consumer_until_later(console: Console, hand: Hand, batch: int) -> None:
    plan = await console.plan("queue.retry_batch", **AT, after=Interval("0s"), finish=True)
    assert plan.danger is Danger.DISRUPT
    result = await console.done("queue.retry_batch", **AT, after=Interval("0s"), finish=True)
    assert (result["batch"], result["events"], result["finished"]) == (batch, 3, True)
    assert [d for _, _, d in hand.consume("orders", "good")] == ["later"]
    await console.done("queue.maintain")
    hand.tick("orders")
    assert {d for _, _, d in hand.consume("orders", "good")} == {"a", "b", "c"}


async def test_has_one_event_delivered_once_more(console: Console, hand: Hand, batch: int) -> None:
    event = hand.events(batch)[1][0]
    await console.plan("queue.retry_event", **AT, event=event, after=Interval("2min"))
    assert hand.database.execute(RETRIES) == []
    await console.done("queue.retry_event", **AT, event=event, after=Interval("2min"))
    assert hand.database.execute(RETRIES) == [(event, "b", 120)]
    report = await console.run("queue.retry_event", **AT, event=event, after=Interval("2min"))
    assert report.error is not None
    assert report.error.message == f"event {event} waits to be retried already"


@pytest.mark.parametrize("action", ["queue.skip_batch", "queue.retry_batch", "queue.retry_event"])
async def test_once_a_batch_is_finished_it_is_too_late(
    console: Console, hand: Hand, batch: int, action: str
) -> None:
    hand.finish(batch)
    more: dict[str, Any] = {"after": Interval("1s")} if "retry" in action else {}
    more |= {"event": 1} if "event" in action else {}
    with pytest.raises(Refused, match="consumer good has no batch open on queue orders"):
        await console.plan(action, **AT, **more)


@pytest.mark.parametrize(
    ("more", "error", "sentence"),
    [
        ({"event": 999}, Refused, "event 999 is not in batch"),
        ({"event": 1, "after": Interval("-1s")}, Usage, "--after wants 0s to 365d"),
        ({"event": 1, "after": Interval("3 years")}, Usage, "--after wants 0s to 365d"),
        ({"event": 1, "consumer": "god"}, Refused, "has no consumer god"),
    ],
)
async def test_nonsense_is_not_retried(
    console: Console, hand: Hand, batch: int, more: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        await console.plan("queue.retry_event", **(AT | {"after": Interval("1s")} | more))
    assert hand.database.execute(RETRIES) == []


async def test_the_batch_of_a_subconsumer_is_left_to_its_own_functions(
    console: Console, hand: Hand, batch: int
) -> None:
    hand.subscribe("orders", "go")
    hand.database.execute("UPDATE pgq.consumer SET co_name = 'go.od' WHERE co_name = 'good'")
    hand.database.execute(
        "UPDATE pgq.subscription SET sub_id = (SELECT s.sub_id FROM pgq.subscription s JOIN pgq.consumer c"
        " ON c.co_id = s.sub_consumer WHERE c.co_name = 'go.od' AND s.sub_queue = 1)"
        " WHERE sub_consumer = (SELECT co_id FROM pgq.consumer WHERE co_name = 'go')"
    )
    with pytest.raises(Refused) as caught:
        await console.plan("queue.skip_batch", queue="orders", consumer="go.od")
    assert caught.value.hint == f"its batch is finished by SELECT pgq_coop.finish_batch({batch})"
