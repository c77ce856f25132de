"""What a killed pgtui left unfinished is offered when the console opens: planned anew, undone, forgotten."""

from __future__ import annotations

from typing import Any

from textual.pilot import Pilot

from backend.core.journal import Entry, Journal
from backend.core.kept import keep
from backend.core.plan import statement
from screens.modals.picker import Picker
from screens.modals.preview import Preview
from screens.modals.runlog import RunLog
from tests.screens.samples import text
from tests.screens.test_console_server import console, lab, previewed, until
from tests.servers import Database
from tui.app import PgtuiApp


def left(label: str) -> Entry:
    """A run that was killed in the second of two steps; the first has an undo."""
    undo = statement("DROP TABLE public.made_by_a_run")
    entry = Entry(
        "test.make",
        label,
        "public.made_by_a_run",
        {},
        ["SELECT 1;", "SELECT 2;"],
        [undo.text, None],
        [keep(undo), None],
        done=1,
        is_interrupted=True,
        pid=0,
        born="1",
    )
    Journal().write(entry)
    return entry


async def offered(pilot: Pilot[Any], app: PgtuiApp) -> None:
    await until(pilot, lambda: isinstance(app.screen, Picker) and "Unfinished: test.make" in text(app))


async def pick(pilot: Pilot[Any], app: PgtuiApp, *words: str) -> None:
    await pilot.press(*" ".join(words), "enter")


async def test_it_is_undone_once_that_is_confirmed(database: Database) -> None:
    database.execute("CREATE TABLE public.made_by_a_run ()")
    target = lab(database.dsn)
    left(target.label)
    there = "SELECT to_regclass('public.made_by_a_run') IS NOT NULL"
    app = console(target)
    async with app.run_test(size=(80, 24)) as pilot:
        await offered(pilot, app)
        assert "stopped at step 2 of 2" in text(app), "however long the rest is"
        assert "undo what was done" in text(app)
        await pick(pilot, app, "undo what")
        await previewed(pilot, app)
        assert "step 2 was under way" in text(app)
        assert database.execute(there) == [(True,)]
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, RunLog) and "done in" in text(app))
    assert database.execute(there) == [(False,)]
    assert Journal().unfinished() == []


async def test_it_is_forgotten_or_left_for_later(database: Database) -> None:
    target = lab(database.dsn)
    left(target.label)
    app = console(target)
    async with app.run_test(size=(100, 30)) as pilot:
        await offered(pilot, app)
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, Picker))
    assert Journal().unfinished() != []
    app = console(target)
    async with app.run_test(size=(100, 30)) as pilot:
        await offered(pilot, app)
        await pick(pilot, app, "forget")
        await until(pilot, lambda: not isinstance(app.screen, Picker))
    assert Journal().unfinished() == []


async def test_an_action_that_is_gone_cannot_be_planned_anew(database: Database) -> None:
    target = lab(database.dsn)
    left(target.label)
    app = console(target)
    async with app.run_test(size=(100, 30)) as pilot:
        await offered(pilot, app)
        await pick(pilot, app, "plan it")
        await until(pilot, lambda: "there is no action called test.make" in text(app))
        assert not isinstance(app.screen, Preview)
    assert Journal().unfinished() != []
