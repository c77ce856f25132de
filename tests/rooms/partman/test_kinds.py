"""Sets that tell rows apart by something else than a plain time or number."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backend.core.declare import Danger
from backend.core.errors import Refused
from tests.rooms.jobmon.conftest import Console, Consoles
from tests.rooms.partman.conftest import create_parent, demand_partman, install, major
from tests.rooms.partman.test_actions import partitions, state
from tests.rooms.partman.test_archiving import folder
from tests.servers import Database

__all__ = ["folder"]

UNITS = {"seconds": 1, "milliseconds": 10**3, "nanoseconds": 10**9}


@pytest.fixture
def fresh(database: Database) -> Database:
    """A fresh database with the extension alone."""
    demand_partman(database.server)
    install(database)
    return database


@pytest.fixture
async def there(fresh: Database, consoles: Consoles) -> Console:
    """A console of the superuser on it."""
    return await consoles(fresh.dsn)


async def the(console: Console, parent: str) -> Any:
    [row] = [r for r in await console.rows("partman.sets") if r.parent == parent]
    return row


def start(database: Database, days: int) -> str:
    return str(database.execute("SELECT (current_date - %s::int)::text", [days])[0][0])


def now_in(factor: int, days: float = 0) -> str:
    return f"(extract(epoch FROM now() + interval '{days} days') * {factor})::int8"


@pytest.mark.parametrize("unit", UNITS)
async def test_numbers_that_count_time(there: Console, fresh: Database, unit: str) -> None:
    factor = UNITS[unit]
    fresh.execute("CREATE TABLE t (k int8 NOT NULL) PARTITION BY RANGE (k)")
    create_parent(
        fresh, "public.t", "k", "1 day", p_epoch=unit, p_start_partition=start(fresh, 6), p_premake=4
    )
    for days in (-5.5, -1, 0):
        fresh.execute(f"INSERT INTO t VALUES ({now_in(factor, days)})")
    row = await the(there, "public.t")
    assert (row.managed, row.gaps, row.ids_left, row.one_interval) == (True, 0, None, timedelta(days=1))
    assert timedelta(days=4) < row.time_left <= timedelta(days=5)

    await there.done("partman.configure", parent="public.t", retention="3 days", premake=6)
    plan = await there.plan("partman.maintain", parent="public.t")
    assert plan.danger is Danger.DISRUPT
    due = [p.partition for p in await there.rows("partman.partitions", parent="public.t") if p.due]
    assert [r.partition for r in plan.rows] == due
    assert len(due) == 3
    [told] = await there.done("partman.maintain", parent="public.t")
    assert told["partitions"] == told["before"] + 2 - 3
    assert not set(partitions(fresh, "t")) & {name.removeprefix("public.") for name in due}
    assert (await there.plan("partman.apply_retention", parent="public.t")).steps == ()

    fresh.execute(f"INSERT INTO t VALUES ({now_in(factor, 20)}), ({now_in(factor, 20.001)})")
    [stray] = await there.rows("partman.default_rows")
    assert stray.rows == 2
    moved = await there.done("partman.move_data", parent="public.t")
    assert (moved["rows"], moved["rows_left"]) == (2, 0)
    assert (await the(there, "public.t")).gaps == 1
    if major(fresh) < 5:
        with pytest.raises(Refused, match="counts time in numbers, and pg_partman 4 fills no gaps"):
            await there.plan("partman.fill_gaps", parent="public.t")
        return
    await there.done("partman.fill_gaps", parent="public.t")
    assert (await the(there, "public.t")).gaps == 0


async def test_months_and_weeks_of_counted_time(there: Console, fresh: Database) -> None:
    for name, interval in (("m", "1 month"), ("w", "1 week"), ("q", "3 months"), ("d", "10 days")):
        fresh.execute(f"CREATE TABLE {name} (k int8 NOT NULL) PARTITION BY RANGE (k)")
        create_parent(fresh, f"public.{name}", "k", interval, p_epoch="seconds")
        fresh.execute(f"INSERT INTO {name} VALUES ({now_in(1)})")
        fresh.execute("UPDATE partman.part_config SET premake = 6")
        [told] = await there.done("partman.maintain", parent=f"public.{name}")
        assert told["partitions"] == told["before"] + 2
        row = await the(there, f"public.{name}")
        assert (row.gaps, row.interval is not None) == (0, True)
        assert row.time_left > row.one_interval


@pytest.mark.parametrize("kind", ["timestamptz", "bigint"])
async def test_sets_of_triggers_as_in_4(there: Console, fresh: Database, folder: Path, kind: str) -> None:
    if major(fresh) >= 5:
        pytest.skip("pg_partman 5 has no triggers")
    fresh.execute(f"CREATE TABLE t (k {kind} NOT NULL, note text)")
    timed = kind == "timestamptz"
    more = {"p_start_partition": start(fresh, 6)} if timed else {}
    create_parent(fresh, "public.t", "k", "1 day" if timed else "10", p_type="partman", **more)
    if timed:
        fresh.execute("INSERT INTO t SELECT now() - n * interval '1 day' FROM generate_series(0, 5) n")
    else:
        fresh.execute("INSERT INTO t SELECT generate_series(1, 45)")
    row = await the(there, "public.t")
    assert (row.kind, row.managed, row.key) == ("trigger", True, "k")
    assert row.partitions == len(partitions(fresh, "t"))
    shown = await there.rows("partman.partitions", parent="public.t", exact=True)
    assert sum(p.exact_rows for p in shown) == (6 if timed else 45)

    [told] = await there.done("partman.maintain", parent="public.t")
    assert told["error"] is None

    await there.done("partman.configure", parent="public.t", retention="3 days" if timed else "20")
    with pytest.raises(Refused, match="cannot be told"):
        await there.plan("partman.apply_retention", parent="public.t")
    await there.done("partman.configure", parent="public.t", keep_table=False)
    plan = await there.plan("partman.maintain", parent="public.t")
    assert plan.danger is Danger.DESTROY
    assert any("cannot be told" in n for n in plan.notes)
    await there.done("partman.maintain", parent="public.t")

    first = partitions(fresh, "t")[0]
    [(rows,)] = fresh.execute(f"SELECT count(*) FROM {first}")
    given = {"partition": first, "folder": str(folder)}
    (folder / f"public.{first}.dump").write_text("in the way")
    with pytest.raises(Refused, match="is there already"):
        await there.plan("partman.archive_partition", **given)
    (folder / f"public.{first}.dump").unlink()
    plan = await there.plan("partman.archive_partition", **given)
    assert ("cannot be told" in plan.notes[0], plan.danger) == (False, Danger.DISRUPT)
    assert (await there.done("partman.archive_partition", drop=True, **given))["rows"] == rows

    fresh.execute("ALTER TABLE t DISABLE TRIGGER ALL")
    fresh.execute("INSERT INTO t VALUES (now())" if timed else "INSERT INTO t VALUES (44)")
    fresh.execute("ALTER TABLE t ENABLE TRIGGER ALL")
    moved = await there.done("partman.move_data", parent="public.t")
    assert (moved["rows"], moved["rows_left"]) == (1, 0)


async def test_retention_of_keys_that_hold_a_time_is_not_guessed(there: Console, fresh: Database) -> None:
    if major(fresh) < 5:
        pytest.skip("pg_partman 4 knows no such keys")
    fresh.execute("CREATE TABLE t (k uuid NOT NULL) PARTITION BY RANGE (k)")
    create_parent(
        fresh, "public.t", "k", "1 day", p_time_encoder="partman.uuid7_time_encoder",
        p_time_decoder="partman.uuid7_time_decoder", p_start_partition=start(fresh, 6),
    )  # fmt: skip
    row = await the(there, "public.t")
    assert (row.managed, row.time_left, row.gaps) == (True, None, 0)
    fresh.execute("INSERT INTO t SELECT partman.uuid7_time_encoder(now())::uuid")
    fresh.execute("UPDATE partman.part_config SET premake = 6")
    [told] = await there.done("partman.maintain", parent="public.t")
    assert told["partitions"] == told["before"] + 2
    fresh.execute("UPDATE partman.part_config SET retention = '3 days', retention_keep_table = false")
    plan = await there.plan("partman.maintain", parent="public.t")
    assert plan.danger is Danger.DESTROY
    assert any("cannot be told" in n for n in plan.notes)
    for action in ("partman.apply_retention", "partman.fill_gaps"):
        with pytest.raises(Refused, match="cannot be told from here"):
            await there.plan(action, parent="public.t")
    await there.done("partman.configure", parent="public.t", retention="2 days")
    [told] = await there.done("partman.maintain", parent="public.t")
    assert told["partitions"] < told["before"]
    fresh.execute("INSERT INTO t SELECT partman.uuid7_time_encoder(now() + interval '30 days')::uuid")
    assert len(await there.rows("partman.default_rows")) == 1
    before = state(fresh)
    with pytest.raises(Refused, match=r"moves no rows of public\.t: its key encodes a time"):
        await there.plan("partman.move_data", parent="public.t")
    assert state(fresh) == before


async def test_retention_of_an_id_without_an_index_is_not_guessed(there: Console, fresh: Database) -> None:
    fresh.execute("CREATE TABLE t (k bigint NOT NULL) PARTITION BY RANGE (k)")
    create_parent(fresh, "public.t", "k", "10")
    fresh.execute("INSERT INTO t SELECT generate_series(1, 49)")
    fresh.execute("UPDATE partman.part_config SET retention = '10', retention_keep_table = false")
    assert (await the(there, "public.t")).due is None
    plan = await there.plan("partman.maintain", parent="public.t")
    assert plan.danger is Danger.DESTROY
    fresh.execute("CREATE INDEX ON t (k)")
    plan = await there.plan("partman.maintain", parent="public.t")
    assert (plan.danger, len(plan.rows)) == (Danger.DESTROY, 3)
    await there.done("partman.maintain", parent="public.t")
    assert not {r.partition.removeprefix("public.") for r in plan.rows} & set(partitions(fresh, "t"))


async def test_a_set_by_list_is_maintained(there: Console, fresh: Database) -> None:
    if major(fresh) < 5:
        pytest.skip("pg_partman 4 knows no lists")
    fresh.execute("CREATE TABLE t (k int NOT NULL) PARTITION BY LIST (k)")
    await there.done("partman.create_parent", parent="public.t", control="k", interval="1", type="list")
    fresh.execute("INSERT INTO t VALUES (1), (2)")
    row = await the(there, "public.t")
    assert (row.kind, row.managed, row.gaps) == ("list", True, 0)
    fresh.execute("UPDATE partman.part_config SET retention = '1', retention_keep_table = false, premake = 6")
    plan = await there.plan("partman.maintain", parent="public.t")
    assert plan.danger is Danger.DESTROY
    [told] = await there.done("partman.maintain", parent="public.t")
    assert told["error"] is None
