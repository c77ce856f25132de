"""Carrying plans out: the order of steps, what fails and is undone, and waiting."""

from __future__ import annotations

import asyncio
from typing import Any

from psycopg import sql

from backend.core.audit import Audit
from backend.core.declare import Danger
from backend.core.errors import Failed, Missing, Unreachable
from backend.core.plan import Check, Plan, Repeat, Wait, statement
from backend.core.run import Run
from backend.core.session import Session
from tests.core.conftest import OpenSession
from tests.core.runs import (
    FAIL,
    SLEEP,
    Prepare,
    action,
    prepare,
    records,
    said,
    say,
    statuses,
)
from tests.servers import Database, OwnClusters

__all__ = ["prepare"]


async def test_steps_run_in_order_and_the_last_answer_is_the_result(
    prepare: Prepare, database: Database
) -> None:
    report = await prepare(say("a"), say("b")).execute()
    assert report.status == "ok"
    assert report.result == [{"what": "b"}]
    assert said(database) == ["a", "b"]
    assert statuses(report) == ["done", "done"]


async def test_several_statements_of_a_step_are_one_transaction(prepare: Prepare, database: Database) -> None:
    step = statement("INSERT INTO public.log VALUES ('a')", "SELECT 1/0")
    report = await prepare(step).execute()
    assert said(database) == []
    assert report.status == "failed"
    assert isinstance(report.error, Failed)
    assert (report.error.message, report.error.sqlstate) == ("the server says: division by zero", "22012")


async def test_vacuum_and_procedures_that_commit_run_by_themselves(
    prepare: Prepare, database: Database
) -> None:
    database.execute(
        "CREATE PROCEDURE public.twice() LANGUAGE plpgsql AS $$BEGIN"
        " INSERT INTO public.log VALUES ('a'); COMMIT; INSERT INTO public.log VALUES ('b'); END$$"
    )
    report = await prepare(statement("VACUUM public.log"), statement("CALL public.twice()")).execute()
    assert report.error is None
    assert said(database) == ["a", "b"]


async def test_a_failure_undoes_in_reverse_and_always_steps_run(prepare: Prepare, database: Database) -> None:
    steps = (say("a", undo=say("undo a")), say("b", undo=say("undo b")), FAIL, say("never"))
    report = await prepare(*steps, always=(say("always"),)).execute()
    assert said(database) == ["a", "b", "undo b", "undo a", "always"]
    assert statuses(report) == ["undone", "undone", "failed", "skipped", "done"]
    assert report.exit_code == 1


async def test_an_undo_that_fails_is_told_and_does_not_stop_the_others(
    prepare: Prepare, database: Database
) -> None:
    report = await prepare(say("a", undo=say("undo a")), say("b", undo=FAIL), FAIL).execute()
    assert said(database) == ["a", "b", "undo a"]
    assert statuses(report) == ["undone", "done", "failed"]
    assert any("division by zero" in n for n in report.notices)


async def test_always_steps_run_on_a_new_connection_when_the_old_one_broke(
    prepare: Prepare, database: Database
) -> None:
    kill = statement("SELECT pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid())")
    report = await prepare(say("a", undo=say("undo a")), kill, always=(say("always"),)).execute()
    assert said(database) == ["a", "undo a", "always"]
    assert report.error is not None
    assert "the connection was lost while step 2 of 2 ran: it may or may not have been done" in str(
        report.error
    )
    assert report.exit_code == 1


async def test_a_lost_connection_in_the_first_step_is_a_failure_not_an_absent_target(
    prepare: Prepare,
) -> None:
    kill = statement("SELECT pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid())")
    report = await prepare(kill).execute()
    assert type(report.error) is Failed
    assert "may or may not" in report.error.message


async def test_a_target_that_is_away_before_the_first_step_is_unreachable(
    own_cluster: OwnClusters, open_session: OpenSession
) -> None:
    server = own_cluster()
    session = await open_session(server.dsn())
    server.stop("immediate")
    report = await Run(session, action(), {}, Plan("x", (SLEEP,))).execute()
    assert isinstance(report.error, Unreachable)
    assert (report.exit_code, report.status) == (3, "failed")


async def test_a_privilege_missing_later_is_a_failure_and_at_first_a_refusal(
    prepare: Prepare, database: Database
) -> None:
    database.execute("CREATE ROLE weak_one")
    weak = statement("SET ROLE weak_one", "SELECT * FROM pg_catalog.pg_authid")
    first = await prepare(weak).execute()
    later = await prepare(say("a"), weak).execute()
    database.execute("DROP ROLE weak_one")
    assert isinstance(first.error, Missing)
    assert (first.status, first.exit_code) == ("refused", 5)
    assert type(later.error) is Failed
    assert (later.status, later.exit_code) == ("failed", 1)


async def test_a_check_ends_the_run_with_its_sentence(prepare: Prepare, database: Database) -> None:
    check = Check(lambda answers: answers[0].scalar == "b", that="it says b", otherwise="it does not say b")
    report = await prepare(say("a", undo=say("undo a")), check, say("c")).execute()
    assert str(report.error) == "it does not say b"
    assert said(database) == ["a", "undo a"]


async def test_a_wait_ends_when_it_is_so_or_at_its_deadline(prepare: Prepare) -> None:
    so = Wait(sql.SQL("SELECT true"), until="it is so")
    never = Wait(sql.SQL("SELECT false"), until="pigs fly", deadline=0.2, every=0.05)
    assert (await prepare(so).execute()).status == "ok"
    report = await prepare(never).execute()
    assert str(report.error) == "after 0.2 s it is still not so that pigs fly"


async def test_a_wait_outlasts_a_restart(own_cluster: OwnClusters, open_session: OpenSession) -> None:
    server = own_cluster()
    session = await open_session(server.dsn())
    up = Wait(sql.SQL("SELECT NOT pg_catalog.pg_is_in_recovery()"), until="it is up", deadline=30, every=0.1)
    start = server.cluster.data / "go"
    later = Wait(
        sql.SQL("SELECT (pg_catalog.pg_stat_file('go', true)).size = 0"), until="go", deadline=30, every=0.05
    )
    run = Run(session, action(), {}, Plan("x", (later, up)))
    running = asyncio.create_task(run.execute())
    await asyncio.sleep(0.1)
    await asyncio.to_thread(server.restart)
    start.touch()
    report = await running
    assert report.error is None


async def test_a_repeat_tells_its_progress_and_ends_at_zero(prepare: Prepare, database: Database) -> None:
    database.execute("INSERT INTO public.log SELECT g::text FROM generate_series(1, 25) g")
    batch = sql.SQL(
        "WITH gone AS (DELETE FROM public.log WHERE ctid IN (SELECT ctid FROM public.log LIMIT 10)"
        " RETURNING 1) SELECT count(*) FROM gone"
    )
    seen: list[int] = []

    def changed(run: Run) -> None:
        if run.step_progress:
            seen.append(run.step_progress.done)

    report = await prepare(Repeat(batch, until="none is left", total=25), changed=changed).execute()
    assert report.result == [{"done": 25}]
    assert sorted(set(seen)) == [10, 20, 25]


async def test_each_round_of_a_repeat_stands_or_falls_as_a_whole(
    prepare: Prepare, database: Database
) -> None:
    database.execute("INSERT INTO public.log SELECT g::text FROM generate_series(1, 3) g")
    one = "DELETE FROM public.log WHERE what = (SELECT min(what) FROM public.log WHERE what ~ '^[0-9]')"
    step = Repeat(
        sql.SQL(one), before=(sql.SQL("INSERT INTO public.log VALUES ('round')"),), until="none is left"
    )
    assert step.text == (
        "repeat until none is left:\nBEGIN;\nINSERT INTO public.log VALUES ('round');\n" + one + ";\nCOMMIT;"
    )
    assert (await prepare(step).execute()).result == [{"done": 3}]
    assert said(database) == ["round"] * 4
    database.execute("DELETE FROM public.log")
    database.execute("INSERT INTO public.log VALUES ('1'), ('2')")
    fails = sql.SQL("SELECT 1 / (count(*) - 1) FROM public.log WHERE what ~ '^[0-9]'")
    failed = Repeat(sql.SQL(one), before=(fails, *step.before), until="none is left", total=2)
    report = await prepare(failed).execute()
    assert str(report.error) == "the server says: division by zero, after 1 row, 1 is left"
    assert said(database) == ["2", "round"]


async def test_a_step_runs_in_another_database_and_on_another_target(
    database: Database, open_session: OpenSession
) -> None:
    session = await open_session(database.dsn)
    other = await open_session(database.server.dsn("postgres"))

    async def session_of(name: str) -> Session:
        assert name == "other"
        return other

    name = "SELECT pg_catalog.current_database()::text AS name"
    steps = (statement(name), statement(name, dbname="template1"), statement(name, on="other"))

    def result(answers: Any) -> list[Any]:
        return [a.scalar for a in answers]

    plan = Plan("x", steps, result=result)
    run = Run(session, action(), {}, plan, session_of=session_of)
    assert (await run.execute()).result == [database.name, "template1", "postgres"]
    alone = await Run(session, action(), {}, plan).execute()
    assert "which the inventory does not list" in str(alone.error)


async def test_an_empty_selection_is_ok_and_leaves_no_trace(prepare: Prepare) -> None:
    report = await prepare(danger=Danger.DESTROY).execute()
    assert (report.status, report.steps, report.exit_code) == ("ok", [], 0)
    assert not Audit().path.exists() or records() == []
