"""Jobs and steps, written so that they survive the caller."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import errors

from tests.rooms.jobmon.conftest import Connection, Sessions


def job(dba: Connection, job_id: int) -> dict[str, Any]:
    cursor = dba.execute("SELECT * FROM jobmon.job_log WHERE job_id = %s", [job_id])
    assert cursor.description
    [row] = cursor.fetchall()
    return dict(zip((column.name for column in cursor.description), row, strict=True))


def test_the_log_survives_the_rollback_of_the_caller(sessions: Sessions, dba: Connection) -> None:
    caller = sessions(autocommit=False)
    caller.ask("CREATE TABLE gone (n integer)")
    job_id = caller.value("SELECT jobmon.add_job('Nightly load')")
    step_id = caller.value("SELECT jobmon.add_step(%s, 'load')", [job_id])
    caller.ask("SELECT jobmon.update_step(%s, 'OK', 'it''s \\ loaded')", [step_id])
    caller.ask("SELECT jobmon.close_job(%s)", [job_id])
    caller.rollback()

    kept = job(dba, job_id)
    assert kept["job_name"] == "NIGHTLY LOAD"
    assert kept["status"] == "OK"
    assert kept["end_time"] > kept["start_time"]
    assert kept["pid"] == caller.info.backend_pid
    [(action, status, message, elapsed)] = dba.ask(
        "SELECT action, status, message, elapsed_time FROM jobmon.show_detail(%s)", [job_id]
    )
    assert (action, status, message) == ("load", "OK", "it's \\ loaded")
    assert elapsed >= 0
    assert dba.value("SELECT to_regclass('gone') IS NULL")


def test_a_job_can_be_logged_from_a_read_only_transaction(dba: Connection) -> None:
    dba.execute("SET default_transaction_read_only = on")
    assert dba.value("SELECT jobmon.add_job('reader')") == 1


def test_job_ids_beyond_four_bytes_work(dba: Connection) -> None:
    dba.ask(
        "SELECT setval('jobmon.job_log_job_id_seq', 3000000000),"
        "       setval('jobmon.job_detail_step_id_seq', 4000000000)"
    )
    job_id = dba.value("SELECT jobmon.add_job('many')")
    assert job_id == 3000000001
    assert dba.value("SELECT jobmon.add_step(%s, 'one')", [job_id]) == 4000000001
    dba.ask("SELECT jobmon.close_job(%s)", [job_id])
    assert job(dba, job_id)["status"] == "OK"


@pytest.mark.parametrize(
    "call",
    [
        "add_job(NULL)",
        "add_step(1, NULL)",
        "add_step(NULL, 'x')",
        "update_step(NULL, 'OK', 'x')",
        "close_job(NULL)",
        "fail_job(1, NULL)",
        "fail_job(NULL)",
        "cancel_job(NULL)",
        "job_log_clear(NULL)",
        "sql_job(NULL, 'SELECT 1')",
        "sql_job('x', NULL)",
        "sql_step(NULL, 'x', 'SELECT 1')",
        "sql_step(1, NULL, 'SELECT 1')",
        "sql_step(1, 'x', NULL)",
    ],
)
def test_a_null_argument_is_named_in_the_error_and_logs_nothing(dba: Connection, call: str) -> None:
    with pytest.raises(errors.NullValueNotAllowed, match=r"^\w+ needs p_\w+, which is null"):
        dba.ask(f"SELECT jobmon.{call}")
    assert dba.ask("SELECT job_id FROM jobmon.job_log") == []


def test_a_step_may_end_without_status_or_message(dba: Connection) -> None:
    step_id = dba.value("SELECT jobmon.add_step(jobmon.add_job('quiet'), 'one')")
    dba.ask("SELECT jobmon.update_step(%s, NULL, NULL)", [step_id])
    assert dba.ask("SELECT status, message, end_time IS NULL FROM jobmon.job_detail") == [(None, None, False)]


def test_a_step_may_be_updated_again_and_again(dba: Connection) -> None:
    step_id = dba.value("SELECT jobmon.add_step(jobmon.add_job('steady'), 'copy')")
    for status, message in (("PENDING", "1 of 2"), ("PENDING", "2 of 2"), ("OK", "done")):
        dba.ask("SELECT jobmon.update_step(%s, %s, %s)", [step_id, status, message])
    assert dba.ask("SELECT status, message FROM jobmon.job_detail") == [("OK", "done")]


def test_failing_with_an_unknown_level_is_refused_and_the_job_stays_open(dba: Connection) -> None:
    job_id = dba.value("SELECT jobmon.add_job('x')")
    with pytest.raises(
        errors.InvalidParameterValue, match="fail level 9 is not in job_status_text, which has 1, 2, 3"
    ):
        dba.ask("SELECT jobmon.fail_job(%s, 9)", [job_id])
    assert job(dba, job_id)["end_time"] is None
    assert job(dba, job_id)["status"] is None


@pytest.mark.parametrize(
    ("level", "status"), [(None, "CRITICAL"), (3, "CRITICAL"), (2, "WARNING"), (1, "OK")]
)
def test_a_job_fails_with_the_text_of_its_level(dba: Connection, level: int | None, status: str) -> None:
    job_id = dba.value("SELECT jobmon.add_job('x')")
    dba.ask(f"SELECT jobmon.fail_job({job_id}{f', {level}' if level else ''})")
    assert job(dba, job_id)["status"] == status


@pytest.mark.parametrize(
    ("call", "warning"),
    [
        ("close_job(77)", "there is no job 77, so nothing was closed"),
        ("fail_job(77)", "there is no job 77, so nothing was failed"),
        ("update_step(77, 'OK', '')", "there is no step 77, so nothing was updated"),
        ("cancel_job(77)", "there is no open job 77, so nothing was cancelled"),
    ],
)
def test_ending_what_does_not_exist_warns_and_succeeds(dba: Connection, call: str, warning: str) -> None:
    dba.ask(f"SELECT jobmon.{call}")
    assert dba.heard == [f"WARNING: {warning}"]


def test_a_step_of_a_job_that_does_not_exist_is_refused(dba: Connection) -> None:
    with pytest.raises(errors.ForeignKeyViolation, match="job_detail_job_id_fkey"):
        dba.ask("SELECT jobmon.add_step(77, 'x')")


def test_renamed_status_texts_are_used_everywhere(dba: Connection) -> None:
    dba.ask("UPDATE jobmon.job_status_text SET alert_text = 'GOOD' WHERE alert_code = 1")
    dba.ask("UPDATE jobmon.job_status_text SET alert_text = 'BAD' WHERE alert_code = 3")
    dba.ask("SELECT jobmon.close_job(jobmon.add_job('closed')), jobmon.fail_job(jobmon.add_job('failed'))")
    dba.ask("SELECT jobmon.sql_job('good', 'SELECT 1'), jobmon.sql_job('bad', 'SELECT nothing')")
    dba.ask("SELECT jobmon.job_log_clear('1 day')")
    jobs = dba.ask("SELECT job_name, status FROM jobmon.job_log ORDER BY job_id LIMIT 4")
    assert jobs == [("CLOSED", "GOOD"), ("FAILED", "BAD"), ("GOOD", "GOOD"), ("BAD", "BAD")]
    assert dba.ask("SELECT DISTINCT status FROM jobmon.job_detail ORDER BY status") == [("BAD",), ("GOOD",)]


def test_no_connection_is_left_open_by_good_or_failing_calls(dba: Connection) -> None:
    dba.ask("SELECT jobmon.close_job(jobmon.add_job('x'))")
    for call in ("add_step(77, 'x')", "fail_job(1, 9)"):
        with pytest.raises(psycopg.Error):
            dba.ask(f"SELECT jobmon.{call}")
    assert dba.value("SELECT dblink.dblink_get_connections()") is None


def test_the_callers_settings_do_not_change_what_is_logged(dba: Connection) -> None:
    dba.ask("CREATE SCHEMA traps")
    dba.ask("CREATE FUNCTION traps.upper(text) RETURNS text LANGUAGE sql AS $$ SELECT 'trapped'::text $$")
    dba.ask(
        "SET search_path = traps, pg_catalog; SET standard_conforming_strings = off;"
        "SET DateStyle = 'SQL, DMY'"
    )
    dba.value("SELECT jobmon.add_job('night')")
    assert dba.ask("SELECT job_name FROM jobmon.job_log") == [("NIGHT",)]


def test_show_functions_answer_newest_first(dba: Connection) -> None:
    for name in ("a1", "b1", "a1", "a2"):
        dba.ask("SELECT jobmon.close_job(jobmon.add_job(%s))", [name])
    dba.ask("SELECT jobmon.fail_job(2)")
    dba.ask("SELECT jobmon.add_step(1, 'first'), jobmon.add_step(3, 'second'), jobmon.add_step(3, 'third')")

    def ids(call: str, column: str = "job_id") -> list[int]:
        return [each for (each,) in dba.ask(f"SELECT {column} FROM jobmon.{call}")]

    assert ids("show_job('a1')") == [3, 1]
    assert ids("show_job('A1', 1)") == [3]
    assert ids("show_job_like('^a')") == [4, 3, 1]
    assert ids(r"show_job_like('\d$', 2)") == [4, 3]
    assert ids("show_job_status('OK')") == [4, 3, 1]
    assert ids("show_job_status('ok')") == []
    assert ids("show_job_status('b1', 'CRITICAL')") == [2]
    assert ids("show_detail(3)", "step_id") == [2, 3]
    assert ids("show_detail('a1')", "step_id") == [2, 3]
    assert ids("show_detail('a1', 2)", "step_id") == [2, 3, 1]


def test_running_jobs_are_those_whose_session_works_on_them(sessions: Sessions, dba: Connection) -> None:
    gone = sessions()
    gone.value("SELECT jobmon.add_job('gone')")
    gone.close()
    idle = sessions()
    idle.value("SELECT jobmon.add_job('idle')")
    at_work = sessions(autocommit=False)
    at_work.value("SELECT jobmon.add_job('at work')")
    assert dba.ask("SELECT job_name FROM jobmon.show_running()") == [("AT WORK",)]


def test_a_session_that_reuses_the_pid_of_a_job_does_not_run_it(dba: Connection) -> None:
    dba.ask("SELECT jobmon.add_job('older')")
    dba.ask("UPDATE jobmon.job_log SET start_time = start_time - interval '1 hour'")
    assert dba.ask("SELECT job_name FROM jobmon.show_running()") == []


def test_clearing_spares_what_runs_and_forgets_failures_of_deleted_jobs(
    sessions: Sessions, dba: Connection
) -> None:
    dba.ask("SELECT jobmon.fail_job(jobmon.add_job('failed'))")
    orphan = sessions()
    orphan.value("SELECT jobmon.add_job('orphan')")
    orphan.close()
    running = sessions()
    running.value("SELECT jobmon.add_job('running')")
    dba.ask("SELECT jobmon.job_log_clear('0 seconds')")
    names = [name for (name,) in dba.ask("SELECT job_name FROM jobmon.job_log ORDER BY job_id")]
    assert names[0] == "RUNNING"
    assert len(names) == 2
    assert dba.ask("SELECT job_id FROM jobmon.job_check_log") == []


def test_clearing_keeps_what_is_young_enough_and_logs_itself(dba: Connection) -> None:
    dba.ask("SELECT jobmon.fail_job(jobmon.add_job('young')), jobmon.close_job(jobmon.add_job('old'))")
    dba.ask("UPDATE jobmon.job_log SET start_time = start_time - interval '3 days' WHERE job_name = 'OLD'")
    dba.ask("SELECT jobmon.job_log_clear('2 days')")
    jobs = dba.ask("SELECT job_name, status FROM jobmon.job_log ORDER BY job_id")
    assert jobs[0] == ("YOUNG", "CRITICAL")
    assert jobs[1][0].startswith("PURGING PG_JOBMON JOB LOGS OLDER THAN 2")
    assert jobs[1][1] == "OK"
    assert dba.value("SELECT count(*) FROM jobmon.job_check_log") == 1


def test_clearing_without_the_right_to_delete_is_logged_as_failed(plain: Connection, dba: Connection) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        plain.ask("SELECT jobmon.job_log_clear('1 day')")
    assert dba.ask("SELECT status FROM jobmon.job_log") == [("CRITICAL",)]
