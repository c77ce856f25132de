"""Dropping extensions: who depends on them, and that nobody else goes."""

from __future__ import annotations

import psycopg
import pytest

from backend.core.declare import Danger
from backend.core.errors import Refused
from tests.rooms.extensions.conftest import Console
from tests.servers import Database


@pytest.fixture
def shop(database: Database) -> Database:
    """A database that uses hstore in every way."""
    for statement in (
        "CREATE EXTENSION hstore",
        "CREATE EXTENSION earthdistance CASCADE",
        'CREATE TABLE "o""d\n%s" (id int PRIMARY KEY, h hstore, plain text)',
        'CREATE INDEX by_h ON "o""d\n%s" USING gin (h)',
        'CREATE VIEW first AS SELECT h FROM "o""d\n%s"',
        "CREATE VIEW second AS SELECT h -> 'a' AS a FROM first",
        "CREATE MATERIALIZED VIEW kept AS SELECT 'a=>1'::hstore AS h",
        "CREATE DOMAIN filled AS hstore CHECK (VALUE <> '')",
        "CREATE TABLE filling (f filled, c text DEFAULT hstore('a', 'b')::text CHECK (c::hstore ? 'a'))",
        "CREATE TYPE pair AS (h hstore, i int)",
        "CREATE TABLE pairs (p pair[])",
        "CREATE FUNCTION f(hstore) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE TABLE stars (place earth)",
        "CREATE TABLE parts (i int, h hstore) PARTITION BY RANGE (i)",
        "CREATE TABLE parts1 PARTITION OF parts FOR VALUES FROM (1) TO (2)",
    ):
        database.execute(statement)
    return database


def as_the_server_says(database: Database, name: str) -> set[str]:
    """What the server says that it would drop too."""
    said: list[str] = []
    with psycopg.connect(database.dsn) as connection:
        connection.execute("SET search_path = pg_catalog")  # as the one that looks
        connection.add_notice_handler(lambda n: said.append(f"{n.message_primary}\n{n.message_detail or ''}"))
        connection.execute(f'DROP EXTENSION "{name}" CASCADE'.encode())
        connection.rollback()
    text = "\n".join(said)
    return {part.split("\ndrop cascades")[0].strip() for part in text.split("drop cascades to ")[1:]} - {
        part.strip() for part in text.split("drop cascades to ") if "other objects" in part
    }


@pytest.mark.parametrize("name", ["hstore", "cube"])
async def test_lists_the_same_as_the_server_would_drop(console: Console, shop: Database, name: str) -> None:
    plan = await console.plan("extensions.drop", name=name, cascade=True)
    assert {row.what for row in plan.rows} == as_the_server_says(shop, name)
    assert (plan.subject, plan.danger) == (name, Danger.DESTROY)
    assert any(note.startswith("goes too: column ") or "extension" in note for note in plan.notes)


async def test_refuses_while_something_depends_on_it(console: Console, shop: Database) -> None:
    with pytest.raises(Refused, match=r"and \d+ more depend on extension hstore") as refused:
        await console.plan("extensions.drop", name="hstore")
    assert refused.value.hint == "--cascade drops what depends on it, too"
    with pytest.raises(Refused, match="has no extension citext"):
        await console.plan("extensions.drop", name="citext")


async def test_drops_one_that_nobody_uses(console: Console, database: Database) -> None:
    database.execute("CREATE EXTENSION citext")
    plan = await console.plan("extensions.drop", name="citext")
    assert plan.danger is Danger.DESTROY
    assert plan.steps[0].text == 'DROP EXTENSION "citext" RESTRICT;'
    assert database.execute("SELECT count(*) FROM pg_extension") == [(2,)]
    told = await console.done("extensions.drop", name="citext")
    assert told == {"name": "citext", "version": None, "schema": None, "also": []}
    assert database.execute("SELECT count(*) FROM pg_extension") == [(1,)]


async def test_drops_what_depends_on_it(console: Console, shop: Database) -> None:
    await console.done("extensions.drop", name="hstore", cascade=True)
    assert shop.execute("SELECT count(*) FROM pg_extension WHERE extname = 'hstore'") == [(0,)]
    columns = "SELECT attname::text FROM pg_attribute WHERE attrelid = 'parts'::regclass AND attnum > 0"
    assert ("h",) not in shop.execute(columns)


async def test_does_not_drop_what_came_to_depend_on_it_meanwhile(console: Console, shop: Database) -> None:
    run = await console.start("extensions.drop", name="hstore", cascade=True)
    shop.execute("CREATE VIEW late AS SELECT a FROM second")
    report = await run.execute()
    assert report.error is not None
    assert report.error.message == "view late depends on hstore since the plan was made; nothing was dropped"
    assert shop.execute("SELECT count(*) FROM pg_extension WHERE extname = 'hstore'") == [(1,)]


async def test_names_the_tables_of_the_extension_itself(console: Console, database: Database) -> None:
    database.execute("CREATE EXTENSION hstore")
    database.execute('CREATE TABLE "its ow""n" (i int)')
    database.execute('ALTER EXTENSION hstore ADD TABLE "its ow""n"')
    plan = await console.plan("extensions.drop", name="hstore")
    assert plan.notes == ('its own tables go with their rows: public."its ow""n"',)
