"""Changes of tables that flow into a queue, and stop."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from backend.core.declare import Danger
from backend.core.errors import Refused, Usage
from tests.rooms.jobmon.conftest import Console, Consoles
from tests.rooms.queue.conftest import ODD, Hand
from tests.servers import Database

EVENTS = "SELECT ev_type, ev_data, ev_extra1, ev_extra2 FROM pgq.event_2 ORDER BY ev_id"
TRIGGERS = "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1"


@pytest.fixture
def tables(pgq: Database) -> Database:
    """Tables of every kind."""
    for statement in (
        "CREATE TABLE items (id int PRIMARY KEY, name text, amount int, secret text)",
        "CREATE TABLE keyless (id int, name text)",
        'CREATE TABLE "Odd ""%s"" t" (id int PRIMARY KEY, "a%b" text)',
        "CREATE TABLE parts (id int PRIMARY KEY, name text) PARTITION BY RANGE (id)",
        "CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100)",
        "CREATE VIEW seen AS SELECT 1 AS id",
        'CREATE TABLE shouted (id int PRIMARY KEY, "Big" int)',
    ):
        pgq.execute(statement)
    return pgq


def attached(**more: Any) -> dict[str, Any]:
    return {"queue": "idle", "table": "public.items"} | more


async def test_attaches_by_urlencoded(console: Console, tables: Database) -> None:
    before = tables.execute(TRIGGERS)
    plan = await console.plan("queue.attach_trigger", **attached())
    assert (plan.subject, plan.danger) == ("idle", Danger.CHANGE)
    assert tables.execute(TRIGGERS) == before
    result = await console.done("queue.attach_trigger", **attached())
    assert result["trigger"] == "to_queue_idle"
    tables.execute("INSERT INTO items VALUES (1, 'a b', 2, NULL)")
    tables.execute("UPDATE items SET name = 'c'")
    tables.execute("DELETE FROM items")
    assert tables.execute(EVENTS) == [
        ("I:id", "id=1&name=a+b&amount=2&secret", "public.items", None),
        ("U:id", "id=1&name=c&amount=2&secret", "public.items", None),
        ("D:id", "id=1&name=c&amount=2&secret", "public.items", None),
    ]


async def test_attaches_by_sql_and_by_json_with_all_arguments(console: Console, tables: Database) -> None:
    more = attached(
        ignore=["secret"],
        key=["id", "name"],
        filter="amount > 10 AND name <> '%s'",
        backup=True,
        truncate=True,
    )
    await console.done("queue.attach_trigger", **more, encoding="sql", trigger="by_sql")
    await console.done("queue.attach_trigger", **more, encoding="json", trigger="by_json")
    tables.execute("INSERT INTO items VALUES (1, 'a', 2, 'x'), (2, 'b', 20, 'y')")
    by_json, by_sql = tables.execute(EVENTS)
    assert json.loads(by_json[1]) == {"id": 2, "name": "b", "amount": 20}
    assert json.loads(by_json[0])["pkey"] == ["id", "name"]
    assert by_sql[:2] == ("I", "(id,name,amount) values ('2','b','20')")
    tables.execute("UPDATE items SET secret = 'z'")
    assert len(tables.execute(EVENTS)) == 2, "a change of an ignored column is no event"
    tables.execute("UPDATE items SET amount = 21 WHERE id = 2")
    old = tables.execute(EVENTS)[-1][3]
    assert "amount=20" in old
    tables.execute("TRUNCATE items")
    by_json, by_sql = tables.execute(EVENTS)[-2:]
    assert (json.loads(by_json[0])["op"], by_sql[0]) == ("TRUNCATE", "R")


@pytest.mark.parametrize("table", ['public.Odd "%s" t', 'public."Odd ""%s"" t"'])
async def test_any_names_do(console: Console, hand: Hand, tables: Database, table: str) -> None:
    hand.create(ODD)
    hand.subscribe(ODD, "c")
    await console.done(
        "queue.attach_trigger",
        queue=ODD,
        table=table,
        ignore=["a%b"],
        trigger="t",
        filter="id > 0 AND '--' <> '%'",
    )
    tables.execute(sql.SQL("INSERT INTO {} VALUES (1, 'x')").format(sql.Identifier('Odd "%s" t')))
    hand.tick(ODD)
    assert [d for _, _, d in hand.consume(ODD, "c")] == ["id=1"]
    await console.done("queue.detach_trigger", queue=ODD, table=table)
    assert tables.execute(TRIGGERS) == []


async def test_a_filter_names_columns_as_they_are(console: Console, tables: Database) -> None:
    await console.done("queue.attach_trigger", **attached(table="public.shouted", filter="Big > 1"))
    tables.execute("INSERT INTO shouted VALUES (1, 1), (2, 2)")
    assert [d for _, d, _, _ in tables.execute(EVENTS)] == ["id=2&Big=2"]


async def test_a_partitioned_table_has_one_trigger(console: Console, tables: Database) -> None:
    plan = await console.plan("queue.attach_trigger", **attached(table="public.parts"))
    assert "events name the partition, and each partition needs a primary key of its own" in plan.notes
    await console.done("queue.attach_trigger", **attached(table="public.parts"))
    tables.execute("INSERT INTO parts VALUES (1, 'x')")
    tables.execute("UPDATE parts SET name = 'y'")
    assert [(t, e) for t, _, e, _ in tables.execute(EVENTS)] == [
        ("I:id", "public.parts_1"),
        ("U:id", "public.parts_1"),
    ]
    assert (await console.done("queue.detach_trigger", queue="idle"))["dropped"] == [
        "public.parts.to_queue_idle"
    ]
    assert tables.execute(TRIGGERS) == []


@pytest.mark.parametrize(
    ("more", "error", "sentence"),
    [
        ({"queue": "idel"}, Refused, "has no queue idel"),
        ({"table": "public.item"}, Refused, "there is no table public.item"),
        ({"table": ""}, Usage, "--table is empty"),
        ({"table": "public.seen"}, Refused, "public.seen is no table"),
        ({"table": "public.keyless"}, Refused, "has no primary key, so every update and delete would fail"),
        ({"key": ["nope"]}, Refused, "has no column nope"),
        ({"ignore": ["nope"]}, Refused, "has no column nope"),
        ({"filter": "nope > 1"}, Usage, '--filter cannot be read: .*column "nope" does not exist'),
        ({"filter": "amount"}, Usage, "--filter cannot be read: .*must be type boolean"),
        ({"filter": "items.amount > 1"}, Usage, "--filter cannot be read"),
        ({"filter": "AMOUNT > 1"}, Usage, '--filter cannot be read: .*column "amount" does not exist'),
        ({"filter": '"amount" > 1'}, Usage, "a name in double quotes, which PgQ does not read"),
        ({"filter": " "}, Usage, "--filter is empty"),
        ({"filter": "true) AS x; DROP TABLE items; --"}, Usage, "--filter cannot be read"),
        ({"filter": "true) UNION ALL SELECT true --"}, Usage, "--filter cannot be read"),
        ({"trigger": "x" * 60}, Usage, "1 to 54 bytes"),
        ({"trigger": ""}, Usage, "1 to 54 bytes"),
    ],
)
async def test_what_would_make_changes_fail_is_refused(
    console: Console, tables: Database, more: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        await console.plan("queue.attach_trigger", **(attached() | more))
    assert tables.execute(TRIGGERS) == []


async def test_a_second_trigger_has_to_be_wanted(console: Console, tables: Database) -> None:
    await console.done("queue.attach_trigger", **attached())
    with pytest.raises(Refused, match="feeds queue idle already"):
        await console.plan("queue.attach_trigger", **attached())
    with pytest.raises(Refused, match="has a trigger to_queue_idle already"):
        await console.plan("queue.attach_trigger", **attached(trigger="to_queue_idle"))
    await console.done("queue.attach_trigger", **attached(trigger="another"))
    assert len((await console.done("queue.detach_trigger", **attached(trigger="another")))["dropped"]) == 1
    assert tables.execute(TRIGGERS) == [("to_queue_idle",)]


async def test_roles_that_could_not_change_the_table_any_more_are_named(
    console: Console, tables: Database, role_in: Callable[..., str]
) -> None:
    dsn = role_in()
    role = conninfo_to_dict(dsn)["user"]
    tables.execute(f'GRANT INSERT ON items TO "{role}"')
    with pytest.raises(Refused) as caught:
        await console.plan("queue.attach_trigger", **attached())
    assert "may change table public.items and insert no events" in caught.value.message
    assert caught.value.hint == f'GRANT "pgq_writer" TO "{role}"'
    tables.execute(str(caught.value.hint))
    await console.done("queue.attach_trigger", **attached())
    with psycopg.connect(dsn) as app:
        app.execute("INSERT INTO items VALUES (1, 'x')")
    assert len(tables.execute(EVENTS)) == 1


async def test_detaches_all_tables_also_from_a_queue_that_is_gone(
    console: Console, hand: Hand, tables: Database
) -> None:
    hand.create("gone")
    await console.done("queue.attach_trigger", queue="gone", table="public.items", truncate=True)
    await console.done("queue.attach_trigger", queue="gone", table="public.parts")
    hand.value("SELECT pgq.drop_queue('gone')")
    with pytest.raises(psycopg.Error, match="No such queue"):
        tables.execute("INSERT INTO items VALUES (1)")
    plan = await console.plan("queue.detach_trigger", queue="gone")
    assert plan.danger is Danger.DISRUPT
    assert len(tables.execute(TRIGGERS)) == 4
    result = await console.done("queue.detach_trigger", queue="gone")
    assert result["dropped"] == [
        "public.items.to_queue_gone",
        "public.items.to_queue_gone_truncate",
        "public.parts.to_queue_gone",
    ]
    tables.execute("INSERT INTO items VALUES (1)")


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"queue": "orders"}, "no table feeds queue orders"),
        (
            {"queue": "idle", "table": "public.items"},
            "table public.items has no trigger that feeds queue idle",
        ),
        ({"queue": "idle", "table": "public.nope"}, "there is no table public.nope"),
        ({"queue": "idle", "table": "public.items", "trigger": "t"}, "feeds by a trigger t queue idle"),
    ],
)
async def test_what_is_not_attached_is_not_detached(
    console: Console, tables: Database, params: dict[str, str], sentence: str
) -> None:
    with pytest.raises(Refused, match=sentence):
        await console.plan("queue.detach_trigger", **params)


async def test_the_owner_of_a_table_attaches_it(
    consoles: Consoles, tables: Database, role_in: Callable[..., str]
) -> None:
    dsn = role_in("pgq_writer")
    role = conninfo_to_dict(dsn)["user"]
    tables.execute(f'ALTER TABLE items OWNER TO "{role}"')
    console = await consoles(dsn)
    await console.done("queue.attach_trigger", **attached())
    await console.done("queue.detach_trigger", **attached())
    report = await console.run("queue.attach_trigger", **attached(table="public.parts"))
    assert report.error is not None
    assert report.error.exit_code == 5
