"""The verdict in every state."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest
from psycopg import errors, sql

from tests.rooms.jobmon.conftest import Connection, Sessions, set_up, until
from tests.servers import Database, OwnClusters

ALL_WELL = [(1, "OK", None, "All jobs run successfully")]
NEVER = "Has not completed a run since highest configured monitoring time period"


def verdict(dba: Connection) -> list[tuple[int, str, str | None, str]]:
    return [
        (code, status, name, text)
        for code, status, name, text in dba.ask(
            "SELECT alert_code, alert_status, job_name, alert_text FROM jobmon.check_job_status()"
        )
    ]


def fail(dba: Connection, name: str, *levels: int) -> None:
    for level in levels:
        dba.ask("SELECT jobmon.fail_job(jobmon.add_job(%s), %s)", [name, level])


def watch(dba: Connection, name: str, *, sensitivity: int = 0, active: bool = True) -> None:
    dba.ask(
        "INSERT INTO jobmon.job_check_config (job_name, warn_threshold, error_threshold, sensitivity, active)"
        " VALUES (%s, '1 hour', '2 hours', %s, %s)",
        [name, sensitivity, active],
    )


def ended(dba: Connection, name: str, ago: str) -> datetime:
    """A good run that began and ended some time ago."""
    job_id = dba.value("SELECT jobmon.add_job(%s)", [name])
    dba.ask("SELECT jobmon.close_job(%s)", [job_id])
    [(end,)] = dba.ask(
        "UPDATE jobmon.job_log SET start_time = start_time - %s::interval, end_time = end_time - %s::interval"
        " WHERE job_id = %s RETURNING end_time",
        [ago, ago, job_id],
    )
    assert isinstance(end, datetime)
    return end


def began(worker: Connection, name: str, ago: str) -> int:
    """An open run that began some time ago, in a session made to look that old by the caller."""
    job_id: int = worker.value("SELECT jobmon.add_job(%s)", [name])
    worker.ask(
        "UPDATE jobmon.job_log SET start_time = start_time - %s::interval WHERE job_id = %s", [ago, job_id]
    )
    return job_id


def test_all_is_well_when_nothing_was_logged(dba: Connection) -> None:
    assert verdict(dba) == ALL_WELL


def test_three_failures_in_a_row_of_an_unconfigured_job_alert(dba: Connection) -> None:
    fail(dba, "x", 3, 3)
    assert verdict(dba) == ALL_WELL
    fail(dba, "x", 3)
    assert verdict(dba) == [(3, "FAILED_RUN", "X", "3 consecutive CRITICAL runs")]


@pytest.mark.parametrize(
    ("levels", "codes"),
    [
        ((2, 2, 2), [2]),
        ((2, 3, 2), [2]),
        ((3, 3, 2), [2]),
        ((2, 2, 2, 3), [2]),
        ((3, 3, 3, 2), [3]),
        ((3, 3, 3, 2, 2, 2), [3, 2]),
        ((3, 2), []),
    ],
)
def test_failures_of_several_codes_count_together(
    dba: Connection, levels: tuple[int, ...], codes: list[int]
) -> None:
    fail(dba, "x", *levels)
    found = [code for code, status, *_ in verdict(dba) if status == "FAILED_RUN"]
    assert found == codes


def test_a_configured_job_alerts_beyond_its_sensitivity(dba: Connection) -> None:
    watch(dba, "x", sensitivity=1)
    fail(dba, "x", 2)
    assert verdict(dba) == ALL_WELL
    fail(dba, "x", 2)
    assert verdict(dba) == [(2, "FAILED_RUN", "X", "2 WARNING run(s)")]


def test_a_configured_job_alerts_once_for_each_code(dba: Connection) -> None:
    watch(dba, "x")
    fail(dba, "x", 2, 3, 2)
    assert verdict(dba) == [
        (3, "FAILED_RUN", "X", "1 CRITICAL run(s)"),
        (2, "FAILED_RUN", "X", "2 WARNING run(s)"),
    ]


def test_an_inactive_configuration_silences_its_job(dba: Connection) -> None:
    watch(dba, "x", active=False)
    fail(dba, "x", 3, 3, 3, 3)
    assert verdict(dba) == ALL_WELL


def test_a_job_that_never_ran_is_missing(dba: Connection) -> None:
    watch(dba, "x")
    assert verdict(dba) == [(3, "MISSING", "X", NEVER)]


@pytest.mark.parametrize(("ago", "code"), [("90 minutes", 2), ("110 minutes", 2)])
def test_a_late_job_is_missing_with_its_last_completed_run(dba: Connection, ago: str, code: int) -> None:
    watch(dba, "x")
    end = ended(dba, "x", ago)
    [(found, status, name, text)] = verdict(dba)
    assert (found, status, name) == (code, "MISSING", "X")
    assert text == "Last completed run: " + dba.value("SELECT %s::text", [end])


def test_a_job_later_than_its_error_threshold_is_critical(dba: Connection) -> None:
    watch(dba, "x")
    watch(dba, "rare")
    dba.ask(
        "UPDATE jobmon.job_check_config SET warn_threshold = '9 h', error_threshold = '9 h'"
        " WHERE job_name = 'RARE'"
    )
    ended(dba, "rare", "1 minute")
    end = ended(dba, "x", "3 hours")
    assert verdict(dba) == [(3, "MISSING", "X", "Last completed run: " + dba.value("SELECT %s::text", [end]))]


def test_a_job_on_time_is_well(dba: Connection) -> None:
    watch(dba, "x")
    ended(dba, "x", "50 minutes")
    assert verdict(dba) == ALL_WELL


def test_a_late_job_that_runs_is_running(sessions: Sessions, dba: Connection) -> None:
    watch(dba, "x")
    dba.ask("UPDATE jobmon.job_check_config SET warn_threshold = '0', error_threshold = '1 hour'")
    sessions().value("SELECT jobmon.add_job('x')")
    [(code, status, name, text)] = verdict(dba)
    assert (code, status, name) == (2, "RUNNING", "X")
    assert text == "Currently running. No run has completed within the configured monitoring time period."


def test_a_late_job_whose_session_is_gone_is_missing(sessions: Sessions, dba: Connection) -> None:
    watch(dba, "x")
    dba.ask("UPDATE jobmon.job_check_config SET warn_threshold = '0', error_threshold = '1 hour'")
    worker = sessions()
    worker.value("SELECT jobmon.add_job('x')")
    worker.close()
    until(lambda: verdict(dba) == [(2, "MISSING", "X", NEVER)])


def test_a_late_job_whose_pid_belongs_to_a_younger_session_is_missing(
    sessions: Sessions, dba: Connection
) -> None:
    watch(dba, "x")
    began(sessions(), "x", "90 minutes")
    assert verdict(dba) == [(2, "MISSING", "X", NEVER)]


def test_a_late_job_that_waits_for_a_lock_is_blocked(sessions: Sessions, dba: Connection) -> None:
    watch(dba, "x")
    dba.ask("UPDATE jobmon.job_check_config SET warn_threshold = '0', error_threshold = '1 hour'")
    dba.ask("CREATE TABLE held (n integer)")
    holder = sessions(autocommit=False)
    holder.ask("LOCK TABLE held")
    worker = sessions()
    worker.value("SELECT jobmon.add_job('x')")
    with ThreadPoolExecutor() as pool:
        wait = pool.submit(worker.ask, "SELECT FROM held")
        blocked = [(2, "BLOCKED", "X", "The run waits for a lock that another transaction holds")]
        until(lambda: verdict(dba) == blocked)
        holder.rollback()
        wait.result()


def test_the_worst_comes_first_then_the_names(dba: Connection) -> None:
    for name in ("b", "a", "c"):
        watch(dba, name)
    ended(dba, "b", "90 minutes")
    assert [(code, name) for code, _, name, _ in verdict(dba)] == [(3, "A"), (3, "C"), (2, "B")]


def test_a_history_shorter_than_a_threshold_is_refused(dba: Connection) -> None:
    watch(dba, "x")
    with pytest.raises(
        errors.RaiseException,
        match=r"^Input argument must be greater than or equal to the longest threshold in job_check_config",
    ):
        dba.ask("SELECT * FROM jobmon.check_job_status('1 hour')")
    assert dba.ask("SELECT alert_status FROM jobmon.check_job_status('2 hours')") == [("MISSING",)]


def test_the_verdict_works_in_a_read_only_transaction_and_makes_no_table(dba: Connection) -> None:
    dba.execute("SET default_transaction_read_only = on")
    assert verdict(dba) == ALL_WELL
    assert dba.ask("SELECT FROM pg_class WHERE relpersistence = 't'") == []


def test_the_verdict_may_be_asked_twice_in_one_statement(dba: Connection) -> None:
    assert (
        dba.value(
            "SELECT count(*) FROM jobmon.check_job_status() AS a, jobmon.check_job_status('1 day') AS b"
        )
        == 1
    )


def test_a_reader_needs_no_right_to_make_temporary_tables(dba: Connection, plain: Connection) -> None:
    role = sql.Identifier(plain.info.user)
    database = sql.Identifier(dba.info.dbname)
    dba.ask(sql.SQL("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC").format(database))
    dba.ask(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA jobmon TO {}").format(role))
    assert verdict(plain) == ALL_WELL


def test_the_verdict_works_on_a_standby(own_cluster: OwnClusters) -> None:
    primary = own_cluster()
    primary.psql("CREATE DATABASE shop")
    set_up(Database(primary, "shop"))
    primary.psql("SELECT jobmon.fail_job(jobmon.add_job('x')) FROM generate_series(1, 3)", "shop")
    standby = own_cluster.standby(primary)
    alerts = [(3, "FAILED_RUN", "X", "3 consecutive CRITICAL runs")]
    until(lambda: standby.psql("SELECT * FROM jobmon.check_job_status()", "shop") == alerts)
