"""The view `tables.indexes`: what is invalid, duplicate or never used."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from backend.core.declare import Health
from tests.rooms.tables.conftest import Console, Consoles
from tests.servers import Database


async def problems(console: Console) -> dict[str, str | None]:
    rows = await console.rows("tables.indexes", findings=False)
    return {r.index.removeprefix("public."): r.problem for r in rows}


@pytest.fixture
def orders(database: Database) -> Database:
    """A table with some indexes."""
    database.execute("CREATE TABLE orders (id int PRIMARY KEY, a int, b text, span int4range)")
    return database


def fail_to_build(database: Database, statement: str) -> None:
    """Leave an invalid index: the build fails on rows that are not unique."""
    database.execute("INSERT INTO orders (id, a) VALUES (1, 1), (2, 1)")
    with pytest.raises(psycopg.Error):
        database.execute(statement)


async def test_keys_and_constraints_are_never_called_unused(console: Console, orders: Database) -> None:
    orders.execute("ALTER TABLE orders ADD UNIQUE (b), ADD EXCLUDE USING gist (span WITH &&)")
    orders.execute("CREATE UNIQUE INDEX only_one ON orders (a)")
    orders.execute("CREATE INDEX never ON orders (a, b)")
    assert await problems(console) == {
        "orders_pkey": None,
        "orders_b_key": None,
        "orders_span_excl": None,
        "only_one": None,
        "never": "unused",
    }
    assert [r.index for r in await console.rows("tables.indexes")] == ["public.never"]
    assert (await console.judged("tables.indexes")).overall.health is Health.OK


async def used(console: Console) -> list[Any]:
    return [r for r in await console.rows("tables.indexes", findings=False) if r.index == "public.used"]


async def test_an_index_that_was_used_is_not_called_unused(console: Console, orders: Database) -> None:
    orders.execute("CREATE INDEX used ON orders (a)")
    with psycopg.connect(orders.dsn) as connection:
        connection.execute("SET enable_seqscan = off")
        connection.execute("SELECT FROM orders WHERE a = 1")
    [row] = await used(console)
    while not row.scans:
        [row] = await used(console)
    assert (row.scans, row.problem) == (1, None)
    assert (row.last_scan is not None) is (console.session.facts.major >= 16)


async def test_duplicates_name_the_index_that_does_the_same(console: Console, orders: Database) -> None:
    for statement in (
        "CREATE INDEX plain ON orders (a)",
        "CREATE INDEX again ON orders (a)",
        "CREATE INDEX down ON orders (a DESC)",
        "CREATE INDEX wider ON orders (a) INCLUDE (b)",
        "CREATE INDEX low ON orders (lower(b)) WHERE a > 3",
        "CREATE INDEX   low_again   ON orders (   lower(b)) WHERE (a > 3)",
        "CREATE INDEX low_other ON orders (lower(b)) WHERE a > 4",
        "CREATE INDEX key_again ON orders (id)",
        "CREATE UNIQUE INDEX key_more ON orders (id)",
    ):
        orders.execute(statement)
    found = {
        r.index.removeprefix("public."): r.same_as
        for r in await console.rows("tables.indexes")
        if r.problem == "duplicate"
    }
    assert found == {
        "again": "public.plain",
        "low_again": "public.low",
        "key_again": "public.orders_pkey",
        "key_more": "public.orders_pkey",
    }


async def test_uniqueness_with_other_nulls_is_no_duplicate(console: Console, orders: Database) -> None:
    if console.session.facts.major < 15:
        pytest.skip("NULLS NOT DISTINCT came with PostgreSQL 15")
    orders.execute("CREATE UNIQUE INDEX one ON orders (a)")
    orders.execute("CREATE UNIQUE INDEX two ON orders (a) NULLS NOT DISTINCT")
    assert await console.rows("tables.indexes") == []


async def test_what_a_failed_build_left_is_a_warning(console: Console, orders: Database) -> None:
    fail_to_build(orders, 'CREATE UNIQUE INDEX CONCURRENTLY "le""ft\n%s" ON orders (a)')
    [row] = await console.rows("tables.indexes")
    assert (row.index, row.problem) == ('public."le""ft\n%s"', "invalid")
    judged = await console.judged("tables.indexes")
    assert judged.overall.health is Health.WARNING
    assert "tables.reindex --index makes it good" in judged.overall.sentence


async def test_an_index_that_is_being_built_is_not_called_invalid(
    console: Console, consoles: Consoles, orders: Database
) -> None:
    orders.execute("INSERT INTO orders (id) VALUES (1)")
    builder = threading.Thread(
        target=lambda: orders.execute("CREATE INDEX CONCURRENTLY coming ON orders (a)"), daemon=True
    )
    with psycopg.connect(orders.dsn) as writer:
        writer.execute("INSERT INTO orders (id) VALUES (2)")
        builder.start()
        while "coming" not in (seen := await problems(console)):
            assert builder.is_alive()
        orders.execute("CREATE ROLE looker LOGIN")
        few = await consoles(make_conninfo(orders.dsn, user="looker"))
        by_few = await problems(few)
        await few.session.close()
    builder.join(20)
    orders.execute("DROP ROLE looker")
    assert (seen["coming"], by_few["coming"]) == ("being built", "being built")
    assert (await problems(console))["coming"] == "unused"


async def test_partitions_of_an_index_tell_what_they_are_part_of(
    console: Console, database: Database
) -> None:
    database.execute("CREATE TABLE events (at int) PARTITION BY RANGE (at)")
    database.execute("CREATE TABLE events1 PARTITION OF events FOR VALUES FROM (1) TO (2)")
    database.execute("CREATE INDEX by_time ON events (at)")
    [row] = await console.rows("tables.indexes")
    assert (row.index, row.part_of) == ("public.events1_at_idx", "public.by_time")


async def test_says_since_when_the_statistics_count(console: Console, orders: Database) -> None:
    orders.execute("CREATE INDEX never ON orders (a)")
    [before] = await console.rows("tables.indexes")
    orders.execute("SELECT pg_stat_reset()")
    [after] = await console.rows("tables.indexes")
    while after.since == before.since:
        [after] = await console.rows("tables.indexes")
    assert after.since is not None
    assert before.since is None or before.since < after.since
