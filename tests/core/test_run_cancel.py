"""Cancelling a run: in a statement, between steps, in a program, while it undoes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from psycopg import sql

from backend.core.errors import Interrupted
from backend.core.plan import Command, Copy, Plan, Repeat, statement
from backend.core.run import Run
from tests.core.conftest import OpenSession, eventually
from tests.core.runs import (
    SLEEP,
    Prepare,
    action,
    being,
    busy,
    files_of,
    prepare,
    said,
    say,
    statuses,
)
from tests.servers import Database, OwnClusters

__all__ = ["prepare"]


async def test_a_cancelled_repeat_says_how_far_it_came(prepare: Prepare) -> None:
    run = prepare(Repeat(sql.SQL("SELECT 10"), until="never", pause=3600))
    running = asyncio.create_task(run.execute())
    await eventually(lambda: being(run.step_progress is not None))
    await run.cancel()
    report = await running
    assert str(report.error) == "cancelled in step 1 of 1, after 10 rows"
    assert report.exit_code == 130


async def test_cancel_ends_a_statement_and_undoes_what_was_done(prepare: Prepare, database: Database) -> None:
    run = prepare(say("a", undo=say("undo a")), SLEEP, always=(say("always"),))
    running = asyncio.create_task(run.execute())
    await busy(database, "pg_sleep")
    await run.cancel()
    report = await asyncio.wait_for(running, 10)
    assert isinstance(report.error, Interrupted)
    assert str(report.error) == "cancelled; 1 of 2 steps had been done, 1 of them undone again"
    assert said(database) == ["a", "undo a", "always"]
    assert statuses(report) == ["undone", "cancelled", "done"]


async def test_cancel_ends_waiting_for_a_lock(prepare: Prepare, database: Database) -> None:
    import psycopg

    with psycopg.connect(database.dsn) as holder:
        holder.execute("LOCK TABLE public.log")
        run = prepare(say("a"))
        running = asyncio.create_task(run.execute())
        await busy(database, "INSERT INTO public.log")
        await run.cancel()
        report = await asyncio.wait_for(running, 4)
    assert str(report.error) == "cancelled; nothing had been done"


async def test_a_lock_that_is_not_given_ends_the_step(prepare: Prepare, database: Database) -> None:
    import psycopg

    with psycopg.connect(database.dsn) as holder:
        holder.execute("LOCK TABLE public.log")
        report = await prepare(say("a"), lock_wait="50ms").execute()
    assert report.error is not None
    assert report.error.sqlstate == "55P03"
    assert report.error.hint == "another session holds the lock"


async def test_cancel_between_two_steps_starts_no_other(prepare: Prepare, database: Database) -> None:
    run: Run

    def changed(run: Run) -> None:
        if run.report.steps[0].status == "done":
            run.cancelled.set()

    run = prepare(say("a"), say("b"), changed=changed)
    report = await run.execute()
    assert said(database) == ["a"]
    assert str(report.error) == "cancelled; 1 of 2 steps had been done"
    assert statuses(report)[1] in ("waiting", "skipped", "cancelled")


async def test_cancel_twice_does_not_stop_the_undoing(prepare: Prepare, database: Database) -> None:
    undo = statement("SELECT pg_catalog.pg_sleep(0.3)", "INSERT INTO public.log VALUES ('undone')")
    run = prepare(say("a", undo=undo), SLEEP)
    running = asyncio.create_task(run.execute())
    await busy(database, "pg_sleep\\(3600\\)")
    await run.cancel()
    await busy(database, "pg_sleep\\(0.3\\)")
    await run.cancel()
    await running
    assert said(database) == ["a", "undone"]


async def test_cancelling_the_waiting_task_cancels_the_run(prepare: Prepare, database: Database) -> None:
    run = prepare(say("a", undo=say("undo a")), SLEEP)
    running = asyncio.create_task(run.execute())
    await busy(database, "pg_sleep")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert said(database) == ["a", "undo a"]
    assert isinstance(run.report.error, Interrupted)


async def test_cancel_of_a_run_on_a_frozen_server_comes_back(
    own_cluster: OwnClusters, open_session: OpenSession
) -> None:
    server = own_cluster()
    session = await open_session(server.dsn(), timeout=1)
    run = Run(session, action(), {}, Plan("x", (SLEEP,)))
    running = asyncio.create_task(run.execute())
    await busy(Database(server, "postgres"), "pg_sleep")
    server.freeze()
    await run.cancel()
    report = await asyncio.wait_for(running, 20)
    assert "may or may not have been done" in str(report.error)


async def test_cancel_ends_a_program(prepare: Prepare, tmp_path: Path) -> None:
    mark = tmp_path / "started"
    run = prepare(Command(("sh", "-c", f"touch {mark}; exec sleep 3600"), deadline=3600))
    running = asyncio.create_task(run.execute())
    await eventually(lambda: being(mark.exists()))
    await run.cancel()
    report = await asyncio.wait_for(running, 10)
    assert isinstance(report.error, Interrupted)
    assert "its program was ended" in str(report.error)


async def test_a_copy_cancelled_or_failing_leaves_nothing(
    prepare: Prepare, database: Database, tmp_path: Path
) -> None:
    endless = sql.SQL("COPY (SELECT pg_catalog.generate_series(1, 1000000000)) TO STDOUT")
    sink = tmp_path / "out"
    for step in (Copy(endless, path=str(sink)), Copy(endless, into=sql.SQL("COPY public.log FROM STDIN"))):
        run = prepare(step)
        running = asyncio.create_task(run.execute())
        await eventually(lambda run=run: being(run.step_progress is not None))  # type: ignore[misc]
        await run.cancel()
        report = await asyncio.wait_for(running, 20)
        assert isinstance(report.error, Interrupted), report.error
    assert said(database) == []
    assert files_of(tmp_path) == []
    full = await prepare(Copy(endless, path="/dev/full/x")).execute()
    assert "cannot be written" in str(full.error)
    absent = await prepare(Copy(sql.SQL("COPY public.log FROM STDIN"), path=str(tmp_path / "no"))).execute()
    assert "cannot be read: No such file" in str(absent.error)
