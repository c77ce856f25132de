"""The partition sets of the lab, on every server."""

from __future__ import annotations

import psycopg
import pytest

from backend.lab.partitions import make_partitions
from tests.rooms.jobmon.conftest import Console, Consoles
from tests.rooms.partman.conftest import consoles as consoles
from tests.rooms.partman.conftest import has_partman
from tests.servers import Database


@pytest.fixture
async def console(database: Database, consoles: Consoles) -> Console:
    """A console on a database with the lab's sets."""
    with psycopg.connect(database.dsn) as connection:
        make_partitions(connection)
    return await consoles(database.dsn)


async def test_the_sets_have_something_to_show(database: Database, console: Console) -> None:
    sets = {row.parent.removeprefix("public."): row for row in await console.rows("partman.sets")}
    assert sets["visits"].default_rows == 1
    assert sets["receipts"].gaps == 1
    assert sets["receipts"].ids_left == 4999 - 900
    assert not sets["audits"].managed and sets["audits"].default_rows is None
    if not has_partman(database):
        assert set(sets) == {"visits", "receipts", "audits"}
        return
    assert sets["readings"].due >= 6
    assert sets["visits"].managed and sets["receipts"].managed
    assert sum(row.part_of == "public.sales" for row in sets.values()) >= 3
    judged = await console.judged("partman.sets")
    assert {key[0] for key in judged.findings} == {"public.visits", "public.receipts", "public.audits"}


def test_what_is_there_already_is_left_alone(database: Database, console: Console) -> None:
    before = database.execute("SELECT count(*) FROM pg_class")
    with psycopg.connect(database.dsn) as connection:
        make_partitions(connection)
    assert database.execute("SELECT count(*) FROM pg_class") == before
