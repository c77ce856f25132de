"""The view `tables.sequences`: how far each is used up."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from backend.core.declare import Health
from tests.rooms.tables.conftest import Console, Consoles
from tests.servers import Database


async def one(console: Console, name: str) -> Any:
    [row] = [r for r in await console.rows("tables.sequences") if r.sequence == name]
    return row


@pytest.mark.parametrize(
    ("definition", "value", "used", "health"),
    [
        ("AS smallint", 24576, 75.0, Health.WARNING),
        ("AS smallint", 24570, 74.98, Health.OK),
        ("AS int", 1932735283, 90.0, Health.CRITICAL),
        ("MAXVALUE 101 MINVALUE 1", 91, 90.0, Health.CRITICAL),
        ("INCREMENT -1 MINVALUE -101 MAXVALUE -1", -91, 90.0, Health.CRITICAL),
        ("MINVALUE -100 MAXVALUE 100 START -100", 50, 75.0, Health.WARNING),
        ("MINVALUE -9223372036854775808 START -9223372036854775808", -9223372036854775808, 0, Health.OK),
        ("INCREMENT -9223372036854775808 START 1 MAXVALUE 9223372036854775807", 1, 50, Health.OK),
        ("MAXVALUE 100 CYCLE", 99, None, Health.OK),
    ],
)
async def test_tells_how_far_it_is(
    console: Console, database: Database, definition: str, value: int, used: float | None, health: Health
) -> None:
    database.execute(f"CREATE SEQUENCE s {definition}")
    database.execute(f"SELECT setval('s', {value})")
    row = await one(console, "public.s")
    assert row.last_value == value
    assert row.used == (None if used is None else pytest.approx(used, abs=0.01))
    assert (await console.judged("tables.sequences")).overall.health is health


async def test_one_that_was_never_used_is_at_its_beginning(console: Console, database: Database) -> None:
    database.execute("CREATE SEQUENCE s")
    row = await one(console, "public.s")
    assert (row.last_value, row.used, row.remaining, row.readable) == (None, None, None, True)
    assert (await console.judged("tables.sequences")).overall.health is Health.OK


async def test_the_column_may_end_before_the_sequence(console: Console, database: Database) -> None:
    database.execute('CREATE TABLE "T t" (id smallint, x int GENERATED ALWAYS AS IDENTITY)')
    database.execute('CREATE SEQUENCE s OWNED BY "T t".id')
    database.execute("SELECT setval('s', 32000)")
    row = await one(console, "public.s")
    assert (row.bound, row.remaining, row.type) == (32767, 767, "smallint")
    assert row.fills == 'public."T t".id'
    assert row.used is not None and row.used > 97
    assert (await one(console, 'public."T t_x_seq"')).fills == 'public."T t".x'


async def test_one_that_would_begin_anew_too_late_for_its_column_is_counted(
    console: Console, database: Database
) -> None:
    database.execute("CREATE TABLE t (id int)")
    database.execute("CREATE SEQUENCE s CYCLE OWNED BY t.id")
    database.execute("SELECT setval('s', 2147483000)")
    assert (await one(console, "public.s")).used > 99


async def test_one_beyond_the_end_of_its_column_is_used_up(console: Console, database: Database) -> None:
    database.execute("CREATE TABLE t (id int)")
    database.execute("CREATE SEQUENCE s OWNED BY t.id")
    database.execute("SELECT setval('s', 9223372036854775807)")
    row = await one(console, "public.s")
    assert (row.used, row.remaining) == (100, 0)


async def test_says_which_grant_lets_a_role_read_them(
    console: Console, consoles: Consoles, database: Database
) -> None:
    database.execute("CREATE SEQUENCE s")
    database.execute("SELECT nextval('s')")
    database.execute("CREATE ROLE watcher LOGIN")
    few = await consoles(make_conninfo(database.dsn, user="watcher"))
    judged = await few.judged("tables.sequences")
    assert judged.overall.health is Health.UNKNOWN
    assert judged.overall.sentence == (
        "this role may not read 1 sequence; GRANT pg_read_all_data to it lets it look"
    )
    database.execute("GRANT pg_read_all_data TO watcher")
    assert (await few.judged("tables.sequences")).overall.health is Health.OK
    await few.session.close()
    database.execute("DROP ROLE watcher")


async def test_one_that_is_being_altered_is_left_unread(console: Console, database: Database) -> None:
    database.execute("CREATE SEQUENCE s")
    with psycopg.connect(database.dsn) as other:
        other.execute("ALTER SEQUENCE s MAXVALUE 100")
        assert (await one(console, "public.s")).last_value is None
