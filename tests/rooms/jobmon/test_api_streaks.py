"""Failures in a row, and what they escalate to."""

from __future__ import annotations

import pytest
from psycopg import errors

from tests.rooms.jobmon.conftest import Connection


def fail(dba: Connection, name: str, *levels: int) -> None:
    for level in levels:
        dba.ask("SELECT jobmon.fail_job(jobmon.add_job(%s), %s)", [name, level])


def streak(dba: Connection) -> list[int]:
    return [code for (code,) in dba.ask("SELECT alert_code FROM jobmon.job_check_log ORDER BY job_id")]


def statuses(dba: Connection) -> list[str]:
    return [status for (status,) in dba.ask("SELECT status FROM jobmon.job_log ORDER BY job_id")]


def configure(dba: Connection, name: str, escalate: int | None) -> None:
    dba.ask(
        "INSERT INTO jobmon.job_check_config (job_name, warn_threshold, error_threshold, escalate)"
        " VALUES (%s, '1 day', '2 days', %s)",
        [name, escalate],
    )


def test_failures_of_a_name_add_up_until_it_succeeds(dba: Connection) -> None:
    fail(dba, "x", 3, 2)
    fail(dba, "y", 3)
    assert streak(dba) == [3, 2, 3]
    dba.ask("SELECT jobmon.close_job(jobmon.add_job('x'))")
    assert dba.ask("SELECT job_name FROM jobmon.job_check_log") == [("Y",)]


def test_a_job_counts_once_however_often_its_row_is_updated(dba: Connection) -> None:
    fail(dba, "x", 3)
    dba.ask("SELECT jobmon.fail_job(1)")
    dba.ask("UPDATE jobmon.job_log SET owner = 'someone'")
    assert streak(dba) == [3]


def test_a_job_failed_again_at_a_worse_level_is_made_worse_not_counted_twice(dba: Connection) -> None:
    fail(dba, "x", 2)
    dba.ask("SELECT jobmon.fail_job(1, 3)")
    assert streak(dba) == [3]


def test_closing_a_failed_job_ends_the_streak(dba: Connection) -> None:
    fail(dba, "x", 3, 3)
    dba.ask("SELECT jobmon.close_job(2)")
    assert streak(dba) == []


def test_a_status_without_a_code_is_no_failure(dba: Connection) -> None:
    dba.ask("SELECT jobmon.add_job('x')")
    dba.ask("UPDATE jobmon.job_log SET status = 'PAUSED'")
    assert streak(dba) == []


def test_the_second_of_two_failures_escalates_and_later_ones_stay_there(dba: Connection) -> None:
    configure(dba, "X", 2)
    fail(dba, "x", 2, 2, 2, 2, 2)
    assert streak(dba) == [2, 3, 3, 3, 3]
    assert statuses(dba) == ["WARNING", "ESCALATED", "WARNING", "WARNING", "WARNING"]
    assert dba.ask("SELECT job_id, action, status FROM jobmon.job_detail") == [
        (2, "ALERT ESCALATION", "ESCALATE")
    ]


def test_escalation_goes_up_to_the_highest_code_there_is(dba: Connection) -> None:
    dba.ask("INSERT INTO jobmon.job_status_text VALUES (4, 'FATAL')")
    configure(dba, "X", 2)
    fail(dba, "x", 2, 2, 2, 2, 2, 2)
    assert streak(dba) == [2, 3, 4, 4, 4, 4]


def test_escalation_leads_to_a_code_that_exists(dba: Connection) -> None:
    dba.ask("INSERT INTO jobmon.job_status_text VALUES (7, 'FATAL')")
    configure(dba, "X", 2)
    fail(dba, "x", 3, 3)
    assert streak(dba) == [3, 7]


def test_the_first_failure_never_escalates(dba: Connection) -> None:
    configure(dba, "X", 1)
    fail(dba, "x", 2)
    assert streak(dba) == [2]
    assert statuses(dba) == ["WARNING"]


def test_an_escalated_job_that_is_failed_again_is_not_counted_again(dba: Connection) -> None:
    configure(dba, "X", 2)
    fail(dba, "x", 2, 2)
    dba.ask("SELECT jobmon.fail_job(2, 2)")
    assert streak(dba) == [2, 3]


def test_without_a_limit_nothing_escalates(dba: Connection) -> None:
    configure(dba, "X", None)
    fail(dba, "x", 2, 2, 2, 3, 2)
    assert streak(dba) == [2, 2, 2, 3, 2]


def test_thresholds_written_in_lower_case_meet_their_job(dba: Connection) -> None:
    configure(dba, "nightly load", 2)
    fail(dba, "Nightly Load", 2, 2)
    assert dba.ask("SELECT job_name FROM jobmon.job_check_config") == [("NIGHTLY LOAD",)]
    assert streak(dba) == [2, 3]
    with pytest.raises(errors.UniqueViolation):
        configure(dba, "Nightly load", 3)
