"""What a run leaves behind: audit, journal, secrets nowhere, and one disruption at a time."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from psycopg import sql

from backend.core.audit import Audit
from backend.core.declare import Danger
from backend.core.errors import Missing, Refused
from backend.core.journal import Journal
from backend.core.plan import Plan, statement
from backend.core.rendering import SecretLiteral
from backend.core.run import Run
from backend.core.target import Target
from tests.core.conftest import OpenSession, eventually
from tests.core.runs import (
    FAIL,
    SLEEP,
    Prepare,
    action,
    busy,
    prepare,
    records,
    said,
    say,
    statuses,
)
from tests.servers import Database, OwnClusters

__all__ = ["prepare"]

SECRET = "s3cr'et%\\x"


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
