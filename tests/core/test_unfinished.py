"""Runs of a pgtui that was killed: found again, undone by a run of their own, and then forgotten."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from backend.core.declare import Danger
from backend.core.errors import Refused
from backend.core.journal import Entry, Journal
from backend.core.kept import keep, make_again
from backend.core.outcome import Report
from backend.core.plan import Check, Command, File, Repeat, Sql, Step, Wait, statement
from backend.core.rendering import SecretLiteral
from backend.core.run import Run, make_plan
from backend.core.session import Session
from backend.core.undoing import UndoJournal, undo_action, undo_plan
from tests.core.conftest import OpenSession, eventually
from tests.servers import Database

KILLED = """
import asyncio, sys
from pathlib import PurePosixPath
from psycopg import sql
from backend.core.declare import Action, Danger
from backend.core.facts import Needs
from backend.core.local import LocalHost
from backend.core.plan import File, Plan, statement
from backend.core.run import Run
from backend.core.session import Session
from backend.core.target import Target

def say(what, **more):
    return statement(sql.SQL("INSERT INTO public.log VALUES ({})").format(sql.Literal(what)), **more)

def unsay(what):
    return statement(sql.SQL("DELETE FROM public.log WHERE what = {}").format(sql.Literal(what)))

async def plan(s):
    "Do it."

async def main():
    dsn, path = sys.argv[1:]
    session = await Session(Target("t", dsn), LocalHost()).open()
    file = PurePosixPath(path)
    steps = (
        say("it's 100%", undo=unsay("it's 100%")),
        say("kept"),
        File(file, "old", "new", undo=File(file, "new", "old")),
        statement("SELECT pg_catalog.pg_sleep(3600)", undo=say("never")),
        say("not reached", undo=say("never either")),
    )
    action = Action("test.act", plan, Danger.CHANGE, Needs(), (), True)
    await Run(session, action, {}, Plan("x", steps, danger=Danger.CHANGE, always=(say("always"),))).execute()

asyncio.run(main())
"""


def said(database: Database) -> list[str]:
    return [what for (what,) in database.execute("SELECT what FROM public.log ORDER BY ctid")]


def started(database: Database, path: Path) -> subprocess.Popen[bytes]:
    path.write_text("old")
    database.execute("CREATE TABLE public.log (what text)")
    return subprocess.Popen([sys.executable, "-c", KILLED, database.dsn, str(path)])


async def killed(database: Database, path: Path) -> Entry:
    """What is left of a run that was killed in its fourth step."""
    child = started(database, path)

    async def asleep() -> bool:
        return bool(
            database.execute(
                "SELECT 1 FROM pg_stat_activity WHERE query ~ 'pg_sleep' AND pid <> pg_backend_pid()"
            )
        )

    try:
        await eventually(asleep)
    finally:
        child.kill()
        child.wait()
    [entry] = Journal().unfinished()
    return entry


async def undone(session: Session, entry: Entry, interrupted: bool = False) -> Report:
    action = undo_action(entry, interrupted)
    plan = await make_plan(session, action, {})
    return await Run(session, action, {}, plan, journal=UndoJournal(entry, interrupted)).execute()


async def test_a_killed_run_is_undone_to_the_first_state(
    database: Database, open_session: OpenSession, tmp_path: Path
) -> None:
    path = tmp_path / "conf"
    entry = await killed(database, path)
    assert (said(database), path.read_text()) == (["it's 100%", "kept"], "new")
    session = await open_session(database.dsn)
    plan = await make_plan(session, undo_action(entry), {})
    assert [s.kind for s in plan.steps] == ["file", "sql", "sql"]
    assert "DELETE FROM public.log WHERE what = 'it''s 100%';" in plan.steps[1].text
    assert any("step 4 was under way and may or may not have been done" in n for n in plan.notes)
    assert said(database) == ["it's 100%", "kept"], "a plan has done nothing"
    report = await undone(session, entry)
    assert (report.status, report.error) == ("ok", None)
    assert (said(database), path.read_text()) == (["kept", "always"], "old")
    assert Journal().unfinished() == []
    with pytest.raises(Refused, match="has been undone or forgotten"):
        await make_plan(session, undo_action(entry), {})


async def test_the_step_under_way_is_undone_when_that_is_wanted(
    database: Database, open_session: OpenSession, tmp_path: Path
) -> None:
    entry = await killed(database, tmp_path / "conf")
    await undone(await open_session(database.dsn), entry, interrupted=True)
    assert said(database) == ["kept", "never", "always"]


FAIL = statement("SELECT 1/0")


def left(undo: list[Step | None], **more: Any) -> Entry:
    """The journal's entry of a run whose steps were all done when it was killed."""
    entry = Entry(
        "test.act",
        "t",
        "x",
        {},
        ["SELECT 1;" for _ in undo],
        [u.text if u else None for u in undo],
        [keep(u) if u else None for u in undo],
        done=len(undo),
        pid=0,
        born="1",
        **more,
    )
    Journal().write(entry)
    return entry


async def test_an_undo_that_fails_can_go_on_later_where_it_stopped(
    database: Database, open_session: OpenSession
) -> None:
    database.execute("CREATE TABLE public.log (what text)")
    first, last = (statement(f"INSERT INTO public.log VALUES ('{n}')") for n in ("first", "last"))
    later = statement("SELECT 1 / count(*) FROM public.log WHERE what = 'go on'")
    session = await open_session(database.dsn)
    report = await undone(session, left([first, None, later, last]))
    assert report.status == "failed"
    assert said(database) == ["last"]
    [entry] = Journal().unfinished()
    database.execute("INSERT INTO public.log VALUES ('go on')")
    assert (await undone(session, entry)).status == "ok"
    assert said(database) == ["last", "go on", "first"]
    assert Journal().unfinished() == []


async def test_an_undo_is_as_dangerous_as_what_it_undoes(
    database: Database, open_session: OpenSession
) -> None:
    entry = left([statement("SELECT 1")], danger="destroy")
    plan = await make_plan(await open_session(database.dsn), undo_action(entry), {})
    assert (plan.danger, plan.subject) == (Danger.DESTROY, "x")


def test_what_the_journal_could_not_keep_is_refused_in_words() -> None:
    hidden = statement(sql.SQL("ALTER ROLE r PASSWORD {}").format(SecretLiteral("s3cret")))
    entry = left([hidden])
    with pytest.raises(Refused, match=r"could not keep how to undo it: ALTER ROLE r PASSWORD '\*\*\*\*';"):
        undo_plan(entry)
    assert "s3cret" not in "".join(p.read_text() for p in Journal().folder.iterdir())


STEPS: list[Step] = [
    statement("SELECT 1", "SELECT '%s', '{braces}'", dbname="other", note="both"),
    Command(("pg_ctl", "restart", "-m", "fast"), deadline=5, long=True, run_as="postgres", ok=(0, 3), on="b"),
    File(PurePosixPath("/etc/x"), None, "new\n", run_as="postgres"),
    Wait(sql.SQL("SELECT true"), until="it is so", deadline=3, every=0.1),
    Repeat(
        sql.SQL("SELECT 0"),
        before=(sql.SQL("SELECT 1"),),
        until="none is left",
        total=9,
        unit="batches",
    ),
]


@pytest.mark.parametrize("step", STEPS, ids=lambda s: s.kind)
def test_a_step_is_made_again_as_it_was(step: Step) -> None:
    kept = keep(step)
    assert kept is not None
    again = make_again(kept)
    assert (again.kind, again.text, again.on, again.note) == (step.kind, step.text, step.on, step.note)
    assert keep(again) == kept


@pytest.mark.parametrize(
    "step",
    [
        Check(lambda answers: True, that="so", otherwise="not so"),
        Command(("psql",), stdin=b"secret"),
        Command(("pgbouncer", "password=hunter2")),
        File(PurePosixPath("/x"), "primary_conninfo = 'password=hunter2'", ""),
        statement("SELECT 1", quiet_log=True),
    ],
    ids=["check", "stdin", "argument", "file", "quiet"],
)
def test_code_data_and_secrets_are_not_kept(step: Step) -> None:
    assert keep(step) is None


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_any_name_and_value_survives(word: str) -> None:
    step = statement(sql.SQL("SELECT {} AS {}").format(sql.Literal(word), sql.Identifier(word or "x")))
    if (kept := keep(step)) is not None:
        again = make_again(kept)
        assert isinstance(again, Sql) and again.text == step.text
