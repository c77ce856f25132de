"""The next batches of a consumer, written to a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from backend.core.declare import Danger
from backend.core.errors import Refused, Usage
from tests.rooms.jobmon.conftest import Console
from tests.rooms.queue.conftest import ODD, Hand


def exported(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def position(hand: Hand, consumer: str = "good") -> tuple[Any, ...]:
    return hand.database.execute(
        "SELECT sub_last_tick, sub_batch, sub_active"
        " FROM pgq.subscription JOIN pgq.consumer ON co_id = sub_consumer"
        " WHERE sub_queue = 1 AND co_name = %s",
        [consumer],
    )[0]


@pytest.fixture
def batches(hand: Hand) -> Hand:
    """Three batches for `good`: transactions that end out of order, and events that are not its own."""
    hand.insert("orders", (ODD, 'a "b" \\ \n\t,\x7f é'), (None, ""))
    with psycopg.connect(hand.database.dsn) as late:
        late.execute("SELECT pgq.insert_event('orders', 't', 'late')")
        hand.tick("orders")
        hand.insert("orders", ("t", "second"))
        hand.tick("orders")
    hand.retry("orders", "slow")
    hand.value("SELECT pgq.maint_retry_events()")
    hand.tick("orders")
    return hand


async def test_writes_what_is_delivered_next_and_leaves_it_to_the_consumer(
    console: Console, batches: Hand, tmp_path: Path
) -> None:
    path = tmp_path / "out.jsonl"
    before = position(batches)
    given = {"queue": "orders", "consumer": "good", "file": str(path), "batches": 99}
    plan = await console.plan("queue.export_events", **given)
    assert (plan.subject, plan.danger) == ("orders/good", Danger.CHANGE)
    assert plan.notes == ("3 batches, from tick 2 to tick 5",)
    assert not path.exists()
    result = await console.done("queue.export_events", **given)
    assert (result["batches"], result["events"], result["finished"]) == (3, 4, False)
    assert position(batches) == before
    delivered = batches.consume("orders", "good")
    assert [(e["ev_id"], e["ev_type"], e["ev_data"]) for e in exported(path)] == delivered
    assert [d for _, _, d in delivered] == ['a "b" \\ \n\t,\x7f é', "", "second", "late"]
    assert set(exported(path)[0]) == {
        *("ev_id", "ev_time", "ev_txid", "ev_retry", "ev_type", "ev_data"),
        *("ev_extra1", "ev_extra2", "ev_extra3", "ev_extra4"),
    }


async def test_a_consumer_gets_its_own_retried_events(
    console: Console, batches: Hand, tmp_path: Path
) -> None:
    path = tmp_path / "out.jsonl"
    await console.done("queue.export_events", queue="orders", consumer="slow", file=str(path), batches=99)
    assert [e["ev_data"] for e in exported(path)] == [d for _, _, d in batches.consume("orders", "slow")]
    assert [e["ev_retry"] for e in exported(path) if e["ev_data"] == "first"] == [None, 1]


async def test_finishes_them_once_they_are_on_the_disk(
    console: Console, batches: Hand, tmp_path: Path
) -> None:
    path = tmp_path / "out.jsonl"
    given = {"queue": "orders", "consumer": "good", "file": str(path), "batches": 2, "finish": True}
    assert (await console.plan("queue.export_events", **given)).danger is Danger.DESTROY
    batch = batches.open_batch("orders", "good")
    plan = await console.plan("queue.export_events", **given)
    assert f"its open batch {batch} is among them and is given up" in plan.notes
    assert position(batches)[:2] == (2, batch)
    await console.done("queue.export_events", **given)
    assert [e["ev_data"] for e in exported(path)][2:] == ["second"]
    assert position(batches)[:2] == (4, None)
    assert [d for _, _, d in batches.consume("orders", "good")] == ["late"]


async def test_a_consumer_that_went_on_meanwhile_is_not_moved(
    console: Console, batches: Hand, tmp_path: Path
) -> None:
    path = tmp_path / "out.jsonl"
    given = {"queue": "orders", "consumer": "good", "file": str(path), "finish": True}
    run = await console.start("queue.export_events", **given)
    batches.consume("orders", "good")
    before = position(batches)
    report = await run.execute()
    assert report.error is not None
    assert "has gone on by itself; its events are in the file, and it was not moved" in report.error.message
    assert position(batches) == before
    assert len(exported(path)) == 2


async def test_what_was_exported_can_be_inserted(console: Console, batches: Hand, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    await console.done("queue.export_events", queue="orders", consumer="good", file=str(path), batches=3)
    await console.done("queue.insert", queue="idle", file=str(path))
    batches.tick("idle")
    assert [(t, d) for _, t, d in batches.consume("idle", "good")] == [
        (e["ev_type"], e["ev_data"]) for e in exported(path)
    ]


async def test_nothing_to_export_is_no_error(console: Console, hand: Hand, tmp_path: Path) -> None:
    plan = await console.plan("queue.export_events", queue="orders", consumer="good", file=f"{tmp_path}/out")
    assert (plan.steps, plan.notes) == ((), ("consumer good has no batch waiting",))


@pytest.mark.parametrize(
    ("more", "error", "sentence"),
    [
        ({"consumer": "god"}, Refused, "has no consumer god"),
        ({"queue": "order"}, Refused, "has no queue order"),
        ({"file": ""}, Usage, "--file is empty"),
        ({"file": "/etc/passwd"}, Refused, "/etc/passwd is there already"),
        ({"file": "/nowhere/out"}, Refused, "there is no folder /nowhere"),
        ({"batches": 0}, Usage, "--batches wants 1 to 1000"),
    ],
)
async def test_nonsense_is_not_exported(
    console: Console, tmp_path: Path, more: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    given = {"queue": "orders", "consumer": "good", "file": str(tmp_path / "out")}
    with pytest.raises(error, match=sentence):
        await console.plan("queue.export_events", **(given | more))


async def test_a_lost_position_is_told(console: Console, batches: Hand, tmp_path: Path) -> None:
    batches.database.execute("DELETE FROM pgq.tick WHERE tick_queue = 1 AND tick_id = 2")
    with pytest.raises(Refused, match="tick 2, at which consumer good stands, is lost"):
        await console.plan("queue.export_events", queue="orders", consumer="good", file=f"{tmp_path}/out")
