"""The verdict on each job, in every state, from one read-only question."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from psycopg import sql

from backend.core.declare import Health
from backend.core.errors import Missing
from backend.core.judge import judge
from backend.core.registry import find_view
from backend.jobmon.alerts import Alert
from tests.rooms.jobmon.conftest import Connection, Console, Consoles, Sessions, until
from tests.servers import Database, OwnClusters


def fail(dba: Connection, name: str, *levels: int) -> None:
    for level in levels:
        dba.ask("SELECT jobmon.fail_job(jobmon.add_job(%s), %s)", [name, level])


def watch(dba: Connection, name: str, warn: str = "1 hour", error: str = "2 hours", **more: Any) -> None:
    dba.ask(
        "INSERT INTO jobmon.job_check_config (job_name, warn_threshold, error_threshold, sensitivity, active)"
        " VALUES (%s, %s, %s, %s, %s)",
        [name, warn, error, more.get("sensitivity", 0), more.get("active", True)],
    )


def ran(dba: Connection, name: str, ago: str) -> int:
    """A good run that began and ended some time ago."""
    job_id: int = dba.value("SELECT jobmon.add_job(%s)", [name])
    dba.ask("SELECT jobmon.close_job(%s)", [job_id])
    dba.ask(
        "UPDATE jobmon.job_log SET start_time = start_time - %s::interval, end_time = end_time - %s::interval"
        " WHERE job_id = %s",
        [ago, ago, job_id],
    )
    return job_id


def lose(sessions: Sessions, dba: Connection, name: str) -> int:
    """An open job whose session is gone."""
    worker = sessions()
    job_id: int = worker.value("SELECT jobmon.add_job(%s)", [name])
    pid = worker.info.backend_pid
    worker.close()
    until(lambda: not dba.ask("SELECT pid FROM pg_stat_activity WHERE pid = %s", [pid]))
    return job_id


async def alert(console: Console) -> Alert:
    [found] = await console.rows("jobmon.alerts")
    assert isinstance(found, Alert)
    return found


def brief(found: Alert) -> tuple[str, str, int]:
    return found.job, found.state, found.code


async def test_all_is_well_when_nothing_was_logged(console: Console) -> None:
    judged = await console.judged("jobmon.alerts")
    assert (judged.overall.health, judged.overall.sentence) == (Health.OK, "all jobs run successfully")


async def test_three_failures_of_a_job_without_thresholds_alert(console: Console, dba: Connection) -> None:
    fail(dba, "x", 3, 3)
    assert await console.rows("jobmon.alerts") == []
    fail(dba, "x", 3)
    found = await alert(console)
    assert brief(found) == ("X", "FAILED_RUN", 3)
    assert (found.failures, found.job_id, found.detail) == (3, 3, "failed in a row: 3 CRITICAL")
    judged = await console.judged("jobmon.alerts")
    assert judged.overall.sentence == "X: FAILED_RUN, failed in a row: 3 CRITICAL"
    assert judged.overall.health is Health.CRITICAL


async def test_failures_of_mixed_levels_count_together(console: Console, dba: Connection) -> None:
    fail(dba, "x", 2, 3, 2)
    found = await alert(console)
    assert brief(found) == ("X", "FAILED_RUN", 2)
    assert found.detail == "failed in a row: 1 CRITICAL, 2 WARNING"
    assert (await console.judged("jobmon.alerts")).overall.health is Health.WARNING


async def test_the_first_failure_beyond_the_sensitivity_alerts(console: Console, dba: Connection) -> None:
    watch(dba, "x", sensitivity=1)
    fail(dba, "x", 2)
    assert await console.rows("jobmon.alerts") == []
    fail(dba, "x", 2)
    assert brief(await alert(console)) == ("X", "FAILED_RUN", 2)


async def test_a_good_run_ends_the_alert_and_is_told_afterwards(console: Console, dba: Connection) -> None:
    good = ran(dba, "x", "5 minutes")
    fail(dba, "x", 3, 3, 3)
    [(end,)] = dba.ask("SELECT end_time FROM jobmon.job_log WHERE job_id = %s", [good])
    assert (await alert(console)).last_ok == end
    ran(dba, "x", "1 second")
    assert await console.rows("jobmon.alerts") == []


async def test_an_inactive_configuration_silences_its_job(
    console: Console, dba: Connection, sessions: Sessions
) -> None:
    watch(dba, "x", active=False)
    fail(dba, "x", 3, 3, 3, 3)
    lose(sessions, dba, "x")
    assert await console.rows("jobmon.alerts") == []


async def test_a_job_that_never_ran_is_missing(console: Console, dba: Connection) -> None:
    watch(dba, "x")
    found = await alert(console)
    assert brief(found) == ("X", "MISSING", 3)
    assert found.detail == "no run is logged, expected every 01:00:00"


@pytest.mark.parametrize(("ago", "code"), [("90 minutes", 2), ("3 hours", 3), ("30 days", 3)])
async def test_a_late_job_is_missing_with_its_true_last_run(
    console: Console, dba: Connection, ago: str, code: int
) -> None:
    watch(dba, "x")
    job_id = ran(dba, "x", ago)
    found = await alert(console)
    assert brief(found) == ("X", "MISSING", code)
    assert [(found.last_start, found.last_end)] == dba.ask(
        "SELECT start_time, end_time FROM jobmon.job_log WHERE job_id = %s", [job_id]
    )
    assert "expected every 01:00:00" in found.detail


async def test_a_job_on_time_is_well(console: Console, dba: Connection) -> None:
    watch(dba, "x")
    ran(dba, "x", "50 minutes")
    assert await console.rows("jobmon.alerts") == []


async def test_a_late_job_that_runs_is_running(console: Console, sessions: Sessions, dba: Connection) -> None:
    watch(dba, "x", "0", "1 hour")
    job_id = sessions().value("SELECT jobmon.add_job('x')")
    found = await alert(console)
    assert (*brief(found), found.job_id) == ("X", "RUNNING", 2, job_id)
    assert found.detail.startswith("running for ")


@pytest.fixture
def blocked(sessions: Sessions, dba: Connection) -> Iterator[tuple[int, int]]:
    """An open job that waits for a lock, and the session that holds it."""
    dba.ask("CREATE TABLE held (n integer)")
    holder, worker = sessions(autocommit=False), sessions()
    holder.ask("LOCK TABLE held")
    job_id = worker.value("SELECT jobmon.add_job('x')")
    with ThreadPoolExecutor() as pool:
        wait: Future[Any] = pool.submit(worker.ask, "SELECT FROM held")
        until(lambda: dba.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") > 0)
        yield job_id, holder.info.backend_pid
        holder.rollback()
        wait.result()


async def test_a_late_job_that_waits_for_a_lock_names_who_holds_it(
    console: Console, dba: Connection, blocked: tuple[int, int]
) -> None:
    watch(dba, "x", "0", "1 hour")
    found = await alert(console)
    assert (*brief(found), found.job_id, found.blocked_by) == ("X", "BLOCKED", 2, blocked[0], [blocked[1]])
    assert found.detail.startswith(f"the run waits for a lock that process {blocked[1]} holds; running for ")


async def test_a_lost_session_alerts_before_the_job_is_late(
    console: Console, sessions: Sessions, dba: Connection
) -> None:
    job_id = lose(sessions, dba, "x")
    found = await alert(console)
    assert (*brief(found), found.job_id) == ("X", "ORPHAN", 2, job_id)
    assert found.detail == f"job {job_id} is open and its session is gone"


async def test_a_lost_session_of_a_late_job_is_as_bad_as_its_lateness(
    console: Console, sessions: Sessions, dba: Connection
) -> None:
    watch(dba, "x", "1 hour", "2 hours")
    job_id = lose(sessions, dba, "x")
    dba.ask("UPDATE jobmon.job_log SET start_time = start_time - interval '3 hours'")
    found = await alert(console)
    assert (*brief(found), found.job_id) == ("X", "ORPHAN", 3, job_id)


async def test_a_lost_session_is_forgotten_when_the_job_has_run_since(
    console: Console, sessions: Sessions, dba: Connection
) -> None:
    lose(sessions, dba, "x")
    ran(dba, "x", "0 s")
    assert await console.rows("jobmon.alerts") == []


async def test_failures_whose_log_is_purged_are_stale(console: Console, dba: Connection) -> None:
    fail(dba, "x", 3, 3, 3)
    dba.ask("DELETE FROM jobmon.job_log")
    found = await alert(console)
    assert (*brief(found), found.job_id) == ("X", "STALE STREAK", 3, None)
    assert found.detail == "failed in a row: 3 CRITICAL, of which the log is purged"


async def test_what_is_wrong_with_one_job_is_one_row_with_the_worst_code(
    console: Console, dba: Connection
) -> None:
    watch(dba, "x")
    fail(dba, "x", 2)
    dba.ask("UPDATE jobmon.job_log SET start_time = start_time - interval '3 hours'")
    found = await alert(console)
    assert brief(found) == ("X", "MISSING", 3)
    assert found.detail.startswith("failed in a row: 1 WARNING; last start 3h 00m ago")


async def test_the_worst_comes_first_then_the_names(console: Console, dba: Connection) -> None:
    for name in ("b", "a", "c"):
        watch(dba, name)
    ran(dba, "b", "90 minutes")
    assert [a.job for a in await console.rows("jobmon.alerts")] == ["A", "C", "B"]


async def test_the_codes_are_those_of_check_job_status(
    console: Console, sessions: Sessions, dba: Connection
) -> None:
    for name in ("a", "b", "c", "d", "e"):
        watch(dba, name, sensitivity=1)
    fail(dba, "a", 2, 3, 3)
    fail(dba, "free", 3, 3, 3)
    ran(dba, "b", "90 minutes")
    ran(dba, "c", "10 minutes")
    dba.ask("UPDATE jobmon.job_check_config SET escalate = 2 WHERE job_name = 'D'")
    fail(dba, "d", 2, 2, 2)
    known = dba.ask("SELECT job_name, max(alert_code) FROM jobmon.check_job_status() GROUP BY 1 ORDER BY 1")
    assert sorted((a.job, a.code) for a in await console.rows("jobmon.alerts")) == known


async def test_renamed_and_further_levels_are_told_in_their_words(console: Console, dba: Connection) -> None:
    dba.ask("UPDATE jobmon.job_status_text SET alert_text = 'BAD' WHERE alert_code = 3")
    dba.ask("INSERT INTO jobmon.job_status_text VALUES (4, 'WORSE')")
    fail(dba, "x", 4, 4, 4)
    found = await alert(console)
    assert (found.code, found.severity, found.detail) == (4, "CRITICAL", "failed in a row: 3 WORSE")


async def test_a_role_without_privileges_is_told_what_to_grant(
    jobmon: Database, plain: Connection, consoles: Consoles
) -> None:
    console = await consoles(jobmon.server.dsn(jobmon.name, user=plain.info.user))
    with pytest.raises(Missing, match="permission denied for table") as caught:
        await console.rows("jobmon.alerts")
    hint = str(caught.value.hint)
    assert "dblink_mapping_jobmon" not in hint
    for statement in hint.removesuffix(" let it read the job log").split(";"):
        jobmon.execute(statement)
    console.session.retry_now()
    for view in ("jobmon.alerts", "jobmon.running", "jobmon.jobs", "jobmon.settings"):
        await console.rows(view)


async def test_a_role_that_sees_no_sessions_takes_no_job_for_lost(
    jobmon: Database, plain: Connection, sessions: Sessions, consoles: Consoles
) -> None:
    sessions().value("SELECT jobmon.add_job('x')")
    role = sql.Identifier(plain.info.user)
    jobmon.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA jobmon TO {}").format(role))
    console = await consoles(jobmon.server.dsn(jobmon.name, user=plain.info.user))
    assert await console.rows("jobmon.alerts") == []
    judged = await console.judged("jobmon.running")
    assert judged.overall.health is Health.UNKNOWN
    assert "GRANT pg_monitor" in judged.overall.sentence


async def test_a_job_longer_ago_than_the_newest_runs_is_found_by_its_name(
    console: Console, dba: Connection
) -> None:
    watch(dba, "rare", "1 hour", "30 days")
    ran(dba, "rare", "2 days")
    dba.ask(
        "INSERT INTO jobmon.job_log (owner, job_name, start_time, end_time, status, pid)"
        " SELECT 'o', 'OFTEN', now(), now(), 'OK', 1 FROM generate_series(1, 6000)"
    )
    found = await alert(console)
    assert brief(found) == ("RARE", "MISSING", 2)
    assert found.last_start is not None
    assert found.last_ok is not None


async def test_works_on_a_standby_where_no_session_is_known(
    own_cluster: OwnClusters, consoles: Consoles
) -> None:
    primary = own_cluster()
    primary.psql("CREATE DATABASE shop")
    await (await consoles(primary.dsn("shop"))).done("jobmon.install")
    primary.psql("SELECT jobmon.add_job('lost')", "shop")
    standby = own_cluster.standby(primary)
    console = await consoles(standby.dsn("shop"))
    view = find_view("jobmon.alerts")
    assert judge(view, await console.rows("jobmon.alerts")).overall.health is Health.OK
