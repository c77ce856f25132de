"""Running SQL as a job, purging the log, and setting the connection."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from backend.core.declare import Danger
from backend.core.errors import Refused, Usage
from backend.core.registry import find_action
from backend.jobmon.sqljob import single
from tests.rooms.jobmon.conftest import Connection, Console, Sessions, until
from tests.rooms.jobmon.test_views_alerts import lose, ran
from tests.rooms.jobmon.test_views_jobs import NASTY
from tests.servers import Database, OwnClusters

LOG = "SELECT job_name, status FROM jobmon.job_log ORDER BY job_id"


async def test_runs_one_statement_as_a_logged_job(console: Console, dba: Connection) -> None:
    dba.ask("CREATE TABLE public.t (n integer)")
    plan = await console.plan("jobmon.run_sql", job="load", sql="INSERT INTO public.t VALUES (1), (2);")
    assert (plan.subject, plan.danger) == ("LOAD", Danger.DISRUPT)
    assert dba.ask(LOG) == []
    result = await console.done("jobmon.run_sql", job="load", sql="INSERT INTO public.t VALUES (1), (2);")
    assert result == {"job_id": 1, "job": "LOAD", "status": "OK", "message": "Rows affected: 2"}
    assert dba.ask(LOG) == [("LOAD", "OK")]
    assert dba.value("SELECT count(*) FROM public.t") == 2


async def test_a_statement_that_fails_fails_the_job_and_the_run(console: Console, dba: Connection) -> None:
    report = await console.run("jobmon.run_sql", job="load", sql="SELECT 1/0")
    assert report.status == "failed"
    assert report.error is not None
    assert report.error.message == "job 1 ended as CRITICAL: ERROR: division by zero"
    assert dba.ask(LOG) == [("LOAD", "CRITICAL")]


async def test_what_only_the_commit_would_refuse_fails_the_job_too(console: Console, dba: Connection) -> None:
    dba.ask("CREATE TABLE public.t (n integer UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    report = await console.run("jobmon.run_sql", job="load", sql="INSERT INTO public.t VALUES (1), (1)")
    assert report.status == "failed"
    assert dba.ask(LOG) == [("LOAD", "CRITICAL")]


async def test_a_cancelled_run_leaves_no_open_job(console: Console, dba: Connection) -> None:
    run = await console.start("jobmon.run_sql", job="load", sql="SELECT pg_sleep(60)")
    running = asyncio.create_task(run.execute())
    sleeping = "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    await asyncio.to_thread(until, lambda: dba.value(sleeping))
    await run.cancel()
    report = await running
    assert report.exit_code == 130
    assert dba.ask(LOG) == [("LOAD", "CRITICAL")]


async def test_a_job_that_runs_already_is_refused(
    console: Console, sessions: Sessions, dba: Connection
) -> None:
    job_id = sessions().value("SELECT jobmon.add_job('load')")
    with pytest.raises(Refused, match=f"LOAD is running already, as job {job_id} in session"):
        await console.plan("jobmon.run_sql", job="Load", sql="SELECT 1")
    lose(sessions, dba, "other")
    assert (await console.done("jobmon.run_sql", job="other", sql="SELECT 1"))["status"] == "OK"


async def test_a_job_that_starts_after_the_plan_is_not_run_twice(
    console: Console, sessions: Sessions, dba: Connection
) -> None:
    run = await console.start("jobmon.run_sql", job="load", sql="SELECT 1")
    sessions().ask("SELECT pg_advisory_lock(hashtext('sql_log'), hashtext('LOAD'))")
    report = await run.execute()
    assert report.error is not None
    assert report.error.message == "another session runs LOAD as a logged job"
    assert dba.ask(LOG) == []


def test_runs_of_different_jobs_do_not_wait_for_each_other() -> None:
    assert not find_action("jobmon.run_sql").exclusive


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1",
        "SELECT 1;",
        " ; SELECT ';' ; ",
        "SELECT 'it''s; fine' -- a; comment\n;",
        'SELECT 1 AS "a;b"',
        "SELECT E'\\'; '",
        "SELECT $$a;b$$, $x$;$$;$x$",
        "SELECT /* a; /* b; */ c; */ 1",
        "SELECT 1 /* it's; */ + 2 /* that's; */",
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END",
        "SELECT 'vacuum'",
        "CREATE INDEX i ON t (concurrently)",
    ],
)
def test_one_statement_is_one_whatever_is_quoted_in_it(text: str) -> None:
    assert single(text) == text.strip()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "--sql is empty"),
        (" ; -- nothing\n;", "--sql holds no statement"),
        ("SELECT 1; SELECT 2", "--sql holds 2 statements; a job runs one"),
        ("SELECT 'a'; DROP TABLE t; --'", "--sql holds 2 statements"),
        ("SELECT 1 /* it's */; SELECT 2 /* it's */", "--sql holds 2 statements"),
        ("SELECT $a$ ; $a$ ; SELECT 2", "--sql holds 2 statements"),
        ("vacuum t", "VACUUM cannot run inside a transaction"),
        ("/* x */ COMMIT", "COMMIT cannot run inside a transaction"),
        ("create  unique index\nconcurrently i ON t (n)", "CREATE UNIQUE INDEX CONCURRENTLY cannot run"),
        ("DROP DATABASE x", "DROP DATABASE cannot run"),
        ("SELECT '\0'", "zero byte"),
    ],
)
def test_what_cannot_be_a_job_is_wrong_usage(text: str, sentence: str) -> None:
    with pytest.raises(Usage, match=sentence):
        single(text)


@given(st.text(alphabet="ab;'\"$/*-\n E\\", max_size=40))
def test_any_text_is_one_statement_or_wrong_usage(text: str) -> None:
    try:
        assert single(text) == text.strip()
    except Usage as e:
        assert e.message.startswith("--sql")


async def test_odd_names_and_texts_are_logged_as_they_are(console: Console, dba: Connection) -> None:
    quoted = NASTY.replace("'", "''")
    result = await console.done("jobmon.run_sql", job=NASTY, sql=f"SELECT '{quoted}'")
    assert dba.ask(LOG) == [(NASTY.upper(), "OK")]
    assert result["job"] == NASTY.upper()


async def test_purges_old_runs_with_their_steps_and_failures(console: Console, dba: Connection) -> None:
    old = [ran(dba, "old", "100 days") for _ in range(3)]
    dba.ask("SELECT jobmon.add_step(job_id, 'a') FROM jobmon.job_log")
    ran(dba, "new", "1 day")
    dba.ask("INSERT INTO jobmon.job_check_log VALUES (%s, 'OLD', 3), (999, 'GONE', 3)", [old[0]])
    plan = await console.plan("jobmon.purge", older_than="90 days")
    assert (plan.subject, plan.danger) == ("jobmon.job_log", Danger.DESTROY)
    assert plan.notes == ("3 jobs with 3 steps and 2 counted failures would go",)
    assert [(p.job, p.runs) for p in plan.rows] == [("OLD", 3)]
    assert len(dba.ask(LOG)) == 4
    assert await console.done("jobmon.purge", older_than="90 days") == {"jobs": 3, "failures": 2}
    assert dba.ask(LOG) == [("NEW", "OK")]
    assert dba.ask("SELECT step_id FROM jobmon.job_detail") == []
    assert dba.ask("SELECT job_id FROM jobmon.job_check_log") == []


async def test_purges_in_batches(console: Console, dba: Connection) -> None:
    dba.ask(
        "INSERT INTO jobmon.job_log (owner, job_name, start_time, end_time, status, pid)"
        " SELECT 'o', 'OLD', now() - interval '1 year', now(), 'OK', 1 FROM generate_series(1, 12000)"
    )
    assert await console.done("jobmon.purge", older_than="6 months") == {"jobs": 12000, "failures": 0}


async def test_a_job_that_runs_is_never_purged_and_a_lost_one_is(
    console: Console, sessions: Sessions, dba: Connection
) -> None:
    lose(sessions, dba, "lost")
    worker = sessions()
    job_id = worker.value("SELECT jobmon.add_job('alive')")
    assert await console.done("jobmon.purge", older_than="1us") == {"jobs": 1, "failures": 0}
    assert dba.ask("SELECT job_id FROM jobmon.job_log") == [(job_id,)]


async def test_nothing_to_purge_is_a_plan_without_steps(console: Console, dba: Connection) -> None:
    ran(dba, "new", "1 day")
    plan = await console.plan("jobmon.purge", older_than="90d")
    assert plan.steps == ()
    assert plan.notes == ("nothing in the log is older than 90d",)
    assert await console.done("jobmon.purge", older_than="90d") is None


@pytest.mark.parametrize("older_than", ["0 s", "-1 day", "1 day -2 days", "soon"])
async def test_an_age_that_makes_no_sense_is_wrong_usage(console: Console, older_than: str) -> None:
    with pytest.raises(Usage, match="--older-than"):
        await console.plan("jobmon.purge", older_than=older_than)


def mapping(dba: Connection) -> list[Any]:
    return dba.ask("SELECT username, port, pwd, host, hostaddr FROM jobmon.dblink_mapping_jobmon")


async def test_sets_the_servers_own_connection_and_proves_it(
    console: Console, jobmon: Database, dba: Connection
) -> None:
    dba.ask("UPDATE jobmon.dblink_mapping_jobmon SET port = '1', pwd = 'old'")
    plan = await console.plan("jobmon.set_connection")
    assert (plan.subject, plan.danger) == ("jobmon.dblink_mapping_jobmon", Danger.CHANGE)
    assert (await console.done("jobmon.set_connection"))["status"] == "OK"
    server = jobmon.server
    assert mapping(dba) == [(dba.info.user, str(server.port), None, str(server.socket_dir), None)]


async def test_what_a_killed_run_left_open_is_failed_by_its_undo(
    console: Console, dba: Connection, sessions: Sessions
) -> None:
    plan = await console.plan("jobmon.run_sql", job="load", sql="SELECT 1")
    undo = plan.steps[0].undo
    assert undo is not None
    for _ in range(2):
        lose(sessions, dba, "LOAD")
    dba.ask(undo.text)
    assert dba.ask(LOG) == [("LOAD", None), ("LOAD", "CRITICAL")], "an older one is another run's"
    alive = sessions()
    alive.value("SELECT jobmon.add_job('LOAD')")
    dba.ask(undo.text)
    assert dba.ask(LOG)[-1] == ("LOAD", None), "its session goes on with it"


async def test_the_password_stands_nowhere_but_in_the_row(console: Console, dba: Connection) -> None:
    secret = "s3 'cr\\et%s"
    plan = await console.plan("jobmon.set_connection", password=secret)
    assert "s3" not in "".join(step.text for step in plan.steps)
    report = await console.run("jobmon.set_connection", password=secret)
    assert report.status == "ok"
    assert "s3" not in str(report.to_json())
    assert mapping(dba)[0][2] == secret


@pytest.mark.parametrize(
    "params", [{"port": 1}, {"host": "/nowhere"}, {"user": "nobody at all"}, {"host": "127.0.0.1", "port": 9}]
)
async def test_a_connection_that_does_not_work_is_put_back(
    console: Console, dba: Connection, params: dict[str, Any]
) -> None:
    dba.ask("UPDATE jobmon.dblink_mapping_jobmon SET pwd = 'kept'")
    before = mapping(dba)
    report = await console.run("jobmon.set_connection", **params)
    assert report.status == "failed"
    assert report.error is not None
    assert "could not establish connection (" in report.error.message
    assert report.steps[0].status == "undone"
    assert mapping(dba) == before
    assert dba.ask(LOG) == []


async def test_a_connection_to_another_server_is_put_back(
    console: Console, jobmon: Database, dba: Connection, own_cluster: OwnClusters
) -> None:
    from tests.rooms.jobmon.conftest import set_up

    other = own_cluster()
    other.psql(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(jobmon.name)))
    set_up(Database(other, jobmon.name))
    before = mapping(dba)
    report = await console.run("jobmon.set_connection", host=str(other.socket_dir), port=other.port)
    assert report.error is not None
    assert "was logged somewhere else, not in this database" in report.error.message
    assert mapping(dba) == before


async def test_an_empty_row_is_put_back_as_none(console: Console, dba: Connection) -> None:
    dba.ask("DELETE FROM jobmon.dblink_mapping_jobmon")
    assert (await console.run("jobmon.set_connection", port=1)).status == "failed"
    until(lambda: mapping(dba) == [])


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"port": 0}, "--port wants 1 to 65535, not 0"),
        ({"port": 99999}, "--port wants 1 to 65535"),
        ({"host": ""}, "--host is empty"),
        ({"user": "a\0b"}, "--user holds a zero byte"),
    ],
)
async def test_a_connection_that_makes_no_sense_is_wrong_usage(
    console: Console, params: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(Usage, match=sentence):
        await console.plan("jobmon.set_connection", **params)
