"""What the actions do to sets that pg_partman manages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from backend.core.declare import Danger
from backend.core.errors import Failed, Refused, Usage
from tests.rooms.jobmon.conftest import Console, Consoles
from tests.rooms.partman.conftest import create_parent, gap, major, stale
from tests.servers import Database

PARTITIONS = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass ORDER BY 1"


def partitions(database: Database, parent: str) -> list[str]:
    return [name for (name,) in database.execute(PARTITIONS, [parent])]


def state(database: Database) -> Any:
    """All that a plan must leave alone: every relation, and the configuration."""
    return (
        database.execute("SELECT oid, relname, relnamespace, relispartition FROM pg_class ORDER BY oid"),
        database.execute("SELECT * FROM partman.part_config ORDER BY parent_table"),
    )


@pytest.fixture
def changed_nothing(partman: Database) -> Callable[[], bool]:
    """Whether the database is as it was at the beginning of the test."""
    before = state(partman)
    return lambda: bool(state(partman) == before)


async def test_maintains_one_set(console: Console, partman: Database) -> None:
    partman.execute("UPDATE partman.part_config SET premake = 6 WHERE parent_table = 'public.events'")
    before = partitions(partman, "events")
    plan = await console.plan("partman.maintain", parent="public.events")
    assert (plan.subject, plan.danger, plan.rows) == ("public.events", Danger.CHANGE, ())
    assert partitions(partman, "events") == before
    [told] = await console.done("partman.maintain", parent="public.events")
    assert len(partitions(partman, "events")) == len(before) + 2
    assert told == {
        "parent": "public.events",
        "before": len(before) - 1,
        "partitions": len(before) + 1,
        "error": None,
    }


async def test_one_set_that_fails_does_not_stop_the_others(console: Console, partman: Database) -> None:
    partman.execute("UPDATE partman.part_config SET premake = 6")
    partman.execute("INSERT INTO events_default VALUES (date_trunc('day', now()) + interval '5 days 1 hour')")
    report = await console.run("partman.maintain", all_sets=True)
    assert isinstance(report.error, Failed)
    assert report.error.message.startswith("1 of 4 steps failed, first: ")
    assert "would be violated by some row" in report.error.message
    told = {r["parent"]: r for r in report.result}
    assert set(told) == {"public.events", "public.numbers", "public.old"}
    assert "would be violated" in told["public.events"]["error"]
    assert told["public.numbers"]["error"] is None
    assert told["public.numbers"]["partitions"] == told["public.numbers"]["before"] + 3
    assert [s.status for s in report.steps] == ["failed", "done", "done", "done"]


async def test_maintenance_that_would_drop_lists_the_tables_and_wants_a_word(
    console: Console, partman: Database, changed_nothing: Callable[[], bool]
) -> None:
    plan = await console.plan("partman.maintain", parent="public.old")
    assert plan.danger is Danger.DISRUPT
    partman.execute("UPDATE partman.part_config SET retention_keep_table = false WHERE retention IS NOT NULL")
    before = partitions(partman, "old")
    plan = await console.plan("partman.maintain", parent="public.old")
    assert plan.danger is Danger.DESTROY
    assert [r.partition for r in plan.rows] == [f"public.{p}" for p in before if p != "old_default"][:3]
    assert plan.notes == ("retention of public.old drops 3 partitions",)
    await console.done("partman.maintain", parent="public.old")
    assert not {r.partition.removeprefix("public.") for r in plan.rows} & set(partitions(partman, "old"))
    assert partman.execute("SELECT to_regclass(%s)", [plan.rows[0].partition]) == [(None,)]


async def test_a_second_maintenance_says_that_one_runs(console: Console, partman: Database) -> None:
    run = await console.start("partman.maintain", parent="public.events")
    with psycopg.connect(partman.dsn) as other:
        other.execute("SELECT pg_advisory_xact_lock(hashtext('pg_partman run_maintenance'))")
        with pytest.raises(Refused, match=f"maintenance runs already, in process {other.info.backend_pid}"):
            await console.plan("partman.maintain", all_sets=True)
        report = await run.execute()
    assert report.error is not None
    assert report.error.message.startswith("maintenance ran elsewhere")


async def test_maintenance_leaves_out_what_was_dropped_and_says_so(
    console: Console, partman: Database
) -> None:
    stale(partman)
    plan = await console.plan("partman.maintain", all_sets=True)
    assert "public.dropped was dropped and is left out; partman.forget removes it" in plan.notes
    assert len(await console.done("partman.maintain", all_sets=True)) == 3


@pytest.mark.parametrize(
    ("params", "error", "sentence"),
    [
        ({}, Usage, "give either --parent or --all-sets"),
        ({"parent": "public.events", "all_sets": True}, Usage, "give either"),
        ({"parent": "public.nothing"}, Refused, "there is no partition set public.nothing"),
        ({"parent": "public.logs"}, Refused, "pg_partman does not manage public.logs"),
    ],
)
async def test_what_cannot_be_maintained_is_refused(
    console: Console, params: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        await console.plan("partman.maintain", **params)


async def test_fills_gaps_and_says_which_before(console: Console, partman: Database) -> None:
    gap(partman)
    plan = await console.plan("partman.fill_gaps", parent="public.gappy")
    assert [(r.lower, r.upper) for r in plan.rows] == [("20", "30"), ("30", "40")]
    assert len(partitions(partman, "gappy")) == 4
    assert await console.done("partman.fill_gaps", parent="public.gappy") == {"made": 2}
    assert {"gappy_p20", "gappy_p30"} <= set(partitions(partman, "gappy"))
    assert [g for g in await console.rows("partman.gaps") if g.managed] == []
    assert (await console.plan("partman.fill_gaps", parent="public.gappy")).steps == ()


async def test_a_gap_whose_rows_are_in_the_default_partition_cannot_be_filled(
    console: Console, partman: Database
) -> None:
    gap(partman)
    partman.execute("INSERT INTO gappy VALUES (25)")
    with pytest.raises(Refused, match=r"the gap cannot be filled: 1 row of it in public\.gappy_default"):
        await console.plan("partman.fill_gaps", parent="public.gappy")


async def test_a_gap_that_is_no_multiple_of_the_interval_is_refused(
    console: Console, partman: Database
) -> None:
    gap(partman)
    partman.execute("CREATE TABLE gappy_x PARTITION OF gappy FOR VALUES FROM (33) TO (40)")
    with pytest.raises(Refused, match="the gap from 20 to 33 is no multiple of 10"):
        await console.plan("partman.fill_gaps", parent="public.gappy")


async def test_looks_for_rows_in_default_partitions(console: Console, partman: Database) -> None:
    partman.execute("INSERT INTO events VALUES (now() + interval '60 days')")
    assert await console.done("partman.check_default") == [
        {"default_table": "public.events_default", "rows": 1}
    ]
    stale(partman)
    report = await console.run("partman.check_default")
    assert report.error is not None
    assert report.error.message == "public.dropped was dropped and is configured still"


async def test_gives_partitions_the_privileges_of_their_parent(console: Console, partman: Database) -> None:
    partman.execute("GRANT SELECT ON events TO pg_monitor")
    [name] = partitions(partman, "events")[:1]
    asked = f"SELECT has_table_privilege('pg_monitor', '{name}', 'SELECT')"
    assert partman.execute(asked) == [(False,)]
    await console.done("partman.reapply_privileges", parent="public.events")
    assert partman.execute(asked) == [(True,)]


async def test_configures_only_what_is_given(console: Console, partman: Database) -> None:
    given = {"premake": 9, "retention": "2 mons", "keep_table": False, "automatic": False, "infinite": True}
    plan = await console.plan("partman.configure", parent="public.events", **given)
    assert plan.notes == (
        "premake: 4 becomes 9",
        "retention: none becomes 2 mons",
        "retention_keep_table: yes becomes no",
        "automatic_maintenance: on becomes off",
        "infinite_time_partitions: no becomes yes",
    )
    plan = await console.plan("partman.configure", parent="public.events", premake=1, keep_table=True)
    assert plan.notes == ("premake: 4 becomes 1", "retention_keep_table: yes stays")
    row = (
        "SELECT premake, retention, retention_keep_table, automatic_maintenance, infinite_time_partitions,"
        " retention_keep_index FROM partman.part_config WHERE parent_table = 'public.events'"
    )
    assert partman.execute(row) == [(4, None, True, "on", False, True)]
    await console.done("partman.configure", parent="public.events", **given)
    assert partman.execute(row) == [(9, "2 mons", False, "off", True, True)]
    await console.done("partman.configure", parent="public.events", retention="none")
    assert partman.execute(row)[0][1] is None


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"premake": 0}, "--premake wants 1 to 10000, not 0"),
        ({"retention": "30"}, "'30' is not a duration"),
        ({"retention": "-3 days"}, "--retention wants more than no time"),
        ({"parent": "public.numbers", "retention": "3 days"}, "wants how many ids to keep"),
        ({}, "nothing is to be changed"),
        ({"retention_schema": "nowhere"}, "there is no schema nowhere"),
    ],
)
async def test_nonsense_is_not_configured(console: Console, params: dict[str, Any], sentence: str) -> None:
    with pytest.raises((Usage, Refused), match=sentence):
        await console.plan("partman.configure", **{"parent": "public.events", **params})


async def test_forgets_a_dropped_set_and_nothing_else(console: Console, partman: Database) -> None:
    stale(partman)
    with pytest.raises(Refused, match=r"public\.events is still there"):
        await console.plan("partman.forget", parent="public.events")
    with pytest.raises(Refused, match="pg_partman has no set nobody"):
        await console.plan("partman.forget", parent="nobody")
    template = "SELECT to_regclass('partman.template_public_dropped') IS NULL"
    plan = await console.plan("partman.forget", parent="public.dropped", drop_template=True)
    assert plan.danger is Danger.DESTROY
    await console.done("partman.forget", parent="public.dropped", drop_template=True)
    assert partman.execute(template) == [(True,)]
    assert len(partman.execute("SELECT 1 FROM partman.part_config")) == 3


async def test_detaches_what_retention_does_not_keep(console: Console, partman: Database) -> None:
    before = partitions(partman, "old")
    plan = await console.plan("partman.apply_retention", parent="public.old")
    names = [r.partition.removeprefix("public.") for r in plan.rows]
    assert (plan.danger, len(names), len(plan.steps)) == (Danger.DISRUPT, 3, 3)
    assert partitions(partman, "old") == before
    await console.done("partman.apply_retention", parent="public.old")
    assert partitions(partman, "old") == [p for p in before if p not in names]
    assert partman.execute(f"SELECT count(*) FROM {names[-1]}") == [(1,)]
    assert (await console.plan("partman.apply_retention", parent="public.old")).steps == ()


async def test_drops_or_moves_what_retention_does_not_keep(console: Console, partman: Database) -> None:
    with pytest.raises(Usage, match="--mode move needs --schema"):
        await console.plan("partman.apply_retention", parent="public.old", mode="move")
    partman.execute('CREATE SCHEMA "The Archive"')
    await console.done("partman.apply_retention", parent="public.old", mode="move", schema="The Archive")
    moved = partman.execute(
        "SELECT count(*) FROM pg_class WHERE relnamespace = '\"The Archive\"'::regnamespace"
    )
    assert moved == [(3,)]
    await console.done("partman.configure", parent="public.old", retention="2 days")
    plan = await console.plan("partman.apply_retention", parent="public.old", mode="drop")
    assert (plan.danger, len(plan.rows)) == (Danger.DESTROY, 1)
    await console.done("partman.apply_retention", parent="public.old", mode="drop")
    assert partman.execute("SELECT to_regclass(%s)", [plan.rows[0].partition]) == [(None,)]


async def test_a_partition_detached_meanwhile_is_not_dropped(console: Console, partman: Database) -> None:
    run = await console.start("partman.apply_retention", parent="public.old", mode="drop")
    first = run.plan.rows[0].partition
    partman.execute(f"ALTER TABLE old DETACH PARTITION {first}")
    report = await run.execute()
    assert report.error is not None
    assert partman.execute("SELECT to_regclass(%s) IS NULL", [first]) == [(False,)]


async def test_retention_waits_for_a_lock_no_longer_than_told(console: Console, partman: Database) -> None:
    before = partitions(partman, "old")
    run = await console.start("partman.apply_retention", parent="public.old")
    run.lock_wait = "100ms"
    with psycopg.connect(partman.dsn) as reading:
        reading.execute("SELECT FROM old LIMIT 1")
        report = await run.execute()
    assert report.error is not None
    assert report.error.sqlstate == "55P03"
    assert partitions(partman, "old") == before


async def test_without_retention_nothing_is_let_go(console: Console) -> None:
    with pytest.raises(Refused, match=r"public\.events has no retention"):
        await console.plan("partman.apply_retention", parent="public.events")


async def test_detaches_one_partition(logs: Database, consoles: Consoles) -> None:
    console = await consoles(logs.dsn)
    with pytest.raises(Refused, match="nothing can be detached concurrently"):
        await console.plan("partman.detach", partition="public.logs_a", concurrently=True)
    plan = await console.plan("partman.detach", partition="logs_a")
    assert (plan.subject, plan.danger) == ("public.logs", Danger.DISRUPT)
    await console.done("partman.detach", partition="logs_a")
    logs.execute("DROP TABLE logs_default")
    plan = await console.plan("partman.detach", partition="public.logs_b")
    assert (plan.danger, plan.steps[0].text) == (
        Danger.CHANGE,
        'ALTER TABLE "public"."logs" DETACH PARTITION "public"."logs_b" CONCURRENTLY;',
    )
    await console.done("partman.detach", partition="public.logs_b")
    assert partitions(logs, "logs") == ["logs_d"]
    with pytest.raises(Refused, match=r"there is no partition public\.logs_b"):
        await console.plan("partman.detach", partition="public.logs_b")


async def test_odd_names_are_maintained(partman: Database, consoles: Consoles) -> None:
    partman.execute('CREATE SCHEMA "Weird Schema"')
    name = '"Weird Schema"."Ta""ble"" 100%s"'
    partman.execute(f"CREATE TABLE {name} (id bigint NOT NULL PRIMARY KEY) PARTITION BY RANGE (id)")
    create_parent(partman, 'Weird Schema.Ta"ble" 100%s', "id", "10")
    partman.execute(f"INSERT INTO {name} VALUES (1)")
    partman.execute("UPDATE partman.part_config SET premake = 6")
    console = await consoles(partman.dsn)
    [told] = await console.done("partman.maintain", parent=name)
    assert told["partitions"] == told["before"] + 2
    await console.done("partman.configure", parent=name, premake=3)
    assert major(partman) >= 4
