"""SQL run as a step or as a job."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from psycopg import errors

from tests.rooms.jobmon.conftest import Connection, Sessions, until


def steps(dba: Connection, job_id: int = 1) -> list[tuple[str, str]]:
    return [(status, message) for status, message in dba.ask(
        "SELECT status, message FROM jobmon.show_detail(%s)", [job_id]
    )]  # fmt: skip


def jobs(dba: Connection) -> list[tuple[str, str | None]]:
    return [(name, status) for name, status in dba.ask(
        "SELECT job_name, status FROM jobmon.job_log ORDER BY job_id"
    )]  # fmt: skip


def test_a_job_of_one_statement_is_logged_with_its_rows(dba: Connection) -> None:
    dba.ask("CREATE TABLE numbers (n integer)")
    answer = dba.value("SELECT jobmon.sql_job('fill', 'INSERT INTO numbers SELECT generate_series(1, 7)')")
    assert answer == "Job logged with job id: 1"
    assert dba.value("SELECT count(*) FROM numbers") == 7
    assert jobs(dba) == [("FILL", "OK")]
    assert steps(dba) == [("OK", "Rows affected: 7")]
    action = dba.value("SELECT action FROM jobmon.job_detail")
    assert action == "Running sql: 'INSERT INTO numbers SELECT generate_series(1, 7)'"


def test_a_failing_job_is_logged_and_its_work_undone(dba: Connection) -> None:
    dba.ask("CREATE TABLE numbers (n integer)")
    answer = dba.value("SELECT jobmon.sql_job('fill', 'INSERT INTO numbers VALUES (1); SELECT 1/0')")
    assert answer == "Job ID 1 failed. See job_detail table for more details"
    assert dba.value("SELECT count(*) FROM numbers") == 0
    assert jobs(dba) == [("FILL", "CRITICAL")]
    assert steps(dba) == [("CRITICAL", "ERROR: division by zero")]


def test_the_sql_runs_under_the_callers_search_path_and_rights(dba: Connection, plain: Connection) -> None:
    dba.ask("CREATE SCHEMA shop; CREATE TABLE shop.orders (n integer)")
    dba.ask("SET search_path = shop")
    dba.ask("SELECT jobmon.sql_job('order', 'INSERT INTO orders VALUES (1)')")
    assert jobs(dba) == [("ORDER", "OK")]
    plain.ask("SELECT jobmon.sql_job('steal', 'SELECT * FROM shop.orders')")
    assert jobs(dba)[1] == ("STEAL", "CRITICAL")
    assert steps(dba, 2) == [("CRITICAL", "ERROR: permission denied for schema shop")]


def test_objects_of_the_caller_do_not_get_in_the_way(dba: Connection) -> None:
    dba.ask("CREATE SCHEMA traps; CREATE TYPE traps.text AS (x integer)")
    dba.ask(
        'CREATE FUNCTION traps.concat(VARIADIC "any") RETURNS pg_catalog.text'
        " LANGUAGE internal AS 'text_concat'"
    )
    dba.ask("SET search_path = traps, pg_catalog")
    dba.ask("SELECT jobmon.sql_job('careful', 'CREATE TABLE here (n integer)')")
    dba.ask("RESET search_path")
    assert jobs(dba) == [("CAREFUL", "OK")]
    assert dba.value("SELECT to_regclass('traps.here') IS NOT NULL")


def test_a_job_whose_name_runs_already_says_so_and_leaves_the_running_one(
    sessions: Sessions, dba: Connection
) -> None:
    running = sessions(autocommit=False)
    running.ask("SELECT jobmon.sql_job('night', 'SELECT 1')")
    answer = dba.value("SELECT jobmon.sql_job('Night', 'CREATE TABLE never (n integer)')")
    assert answer == "A job named NIGHT is already running, so nothing was run"
    assert dba.value("SELECT to_regclass('never') IS NULL")
    assert jobs(dba) == [("NIGHT", "OK"), ("NIGHT", "WARNING")]
    assert steps(dba, 2) == [("WARNING", answer)]
    running.commit()
    assert dba.value("SELECT jobmon.sql_job('night', 'SELECT 1')") == "Job logged with job id: 3"


def test_a_job_of_another_name_runs_beside_it(sessions: Sessions, dba: Connection) -> None:
    sessions(autocommit=False).ask("SELECT jobmon.sql_job('night', 'SELECT 1')")
    assert dba.value("SELECT jobmon.sql_job('day', 'SELECT 1')") == "Job logged with job id: 2"


def test_a_cancelled_job_is_logged_as_failed_and_the_cancel_still_counts(
    sessions: Sessions, dba: Connection
) -> None:
    worker = sessions()
    pid = worker.info.backend_pid
    with ThreadPoolExecutor() as pool:
        run = pool.submit(worker.ask, "SELECT jobmon.sql_job('long', 'SELECT pg_sleep(600)')")
        until(
            lambda: (
                dba.value("SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = %s", [pid]) is True
            )
        )
        dba.ask("SELECT pg_cancel_backend(%s)", [pid])
        with pytest.raises(errors.QueryCanceled):
            run.result()
    assert jobs(dba) == [("LONG", "CRITICAL")]
    assert steps(dba) == [("CRITICAL", "ERROR: canceling statement due to user request")]


def test_what_cannot_run_in_a_transaction_block_fails_with_the_servers_words(dba: Connection) -> None:
    dba.ask("SELECT jobmon.sql_job('clean', 'VACUUM')")
    assert jobs(dba) == [("CLEAN", "CRITICAL")]
    [(_, message)] = steps(dba)
    assert message == "ERROR: VACUUM cannot run inside a transaction block"


def test_a_job_stays_open_after_each_of_its_sql_steps(dba: Connection) -> None:
    job_id = dba.value("SELECT jobmon.add_job('steps')")
    assert dba.value("SELECT jobmon.sql_step(%s, 'one', 'SELECT 1')", [job_id]) is True
    assert jobs(dba) == [("STEPS", None)]
    assert dba.value("SELECT jobmon.sql_step(%s, 'two', 'SELECT 1/0')", [job_id]) is False
    assert jobs(dba) == [("STEPS", None)]
    dba.ask("SELECT jobmon.fail_job(%s)", [job_id])
    assert jobs(dba) == [("STEPS", "CRITICAL")]
    assert steps(dba) == [("OK", "Rows affected: 1"), ("CRITICAL", "ERROR: division by zero")]


def test_a_failed_assertion_fails_the_step(dba: Connection) -> None:
    dba.ask("SELECT jobmon.sql_job('assert', 'DO $$ BEGIN ASSERT false; END $$')")
    assert jobs(dba) == [("ASSERT", "CRITICAL")]


def test_a_step_of_a_job_that_does_not_exist_runs_nothing(dba: Connection) -> None:
    with pytest.raises(errors.ForeignKeyViolation):
        dba.ask("SELECT jobmon.sql_step(77, 'one', 'CREATE TABLE never (n integer)')")
    assert dba.value("SELECT to_regclass('never') IS NULL")
