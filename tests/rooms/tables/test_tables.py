"""The view `tables.tables`: sizes, what is due, and how far from frozen."""

from __future__ import annotations

import time
from typing import Any

import psycopg
import pytest

from backend.core.declare import Health
from backend.core.errors import Usage
from tests.rooms.tables.conftest import Console, Consoles
from tests.servers import Database, OwnClusters

ODD = 'o"d %s\n.name'
QUOTED = 'public."o""d %s\n.name"'


def counted(database: Database, condition: str) -> None:
    """Wait until the statistics say so; they are written when a session has ended."""
    deadline = time.monotonic() + 20
    while not database.execute(f"SELECT 1 FROM pg_stat_user_tables WHERE {condition}"):
        assert time.monotonic() < deadline, condition
        time.sleep(0.02)


async def one(console: Console, name: str) -> Any:
    [row] = [r for r in await console.rows("tables.tables") if r.name == name]
    return row


async def test_tells_size_and_rows_of_a_table(console: Console, database: Database) -> None:
    database.execute('CREATE TABLE "o""d %s\n.name" (i int PRIMARY KEY)')
    database.execute('INSERT INTO "o""d %s\n.name" SELECT generate_series(1, 100)')
    database.execute('DELETE FROM "o""d %s\n.name" WHERE i <= 20')
    counted(database, "n_dead_tup = 20")
    [row] = await console.rows("tables.tables")
    [(size,)] = database.execute(
        "SELECT pg_total_relation_size(oid) FROM pg_class WHERE relname ~ '^o.d' AND relkind = 'r'"
    )
    assert (row.table, row.schema, row.name) == (QUOTED, "public", ODD)
    assert (row.bytes, row.live, row.dead, row.dead_percent) == (size, 80, 20, 20.0)
    assert row.last_vacuum is None
    assert row.last_analyze is None
    assert row.freeze < 1
    assert row.dead_limit == 50


async def test_tells_what_is_due_by_the_general_thresholds(console: Console, database: Database) -> None:
    database.execute("CREATE TABLE t AS SELECT generate_series(1, 100) AS i")
    database.execute("ANALYZE t")
    assert (await one(console, "t")).dead_limit == 50 + 0.2 * 100
    database.execute("DELETE FROM t WHERE i <= 70")
    counted(database, "n_dead_tup = 70")
    assert (await one(console, "t")).due == "analyze"
    database.execute("DELETE FROM t WHERE i = 71")
    counted(database, "n_dead_tup = 71")
    row = await one(console, "t")
    assert row.due == "vacuum, analyze"
    assert row.last_analyze is not None


async def test_a_tables_own_thresholds_go_before(console: Console, database: Database) -> None:
    database.execute(
        "CREATE TABLE t (i int) WITH (autovacuum_vacuum_threshold = 5, autovacuum_vacuum_scale_factor = 0,"
        " autovacuum_analyze_threshold = 1000, autovacuum_vacuum_insert_threshold = 20)"
    )
    database.execute("INSERT INTO t SELECT generate_series(1, 20)")
    counted(database, "n_tup_ins = 20")
    assert (await one(console, "t")).due is None
    database.execute("INSERT INTO t VALUES (21)")
    database.execute("UPDATE t SET i = i + 1 WHERE i <= 6")
    counted(database, "n_dead_tup = 6 AND n_tup_ins = 21")
    row = await one(console, "t")
    assert (row.dead_limit, row.due) == (5, "vacuum, vacuum after inserts")


async def test_inserts_are_not_counted_where_that_is_switched_off(
    console: Console, database: Database
) -> None:
    database.execute("CREATE TABLE t (i int) WITH (autovacuum_vacuum_insert_threshold = -1)")
    database.execute("INSERT INTO t SELECT generate_series(1, 5000)")
    counted(database, "n_tup_ins = 5000")
    assert (await one(console, "t")).due == "analyze"


async def test_from_18_on_a_large_table_is_due_at_the_cap(console: Console, database: Database) -> None:
    if console.session.facts.major < 18:
        pytest.skip("the cap came with PostgreSQL 18")
    database.execute("CREATE TABLE t (i int) WITH (autovacuum_vacuum_max_threshold = 30)")
    database.execute("CREATE TABLE free (i int) WITH (autovacuum_vacuum_max_threshold = -1)")
    assert (await one(console, "t")).dead_limit == 30
    assert (await one(console, "free")).dead_limit == 50


async def test_dead_rows_are_a_warning_where_autovacuum_is_off(
    own_cluster: OwnClusters, consoles: Consoles
) -> None:
    server = own_cluster({"autovacuum": "on", "autovacuum_naptime": "1h"})
    off = " WITH (autovacuum_enabled = off)"
    database = Database(server, "postgres")
    for name, options, gone in (("kept", "", 1000), ("forgotten", off, 1000), ("emptied_whole", off, 0)):
        server.psql(f"CREATE TABLE {name} (i int){options}")
        server.psql(f"INSERT INTO {name} SELECT generate_series(1, 2000)")
        server.psql(f"DELETE FROM {name} WHERE i <= {gone}")
        counted(database, f"relname = '{name}' AND n_tup_ins = 2000 AND n_dead_tup = {gone}")
    judged = await (await consoles(server.dsn())).judged("tables.tables")
    assert judged.overall.health is Health.WARNING
    assert judged.overall.sentence == (
        "public.forgotten: due: vacuum, vacuum after inserts, analyze, and autovacuum is off for it"
    )
    assert list(judged.findings) == [("public.forgotten",)]


async def test_an_old_table_is_near_its_freeze_limit_and_catalogs_are_shown_then(
    own_cluster: OwnClusters, consoles: Consoles
) -> None:
    server = own_cluster({"autovacuum_freeze_max_age": "100000", "autovacuum": "off"})
    server.psql("CREATE TABLE old AS SELECT 1 AS i")
    server.psql(
        "CREATE PROCEDURE burn() LANGUAGE plpgsql AS $$ BEGIN FOR i IN 1..130000 LOOP"
        " PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
    )
    server.psql("CALL burn()")
    console = await consoles(server.dsn())
    judged = await console.judged("tables.tables")
    row = await one(console, "old")
    assert row.due is not None and row.due.startswith("freeze")
    assert 125 < row.freeze < 140
    assert row.xid_age > 125_000
    assert judged.overall.health is Health.CRITICAL
    assert {r.schema for r in await console.rows("tables.tables")} >= {"public", "pg_catalog"}


async def test_a_table_that_somebody_has_for_himself_is_listed_without_its_size(
    console: Console, database: Database
) -> None:
    database.execute("CREATE TABLE t (i int PRIMARY KEY)")
    with psycopg.connect(database.dsn) as other:
        other.execute("LOCK TABLE t")
        assert (await one(console, "t")).bytes is None
    with psycopg.connect(database.dsn) as other:
        other.execute("REINDEX INDEX t_pkey")
        assert (await one(console, "t")).bytes is None
    assert (await one(console, "t")).bytes is not None


async def test_the_limit_keeps_what_is_due_then_the_largest(console: Console, database: Database) -> None:
    database.execute("CREATE TABLE small (i int)")
    database.execute("CREATE TABLE large AS SELECT generate_series(1, 10000) AS i")
    database.execute("CREATE TABLE due AS SELECT generate_series(1, 100) AS i")
    database.execute("VACUUM ANALYZE")
    database.execute("DELETE FROM due")
    counted(database, "relname = 'due' AND n_dead_tup = 100")
    assert [r.name for r in await console.rows("tables.tables", limit=1)] == ["due"]
    assert [r.name for r in await console.rows("tables.tables", limit=2)] == ["large", "due"]
    with pytest.raises(Usage, match="--limit wants 1 to 100000, not 0"):
        await console.rows("tables.tables", limit=0)
