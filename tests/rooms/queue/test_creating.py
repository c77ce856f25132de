"""PgQ brought into a database, and queues made and dropped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from backend.core.declare import Danger
from backend.core.errors import Missing, Refused, Usage
from tests.rooms.jobmon.conftest import Console, Consoles
from tests.rooms.queue.conftest import ODD, Hand, available, demand_pgq
from tests.servers import Database, OwnClusters


def state(database: Database) -> Any:
    """All that a plan must leave alone."""
    return [
        database.execute(f"SELECT * FROM pgq.{table} ORDER BY 1, 2")
        for table in ("queue", "consumer", "subscription", "event_template")
    ] + [database.execute("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1")]


async def test_installs_pgq(database: Database, consoles: Consoles) -> None:
    demand_pgq(database.server)
    console = await consoles(database.dsn)
    plan = await console.plan("queue.install")
    assert (
        "GRANT pgq_reader lets a role consume, GRANT pgq_writer insert, GRANT pgq_admin administer"
        in plan.notes
    )
    assert database.execute("SELECT to_regnamespace('pgq')") == [(None,)]
    assert (await console.done("queue.install"))["version"].startswith("3.")
    with pytest.raises(Refused, match=r"has pgq 3\.\d.* already"):
        await console.plan("queue.install")


async def test_a_server_without_the_package_names_it(database: Database, consoles: Consoles) -> None:
    if available(database, "pgq"):
        pytest.skip("this server has PgQ")
    with pytest.raises(Missing) as caught:
        await (await consoles(database.dsn)).plan("queue.install")
    assert caught.value.hint == f"it comes with the package postgresql-{database.server.major}-pgq3"


async def test_pgq_that_was_loaded_as_plain_sql_is_left_alone(database: Database, consoles: Consoles) -> None:
    demand_pgq(database.server)
    database.execute("CREATE SCHEMA pgq")
    with pytest.raises(Refused, match="a schema pgq that belongs to no extension"):
        await (await consoles(database.dsn)).plan("queue.install")


async def test_only_a_superuser_installs(
    database: Database, consoles: Consoles, role_in: Callable[..., str]
) -> None:
    name = conninfo_to_dict(role_in("pgq_admin"))["user"]
    console = await consoles(database.server.dsn(database.name, user=str(name)))
    with pytest.raises(Missing, match="only a superuser installs pgq"):
        await console.plan("queue.install")


@pytest.mark.parametrize("name", ["new", ODD, "a" * 200])
async def test_creates_a_queue(console: Console, pgq: Database, name: str) -> None:
    before = state(pgq)
    assert (await console.plan("queue.create", queue=name)).subject == name
    assert state(pgq) == before
    assert (await console.done("queue.create", queue=name))["queue"] == name
    assert pgq.execute("SELECT count(*) FROM pgq.get_queue_info(%s)", [name]) == [(1,)]


@pytest.mark.parametrize(
    ("name", "error", "sentence"),
    [
        ("", Usage, "--queue is empty"),
        ("  ", Usage, "--queue is empty"),
        ("a\0b", Usage, "zero byte"),
        ("a" * 201, Usage, "201 characters"),
        ("orders", Refused, "there is a queue orders already"),
    ],
)
async def test_an_impossible_queue_is_not_created(
    console: Console, name: str, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        await console.plan("queue.create", queue=name)


async def test_a_queue_that_was_created_meanwhile_is_told(console: Console, hand: Hand) -> None:
    run = await console.start("queue.create", queue="new")
    hand.create("new")
    report = await run.execute()
    assert report.error is not None
    assert report.error.message == "queue new was created elsewhere meanwhile"


async def test_drops_an_unused_queue(console: Console, hand: Hand) -> None:
    hand.create(ODD)
    plan = await console.plan("queue.drop", queue=ODD)
    assert (plan.danger, plan.subject) == (Danger.DESTROY, ODD)
    await console.done("queue.drop", queue=ODD)
    assert hand.value("SELECT count(*) FROM pgq.queue WHERE queue_name = %s", ODD) == 0
    assert hand.value("SELECT count(*) FROM pg_class WHERE relname LIKE 'event\\_3%%'") == 0


async def test_a_queue_with_consumers_goes_only_by_force(console: Console, hand: Hand) -> None:
    hand.insert("orders", ("t", "x"), ("t", "y"))
    hand.tick("orders")
    before = state(hand.database)
    with pytest.raises(Refused) as caught:
        await console.plan("queue.drop", queue="orders")
    assert caught.value.message == "queue orders has 2 consumers: good, slow"
    plan = await console.plan("queue.drop", queue="orders", force=True)
    assert "3 events not delivered to all of 2 consumers" in plan.notes
    assert [r.consumer for r in plan.rows] == ["good", "slow"]
    assert state(hand.database) == before
    result = await console.done("queue.drop", queue="orders", force=True)
    assert result == {"queue": "orders", "consumers": ["good", "slow"], "triggers": []}
    assert hand.value("SELECT count(*) FROM pgq.queue WHERE queue_name = 'orders'") == 0


async def test_a_consumer_that_comes_meanwhile_keeps_the_queue(console: Console, hand: Hand) -> None:
    hand.database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    hand.database.execute(
        "CREATE TRIGGER tr AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION pgq.logutriga('orders')"
    )
    run = await console.start("queue.drop", queue="orders", force=True)
    hand.subscribe("orders", "new")
    before = state(hand.database)
    report = await run.execute()
    assert report.error is not None
    assert "consumers still attached" in report.error.message
    assert state(hand.database) == before


async def test_a_queue_that_is_fed_goes_only_by_force_and_takes_the_trigger_along(
    console: Console, hand: Hand
) -> None:
    hand.create("fed")
    hand.database.execute('CREATE TABLE "T 1" (id int PRIMARY KEY)')
    hand.database.execute(
        'CREATE TRIGGER tr AFTER INSERT ON "T 1" FOR EACH ROW'
        " EXECUTE FUNCTION pgq.jsontriga('fed', 'backup')"
    )
    with pytest.raises(Refused, match=r"queue fed is fed by a trigger of public\.T 1"):
        await console.plan("queue.drop", queue="fed")
    await console.done("queue.drop", queue="fed", force=True)
    hand.database.execute('INSERT INTO "T 1" VALUES (1)')


async def test_the_queue_of_a_cascade_is_not_dropped(console: Console, hand: Hand) -> None:
    demand_pgq(hand.database.server, "pgq_node")
    hand.database.execute("CREATE EXTENSION pgq_node")
    hand.create("cascade")
    hand.value("SELECT pgq_node.register_location('cascade', 'n1', 'dbname=x', false)")
    hand.value("SELECT pgq_node.create_node('cascade', 'root', 'n1', 'w', NULL, NULL, NULL)")
    await console.session.refresh_facts()
    with pytest.raises(Refused, match="queue cascade belongs to node n1 of a cascade"):
        await console.plan("queue.drop", queue="cascade", force=True)


@pytest.mark.parametrize(
    "action", ["queue.drop", "queue.tick", "queue.pause_ticker", "queue.disable_inserts"]
)
async def test_an_unknown_queue_is_refused_with_the_nearest(console: Console, action: str) -> None:
    with pytest.raises(Refused) as caught:
        await console.plan(action, queue="order")
    assert caught.value.hint == "did you mean orders?"


@pytest.mark.parametrize(
    ("action", "params"),
    [
        ("queue.create", {"queue": "q"}),
        ("queue.drop", {"queue": "orders"}),
        ("queue.configure", {"queue": "orders", "ticker_max_count": 1}),
        ("queue.maintain", {}),
        ("queue.tick", {"queue": "orders"}),
    ],
)
async def test_administration_names_the_role_that_it_takes(
    role_in: Callable[..., str], consoles: Consoles, action: str, params: dict[str, Any]
) -> None:
    console = await consoles(role_in("pgq_reader", "pgq_writer"))
    with pytest.raises(Missing, match="GRANT pgq_admin TO"):
        await console.plan(action, **params)


async def test_an_administrator_of_queues_needs_no_more(
    role_in: Callable[..., str], consoles: Consoles
) -> None:
    console = await consoles(role_in("pgq_admin"))
    await console.done("queue.create", queue="q")
    await console.done("queue.configure", queue="q", ticker_max_count=1)
    await console.done("queue.disable_inserts", queue="q")
    await console.done("queue.enable_inserts", queue="q")
    await console.done("queue.register", queue="q", consumer="c")
    await console.done("queue.insert", queue="q", type="t")
    await console.done("queue.tick", queue="q")
    await console.done("queue.maintain")
    await console.done("queue.unregister", queue="q", consumer="c")
    await console.done("queue.drop", queue="q")


async def test_on_a_standby_nothing_is_changed(own_cluster: OwnClusters, consoles: Consoles) -> None:
    primary = own_cluster()
    demand_pgq(primary)
    primary.psql("CREATE EXTENSION pgq")
    primary.psql("SELECT pgq.create_queue('q')")
    console = await consoles(own_cluster.standby(primary).dsn())
    with pytest.raises(Refused, match="this is a standby; it works on the primary"):
        await console.plan("queue.create", queue="r")
    with pytest.raises(Refused, match="this is a standby"):
        await console.plan("queue.insert", queue="q", type="t")
