"""Handing tables over to pg_partman: what is announced is what is made."""

from __future__ import annotations

from typing import Any

import pytest

from backend.core.declare import Danger
from backend.core.errors import Refused, Usage
from tests.rooms.jobmon.conftest import Console, Consoles
from tests.rooms.partman.conftest import demand_partman, install, major
from tests.rooms.partman.test_actions import partitions, state
from tests.servers import Database

ODD = '"Weird Schema"."Ta""ble"" 100%s"'


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


def bounds_of(database: Database, parent: str) -> list[str]:
    return [
        bound
        for (bound,) in database.execute(
            "SELECT pg_get_expr(relpartbound, oid) FROM pg_inherits JOIN pg_class ON oid = inhrelid"
            " WHERE inhparent = %s::regclass AND pg_get_expr(relpartbound, oid) <> 'DEFAULT'",
            [parent],
        )
    ]


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("timestamptz", {"interval": "1 day"}),
        ("timestamptz", {"interval": "daily", "premake": 2}),
        ("timestamptz", {"interval": "monthly"}),
        ("timestamptz", {"interval": "3 mons"}),
        ("timestamptz", {"interval": "1 year", "premake": 1}),
        ("timestamptz", {"interval": "1 h"}),
        ("timestamptz", {"interval": "15 min"}),
        ("timestamptz", {"interval": "1 week", "start": "2026-01-01"}),
        ("timestamp", {"interval": "10 days"}),
        ("date", {"interval": "1 mon", "start": "2026-03-15"}),
        ("bigint", {"interval": "1000"}),
        ("int", {"interval": "10", "premake": 6, "start": "55"}),
    ],
)
async def test_makes_the_partitions_that_it_announced(
    there: Console, fresh: Database, kind: str, given: dict[str, Any]
) -> None:
    fresh.execute(f"CREATE TABLE t (k {kind} NOT NULL) PARTITION BY RANGE (k)")
    before = state(fresh)
    given = {"parent": "public.t", "control": "k", **given}
    plan = await there.plan("partman.create_parent", **given)
    assert (plan.subject, plan.danger) == ("public.t", Danger.CHANGE)
    assert state(fresh) == before
    await there.done("partman.create_parent", **given)
    assert sorted(r.partition for r in plan.rows) == [p for p in partitions(fresh, "t") if p != "t_default"]
    shown = await there.rows("partman.partitions", parent="public.t")
    assert len([p for p in shown if not p.default]) == len(plan.rows)
    [row] = await there.rows("partman.sets")
    assert (row.managed, row.gaps) == (True, 0)


async def test_names_of_weeks_and_quarters_are_those_of_the_version(there: Console, fresh: Database) -> None:
    for number, word in enumerate(("weekly", "quarterly")):
        fresh.execute(f"CREATE TABLE t{number} (k date NOT NULL) PARTITION BY RANGE (k)")
        given = {"parent": f"public.t{number}", "control": "k", "interval": word}
        plan = await there.plan("partman.create_parent", **given)
        assert ("w" in plan.rows[0].partition or "q" in plan.rows[0].partition) is (major(fresh) < 5)
        await there.done("partman.create_parent", **given)


async def test_goes_on_from_the_highest_id(there: Console, fresh: Database) -> None:
    fresh.execute("CREATE TABLE t (k bigint NOT NULL) PARTITION BY RANGE (k)")
    fresh.execute("CREATE TABLE t_old PARTITION OF t FOR VALUES FROM (0) TO (50)")
    fresh.execute("INSERT INTO t VALUES (49)")
    with pytest.raises(Refused, match="the new partition from 10 overlaps with the one from 0"):
        await there.plan("partman.create_parent", parent="public.t", control="k", interval="10")
    plan = await there.plan(
        "partman.create_parent", parent="public.t", control="k", interval="10", start="50"
    )
    assert [r.lower for r in plan.rows] == ["50", "60", "70", "80", "90"]


async def test_odd_names_and_a_long_one(there: Console, fresh: Database) -> None:
    fresh.execute('CREATE SCHEMA "Weird Schema"')
    long = "x" * 60
    for name in (ODD, f"public.{long}"):
        fresh.execute(f'CREATE TABLE {name} ("The Key" bigint NOT NULL) PARTITION BY RANGE ("The Key")')
        given = {"parent": name, "control": "The Key", "interval": "10"}
        plan = await there.plan("partman.create_parent", **given)
        await there.done("partman.create_parent", **given)
        assert len(bounds_of(fresh, name)) == len(plan.rows) == 5


async def test_a_template_is_used(there: Console, fresh: Database) -> None:
    fresh.execute("CREATE TABLE t (k bigint NOT NULL) PARTITION BY RANGE (k)")
    fresh.execute("CREATE TABLE like_this (k bigint NOT NULL)")
    given = {"parent": "public.t", "control": "k", "interval": "10", "template": "public.like_this"}
    await there.done("partman.create_parent", **given)
    assert fresh.execute("SELECT template_table FROM partman.part_config") == [("public.like_this",)]


async def test_a_plain_table_is_told_what_comes_first(there: Console, fresh: Database) -> None:
    fresh.execute("CREATE TABLE t (k date NOT NULL)")
    with pytest.raises(Refused, match=r"public\.t is a plain table") as caught:
        await there.plan("partman.create_parent", parent="public.t", control="k", interval="1 day")
    hint = caught.value.hint or ""
    assert 'ALTER TABLE "public"."t" RENAME TO "t_old"' in hint
    for statement in hint.partition("first ")[2].partition(" then")[0].split(";"):
        if statement.strip() not in ("", "BEGIN", "COMMIT"):
            fresh.execute(statement)
    fresh.execute("INSERT INTO t_old VALUES (now())")
    await there.done("partman.create_parent", parent="public.t", control="k", interval="1 day")
    moved = await there.done("partman.move_data", parent="public.t", source="public.t_old")
    assert moved == {"parent": "public.t", "rows": 1, "rows_left": 0}


@pytest.mark.parametrize(
    ("table", "given", "error", "sentence"),
    [
        ("k date NOT NULL) PARTITION BY RANGE (k)", {"interval": "5"}, Usage, "has no unit"),
        ("k date NOT NULL) PARTITION BY RANGE (k)", {"interval": "bogus"}, Usage, "invalid input syntax"),
        ("k date NOT NULL) PARTITION BY RANGE (k)", {"interval": "1 ms"}, Usage, "shorter than a second"),
        ("k date NOT NULL) PARTITION BY RANGE (k)", {"interval": "-1 day"}, Usage, "shorter than a second"),
        ("k date NOT NULL) PARTITION BY RANGE (k)", {"start": "soon"}, Usage, "invalid input syntax"),
        (
            "k date NOT NULL) PARTITION BY RANGE (k)",
            {"start": "1999-01-01", "interval": "1 h"},
            Refused,
            "more than",
        ),
        ("k date NOT NULL) PARTITION BY RANGE (k)", {"premake": 0}, Usage, "--premake wants 1"),
        ("k date NOT NULL) PARTITION BY RANGE (k)", {"control": "nope"}, Refused, "not by nope alone"),
        ("k date NOT NULL) PARTITION BY RANGE (k)", {"parent": "public.nope"}, Refused, "there is no table"),
        ("k date NOT NULL) PARTITION BY RANGE (k)", {"parent": "t"}, Refused, "there is no table t"),
        ("k date NOT NULL) PARTITION BY RANGE (k)", {"type": "list"}, Refused, "by range, not by list"),
        ("k date NOT NULL) PARTITION BY RANGE (k)", {"template": "a.b"}, Refused, "there is no table a.b"),
        ("k text NOT NULL) PARTITION BY RANGE (k)", {}, Refused, "wants times or integers"),
        ("k int NOT NULL) PARTITION BY RANGE (k)", {"interval": "1 day"}, Usage, "how many ids"),
        ("k int NOT NULL) PARTITION BY RANGE (k)", {"interval": "0"}, Usage, "how many ids"),
        ("k int NOT NULL) PARTITION BY HASH (k)", {}, Refused, "partitioned by hash"),
        ("k int NOT NULL, l int) PARTITION BY RANGE (k, l)", {}, Refused, "not by k alone"),
    ],
)
async def test_what_pg_partman_would_take_badly_is_refused(
    there: Console, fresh: Database, table: str, given: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    fresh.execute(f"CREATE TABLE t ({table}")
    before = state(fresh)
    with pytest.raises(error, match=sentence):
        await there.plan(
            "partman.create_parent", **{"parent": "public.t", "control": "k", "interval": "1 day", **given}
        )
    assert state(fresh) == before


async def test_a_set_is_taken_over_once_and_without_a_default_partition(
    console: Console, partman: Database
) -> None:
    with pytest.raises(Refused, match=r"pg_partman manages public\.events already"):
        await console.plan("partman.create_parent", parent="public.events", control="at", interval="1 day")
    with pytest.raises(Refused, match="has a default partition"):
        await console.plan("partman.create_parent", parent="public.logs", control="at", interval="1 day")


async def test_partitions_partitions_again_and_says_what_is_lost(console: Console, partman: Database) -> None:
    given = {"parent": "public.old", "control": "at", "interval": "12 hours", "premake": 1}
    names = [p for p in partitions(partman, "old") if p != "old_default"]
    before = state(partman)
    plan = await console.plan("partman.create_sub_parent", **given)
    assert (plan.danger, plan.subject) == (Danger.DESTROY, "public.old")
    assert [r.partition for r in plan.rows] == [f"public.{n}" for n in names]
    assert "are dropped with their rows" in plan.notes[0]
    assert state(partman) == before
    await console.done("partman.create_sub_parent", **given)
    shown = await console.rows("partman.partitions", parent="public.old")
    assert {p.partitioned for p in shown if not p.default} == {True}
    parts = {r.parent: r.part_of for r in await console.rows("partman.sets")}
    assert parts[f"public.{names[-1]}"] == "public.old"
    with pytest.raises(Refused, match="are partitioned already"):
        await console.plan("partman.create_sub_parent", **given)


@pytest.mark.parametrize(
    ("given", "error", "sentence"),
    [
        ({"control": "nope"}, Refused, "has no column nope"),
        ({"control": "t"}, Refused, "wants times or integers"),
        ({"interval": "5"}, Usage, "has no unit"),
        ({"parent": "public.logs"}, Refused, "pg_partman does not manage"),
    ],
)
async def test_what_cannot_be_partitioned_again_is_refused(
    console: Console, given: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    whole = {"parent": "public.events", "control": "at", "interval": "1 hour", **given}
    with pytest.raises(error, match=sentence):
        await console.plan("partman.create_sub_parent", **whole)
