"""Maintenance as logged jobs, where jobmon is pgtui's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from backend.core.declare import Health
from backend.core.errors import Failed
from tests.rooms.jobmon.conftest import Console, Consoles, set_up
from tests.rooms.partman.conftest import demand_partman, everything
from tests.servers import Database, Server

STEPS = (
    "SELECT j.job_name, j.status, d.action, d.status, d.message"
    " FROM jobmon.job_log j LEFT JOIN jobmon.job_detail d USING (job_id) ORDER BY j.job_id, d.step_id"
)
JOB = "PARTMAN RUN MAINTENANCE"


def both(database: Database) -> None:
    """Sets of pg_partman beside a job log of pgtui's own."""
    everything(database)
    set_up(database)


@pytest.fixture
def logging(database_from: Callable[[str, Callable[[Database], None]], Database], server: Server) -> Database:
    """A fresh database with managed sets and a job log."""
    demand_partman(server)
    return database_from("partman_jobs_sample", both)


@pytest.fixture
async def there(logging: Database, consoles: Consoles) -> Console:
    """A console of the superuser on it."""
    return await consoles(logging.dsn)


async def test_new_partitions_are_logged_as_pg_partman_does(there: Console, logging: Database) -> None:
    logging.execute("UPDATE partman.part_config SET premake = 5 WHERE parent_table = 'public.numbers'")
    await there.done("partman.maintain", parent="public.numbers")
    made = "Creating new partition public.numbers_p6000 with interval from 6000 to 7000"
    begun = [row for row in logging.execute(STEPS) if row[0] == JOB]
    assert begun == [
        (JOB, "OK", "Running maintenance loop", "OK",
         "Partition maintenance finished. 2 partitions made. 0 partitions dropped."),
    ]  # fmt: skip
    rows = [row for row in logging.execute(STEPS) if row[0] != JOB]
    assert [row[:2] for row in rows] == [("PARTMAN CREATE TABLE: PUBLIC.NUMBERS", "OK")] * 2
    assert (made, "OK", "Done") in [row[2:] for row in rows]


@pytest.mark.parametrize(
    ("setting", "step"),
    [
        ("retention_keep_table = true", None),
        ("retention_keep_table = false", "Drop table public.old_p"),
        ("retention_schema = 'kept'", "Moving table public.old_p"),
    ],
)
async def test_what_retention_lets_go_is_logged(
    there: Console, logging: Database, setting: str, step: str | None
) -> None:
    logging.execute("CREATE SCHEMA kept")
    logging.execute(f"UPDATE partman.part_config SET {setting} WHERE parent_table = 'public.old'")
    await there.done("partman.maintain", parent="public.old")
    rows = [r for r in logging.execute(STEPS) if r[0] == "PARTMAN DROP TIME PARTITION: PUBLIC.OLD"]
    actions = [r[2] for r in rows]
    assert len([a for a in actions if a.startswith("Detach/Uninherit table public.old_p")]) == 3
    assert len([a for a in actions if step and a.startswith(step)]) == (3 if step else 0)
    assert rows[-1][2:] == ("Finished partition drop maintenance", "OK", "3 partitions dropped.")


async def test_a_set_that_fails_makes_the_job_critical_and_the_verdict_says_so(
    there: Console, logging: Database
) -> None:
    logging.execute("UPDATE partman.part_config SET premake = 6")
    logging.execute("INSERT INTO events_default VALUES (date_trunc('day', now()) + interval '5 days 1 hour')")
    report = await there.run("partman.maintain", all_sets=True)
    assert isinstance(report.error, Failed)
    loops = [row for row in logging.execute(STEPS) if row[0] == JOB]
    assert [row[3] for row in loops] == ["CRITICAL", "OK", "OK"]
    assert loops[0][4].startswith("ERROR: ")
    assert "would be violated" in loops[0][4]
    assert {row[1] for row in loops} == {"CRITICAL"}
    judged = await there.judged("partman.sets")
    found = judged.findings[("public.numbers",)]
    assert (found.health, found.sentence) == (Health.WARNING, "the last logged maintenance is CRITICAL")
    logging.execute("DELETE FROM events_default")
    await there.done("partman.maintain", all_sets=True)
    assert ("public.numbers",) not in (await there.judged("partman.sets")).findings
    [row] = [r for r in await there.rows("partman.sets") if r.parent == "public.old"]
    assert row.last_maintenance is not None


async def test_a_set_that_wants_no_log_gets_none_of_its_own(there: Console, logging: Database) -> None:
    logging.execute("UPDATE partman.part_config SET premake = 6, jobmon = false")
    await there.done("partman.maintain", parent="public.events")
    assert {row[0] for row in logging.execute(STEPS)} == {JOB}


async def test_other_actions_and_dry_runs_write_no_job(there: Console, logging: Database) -> None:
    await there.plan("partman.maintain", all_sets=True)
    await there.done("partman.configure", parent="public.events", premake=5)
    assert logging.execute(STEPS) == []


async def test_a_log_that_cannot_be_kept_does_not_stop_maintenance(there: Console, logging: Database) -> None:
    logging.execute("UPDATE jobmon.dblink_mapping_jobmon SET port = '1'")
    report = await there.run("partman.maintain", parent="public.events")
    assert report.status == "ok"
    assert any("this run is not logged as a job" in n for n in report.notices)
