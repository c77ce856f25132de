"""Queues and consumers by name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from backend.core.errors import Refused
from backend.queue.ground import ADMINISTERING, LOOKING, find_consumer, find_queue, main_of, registrations
from tests.rooms.jobmon.conftest import Console, Consoles
from tests.rooms.queue.conftest import ODD, Hand
from tests.servers import Database


async def test_finds_a_queue_and_its_consumer(console: Console) -> None:
    queue = await find_queue(console.session, "orders")
    assert (queue.tables, queue.rotation_period, queue.ticker_max_count) == (3, "02:00:00", 500)
    found, consumer = await find_consumer(console.session, "orders", "slow")
    assert found == queue
    assert (consumer.queue, consumer.consumer, consumer.batch) == ("orders", "slow", None)


@pytest.mark.parametrize(
    ("queue", "message", "hint"),
    [
        ("order", "has no queue order", "did you mean orders?"),
        ("", 'has no queue ""', "queue.queues lists them"),
        ("' OR true --", "has no queue ' OR true --", "queue.queues lists them"),
        ("%", "has no queue %", "queue.queues lists them"),
    ],
)
async def test_an_unknown_queue_is_refused_with_the_nearest(
    console: Console, queue: str, message: str, hint: str
) -> None:
    with pytest.raises(Refused) as caught:
        await find_queue(console.session, queue)
    assert message in caught.value.message
    assert caught.value.hint == hint


async def test_an_unknown_consumer_is_refused_with_the_nearest(console: Console) -> None:
    with pytest.raises(Refused) as caught:
        await find_consumer(console.session, "orders", "sloww")
    assert caught.value.message == "queue orders has no consumer sloww"
    assert caught.value.hint == "did you mean slow?"


async def test_any_name_finds_its_queue_and_its_tables(console: Console, hand: Hand) -> None:
    hand.create(ODD, "")
    hand.subscribe(ODD, ODD)
    for name in (ODD, ""):
        assert (await find_queue(console.session, name)).name == name
    queue, consumer = await find_consumer(console.session, ODD, ODD)
    assert consumer.consumer == ODD
    assert [t.as_string(None) for t in queue.filled_tables] == [
        f'"pgq"."event_{queue.id}_2"',
        f'"pgq"."event_{queue.id}_0"',
    ]


async def test_knows_the_main_of_a_cooperative_consumer(console: Console, hand: Hand) -> None:
    hand.subscribe("orders", "mail", "mail.1", "mail.1.x", "mailer")
    hand.share("orders", "mail", "mail.1")
    known = {r.consumer: r for r in await registrations(console.session, "orders")}
    found = {name: main_of(r, list(known.values())) for name, r in known.items()}
    assert [name for name, main in found.items() if main] == ["mail.1"]
    assert found["mail.1"] == known["mail"]


async def test_says_which_role_is_missing(
    role_in: Callable[..., str], consoles: Consoles, pgq: Database
) -> None:
    facts = (await consoles(role_in("pgq_writer"))).session.facts
    assert not LOOKING.missing(facts)
    assert f"GRANT pgq_admin TO {facts.user}" in ADMINISTERING.missing(facts)
    assert not ADMINISTERING.missing((await consoles(role_in("pgq_admin"))).session.facts)
