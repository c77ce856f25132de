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
    assert report.error.message == "cancelled in step 1 of 3, after 1 rows, 4 are left"
    assert partman.execute("SELECT count(*) FROM ONLY events_default") == [(4,)]
    assert (await console.done("partman.move_data", parent="public.events"))["rows"] == 4


async def test_rows_that_stay_locked_are_told(console: Console, partman: Database) -> None:
    partman.execute(STRAND)
    with psycopg.connect(partman.dsn) as locking:
        locking.execute("SELECT FROM events_default FOR UPDATE")
        report = await console.run("partman.move_data", parent="public.events", lock_wait=0.5)
    assert isinstance(report.error, Failed)
    assert report.error.message == "5 rows are left in public.events_default"
    assert "run it again" in (report.error.hint or "")


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
        ({"lock_wait": -1}, Usage, "0 or more seconds"),
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
