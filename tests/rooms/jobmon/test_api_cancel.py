"""Cancelling a job cancels that job, or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from psycopg import errors

from tests.rooms.jobmon.conftest import Connection, Sessions, until


@contextmanager
def at_work(worker: Connection, watcher: Connection) -> Iterator[int]:
    """A job of `worker` with one step, whose session then sleeps until cancelled."""
    job_id: int = worker.value("SELECT jobmon.add_job('long')")
    worker.ask("SELECT jobmon.add_step(%s, 'sleep')", [job_id])
    pid = worker.info.backend_pid
    with ThreadPoolExecutor() as pool:
        sleep = pool.submit(worker.ask, "SELECT pg_sleep(600)")
        until(lambda: sleeps(watcher, pid))
        try:
            yield job_id
        except BaseException:
            worker.cancel_safe()
            raise
        with pytest.raises(errors.QueryCanceled):
            sleep.result()


def sleeps(watcher: Connection, pid: int) -> bool:
    return watcher.ask("SELECT wait_event FROM pg_stat_activity WHERE pid = %s", [pid]) == [("PgSleep",)]


def status(dba: Connection, job_id: int) -> str | None:
    return dba.ask("SELECT status FROM jobmon.job_log WHERE job_id = %s", [job_id])[0][0]  # type: ignore[no-any-return]


def test_cancels_the_session_and_marks_job_and_last_step(sessions: Sessions, dba: Connection) -> None:
    with at_work(sessions(), dba) as job_id:
        assert dba.value("SELECT jobmon.cancel_job(%s)", [job_id]) is True
    assert status(dba, job_id) == "CRITICAL"
    [(step_status, message)] = dba.ask("SELECT status, message FROM jobmon.show_detail(%s)", [job_id])
    assert step_status == "CRITICAL"
    assert message == f"Cancelled by {dba.info.user} with cancel_job()"


def test_the_marks_survive_the_rollback_of_who_cancelled(sessions: Sessions, dba: Connection) -> None:
    canceller = sessions(autocommit=False)
    with at_work(sessions(), dba) as job_id:
        canceller.ask("SELECT jobmon.cancel_job(%s)", [job_id])
        canceller.rollback()
    assert status(dba, job_id) == "CRITICAL"


def test_a_finished_job_is_left_as_it_ended(sessions: Sessions, dba: Connection) -> None:
    worker = sessions()
    job_id = worker.value("SELECT jobmon.add_job('done')")
    worker.ask("SELECT jobmon.close_job(%s)", [job_id])
    assert dba.value("SELECT jobmon.cancel_job(%s)", [job_id]) is False
    assert dba.heard == [f"WARNING: there is no open job {job_id}, so nothing was cancelled"]
    assert status(dba, job_id) == "OK"


def test_a_job_that_ended_after_the_cancellers_snapshot_is_left_alone(
    sessions: Sessions, dba: Connection
) -> None:
    worker = sessions()
    job_id = worker.value("SELECT jobmon.add_job('done')")
    late = sessions(autocommit=False)
    late.ask("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    late.ask("SELECT 1")
    worker.ask("SELECT jobmon.close_job(%s)", [job_id])
    assert late.value("SELECT jobmon.cancel_job(%s)", [job_id]) is False
    assert status(dba, job_id) == "OK"


def test_a_job_whose_session_is_gone_is_left_open(sessions: Sessions, dba: Connection) -> None:
    worker = sessions()
    job_id = worker.value("SELECT jobmon.add_job('crashed')")
    pid = worker.info.backend_pid
    worker.close()
    until(lambda: dba.ask("SELECT FROM pg_stat_activity WHERE pid = %s", [pid]) == [])
    assert dba.value("SELECT jobmon.cancel_job(%s)", [job_id]) is False
    assert dba.heard == [
        f"WARNING: the session that logged job {job_id} is gone or out of sight (pid {pid});"
        " nothing was cancelled"
    ]
    assert status(dba, job_id) is None


def test_another_session_with_the_pid_of_the_job_is_not_cancelled(
    sessions: Sessions, dba: Connection
) -> None:
    job_id = dba.value("SELECT jobmon.add_job('older')")
    with at_work(sessions(), dba) as running:
        dba.ask(
            "UPDATE jobmon.job_log SET start_time = start_time - interval '1 hour',"
            "       pid = (SELECT pid FROM jobmon.job_log WHERE job_id = %s)"
            " WHERE job_id = %s",
            [running, job_id],
        )
        assert dba.value("SELECT jobmon.cancel_job(%s)", [job_id]) is False
        assert status(dba, job_id) is None
        assert dba.value("SELECT jobmon.cancel_job(%s)", [running]) is True


def test_an_ordinary_role_cannot_cancel_the_job_of_a_superuser(
    sessions: Sessions, dba: Connection, plain: Connection
) -> None:
    with at_work(sessions(), dba) as job_id:
        with pytest.raises(errors.InsufficientPrivilege):
            plain.ask("SELECT jobmon.cancel_job(%s)", [job_id])
        assert status(dba, job_id) is None
        dba.ask("SELECT jobmon.cancel_job(%s)", [job_id])


def test_an_ordinary_role_cancels_its_own_job(sessions: Sessions, dba: Connection, plain: Connection) -> None:
    with at_work(sessions(user=plain.info.user), dba) as job_id:
        assert plain.value("SELECT jobmon.cancel_job(%s)", [job_id]) is True
    assert status(dba, job_id) == "CRITICAL"


def test_a_session_that_cancels_its_own_job_is_cancelled_and_the_job_marked(dba: Connection) -> None:
    job_id = dba.value("SELECT jobmon.add_job('own')")
    with pytest.raises(errors.QueryCanceled):
        dba.ask("SELECT jobmon.cancel_job(%s)", [job_id])
    assert status(dba, job_id) == "CRITICAL"


def test_cancelling_a_job_that_runs_sql_counts_as_one_failure(sessions: Sessions, dba: Connection) -> None:
    worker = sessions()
    pid = worker.info.backend_pid
    with ThreadPoolExecutor() as pool:
        run = pool.submit(worker.ask, "SELECT jobmon.sql_job('long', 'SELECT pg_sleep(600)')")
        until(lambda: sleeps(dba, pid))
        dba.ask("SELECT jobmon.cancel_job(1)")
        with pytest.raises(errors.QueryCanceled):
            run.result()
    assert status(dba, 1) == "CRITICAL"
    assert dba.value("SELECT count(*) FROM jobmon.job_check_log") == 1
