"""What the room shows of sets, managed or not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest

from backend.core.declare import Health
from backend.core.errors import Missing
from backend.core.registry import find_view
from tests.rooms.jobmon.conftest import Console, Consoles
from tests.rooms.partman.conftest import create_parent, demand_partman, install, major
from tests.servers import Database

ODD = '"Weird Schema"."Table With Space"'


async def the(console: Console, parent: str) -> Any:
    [row] = [r for r in await console.rows("partman.sets") if r.parent == parent]
    return row


async def test_shows_a_set_that_nobody_manages(logs: Database, consoles: Consoles) -> None:
    row = await the(await consoles(logs.dsn), "public.logs")
    assert (row.kind, row.key, row.partitions, row.managed, row.interval) == ("range", "at", 3, False, None)
    assert (row.gaps, row.default_rows, row.stale) == (1, 1, False)
    assert row.one_interval == timedelta(days=1)
    assert timedelta(days=1) < row.time_left <= timedelta(days=2)
    assert row.bytes > 8192


async def test_a_stranded_row_is_critical(logs: Database, consoles: Consoles) -> None:
    judged = await (await consoles(logs.dsn)).judged("partman.sets")
    assert judged.overall.health is Health.CRITICAL
    assert "1 row in the default partition" in judged.overall.sentence


async def test_tells_the_gap_and_which_range_stranded_rows_belong_to(
    logs: Database, consoles: Consoles
) -> None:
    console = await consoles(logs.dsn)
    [gap] = await console.rows("partman.gaps")
    [stray] = await console.rows("partman.default_rows")
    assert (gap.parent, gap.missing, gap.managed) == ("public.logs", 1, False)
    assert (stray.lower, stray.upper, stray.rows) == (gap.lower, gap.upper, 1)
    assert stray.default == "public.logs_default"


async def test_counts_rows_only_when_asked(logs: Database, consoles: Consoles) -> None:
    console = await consoles(logs.dsn)
    assert {p.exact_rows for p in await console.rows("partman.partitions", parent="public.logs")} == {None}
    rows = await console.rows("partman.partitions", parent="logs", exact=True)
    assert [(p.partition, p.exact_rows, p.default) for p in rows] == [
        ("public.logs_a", 0, False),
        ("public.logs_b", 1, False),
        ("public.logs_d", 0, False),
        ("public.logs_default", 1, True),
    ]


async def test_a_locked_partition_hides_its_size_and_blocks_nobody(
    logs: Database, consoles: Consoles
) -> None:
    console = await consoles(logs.dsn)
    with psycopg.connect(logs.dsn) as locking:
        locking.execute("LOCK TABLE logs_default IN ACCESS EXCLUSIVE MODE")
        row = await the(console, "public.logs")
        assert (row.bytes, row.default_rows) == (None, None)
        rows = await console.rows("partman.partitions", parent="public.logs", exact=True)
        assert [p.bytes is None for p in rows] == [False, False, False, True]
    assert (await the(console, "public.logs")).default_rows == 1


async def test_settings_need_the_extension(database: Database, consoles: Consoles) -> None:
    console = await consoles(database.dsn)
    assert "has no extension pg_partman" in find_view("partman.settings").needs.missing(console.session.facts)
    assert await console.rows("partman.sets") == []


async def test_names_with_quotes_dots_and_spaces_are_one_set_each(
    database: Database, consoles: Consoles
) -> None:
    database.execute('CREATE SCHEMA "a.b"')
    database.execute('CREATE SCHEMA "a"')
    for name in ('"a.b"."c ""%s"', 'a."b.c ""%s"'):
        database.execute(f"CREATE TABLE {name} (id int) PARTITION BY RANGE (id)")
        database.execute(f'CREATE TABLE {name[:-1]} 1" PARTITION OF {name} FOR VALUES FROM (-5) TO (10)')
        database.execute(f'CREATE TABLE {name[:-1]} 2" PARTITION OF {name} FOR VALUES FROM (20) TO (30)')
    console = await consoles(database.dsn)
    assert [g.parent for g in await console.rows("partman.gaps")] == ['a."b.c ""%s"', '"a.b"."c ""%s"']
    assert len(await console.rows("partman.partitions", parent='"a.b"."c ""%s"')) == 2
    assert (await the(console, 'a."b.c ""%s"')).ids_left is None


@pytest.mark.parametrize(
    ("partitioned", "partition"),
    [
        ("LIST (t)", "FOR VALUES IN ('it''s) TO (', NULL)"),
        ("HASH (t)", "FOR VALUES WITH (modulus 2, remainder 0)"),
        ("RANGE (t)", "FOR VALUES FROM (MINVALUE) TO ('z')"),
        ("RANGE (t, id)", "FOR VALUES FROM ('a, b', 1) TO ('z) TO (', MAXVALUE)"),
        ("RANGE (lower(t))", "FOR VALUES FROM ('a') TO ('b')"),
        ("RANGE (at)", "FOR VALUES FROM ('0044-03-15 BC') TO ('infinity')"),
        ("RANGE (d)", "FOR VALUES FROM ('2020-01-01') TO (MAXVALUE)"),
    ],
)
async def test_any_kind_of_key_and_bound_is_shown(
    database: Database, consoles: Consoles, partitioned: str, partition: str
) -> None:
    database.execute(f"CREATE TABLE t (t text, id int, at timestamptz, d date) PARTITION BY {partitioned}")
    database.execute(f"CREATE TABLE t1 PARTITION OF t {partition}")
    database.execute("CREATE INDEX ON t (id)")
    console = await consoles(database.dsn)
    row = await the(console, "public.t")
    assert (row.partitions, row.time_left, row.ids_left, row.gaps) == (1, None, None, 0)
    assert len(await console.rows("partman.partitions", parent="public.t", exact=True)) == 1


@pytest.mark.parametrize("kind", ["uuid", "boolean", "text", "inet"])
async def test_stranded_rows_of_any_key_are_told(database: Database, consoles: Consoles, kind: str) -> None:
    value = {"uuid": "gen_random_uuid()", "boolean": "true", "text": "'x'", "inet": "'::1'"}[kind]
    database.execute(f"CREATE TABLE t (k {kind}) PARTITION BY RANGE (k)")
    database.execute("CREATE TABLE t_rest PARTITION OF t DEFAULT")
    database.execute(f"INSERT INTO t VALUES ({value}), ({value})")
    [stray] = await (await consoles(database.dsn)).rows("partman.default_rows")
    assert (stray.parent, stray.rows) == ("public.t", 2)


async def test_shows_managed_sets(partman: Database, consoles: Consoles) -> None:
    console = await consoles(partman.dsn)
    events = await the(console, "public.events")
    assert (events.managed, events.automatic, events.interval, events.premake) == (True, True, "1 day", 4)
    assert (events.gaps, events.default_rows, events.due) == (0, 0, None)
    assert timedelta(days=4) < events.time_left <= timedelta(days=5)
    numbers = await the(console, "public.numbers")
    assert numbers.ids_left == 5000 - 1 - 1500
    assert (numbers.one_step, numbers.time_left) == (1000, None)
    judged = await console.judged("partman.sets")
    assert {k for k, f in judged.findings.items()} == {("public.logs",)}


async def test_says_what_retention_lets_go(partman: Database, consoles: Consoles) -> None:
    console = await consoles(partman.dsn)
    old = await the(console, "public.old")
    due = [p for p in await console.rows("partman.partitions", parent="public.old") if p.due]
    assert (old.retention, old.due, len(due)) == ("3 days", 3, 3)
    assert old.due_bytes == sum(p.bytes for p in due)


async def test_a_set_whose_table_was_dropped_does_not_break_the_room(
    partman: Database, consoles: Consoles
) -> None:
    partman.execute("DROP TABLE old CASCADE")
    console = await consoles(partman.dsn)
    row = await the(console, "public.old")
    assert (row.stale, row.managed, row.partitions) == (True, True, 0)
    judged = await console.judged("partman.sets")
    assert judged.findings[("public.old",)].sentence.startswith("its table was dropped")
    [setting] = [r for r in await console.rows("partman.settings") if r.parent == "public.old"]
    assert not setting.present


async def test_finds_the_extension_in_any_schema_and_odd_names(
    database: Database, consoles: Consoles
) -> None:
    demand_partman(database.server)
    install(database, "parts")
    database.execute('CREATE SCHEMA "Weird Schema"')
    database.execute(f"CREATE TABLE {ODD} (id bigint NOT NULL PRIMARY KEY) PARTITION BY RANGE (id)")
    create_parent(database, "Weird Schema.Table With Space", "id", "10")
    console = await consoles(database.dsn)
    row = await the(console, ODD)
    assert (row.managed, row.partitions, row.interval) == (True, 5, "10")
    [setting] = await console.rows("partman.settings")
    assert (setting.parent, setting.premake) == ("Weird Schema.Table With Space", 4)
    assert setting.type == ("native" if major(database) < 5 else "range")


async def test_a_role_without_rights_is_told_which_to_grant(partman: Database, consoles: Consoles) -> None:
    partman.execute("DROP ROLE IF EXISTS nobody_here")
    partman.execute("CREATE ROLE nobody_here LOGIN")
    try:
        console = await consoles(partman.server.dsn(partman.name, user="nobody_here"))
        with pytest.raises(Missing, match="permission denied") as caught:
            await console.rows("partman.sets")
        assert "GRANT USAGE ON SCHEMA" in (caught.value.hint or "")
    finally:
        partman.execute("DROP ROLE nobody_here")


async def test_detached_tables_stay_in_sight(partman: Database, consoles: Consoles) -> None:
    console = await consoles(partman.dsn)
    first = (await console.rows("partman.partitions", parent="public.old"))[0]
    partman.execute(f"ALTER TABLE old DETACH PARTITION {first.partition}")
    last = (await console.rows("partman.partitions", parent="public.old"))[-1]
    assert (last.partition, last.state, last.lower) == (first.partition, "detached", None)
