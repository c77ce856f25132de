"""The partition sets of the lab, on every server."""

from __future__ import annotations

import psycopg

from backend.lab.partitions import make_partitions
from tests.rooms.partman.conftest import has_partman
from tests.servers import Database


def test_the_sets_have_something_to_show(database: Database) -> None:
    with psycopg.connect(database.dsn) as connection:
        make_partitions(connection)
    assert database.execute("SELECT count(*) FROM visits_default") == [(1,)]
    assert database.execute("SELECT to_regclass('receipts_p1000'), to_regclass('receipts_p2000')") == [
        ("receipts_p1000", None)
    ]
    if has_partman(database):
        assert database.execute("SELECT count(*) FROM partman.part_config") == [(2,)]
