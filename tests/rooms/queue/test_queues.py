"""What a queue's row says, and what is alarming about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql

from backend.core.declare import Health
from backend.core.errors import Refused
from backend.core.judge import judge
from backend.core.registry import find_view
from backend.core.target import Limits
from tests.rooms.jobmon.conftest import Console, Consoles
from tests.rooms.queue.conftest import ODD, Hand, capture, demand_pgq, sample
from tests.servers import Database, OwnClusters, until


async def the(console: Console, queue: str) -> Any:
    [row] = [r for r in await console.rows("queue.queues") if r.queue == queue]
    return row


async def verdict(console: Console, queue: str) -> tuple[Health, str]:
    found = (await console.judged("queue.queues")).of((queue,))
    return found.health, found.sentence


async def test_an_idle_queue_is_green_however_old_its_tick(console: Console, hand: Hand) -> None:
    hand.age_ticks("idle", "80 s")
    hand.age_consumer("idle", "good", "80 s")
    row = await the(console, "idle")
    assert row.ticker_lag > timedelta(seconds=80)
    assert row.worst_behind == timedelta()
    assert await verdict(console, "idle") == (Health.OK, "")


async def test_a_dead_ticker_is_told_sooner_when_events_wait(console: Console, hand: Hand) -> None:
    hand.age_ticks("orders", "20 s")
    assert (await verdict(console, "orders"))[0] is Health.OK
    hand.insert("orders", ("a", "1"), ("a", "2"))
    assert (await the(console, "orders")).new_events > 0
    health, sentence = await verdict(console, "orders")
    assert health is Health.CRITICAL
    assert sentence.startswith("no tick for 20.")
    hand.age_ticks("idle", "2 min")
    assert (await verdict(console, "idle"))[0] is Health.CRITICAL


async def test_what_is_switched_off_is_flagged(console: Console, hand: Hand, pgq: Database) -> None:
    hand.configure("orders", ticker_paused="true")
    hand.configure("idle", external_ticker="true")
    pgq.execute("UPDATE pgq.queue SET queue_disable_insert = true")
    hand.age_ticks("idle", "1 day")
    assert (await the(console, "orders")).flags == "ticker paused, inserts disabled"
    health, sentence = await verdict(console, "orders")
    assert health is Health.WARNING
    assert sentence == "its ticker is paused: consumers get nothing; inserts are disabled: producers fail"
    assert (await the(console, "idle")).flags == "external ticker, inserts disabled"
    assert (await verdict(console, "idle"))[0] is Health.OK


async def test_the_rate_is_of_rows_and_a_forced_tick_is_none(
    console: Console, hand: Hand, pgq: Database
) -> None:
    before = await the(console, "orders")
    hand.insert("orders", *[("e", str(n)) for n in range(7)])
    pgq.execute("SELECT pgq.force_tick('orders')")
    hand.tick("orders")
    column = next(c for c in find_view("queue.queues").columns if c.name == "events")
    assert column.title == "Events/s"
    assert column.col.rate

    def counted() -> bool:
        [(number,)] = pgq.execute(
            "SELECT sum(pg_stat_get_tuples_inserted(inhrelid)) FROM pg_inherits"
            " WHERE inhparent = 'pgq.event_1'::regclass"
        )
        return bool(number == before.events + 7)

    until(counted)
    after = await the(console, "orders")
    assert after.events == before.events + 7
    assert hand.value("SELECT max(tick_event_seq) FROM pgq.tick") > 2000, "the sequence did jump"


async def test_who_is_slowest_and_how_far(console: Console, hand: Hand) -> None:
    for _ in range(3):
        hand.insert("orders", ("a", "b"))
        hand.tick("orders")
    hand.consume("orders", "good")
    hand.age_ticks("orders", "1 min")
    row = await the(console, "orders")
    assert (row.consumers, row.worst_consumer) == (2, "slow")
    assert timedelta() < row.worst_behind < timedelta(minutes=1)
    assert row.last_tick == 5
    assert row.bytes > 0


async def test_a_queue_that_nobody_reads_throws_events_away(console: Console, hand: Hand) -> None:
    hand.create("orphan")
    assert (await verdict(console, "orphan"))[0] is Health.OK
    row = await the(console, "orphan")
    assert (row.consumers, row.worst_consumer, row.worst_behind) == (0, None, None)
    hand.insert("orphan", ("a", "b"))
    assert await verdict(console, "orphan") == (
        Health.WARNING,
        "nobody reads it: its events are thrown away",
    )


async def test_a_queue_without_any_tick_is_critical(console: Console, hand: Hand, pgq: Database) -> None:
    hand.create("blank")
    pgq.execute("DELETE FROM pgq.tick WHERE tick_queue = 3")
    assert (await the(console, "blank")).ticker_lag is None
    assert await verdict(console, "blank") == (Health.CRITICAL, "it has no tick at all")


async def test_a_table_that_somebody_has_alone_is_not_waited_for(
    console: Console, consoles: Consoles, pgq: Database
) -> None:
    before = (await the(console, "orders")).bytes
    with psycopg.connect(pgq.dsn) as locking:
        locking.execute("LOCK TABLE pgq.event_1_2 IN ACCESS EXCLUSIVE MODE")
        assert (await the(await consoles(pgq.dsn), "orders")).bytes < before
        assert (await the(console, "orders")).bytes == before, "it is not measured at every refresh"


async def test_settings_read_as_they_were_set(console: Console, hand: Hand) -> None:
    hand.configure("orders", ticker_max_lag="1.5 s", rotation_period="1 month", ticker_max_count="7")
    row = await the(console, "orders")
    assert (row.ticker_max_lag, row.rotation_period, row.ticker_max_count) == ("00:00:01.5", "1 mon", 7)
    assert row.ticker_max_lag.approximate == timedelta(seconds=1.5)


async def test_any_name_is_a_row_and_empty_databases_have_none(
    console: Console, hand: Hand, bare: Database, consoles: Consoles
) -> None:
    hand.create(ODD, "", "%s")
    hand.subscribe(ODD, ODD, "")
    assert {r.queue for r in await console.rows("queue.queues")} == {"orders", "idle", ODD, "", "%s"}
    rows = await console.rows("queue.consumers", queue=ODD, exact=True)
    assert {(r.consumer, r.exact_events) for r in rows} == {(ODD, 0), ("", 0)}
    empty = await consoles(bare.dsn)
    for view in ("queue.queues", "queue.consumers", "queue.retries", "queue.triggers", "queue.blockers"):
        assert await empty.rows(view) == []
    assert [(r.state, r.queues) for r in await empty.rows("queue.daemon")] == [("not needed", 0)]


async def test_a_database_without_pgq_says_what_would_install_it(
    database: Database, consoles: Consoles
) -> None:
    facts = (await consoles(database.dsn)).session.facts
    for view in ("queue.queues", "queue.nodes"):
        assert "has no extension pgq; CREATE EXTENSION pgq installs it" in find_view(view).needs.missing(
            facts
        )


async def test_a_role_without_privileges_sees_queues_and_consumers(
    role_in: Callable[..., str], consoles: Consoles, hand: Hand
) -> None:
    plain = await consoles(role_in())
    row = await the(plain, "orders")
    assert (row.consumers, row.retries, row.new_events) == (2, None, 0)
    assert [r.state for r in await plain.rows("queue.consumers", queue="orders")] == ["caught up", "working"]
    [daemon] = await plain.rows("queue.daemon")
    assert (daemon.state, daemon.pgqd) == ("ticking", None)


async def test_a_standby_shows_what_it_knows(own_cluster: OwnClusters, consoles: Consoles) -> None:
    primary = own_cluster()
    demand_pgq(primary)
    primary.psql("CREATE DATABASE shop")
    shop = Database(primary, "shop")
    sample(shop)
    standby = own_cluster.standby(primary)
    [(written,)] = shop.execute("SELECT pg_current_wal_lsn()::text")
    until(
        lambda: standby.psql("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", params=[written]) == [(True,)]
    )
    console = await consoles(standby.dsn("shop"))
    row = await the(console, "orders")
    assert (row.consumers, row.events, row.new_events, row.rotation) == (2, None, None, "not due")
    rows = await console.rows("queue.consumers", queue="orders", exact=True)
    assert [(r.consumer, r.exact_events) for r in rows] == [("good", 0), ("slow", 1)]
    rows = await console.rows("queue.events", queue="orders", consumer="slow")
    assert [r.data for r in rows] == ["first"]
    facts = console.session.facts
    assert find_view("queue.daemon").needs.missing(facts) == "this is a standby; it works on the primary"


async def test_triggers_tell_what_they_do(console: Console, pgq: Database) -> None:
    pgq.execute("CREATE TABLE goods (id int PRIMARY KEY, name text, note text)")
    capture(pgq, "goods", "logutriga", "orders", "ignore=note,name", "when=id > 5", "backup")
    [row] = await console.rows("queue.triggers")
    assert (row.queue, row.table, row.encoding) == ("orders", "public.goods", "urlencoded")
    assert (row.operations, row.timing, row.fires) == ("insert, update, delete", "after", "yes")
    assert (row.ignore, row.condition, row.other, row.key) == ("note,name", "id > 5", "backup", None)
    assert (await console.judged("queue.triggers")).findings == {}


@pytest.mark.parametrize(
    ("arguments", "health", "sentence"),
    [
        (("nowhere",), Health.CRITICAL, "changes of public.goods fail: there is no queue nowhere"),
        (("orders", "ignroe=x"), Health.CRITICAL, "PgQ knows no argument ignroe=x"),
        (("orders", "SKIP"), Health.CRITICAL, "SKIP works only before a change"),
        ((), Health.CRITICAL, "it names no queue"),
        (("orders",), Health.WARNING, "without a key updates and deletes fail"),
        (("orders", "pkey=id"), Health.OK, ""),
        (("orders", "deny", "pkey=id"), Health.OK, ""),
    ],
)
async def test_a_trigger_that_fails_is_told_before_it_does(
    console: Console, pgq: Database, arguments: tuple[str, ...], health: Health, sentence: str
) -> None:
    pgq.execute("CREATE TABLE goods (id int)")
    capture(pgq, "goods", "sqltriga", *arguments)
    judged = (await console.judged("queue.triggers")).of(("public.goods", "by sqltriga"))
    assert judged.health is health
    assert sentence in judged.sentence
    fails = False
    try:
        pgq.execute("INSERT INTO goods VALUES (1)")
        pgq.execute("UPDATE goods SET id = 1")
    except psycopg.Error:
        fails = True
    assert fails is (health is not Health.OK or "deny" in arguments)


async def test_triggers_that_do_not_fire_or_may_not_insert(console: Console, pgq: Database) -> None:
    pgq.execute(sql.SQL("CREATE TABLE {} (id int PRIMARY KEY)").format(sql.Identifier(ODD)))
    capture(pgq, ODD, "jsontriga", "orders")
    pgq.execute("UPDATE pgq.queue SET queue_disable_insert = true")
    [finding] = (await console.judged("queue.triggers")).findings.values()
    assert "inserts into queue orders are disabled" in finding.sentence
    assert "\x1b" not in finding.sentence
    pgq.execute(sql.SQL("ALTER TABLE {} DISABLE TRIGGER USER").format(sql.Identifier(ODD)))
    pgq.execute("UPDATE pgq.queue SET queue_disable_insert = false")
    [finding] = (await console.judged("queue.triggers")).findings.values()
    assert finding.sentence == "it is disabled: changes stay out of the queue"


async def test_nobody_ticks(console: Console, hand: Hand) -> None:
    for queue in ("orders", "idle"):
        hand.age_ticks(queue, "10 min")
    [row] = await console.rows("queue.daemon")
    assert (row.serves, row.state, row.late, row.queues, row.pgqd) == (
        console.session.facts.database, "absent", 2, 2, False,
    )  # fmt: skip
    judged = await console.judged("queue.daemon")
    assert judged.overall.health is Health.CRITICAL
    assert "no pgqd is connected: 2 of 2 queues" in judged.overall.sentence


async def test_limits_of_the_inventory_hold_for_any_column(console: Console, hand: Hand) -> None:
    view = find_view("queue.consumers")
    [row] = await console.rows("queue.consumers", queue="idle")
    old = replace(row, lag=timedelta(minutes=20))
    limits = Limits({"lag": ("5min", "1h")})
    assert judge(view, [old], limits).overall.health is Health.WARNING
    assert judge(view, [row], limits).overall.health is Health.OK


async def test_an_unknown_queue_is_refused(console: Console) -> None:
    with pytest.raises(Refused, match="has no queue ordesr"):
        await console.rows("queue.consumers", queue="ordesr")
    with pytest.raises(Refused, match="there is no consumer nobody"):
        await console.rows("queue.consumers", consumer="nobody")
