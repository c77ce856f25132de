"""How far behind consumers are, and their states."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from backend.core.declare import Health
from tests.rooms.jobmon.conftest import Console
from tests.rooms.queue.conftest import Hand, available, cascade
from tests.servers import Database


async def the(console: Console, consumer: str, queue: str = "orders") -> Any:
    [row] = await console.rows("queue.consumers", queue=queue, consumer=consumer)
    return row


async def verdict(console: Console, consumer: str, queue: str = "orders") -> tuple[Health, str]:
    found = (await console.judged("queue.consumers")).of((queue, consumer))
    return found.health, found.sentence


async def test_caught_up_and_working(console: Console, hand: Hand) -> None:
    row = await the(console, "good")
    assert (row.state, row.kind, row.pending_ticks, row.batch) == ("caught up", "plain", 0, None)
    assert (row.behind, row.waiting) == (timedelta(), None)
    assert (row.last_tick, row.queue_tick, row.next_tick) == (2, 2, None)
    batch = hand.open_batch("orders", "slow")
    row = await the(console, "slow")
    assert (row.state, row.batch, row.last_tick, row.next_tick, row.pending_ticks) == (
        "working", batch, 1, 2, 1,
    )  # fmt: skip
    assert (await console.judged("queue.consumers")).findings == {}


async def test_behind_is_the_lag_without_the_tickers(console: Console, hand: Hand, pgq: Database) -> None:
    hand.age_ticks("orders", "3 min")
    hand.insert("orders", ("a", "b"))
    hand.tick("orders")
    hand.age_ticks("orders", "3 min")
    hand.insert("orders", ("a", "b"))
    hand.tick("orders")
    [queue] = [q for q in await console.rows("queue.queues") if q.queue == "orders"]
    good, slow = await the(console, "good"), await the(console, "slow")
    assert (slow.state, slow.pending_ticks) == ("lagging", 3)
    second = timedelta(seconds=1)
    assert abs(slow.behind - (slow.lag - queue.ticker_lag)) < second
    assert timedelta(minutes=6) <= slow.behind < timedelta(minutes=7)
    assert timedelta(minutes=3) <= good.behind < timedelta(minutes=4)
    assert queue.worst_consumer == "slow"
    assert abs(queue.worst_behind - slow.behind) < second
    assert (await verdict(console, "slow"))[0] is Health.WARNING
    hand.age_ticks("orders", "10 min")
    assert (await verdict(console, "slow"))[0] is Health.WARNING, "the ticker's lag is not its own"


async def test_a_tick_that_has_just_come_after_a_quiet_hour_alarms_nobody(
    console: Console, hand: Hand
) -> None:
    hand.age_ticks("idle", "1 hour")
    hand.age_consumer("idle", "good", "1 hour")
    hand.tick("idle")
    row = await the(console, "good", "idle")
    assert (row.state, row.pending_ticks) == ("working", 1)
    assert row.behind < timedelta(minutes=1) < row.lag
    assert await verdict(console, "good", "idle") == (Health.OK, "")


async def test_stuck_in_a_batch(console: Console, hand: Hand) -> None:
    hand.open_batch("orders", "slow")
    hand.age_consumer("orders", "slow", "6 min")
    row = await the(console, "slow")
    assert (row.state, row.batch_age > timedelta(minutes=6)) == ("stuck", True)
    health, sentence = await verdict(console, "slow")
    assert health is Health.WARNING
    assert "batch age 6m" in sentence


async def test_dead(console: Console, hand: Hand) -> None:
    hand.age_ticks("orders", "3 min")
    hand.age_consumer("orders", "slow", "3 min")
    hand.age_consumer("orders", "good", "3 min")
    assert [r.state for r in await console.rows("queue.consumers", queue="orders")] == ["caught up", "dead"]
    health, sentence = await verdict(console, "slow")
    assert health is Health.CRITICAL
    assert sentence.startswith("not seen for 3m")
    assert sentence.endswith("and ticks wait for it: 1")


async def test_counts_exactly_on_request(console: Console, hand: Hand) -> None:
    hand.value("SELECT pgq.force_tick('orders')")
    hand.insert("orders", ("a", "1"), ("a", "2"))
    hand.tick("orders")
    hand.insert("orders", ("not", "ticked"))
    assert (await the(console, "slow")).exact_events is None
    rows = await console.rows("queue.consumers", queue="orders", exact=True)
    assert [(r.consumer, r.exact_events) for r in rows] == [("good", 3), ("slow", 4)]
    assert rows[1].pending_events > 1000, "a forced tick inflates what sequences tell"


async def test_a_group_is_as_far_as_its_furthest_member(console: Console, hand: Hand, pgq: Database) -> None:
    """As pgq_coop keeps it: the main advances when a batch is handed out, a member has the batch."""
    hand.subscribe("orders", "mail", "mail.1", "mail.2")
    hand.share("orders", "mail", "mail.1", "mail.2")
    hand.insert("orders", ("a", "1"), ("a", "2"))
    hand.tick("orders")
    pgq.execute(
        "UPDATE pgq.subscription SET sub_last_tick = 2, sub_next_tick = 3, sub_batch = 99"
        " WHERE sub_consumer = (SELECT co_id FROM pgq.consumer WHERE co_name = 'mail.1')"
    )
    pgq.execute(
        "UPDATE pgq.subscription SET sub_last_tick = 3"
        " WHERE sub_consumer = (SELECT co_id FROM pgq.consumer WHERE co_name = 'mail')"
    )
    hand.age_ticks("orders", "2 min")
    hand.insert("orders", ("a", "3"))
    hand.tick("orders")
    rows = {
        r.consumer: r
        for r in await console.rows("queue.consumers", exact=True)
        if r.consumer.startswith("mail")
    }
    assert [(r.kind, r.main, r.state) for r in rows.values()] == [
        ("group", None, "lagging"),
        ("member", "mail", "lagging"),
        ("member", "mail", "idle"),
    ]
    assert rows["mail"].behind == rows["mail.1"].behind >= timedelta(minutes=2)
    assert [r.exact_events for r in rows.values()] == [1, 2, None]
    assert (rows["mail.2"].behind, rows["mail.2"].lag, rows["mail.2"].pending_ticks) == (None, None, None)


async def test_watermarks_are_never_late(console: Console, hand: Hand) -> None:
    hand.subscribe("orders", ".global_watermark", ".n2.watermark", ".watermarkings")
    hand.age_ticks("orders", "1 day")
    hand.insert("orders", ("a", "1"))
    hand.tick("orders")
    for consumer in (".global_watermark", ".n2.watermark"):
        row = await the(console, consumer)
        assert (row.kind, row.state, row.behind, row.pending_ticks) == ("watermark", "working", None, 1)
        assert await verdict(console, consumer) == (Health.OK, "")
    assert (await the(console, ".watermarkings")).kind == "plain"


@pytest.fixture
def cascaded(pgq: Database) -> Database:
    """The sample with cascades."""
    if not available(pgq, "pgq_node"):
        pytest.skip(f"PostgreSQL {pgq.server.major} here has no pgq_node")
    cascade(pgq)
    return pgq


async def test_replication_workers_are_told_from_consumers(
    console: Console, hand: Hand, cascaded: Database
) -> None:
    await console.session.refresh_facts()
    hand.subscribe("chain", "n2_worker.copy.public.goods", "report")
    kinds = {r.consumer: r.kind for r in await console.rows("queue.consumers", queue="chain")}
    assert kinds == {
        ".global_watermark": "watermark",
        ".n2.watermark": "watermark",
        "n2_worker": "worker",
        "n2_worker.copy.public.goods": "copy",
        "report": "plain",
    }


async def test_shows_the_nodes_of_cascades(console: Console, hand: Hand, cascaded: Database) -> None:
    await console.session.refresh_facts()
    rows = {(r.queue, r.node): r for r in await console.rows("queue.nodes")}
    assert [(r.relation, r.type, r.provider, r.worker) for r in rows.values()] == [
        ("this node", "root", None, "chain_worker"),
        ("subscriber", None, None, "n2_worker"),
        ("this node", "branch", "n1", "far_worker"),
        ("member", None, None, None),
    ]
    assert {r.location for r in rows.values()} == {
        f"host={node} dbname=shop password=****" for node in ("n1", "n2")
    }
    assert rows["chain", "n2"].behind == timedelta()


async def test_what_is_wrong_with_a_node(console: Console, hand: Hand, cascaded: Database) -> None:
    await console.session.refresh_facts()
    cascaded.execute("UPDATE pgq_node.local_state SET uptodate = true")
    hand.age_ticks("chain", "2 min")
    hand.tick("chain")
    hand.age_ticks("chain", "2 min")
    hand.tick("chain")
    judged = await console.judged("queue.nodes")
    assert {k: f.health for k, f in judged.findings.items()} == {("chain", "n2"): Health.WARNING}
    cascaded.execute(
        "UPDATE pgq_node.local_state SET cur_error = E'no such table\\nDETAIL: x' WHERE queue_name = 'far'"
    )
    judged = await console.judged("queue.nodes")
    assert judged.overall.sentence == "far n2: its worker fails: no such table"
    cascaded.execute("UPDATE pgq_node.local_state SET cur_error = NULL, paused = true")
    sentences = {f.sentence for f in (await console.judged("queue.nodes")).findings.values()}
    assert "its worker is paused" in sentences
