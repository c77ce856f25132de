"""Cancelling, failing and closing open jobs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg import sql

from backend.core.declare import Danger
from backend.core.errors import Refused, Usage
from backend.core.registry import find_action
from tests.rooms.jobmon.conftest import Connection, Console, Consoles, Sessions, until
from tests.rooms.jobmon.test_views_alerts import lose
from tests.servers import Database

ENDING = ("jobmon.cancel", "jobmon.fail", "jobmon.close")


def status(dba: Connection, job_id: int) -> Any:
    return dba.value("SELECT coalesce(status, 'open') FROM jobmon.job_log WHERE job_id = %s", [job_id])


def everything(dba: Connection) -> list[Any]:
    return [dba.ask(f"SELECT * FROM jobmon.{table}") for table in ("job_log", "job_detail", "job_check_log")]


@pytest.mark.parametrize("action", ENDING)
def test_ending_a_job_disrupts_and_never_waits_for_another_run(action: str) -> None:
    assert find_action(action).danger is Danger.DISRUPT
    assert not find_action(action).exclusive
    assert "jobmon.running" in find_action(action).on


async def test_cancels_what_the_session_runs_and_logs_the_job_as_failed(
    console: Console, sessions: Sessions, dba: Connection
) -> None:
    worker = sessions()
    job_id = worker.value("SELECT jobmon.add_job('x')")
    worker.value("SELECT jobmon.add_step(%s, 'sleep')", [job_id])
    with ThreadPoolExecutor() as pool:
        sleep = pool.submit(worker.ask, "SELECT pg_sleep(60)")
        until(lambda: dba.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == 1)
        result = await console.done("jobmon.cancel", job_id=job_id)
        with pytest.raises(psycopg.errors.QueryCanceled):
            sleep.result()
    assert (result["job_id"], result["job"], result["status"]) == (job_id, "X", "CRITICAL")
    assert status(dba, job_id) == "CRITICAL"
    assert worker.value("SELECT 1") == 1


async def test_a_job_whose_session_is_gone_is_not_cancelled_but_failed(
    console: Console, sessions: Sessions, dba: Connection
) -> None:
    job_id = lose(sessions, dba, "x")
    with pytest.raises(Refused, match="the session of job 1 is gone") as caught:
        await console.plan("jobmon.cancel", job_id=job_id)
    assert caught.value.hint == "jobmon.fail --job-id 1 ends it in the log"
    assert (await console.done("jobmon.fail", job_id=job_id))["status"] == "CRITICAL"


async def test_a_younger_session_of_the_same_pid_is_not_cancelled(
    console: Console, sessions: Sessions, dba: Connection
) -> None:
    job_id = sessions().value("SELECT jobmon.add_job('x')")
    run = await console.start("jobmon.cancel", job_id=job_id)
    dba.ask("UPDATE jobmon.job_log SET start_time = start_time - interval '1 hour'")
    report = await run.execute()
    assert report.error is not None
    assert report.error.message == "job 1 or its session has ended meanwhile; nothing was cancelled"
    assert status(dba, job_id) == "open"


async def test_a_session_out_of_sight_is_not_cancelled(
    jobmon: Database, plain: Connection, dba: Connection, consoles: Consoles
) -> None:
    dba.value("SELECT jobmon.add_job('x')")
    role = sql.Identifier(plain.info.user)
    jobmon.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA jobmon TO {}").format(role))
    console = await consoles(jobmon.server.dsn(jobmon.name, user=plain.info.user))
    with pytest.raises(Refused, match="belongs to another role") as caught:
        await console.plan("jobmon.cancel", job_id=1)
    assert "GRANT pg_monitor" in str(caught.value.hint)


@pytest.mark.parametrize(("level", "text"), [(2, "WARNING"), (3, "CRITICAL")])
async def test_fails_an_open_job_at_a_level(
    console: Console, sessions: Sessions, dba: Connection, level: int, text: str
) -> None:
    job_id = sessions().value("SELECT jobmon.add_job('x')")
    plan = await console.plan("jobmon.fail", job_id=job_id, level=level)
    assert "jobmon.cancel does that" in plan.notes[0]
    assert (await console.done("jobmon.fail", job_id=job_id, level=level))["status"] == text
    assert dba.ask("SELECT job_name, alert_code FROM jobmon.job_check_log") == [("X", level)]


async def test_a_failure_that_escalates_is_a_success(console: Console, dba: Connection) -> None:
    dba.ask("INSERT INTO jobmon.job_check_config VALUES ('X', '1 day', '2 days', true, 0, 2)")
    dba.ask("SELECT jobmon.fail_job(jobmon.add_job('x'), 2)")
    job_id = dba.value("SELECT jobmon.add_job('x')")
    assert (await console.done("jobmon.fail", job_id=job_id, level=2))["status"] == "ESCALATED"


@pytest.mark.parametrize("level", [0, 1, 4, -1])
async def test_a_level_that_is_none_is_wrong_usage(console: Console, dba: Connection, level: int) -> None:
    job_id = dba.value("SELECT jobmon.add_job('x')")
    with pytest.raises(Usage, match=f"--level {level} is no level to fail with") as caught:
        await console.plan("jobmon.fail", job_id=job_id, level=level)
    assert caught.value.hint == "known: 2 WARNING, 3 CRITICAL"


async def test_closes_an_open_job_in_the_words_of_the_server(console: Console, dba: Connection) -> None:
    dba.ask("UPDATE jobmon.job_status_text SET alert_text = 'Gut' WHERE alert_code = 1")
    dba.ask("SELECT jobmon.fail_job(jobmon.add_job('x'))")
    job_id = dba.value("SELECT jobmon.add_job('x')")
    assert (await console.done("jobmon.close", job_id=job_id))["status"] == "Gut"
    assert dba.ask("SELECT job_id FROM jobmon.job_check_log") == []


@pytest.mark.parametrize("action", ENDING)
@pytest.mark.parametrize("job_id", [0, -1, 999_999, 2**63, 10**30])
async def test_a_job_that_is_not_there_is_refused(console: Console, action: str, job_id: int) -> None:
    with pytest.raises(Refused, match=f"there is no job {job_id}"):
        await console.plan(action, job_id=job_id)


@pytest.mark.parametrize("action", ENDING)
async def test_a_job_that_has_ended_is_left_as_it_is(console: Console, dba: Connection, action: str) -> None:
    dba.ask("SELECT jobmon.fail_job(jobmon.add_job('x'))")
    before = everything(dba)
    with pytest.raises(Refused, match=r"job 1 \(X\) has ended as CRITICAL"):
        await console.plan(action, job_id=1)
    assert everything(dba) == before


@pytest.mark.parametrize("action", ENDING)
async def test_a_job_that_ends_after_the_plan_is_left_as_it_is(
    console: Console, sessions: Sessions, dba: Connection, action: str
) -> None:
    sessions().value("SELECT jobmon.add_job('x')")
    run = await console.start(action, job_id=1)
    dba.ask("SELECT jobmon.fail_job(1, 2)")
    before = everything(dba)
    report = await run.execute()
    assert report.error is not None
    assert "ended meanwhile" in report.error.message
    assert everything(dba) == before


@pytest.mark.parametrize("action", ENDING)
async def test_a_plan_changes_nothing(
    console: Console, sessions: Sessions, dba: Connection, action: str
) -> None:
    sessions().value("SELECT jobmon.add_job('x')")
    before = everything(dba)
    plan = await console.plan(action, job_id=1)
    assert plan.subject == "X"
    assert plan.rows[0].job_id == 1
    assert everything(dba) == before
