"""Moving rows into their partitions, and out of a set that is given up."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from backend.core.declare import Danger
from backend.core.errors import Failed, Interrupted, Refused, Usage
from tests.rooms.jobmon.conftest import Console
from tests.rooms.partman.conftest import create_parent
from tests.rooms.partman.test_actions import partitions, state
from tests.servers import Database

STRAND = "INSERT INTO events SELECT now() + interval '20 days' * n, 'x' FROM generate_series(1, 5) n"


async def test_moves_rows_out_of_the_default_partition(console: Console, partman: Database) -> None:
    partman.execute(STRAND)
    before = state(partman)
    plan = await console.plan("partman.move_data", parent="public.events")
    assert (plan.subject, plan.danger) == ("public.events", Danger.CHANGE)
    assert plan.notes[0] == "5 rows in public.events_default"
    assert state(partman) == before
    done = await console.done("partman.move_data", parent="public.events")
    assert done == {"parent": "public.events", "rows": 5, "rows_left": 0}
    assert partman.execute("SELECT count(*) FROM ONLY events_default") == [(0,)]
    assert partman.execute("SELECT count(*) FROM events WHERE at > now()") == [(5,)]
    assert (await console.plan("partman.move_data", parent="public.events")).steps == ()


async def test_cancelled_between_batches_it_keeps_what_was_moved_and_goes_on_later(
    console: Console, partman: Database
) -> None:
    partman.execute(STRAND)
    run = await console.start("partman.move_data", parent="public.events", pause=60)
    begun = asyncio.Event()
    run.changed = lambda r: begun.set() if r.step_progress and r.step_progress.done else None
    moving = asyncio.create_task(run.execute())
    await asyncio.wait_for(begun.wait(), 30)
    await run.cancel()
    report = await moving
    assert isinstance(report.error, Interrupted)
    assert report.error.message == (
        "cancelled in step 2 of 4, after 1 row, 4 are left; 1 of 4 steps had been done"
    )
    assert partman.execute("SELECT count(*) FROM ONLY events_default") == [(4,)]
    assert (await console.done("partman.move_data", parent="public.events"))["rows"] == 4


async def test_cancelled_within_a_batch_it_puts_that_batch_back(console: Console, partman: Database) -> None:
    partman.execute(STRAND)
    waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'DO %'"
    with psycopg.connect(partman.dsn) as locking:
        locking.execute("SELECT FROM events_default LIMIT 1")
        run = await console.start("partman.move_data", parent="public.events", lock_wait=60)
        moving = asyncio.create_task(run.execute())
        while not partman.execute(waits):
            assert not moving.done()
            await asyncio.sleep(0.01)
        await run.cancel()
        report = await moving
    assert isinstance(report.error, Interrupted)
    assert report.error.message == (
        "cancelled in step 2 of 4, after 0 rows, 5 are left; 1 of 4 steps had been done"
    )
    assert partman.execute("SELECT count(*) FROM ONLY events_default") == [(5,)]


async def test_rows_that_stay_locked_are_told(console: Console, partman: Database) -> None:
    partman.execute(STRAND)
    with psycopg.connect(partman.dsn) as locking:
        locking.execute("SELECT FROM events_default FOR UPDATE")
        report = await console.run("partman.move_data", parent="public.events", lock_wait=0.5)
    assert isinstance(report.error, Failed)
    assert report.error.message == (
        "the server says: canceling statement due to lock timeout, after 0 rows, 5 are left"
    )
    assert report.error.hint == "another session holds the lock"


@pytest.mark.parametrize(
    ("on_delete", "would"),
    [
        ("CASCADE", "delete the rows that refer to it"),
        ("SET NULL", "make what refers to it null"),
        ("SET DEFAULT", "change what refers to it"),
    ],
)
async def test_rows_that_others_hang_on_are_not_moved(
    console: Console, partman: Database, on_delete: str, would: str
) -> None:
    partman.execute("ALTER TABLE events ADD UNIQUE (at)")
    partman.execute(f"CREATE TABLE notes (at timestamptz REFERENCES events (at) ON DELETE {on_delete})")
    partman.execute(STRAND)
    partman.execute("INSERT INTO notes SELECT at FROM events_default")
    partman.execute("CREATE TABLE old_events (LIKE events)")
    for name, given in (("move_data", {}), ("undo", {"into": "public.old_events"})):
        with pytest.raises(Refused) as caught:
            await console.plan(f"partman.{name}", parent="public.events", **given)
        assert caught.value.message == (
            f"public.notes refers to public.events ON DELETE {on_delete}: a row that moves is deleted and"
            f" inserted again, and that would {would}"
        )
    assert partman.execute("SELECT count(at) FROM notes") == [(5,)]


async def test_what_else_a_move_does_is_told_before(console: Console, partman: Database) -> None:
    partman.execute("ALTER TABLE events ADD UNIQUE (at)")
    partman.execute("CREATE TABLE notes (at timestamptz REFERENCES events (at))")
    partman.execute("CREATE FUNCTION gone() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN old; END'")
    partman.execute("CREATE TRIGGER watch AFTER DELETE ON events FOR EACH ROW EXECUTE FUNCTION gone()")
    partman.execute(STRAND)
    partman.execute("INSERT INTO notes SELECT min(at) FROM events_default")
    plan = await console.plan("partman.move_data", parent="public.events")
    assert plan.notes[1:3] == (
        "public.notes refers to public.events: a batch with rows that it refers to fails",
        "rows that move are deleted and inserted, which fires watch",
    )
    report = await console.run("partman.move_data", parent="public.events")
    assert isinstance(report.error, Failed)
    assert partman.execute("SELECT count(*) FROM events_default") == [(5,)]


@pytest.mark.parametrize(
    ("kind", "interval", "value"),
    [
        ("date", "1 day", "current_date + 20 * n"),
        ("timestamp", "1 month", "localtimestamp + interval '5 months' * n"),
        ("timestamptz", "12 hours", "now() - interval '5 days' * n"),
        ("smallint", "10", "100 + 20 * n"),
        ("bigint", "1000", "20000 + 1500 * n"),
    ],
)
async def test_rows_of_any_plain_key_reach_partitions_beside_the_others(
    console: Console, partman: Database, kind: str, interval: str, value: str
) -> None:
    partman.execute(
        f"CREATE TABLE plain (n int GENERATED ALWAYS AS IDENTITY, lower {kind} NOT NULL, gone int,"
        """ first text, width int GENERATED ALWAYS AS (length(first)) STORED, d int, "g ""%s" int)"""
        " PARTITION BY RANGE (lower)"
    )
    partman.execute("ALTER TABLE plain DROP COLUMN gone")
    create_parent(partman, "public.plain", "lower", interval)
    partman.execute(f"INSERT INTO plain (lower, first) SELECT {value}, 'x' FROM generate_series(1, 4) n")
    rows = "SELECT * FROM plain ORDER BY n"
    before = partman.execute(rows)
    assert (await console.done("partman.move_data", parent="public.plain"))["rows"] == 4
    assert partman.execute("SELECT count(*) FROM plain_default") == [(0,)]
    assert partman.execute(rows) == before
    # What is missing between the old and the new partitions is a whole number of them.
    await console.done("partman.fill_gaps", parent="public.plain")
    assert [g for g in await console.rows("partman.gaps") if g.parent == "public.plain"] == []


async def test_rows_that_come_while_their_partition_is_made_are_moved_too(
    console: Console, partman: Database
) -> None:
    partman.execute(STRAND)
    with psycopg.connect(partman.dsn) as late:
        late.execute("INSERT INTO events VALUES (now() + interval '20 days', 'late')")
        moving = asyncio.create_task(console.done("partman.move_data", parent="public.events"))
        while not partman.execute(
            "SELECT 1 FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"
        ):
            assert not moving.done()
            await asyncio.sleep(0.01)
    assert (await moving)["rows"] == 6
    assert partman.execute("SELECT count(*) FROM ONLY events_default") == [(0,)]


async def test_rows_without_a_finite_time_stay_and_are_told(console: Console, partman: Database) -> None:
    partman.execute("INSERT INTO events VALUES ('infinity'), ('-infinity'), (now() + interval '20 days')")
    report = await console.run("partman.move_data", parent="public.events")
    assert isinstance(report.error, Failed)
    assert report.error.message == "2 rows are left in public.events_default"
    assert partman.execute("SELECT count(*) FROM events") == [(54,)]


async def test_a_detached_table_of_the_name_gets_no_rows(console: Console, partman: Database) -> None:
    partman.execute(STRAND)
    await console.done("partman.move_data", parent="public.events")
    newest = (await console.rows("partman.partitions", parent="public.events"))[-2].partition
    partman.execute(f"ALTER TABLE events DETACH PARTITION {newest}")
    partman.execute("INSERT INTO events VALUES (now() + interval '100 days')")
    report = await console.run("partman.move_data", parent="public.events")
    assert isinstance(report.error, Failed)
    assert "pg_partman makes no partition from" in report.error.message
    assert report.error.message.endswith("after 0 rows, 1 is left")
    assert report.error.hint == "a table that was detached may have its name; rename it, or attach it again"
    assert partman.execute("SELECT count(*) FROM ONLY events_default") == [(1,)]


async def test_moves_an_old_table_in_small_batches_and_leaves_generated_columns_alone(
    console: Console, partman: Database
) -> None:
    columns = "id bigint NOT NULL, twice bigint GENERATED ALWAYS AS (id * 2) STORED"
    partman.execute(f'CREATE TABLE "Old One" ({columns})')
    partman.execute('INSERT INTO "Old One" SELECT generate_series(1, 35)')
    partman.execute(f"CREATE TABLE new ({columns}) PARTITION BY RANGE (id)")
    create_parent(partman, "public.new", "id", "10")
    given = {"parent": "public.new", "source": 'public."Old One"', "batch_interval": "5"}
    assert (await console.done("partman.move_data", **given))["rows"] == 35
    assert partman.execute("SELECT sum(twice), count(*) FROM new") == [(1260, 35)]
    assert partman.execute("SELECT count(*) FROM new_default") == [(0,)]


async def test_waiting_for_ever_disrupts(console: Console, partman: Database) -> None:
    partman.execute(STRAND)
    plan = await console.plan("partman.move_data", parent="public.events", lock_wait=0)
    assert plan.danger is Danger.DISRUPT


@pytest.mark.parametrize(
    ("given", "error", "sentence"),
    [
        ({"parent": "public.logs"}, Refused, "pg_partman does not manage"),
        ({"lock_wait": -1}, Usage, "0 to 86400 seconds"),
        ({"batch_interval": "1 h"}, Refused, "rows leave the default partition by whole partitions"),
        ({"source": "public.nope"}, Refused, "there is no table"),
        ({"source": "public.events"}, Refused, "--source is the set itself"),
        ({"source": "public.flat", "batch_interval": "5"}, Usage, "not a duration"),
    ],
)
async def test_what_cannot_be_moved_is_refused(
    console: Console, partman: Database, given: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    partman.execute("CREATE TABLE flat (LIKE events)")
    partman.execute("INSERT INTO flat VALUES (now())")
    with pytest.raises(error, match=sentence):
        await console.plan("partman.move_data", **{"parent": "public.events", **given})


@pytest.mark.parametrize("keep", [True, False])
async def test_undoes_a_set(console: Console, partman: Database, keep: bool) -> None:
    partman.execute("CREATE TABLE flat (LIKE events)")
    [(rows,)] = partman.execute("SELECT count(*) FROM events")
    names = partitions(partman, "events")
    before = state(partman)
    given = {"parent": "public.events", "into": "public.flat", "keep_tables": keep}
    plan = await console.plan("partman.undo", **given)
    assert (plan.danger, plan.subject, len(plan.rows)) == (Danger.DESTROY, "public.events", len(names))
    assert state(partman) == before
    await console.done("partman.undo", **given)
    assert partman.execute("SELECT count(*) FROM flat") == [(rows,)]
    assert partman.execute("SELECT 1 FROM partman.part_config WHERE parent_table = 'public.events'") == []
    assert [(partman.execute("SELECT to_regclass(%s) IS NOT NULL", [names[0]]))] == [[(keep,)]]
    with pytest.raises(Refused, match="pg_partman does not manage"):
        await console.plan("partman.undo", **given)


async def test_a_set_is_not_undone_into_itself(console: Console) -> None:
    for into in ("public.events", "public.events_default"):
        with pytest.raises(Refused, match="is the set or a partition of it"):
            await console.plan("partman.undo", parent="public.events", into=into)
    with pytest.raises(Refused, match="there is no table"):
        await console.plan("partman.undo", parent="public.events", into="public.nope")
