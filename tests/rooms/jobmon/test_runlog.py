"""Runs of pgtui as logged jobs."""

from __future__ import annotations

import asyncio
from typing import Any

from backend.core.registry import rooms
from tests.rooms.jobmon.conftest import Connection, Consoles, until
from tests.servers import Database, OwnClusters

JOBS = "SELECT job_name, status FROM jobmon.job_log WHERE job_name LIKE 'PGTUI %' ORDER BY job_id"
STEPS = (
    "SELECT d.action, d.status, d.message FROM jobmon.job_detail d JOIN jobmon.job_log j USING (job_id)"
    " WHERE j.job_name LIKE 'PGTUI %' ORDER BY d.step_id"
)
THRESHOLDS: dict[str, Any] = {"job": "x", "warn": "1h", "error": "2h"}


def test_the_room_says_who_logs_runs() -> None:
    assert "backend.jobmon.runlog" in [r.run_log for r in rooms()]


async def test_a_run_is_a_job_with_its_steps(jobmon: Database, dba: Connection, consoles: Consoles) -> None:
    console = await consoles(jobmon.dsn, jobmon_log=True)
    report = await console.run("jobmon.configure", **THRESHOLDS)
    assert report.notices == ["no job called X is logged so far; until one runs it counts as missing"]
    assert dba.ask(JOBS) == [("PGTUI JOBMON.CONFIGURE", "OK")]
    assert dba.ask(STEPS) == [
        (report.steps[0].text, "OK", "INSERT 0 1"),
        ("check that the thresholds were set", "OK", "INSERT 0 1"),
    ]


async def test_only_where_the_inventory_says_so(
    jobmon: Database, dba: Connection, consoles: Consoles
) -> None:
    await (await consoles(jobmon.dsn)).done("jobmon.configure", **THRESHOLDS)
    assert dba.ask(JOBS) == []


async def test_a_run_that_fails_is_a_failed_job_with_the_servers_words(
    jobmon: Database, dba: Connection, consoles: Consoles
) -> None:
    console = await consoles(jobmon.dsn, jobmon_log=True)
    await console.run("jobmon.run_sql", job="x", sql="SELECT 1/0")
    assert dba.ask(JOBS) == [("PGTUI JOBMON.RUN_SQL", "CRITICAL")]
    assert dba.ask(STEPS)[-2][1:] == ("CRITICAL", "job 2 ended as CRITICAL: ERROR: division by zero")
    assert "fail_job" in dba.ask(STEPS)[-1][0]
    assert dba.ask("SELECT status FROM jobmon.job_log WHERE job_name = 'X'") == [("CRITICAL",)]


async def test_a_cancelled_run_is_a_warning_and_is_cancelled_as_a_job_too(
    jobmon: Database, dba: Connection, consoles: Consoles
) -> None:
    console = await consoles(jobmon.dsn, jobmon_log=True)
    run = await console.start("jobmon.run_sql", job="x", sql="SELECT pg_sleep(60)")
    running = asyncio.create_task(run.execute())
    sleeping = "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    await asyncio.to_thread(until, lambda: dba.value(sleeping))
    [job] = [j for j in await console.rows("jobmon.running") if j.job == "PGTUI JOBMON.RUN_SQL"]
    assert job.state == "RUNNING"
    await run.cancel()
    await running
    assert dba.ask(JOBS) == [("PGTUI JOBMON.RUN_SQL", "WARNING")]


async def test_a_log_that_cannot_be_kept_does_not_stop_the_run(
    jobmon: Database, dba: Connection, consoles: Consoles
) -> None:
    dba.ask("UPDATE jobmon.dblink_mapping_jobmon SET port = '1', pwd = 's3cret'")
    console = await consoles(jobmon.dsn, jobmon_log=True)
    report = await console.run("jobmon.configure", **THRESHOLDS)
    assert report.status == "ok"
    [notice] = [n for n in report.notices if "not logged" in n]
    assert notice.startswith(
        "this run is not logged as a job: the server says: could not establish connection"
    )
    assert "s3cret" not in notice
    assert dba.value("SELECT count(*) FROM jobmon.job_check_config") == 1


async def test_a_log_that_fails_in_the_middle_still_gets_the_end(
    jobmon: Database, dba: Connection, consoles: Consoles
) -> None:
    console = await consoles(jobmon.dsn, jobmon_log=True)
    dba.ask("CREATE OR REPLACE FUNCTION jobmon.add_step(p_job_id bigint, p_action text) RETURNS bigint"
            " LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END'")  # fmt: skip
    report = await console.run("jobmon.configure", **THRESHOLDS)
    assert report.status == "ok"
    assert report.notices[-1] == "this run is not logged in full: the server says: no"
    assert dba.ask(JOBS) == [("PGTUI JOBMON.CONFIGURE", "OK")]


async def test_no_secret_gets_into_the_log(jobmon: Database, dba: Connection, consoles: Consoles) -> None:
    console = await consoles(jobmon.dsn, jobmon_log=True)
    assert (await console.run("jobmon.set_connection", password="s3cret")).status == "ok"
    assert dba.ask(JOBS)[0] == ("PGTUI JOBMON.SET_CONNECTION", "OK")
    assert "s3cret" not in str(dba.ask("SELECT * FROM jobmon.job_detail"))


async def test_uninstalling_ends_the_log_with_a_notice(jobmon: Database, consoles: Consoles) -> None:
    report = await (await consoles(jobmon.dsn, jobmon_log=True)).run("jobmon.uninstall")
    assert report.status == "ok"
    assert len([n for n in report.notices if "this run is not logged in full" in n]) == 1


async def test_without_a_job_log_nothing_is_said(bare: Database, consoles: Consoles) -> None:
    report = await (await consoles(bare.dsn, jobmon_log=True)).run("jobmon.install")
    assert report.status == "ok"
    assert not any("logged" in n for n in report.notices)


async def test_a_server_that_ends_in_the_middle_is_told_once(
    own_cluster: OwnClusters, consoles: Consoles
) -> None:
    server = own_cluster()
    server.psql("CREATE DATABASE shop")
    await (await consoles(server.dsn("shop"))).done("jobmon.install")
    console = await consoles(server.dsn("shop"), jobmon_log=True)
    run = await console.start("jobmon.run_sql", job="x", sql="SELECT pg_sleep(60)")
    running = asyncio.create_task(run.execute())
    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    await asyncio.to_thread(until, lambda: server.psql(sleeping) == [(1,)])
    server.stop("immediate")
    report = await running
    assert report.status == "failed"
    assert len([n for n in report.notices if "not logged in full" in n]) == 1
