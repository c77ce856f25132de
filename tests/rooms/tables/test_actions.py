"""Vacuum, analyze and reindex: what they do, refuse, and leave alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from backend.core.declare import Danger
from backend.core.errors import Interrupted, Missing, Refused, Usage
from backend.core.run import Run
from backend.core.values import Interval
from tests.core.conftest import eventually
from tests.rooms.tables.conftest import Console, Consoles
from tests.servers import Database, OwnClusters

ODD = '"Odd ""s\n%s"'
FILE = "SELECT pg_relation_filenode(%s::regclass)"


@pytest.fixture
def orders(database: Database) -> Database:
    """A table of 1,000 rows, half of them dead, with a name that needs quotes."""
    database.execute(f"CREATE SCHEMA {ODD}")
    database.execute(f"CREATE TABLE {ODD}.orders (id int PRIMARY KEY, note text)")
    database.execute(f"INSERT INTO {ODD}.orders SELECT i, repeat('x', 100) FROM generate_series(1, 1000) i")
    database.execute(f"DELETE FROM {ODD}.orders WHERE id > 500")
    return database


@pytest.fixture
def few(database: Database) -> Iterator[str]:
    """A role with no rights."""
    role = f"{database.name} few"
    database.execute(f'CREATE ROLE "{role}" LOGIN')
    yield role
    database.execute(f'DROP OWNED BY "{role}"')
    database.execute(f'DROP ROLE "{role}"')


def dead(database: Database) -> Any:
    return database.execute("SELECT sum(pg_relation_size(oid)) FROM pg_class WHERE relname = 'orders'")[0][0]


def statements(plan: Any) -> list[str]:
    return [s.text for s in plan.steps if not s.text.startswith(("SET", "SELECT", "check"))]


async def test_vacuum_removes_dead_rows(console: Console, orders: Database) -> None:
    size = dead(orders)
    plan = await console.plan("tables.vacuum", table=f"{ODD}.orders")
    assert (plan.subject, plan.danger) == (f"{ODD}.orders", Danger.CHANGE)
    assert statements(plan) == [f'VACUUM {ODD}."orders";']
    assert dead(orders) == size
    done = await console.done("tables.vacuum", table=f"{ODD}.orders")
    assert dead(orders) < size
    assert done["name"] == f"{ODD}.orders"
    assert done["bytes"] < done["bytes_before"]
    assert orders.execute("SELECT last_vacuum IS NOT NULL FROM pg_stat_user_tables") == [(True,)]


async def test_a_full_vacuum_rewrites_the_table_and_disrupts(console: Console, orders: Database) -> None:
    before = orders.execute(FILE, [f"{ODD}.orders"])
    plan = await console.plan("tables.vacuum", table="orders", full=True, freeze=True, analyze=True)
    assert plan.danger is Danger.DISRUPT
    assert statements(plan) == [f'VACUUM (FULL, FREEZE, ANALYZE) {ODD}."orders";']
    assert plan.notes[0] == f"nobody can read or write {ODD}.orders until it is rewritten"
    assert orders.execute(FILE, [f"{ODD}.orders"]) == before
    await console.done("tables.vacuum", table="orders", full=True)
    assert orders.execute(FILE, [f"{ODD}.orders"]) != before


async def test_vacuum_can_leave_the_empty_end_of_a_table(console: Console, orders: Database) -> None:
    size = dead(orders)
    plan = await console.plan("tables.vacuum", table="orders", truncate=False)
    assert statements(plan) == [f'VACUUM (TRUNCATE off) {ODD}."orders";']
    await console.done("tables.vacuum", table="orders", truncate=False)
    assert dead(orders) >= size
    with pytest.raises(Usage, match="--truncate says nothing beside it"):
        await console.plan("tables.vacuum", table="orders", truncate=False, full=True)


async def test_analyze_brings_the_statistics_up_to_date(console: Console, orders: Database) -> None:
    await console.plan("tables.analyze", table="orders")
    assert orders.execute("SELECT count(*) FROM pg_stats WHERE tablename = 'orders'") == [(0,)]
    await console.done("tables.analyze", table="orders")
    assert orders.execute("SELECT count(*) FROM pg_stats WHERE tablename = 'orders'") == [(2,)]


async def test_vacuum_of_a_partitioned_table_reaches_its_partitions(
    console: Console, database: Database
) -> None:
    database.execute("CREATE TABLE events (at int) PARTITION BY RANGE (at)")
    database.execute("CREATE TABLE events1 PARTITION OF events FOR VALUES FROM (1) TO (100)")
    database.execute("INSERT INTO events SELECT generate_series(1, 99)")
    done = await console.done("tables.vacuum", table="public.events")
    assert done["bytes"] > 0
    assert database.execute(
        "SELECT last_vacuum IS NOT NULL FROM pg_stat_user_tables WHERE relname ~ '1'"
    ) == [(True,)]


async def test_reindex_builds_one_index_anew_beside_writers(console: Console, orders: Database) -> None:
    name = f"{ODD}.orders_pkey"
    before = orders.execute(FILE, [name])
    plan = await console.plan("tables.reindex", index=name, table=f"{ODD}.orders")
    assert (plan.subject, plan.danger) == (name, Danger.CHANGE)
    assert statements(plan) == [f'REINDEX INDEX CONCURRENTLY {ODD}."orders_pkey";']
    assert orders.execute(FILE, [name]) == before
    await console.done("tables.reindex", index=name)
    assert orders.execute(FILE, [name]) != before


async def test_reindex_that_shuts_writers_out_disrupts(console: Console, orders: Database) -> None:
    before = orders.execute(FILE, [f"{ODD}.orders_pkey"])
    plan = await console.plan("tables.reindex", table="orders", concurrently=False)
    assert plan.danger is Danger.DISRUPT
    assert statements(plan) == [f'REINDEX TABLE {ODD}."orders";']
    await console.done("tables.reindex", table="orders", concurrently=False)
    assert orders.execute(FILE, [f"{ODD}.orders_pkey"]) != before


async def test_reindex_tells_of_what_a_failed_build_left(console: Console, orders: Database) -> None:
    orders.execute(f"UPDATE {ODD}.orders SET note = 'same'")
    with pytest.raises(psycopg.Error):
        orders.execute(f"CREATE UNIQUE INDEX CONCURRENTLY orders_ccnew ON {ODD}.orders (note)")
    plan = await console.plan("tables.reindex", table="orders")
    assert plan.notes[0].startswith(f"invalid: {ODD}.orders_ccnew; DROP INDEX CONCURRENTLY removes")
    orders.execute(f"UPDATE {ODD}.orders SET note = id")
    await console.done("tables.reindex", index="orders_ccnew")
    assert await console.rows("tables.indexes") == []


@pytest.mark.parametrize("action", ["tables.vacuum", "tables.analyze", "tables.reindex"])
async def test_a_name_that_fits_nothing_or_several_is_refused(
    console: Console, orders: Database, action: str
) -> None:
    orders.execute("CREATE TABLE public.orders (i int)")
    with pytest.raises(Refused, match=r"(?s)fits several: .*public\.orders"):
        await console.plan(action, table="orders")
    assert (await console.plan(action, table="public.orders")).subject == "public.orders"
    assert (await console.plan(action, table='Odd "s\n%s.orders')).subject == f"{ODD}.orders"
    for name in (
        "nosuch",
        "public.nosuch",
        "public.orders; DROP TABLE orders",
        "orders_pkey",
        "a.b.c.d",
        '"',
    ):
        with pytest.raises(Refused, match="has no table"):
            await console.plan(action, table=name)
    for name, sentence in ((" ", "--table is empty"), ("a\0b", "--table holds a zero byte")):
        with pytest.raises(Usage, match=sentence):
            await console.plan(action, table=name)


async def test_reindex_wants_an_index_that_fits_its_table(console: Console, orders: Database) -> None:
    orders.execute("CREATE TABLE public.other (i int, r int4range, EXCLUDE USING gist (r WITH &&))")
    with pytest.raises(Usage, match="give --index, or --table"):
        await console.plan("tables.reindex")
    with pytest.raises(Refused, match=r"is no index of public\.other"):
        await console.plan("tables.reindex", index="orders_pkey", table="public.other")
    with pytest.raises(Refused, match="has no index other"):
        await console.plan("tables.reindex", index="other")
    with pytest.raises(Refused, match="serves an exclusion constraint"):
        await console.plan("tables.reindex", index="other_r_excl")
    with pytest.raises(Refused, match="belongs to the system"):
        await console.plan("tables.reindex", table="pg_catalog.pg_class")
    await console.done("tables.reindex", index="other_r_excl", concurrently=False)


@pytest.mark.parametrize("action", ["tables.vacuum", "tables.analyze", "tables.reindex"])
async def test_a_role_without_the_right_is_told_which_grant_helps(
    orders: Database, few: str, consoles: Consoles, action: str
) -> None:
    console = await consoles(make_conninfo(orders.dsn, user=few))
    [(owner,)] = orders.execute("SELECT current_user")
    with pytest.raises(Missing) as refused:
        await console.plan(action, table="orders")
    assert refused.value.message.endswith(f"{ODD}.orders, which belongs to {owner}")
    grant = (refused.value.hint or "").removesuffix(" lets it")
    assert grant.startswith(f'GRANT USAGE ON SCHEMA {ODD} TO "{few}"; GRANT ')
    assert ("GRANT MAINTAIN ON" in grant) is (console.session.facts.major >= 17)
    orders.execute(grant)
    assert (await console.plan(action, table="orders")).steps
    if console.session.facts.major >= 17:
        await console.done(action, table="orders")
    else:
        orders.execute(f'REVOKE "{owner}" FROM "{few}"')


async def test_a_right_that_is_lost_meanwhile_fails_instead_of_doing_nothing(
    orders: Database, few: str, consoles: Consoles
) -> None:
    orders.execute(f'GRANT USAGE ON SCHEMA {ODD} TO "{few}"')
    orders.execute(f'ALTER TABLE {ODD}.orders OWNER TO "{few}"')
    console = await consoles(make_conninfo(orders.dsn, user=few))
    run = await console.start("tables.vacuum", table="orders")
    orders.execute(f"ALTER TABLE {ODD}.orders OWNER TO CURRENT_USER")
    report = await run.execute()
    assert report.error is not None
    assert report.error.message.startswith(f"the role may not vacuum {ODD}.orders")
    assert orders.execute("SELECT last_vacuum FROM pg_stat_user_tables") == [(None,)]


async def test_a_plan_is_short_enough_to_be_read(console: Console, orders: Database) -> None:
    plan = await console.plan("tables.reindex", index="orders_pkey")
    name = f"{ODD}.orders_pkey"
    assert [s.text for s in plan.steps] == [
        "SET lock_timeout = '0ms';",
        f"SELECT pg_catalog.pg_total_relation_size('{name}'::pg_catalog.regclass) AS bytes;",
        f'REINDEX INDEX CONCURRENTLY {ODD}."orders_pkey";',
        f"SELECT pg_catalog.pg_total_relation_size('{name}'::pg_catalog.regclass) AS bytes;",
    ]


async def test_a_table_dropped_meanwhile_fails_with_a_sentence(console: Console, orders: Database) -> None:
    run = await console.start("tables.analyze", table="orders")
    orders.execute(f"DROP TABLE {ODD}.orders")
    report = await run.execute()
    assert report.error is not None
    assert report.error.message == f"{ODD}.orders is not there any more"


async def test_gives_up_when_a_lock_does_not_come(console: Console, orders: Database) -> None:
    with psycopg.connect(orders.dsn) as other:
        other.execute(f"LOCK TABLE {ODD}.orders IN SHARE UPDATE EXCLUSIVE MODE".encode())
        run = await console.start("tables.vacuum", table="orders")
        run.lock_wait = "50ms"
        report = await run.execute()
    assert report.error is not None
    assert report.error.sqlstate == "55P03"


async def test_a_rebuild_waits_for_older_transactions_for_as_long_as_it_is_told(
    console: Console, orders: Database
) -> None:
    with psycopg.connect(orders.dsn) as other:
        other.execute(f"DELETE FROM {ODD}.orders WHERE id = 1".encode())
        run = await console.start("tables.reindex", index="orders_pkey", lock_wait=Interval("50ms"))
        report = await run.execute()
    assert report.error is not None
    assert report.error.sqlstate == "55P03"
    for given, said in (({"concurrently": False}, "5000ms"), ({"lock_wait": Interval("1min")}, "60000ms")):
        plan = await console.plan("tables.reindex", index="orders_pkey", **given)
        assert plan.steps[0].text == f"SET lock_timeout = '{said}';"
    for nonsense in ("-1s", "1000d"):
        with pytest.raises(Usage, match="is no time to wait"):
            await console.plan("tables.reindex", index="orders_pkey", lock_wait=Interval(nonsense))


async def test_a_cancelled_rebuild_leaves_an_index_that_is_shown(console: Console, orders: Database) -> None:
    with psycopg.connect(orders.dsn) as other:
        other.execute(f"DELETE FROM {ODD}.orders WHERE id = 1".encode())
        run = await console.start("tables.reindex", index="orders_pkey")
        running = asyncio.create_task(run.execute())
        started = time.monotonic()
        while not [r for r in await console.rows("tables.indexes") if r.index.endswith("_ccnew")]:
            assert time.monotonic() - started < 20
            await asyncio.sleep(0.05)
        await run.cancel()
        report = await running
    assert report.error is not None
    assert report.error.kind == "interrupted"
    [row] = await console.rows("tables.indexes")
    assert (row.index, row.problem) == (f"{ODD}.orders_pkey_ccnew", "invalid")
    said = (await console.judged("tables.indexes")).overall.sentence
    assert said.endswith("left by a rebuild that did not end; DROP INDEX CONCURRENTLY removes it")
    assert any("named …_ccnew" in notice for notice in report.notices), "the log of the run says so too"


async def test_a_rebuild_tells_whom_it_waits_for(console: Console, orders: Database) -> None:
    with psycopg.connect(orders.dsn) as other:
        other.execute(f"DELETE FROM {ODD}.orders WHERE id = 1".encode())
        run = await console.start("tables.reindex", index="orders_pkey")
        running = asyncio.create_task(run.execute())
        await eventually(lambda: told(run, f"waits for process {other.info.backend_pid}"))
        assert run.step_progress is not None
        assert run.step_progress.phase.startswith("waiting for writers before build, ")
        assert (run.step_progress.done, run.step_progress.total) == (0, 1)
        assert run.step_progress.unit == "transactions"
    assert (await running).error is None


async def test_a_long_vacuum_tells_how_far_it_is_and_can_be_cancelled(
    console: Console, orders: Database
) -> None:
    orders.execute(f"INSERT INTO {ODD}.orders SELECT n, 'x' FROM generate_series(10000, 200000) n")
    orders.execute(f'ALTER DATABASE "{orders.name}" SET vacuum_cost_delay = 100')
    orders.execute(f'ALTER DATABASE "{orders.name}" SET vacuum_cost_limit = 1')
    run = await console.start("tables.vacuum", table="orders")
    running = asyncio.create_task(run.execute())
    await eventually(lambda: told(run, "scanning heap"))
    assert run.step_progress is not None
    assert run.step_progress.unit == "blocks"
    assert run.step_progress.done < (run.step_progress.total or 0)
    await run.cancel()
    assert isinstance((await running).error, Interrupted)


async def told(run: Run, phase: str) -> bool:
    return run.step_progress is not None and phase in run.step_progress.phase


async def test_nothing_is_maintained_on_a_standby(own_cluster: OwnClusters, consoles: Consoles) -> None:
    primary = own_cluster()
    primary.psql("CREATE TABLE t (i serial)")
    standby = own_cluster.standby(primary)
    console = await consoles(standby.dsn())
    for _ in range(200):
        if await console.rows("tables.tables"):
            break
        await asyncio.sleep(0.05)
    assert len(await console.rows("tables.sequences")) == 1
    for action in ("tables.vacuum", "tables.analyze", "tables.reindex"):
        with pytest.raises(Refused, match="this is a standby"):
            await console.plan(action, table="t")
