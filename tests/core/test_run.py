"""Carrying plans out: what is done, undone, recorded and said, whatever happens in between."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from psycopg import sql

from backend.core.audit import Audit
from backend.core.declare import Action, Danger
from backend.core.errors import Failed, Interrupted, Missing, Refused, Unreachable
from backend.core.facts import Needs
from backend.core.journal import Journal
from backend.core.plan import Check, Command, Copy, File, Plan, Repeat, Sql, Step, Wait, statement
from backend.core.rendering import SecretLiteral
from backend.core.run import Report, Run
from backend.core.session import Session
from backend.core.target import Target
from tests.core.conftest import OpenSession, eventually
from tests.servers import Database, OwnClusters

SECRET = "s3cr'et%\\x"


async def _nothing(session: Session) -> Plan:
    """Do nothing."""
    return Plan("x", ())


def action(danger: Danger = Danger.CHANGE, **more: Any) -> Action:
    return Action("test.act", _nothing, danger, Needs(), (), more.get("exclusive", True))


Prepare = Callable[..., Run]


@pytest.fixture
async def prepare(database: Database, open_session: OpenSession) -> AsyncIterator[Prepare]:
    """Makes a run of steps on the test's database: `prepare(step, …, danger=…)`."""
    database.execute("CREATE TABLE public.log (what text)")
    session = await open_session(database.dsn)

    def make(*steps: Step, danger: Danger = Danger.CHANGE, always: tuple[Step, ...] = (), **more: Any) -> Run:
        plan = Plan("x", steps, danger=danger, always=always)
        return Run(session, action(danger), {}, plan, **more)

    yield make
    await session.close()


def say(what: str, **more: Any) -> Sql:
    return statement(
        sql.SQL("INSERT INTO public.log SELECT {} RETURNING what").format(sql.Literal(what)), **more
    )


def said(database: Database) -> list[str]:
    return [what for (what,) in database.execute("SELECT what FROM public.log ORDER BY ctid")]


def statuses(report: Report) -> list[str]:
    return [s.status for s in report.steps]


def records(path: Path | None = None) -> list[dict[str, Any]]:
    text = (path or Audit().path).read_text("ascii")
    return [json.loads(line) for line in text.splitlines()]


def files_of(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


FAIL = statement("SELECT 1/0")
SLEEP = statement("SELECT pg_catalog.pg_sleep(3600)")


async def busy(database: Database, pattern: str) -> None:
    """Return when a backend runs a statement like that."""

    async def found() -> bool:
        rows = database.execute(
            "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query ~ %s"
            " AND pid <> pg_backend_pid() AND application_name LIKE 'pgtui: %%'",
            [pattern],
        )
        return bool(rows)

    await eventually(found)


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


async def test_a_cancelled_repeat_says_how_far_it_came(prepare: Prepare) -> None:
    run = prepare(Repeat(sql.SQL("SELECT 10"), until="never", pause=3600))
    running = asyncio.create_task(run.execute())
    await eventually(lambda: _true(run.step_progress is not None))
    await run.cancel()
    report = await running
    assert str(report.error) == "cancelled in step 1 of 1, after 10 rows"
    assert report.exit_code == 130


async def _true(value: bool) -> bool:
    return value


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


async def test_a_program_runs_and_its_failure_is_told(prepare: Prepare) -> None:
    report = await prepare(Command(("sh", "-c", "echo hello"))).execute()
    assert report.error is None
    report = await prepare(Command(("sh", "-c", "echo broken >&2; exit 3"))).execute()
    assert "sh ended with status 3: broken" in str(report.error)


async def test_cancel_ends_a_program(prepare: Prepare, tmp_path: Path) -> None:
    mark = tmp_path / "started"
    run = prepare(Command(("sh", "-c", f"touch {mark}; exec sleep 3600"), deadline=3600))
    running = asyncio.create_task(run.execute())
    await eventually(lambda: _true(mark.exists()))
    await run.cancel()
    report = await asyncio.wait_for(running, 10)
    assert isinstance(report.error, Interrupted)
    assert "its program was ended" in str(report.error)


async def test_a_file_is_replaced_unless_it_changed_meanwhile(prepare: Prepare, tmp_path: Path) -> None:
    path = tmp_path / "conf"
    path.write_text("old\n")
    step = File(PurePosixPath(path), "old\n", "new\n")
    assert "-old" in step.text
    assert (await prepare(step).execute()).error is None
    assert path.read_text() == "new\n"
    again = await prepare(step).execute()
    assert isinstance(again.error, Refused)
    fresh = await prepare(File(PurePosixPath(path), None, "x")).execute()
    assert isinstance(fresh.error, Refused)
    assert path.read_text() == "new\n"


async def test_copy_goes_in_out_and_through(prepare: Prepare, database: Database, tmp_path: Path) -> None:
    source, sink = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("a\nb\n")
    database.execute("CREATE TABLE public.other (what text)")
    report = await prepare(
        Copy(sql.SQL("COPY public.log FROM STDIN"), path=str(source)),
        Copy(sql.SQL("COPY public.log FROM STDIN"), data=b"c\n"),
        Copy(sql.SQL("COPY public.log TO STDOUT"), into=sql.SQL("COPY public.other FROM STDIN")),
        Copy(sql.SQL("COPY public.other TO STDOUT"), path=str(sink)),
    ).execute()
    assert report.error is None
    assert report.result == [{"rows": 3, "bytes": 6}]
    assert sink.read_text() == "a\nb\nc\n"
    assert files_of(tmp_path) == ["in.csv", "out.csv"]


async def test_a_copy_cancelled_or_failing_leaves_nothing(
    prepare: Prepare, database: Database, tmp_path: Path
) -> None:
    endless = sql.SQL("COPY (SELECT pg_catalog.generate_series(1, 1000000000)) TO STDOUT")
    sink = tmp_path / "out"
    for step in (Copy(endless, path=str(sink)), Copy(endless, into=sql.SQL("COPY public.log FROM STDIN"))):
        run = prepare(step)
        running = asyncio.create_task(run.execute())
        await eventually(lambda run=run: _true(run.step_progress is not None))  # type: ignore[misc]
        await run.cancel()
        report = await asyncio.wait_for(running, 20)
        assert isinstance(report.error, Interrupted), report.error
    assert said(database) == []
    assert files_of(tmp_path) == []
    full = await prepare(Copy(endless, path="/dev/full/x")).execute()
    assert "cannot be written" in str(full.error)
    absent = await prepare(Copy(sql.SQL("COPY public.log FROM STDIN"), path=str(tmp_path / "no"))).execute()
    assert "cannot be read: No such file" in str(absent.error)


async def test_notices_are_told_as_they_come(prepare: Prepare, database: Database) -> None:
    run = prepare(statement("DO $$BEGIN RAISE NOTICE 'half'; PERFORM pg_sleep(3600); END$$"))
    running = asyncio.create_task(run.execute())
    await eventually(lambda: _true("half" in run.report.notices))
    assert not running.done()
    await run.cancel()
    await running


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


async def test_a_secret_is_nowhere_but_where_it_belongs(
    own_cluster: OwnClusters, open_session: OpenSession
) -> None:
    server = own_cluster({"log_statement": "all", "log_min_duration_statement": "0", "log_duration": "on"})
    session = await open_session(server.dsn())
    create = statement(
        sql.SQL("CREATE ROLE secretive PASSWORD {}").format(SecretLiteral(SECRET)), quiet_log=True
    )
    hashed = statement(sql.SQL("SELECT pg_catalog.md5({}::text)").format(SecretLiteral(SECRET)))
    wrong = statement(sql.SQL("SELECT {}::int").format(SecretLiteral(SECRET)))
    watch = statement("SELECT query FROM pg_catalog.pg_stat_activity")
    plan = Plan("x", (create, hashed, watch, wrong), danger=Danger.DISRUPT)
    report = await Run(session, action(Danger.DISRUPT), {}, plan).execute()
    assert statuses(report) == ["done", "done", "done", "failed"]
    assert "****" in str(report.error)
    log = "".join(
        p.read_text("utf-8", "replace") for p in server.cluster.folder.rglob("*log*") if p.is_file()
    )
    assert "pg_stat_activity" in log
    everything = log + Audit().path.read_text() + json.dumps(report.to_json(), default=str)
    for part in ("s3cr", "et%"):
        assert part not in everything


async def test_a_secret_is_not_sent_where_it_would_be_logged(
    database: Database, open_session: OpenSession, own_cluster: OwnClusters
) -> None:
    server = own_cluster({"log_statement": "all"})
    server.psql("CREATE ROLE plain LOGIN CREATEROLE")
    session = await open_session(server.dsn(user="plain"))
    create = statement(sql.SQL("CREATE ROLE r PASSWORD {}").format(SecretLiteral(SECRET)), quiet_log=True)
    report = await Run(session, action(), {}, Plan("x", (create,))).execute()
    assert isinstance(report.error, Missing)
    assert "into its log" in report.error.message


async def test_a_second_disruption_is_refused_naming_the_first(prepare: Prepare, database: Database) -> None:
    first = prepare(SLEEP, danger=Danger.DISRUPT)
    running = asyncio.create_task(first.execute())
    await busy(database, "pg_sleep")
    second = await prepare(say("a"), danger=Danger.DISRUPT).execute()
    assert isinstance(second.error, Refused)
    assert "another run holds this target: pgtui: test.act (pid" in second.error.message
    await first.cancel()
    await running
    assert (await prepare(say("a"), danger=Danger.DISRUPT).execute()).error is None


KILLED = """
import asyncio, sys
from psycopg import sql
from backend.core.declare import Action, Danger
from backend.core.facts import Needs
from backend.core.local import LocalHost
from backend.core.plan import Plan, statement
from backend.core.run import Run
from backend.core.session import Session
from backend.core.target import Target

async def main():
    session = await Session(Target("t", sys.argv[1]), LocalHost()).open()
    steps = (statement("SELECT 1"), statement("SELECT pg_catalog.pg_sleep(3600)"), statement("SELECT 3"))
    action = Action("test.act", None, Danger.DISRUPT, Needs(), (), True)
    object.__setattr__(action, "params", ())
    await Run(session, action, {}, Plan("x", steps, danger=Danger.DISRUPT)).execute()

asyncio.run(main())
"""


def killed_later(database: Database) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", KILLED, database.dsn])


async def test_a_killed_run_is_found_again_and_its_turn_is_free(database: Database, prepare: Prepare) -> None:
    child = killed_later(database)
    try:
        await busy(database, "pg_sleep")
        assert Journal().unfinished() == [], "it still lives"
        os.kill(child.pid, signal.SIGKILL)
    finally:
        child.kill()
        child.wait()
    [entry] = Journal().unfinished()
    assert (entry.action, entry.target, entry.done) == ("test.act", "t", 1)
    assert "stopped at step 2 of 3" in entry.sentence

    async def free() -> bool:
        return (await prepare(say("a"), danger=Danger.DISRUPT).execute()).error is None

    await eventually(free)


async def test_each_step_is_audited_before_and_after(prepare: Prepare) -> None:
    await prepare(say("a", undo=say("undo a")), FAIL, always=(say("always"),)).execute()
    told = [(r["event"], r.get("step"), r["status"]) for r in records()]
    assert told == [
        ("step", 1, "waiting"),
        ("step-end", 1, "done"),
        ("step", 2, "waiting"),
        ("step-end", 2, "failed"),
        ("step", 1, "waiting"),
        ("step-end", 1, "undone"),
        ("step", 3, "waiting"),
        ("step-end", 3, "done"),
        ("run-end", None, "failed"),
    ]


async def test_without_an_audit_file_only_what_loses_data_is_refused(
    prepare: Prepare, database: Database, tmp_path: Path
) -> None:
    audit = Audit(Path("/proc/nowhere/audit.jsonl"))
    report = await prepare(say("a"), danger=Danger.DISRUPT, audit=audit).execute()
    assert report.error is None
    assert "this run is not recorded" in report.notices[0]
    report = await prepare(say("b"), danger=Danger.DESTROY, audit=audit).execute()
    assert isinstance(report.error, Refused)
    journal = Journal(Path("/proc/nowhere"))
    report = await prepare(say("c"), danger=Danger.DISRUPT, journal=journal).execute()
    assert report.error is None
    report = await prepare(say("d"), danger=Danger.DESTROY, journal=journal).execute()
    assert isinstance(report.error, Refused)
    assert said(database) == ["a", "c"]


async def test_read_only_and_guards_refuse_in_the_runner(
    database: Database, open_session: OpenSession
) -> None:
    session = await open_session(database.dsn)
    step = statement("SELECT 1")
    plan = Plan("x", (step,), danger=Danger.CHANGE)
    report = await Run(session, action(), {}, plan, read_only=True).execute()
    assert (report.status, report.exit_code) == ("refused", 4)
    session.target = Target("t", database.dsn, guard="read-only")
    assert (await Run(session, action(), {}, plan).execute()).exit_code == 4
    harmless = Plan("x", (step,), danger=Danger.NONE)
    assert (await Run(session, action(Danger.NONE), {}, harmless, read_only=True).execute()).error is None


async def test_an_empty_selection_is_ok_and_leaves_no_trace(prepare: Prepare) -> None:
    report = await prepare(danger=Danger.DESTROY).execute()
    assert (report.status, report.steps, report.exit_code) == ("ok", [], 0)
    assert not Audit().path.exists() or records() == []
