"""The console without a server: rooms, tables, dialogs and states."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from textual.pilot import Pilot

from backend.activity.sessions import SessionRow
from backend.core.errors import Failed, Unreachable
from screens.console import Console
from screens.modals.picker import Picker
from screens.modals.reading import DetailDialog, HelpDialog
from screens.situation import situation
from screens.widgets.header import TargetHeader
from tests.screens.canned import CannedApp, canned, session
from tests.screens.samples import text, until
from tui.settings import Settings

SIZE = (80, 24)


async def started(pilot: Pilot[int], app: CannedApp, count: int) -> None:
    """Wait for the first rows."""
    await until(pilot, lambda: app.base.pane and len(app.pane.table.rows) == count)


async def refreshed(pilot: Pilot[int], app: CannedApp, *sessions: SessionRow) -> None:
    """Let the server answer with other sessions."""
    app.source.answers[SessionRow] = list(sessions)
    before = app.pane.snapshot
    app.base.action_refresh()
    await until(pilot, lambda: app.pane.snapshot is not before)


async def test_digits_open_rooms_and_tab_turns_their_views() -> None:
    app = canned(session(1))
    async with app.run_test(size=SIZE) as pilot:
        await started(pilot, app, 1)
        await pilot.press("2")
        await until(pilot, lambda: app.pane.room.name == "jobmon" and app.pane.table.has_focus)
        await pilot.press("1", "tab")
        await until(pilot, lambda: app.pane.view.name == "activity.locks")
        await until(pilot, lambda: "into the can" in text(app))
        await pilot.press("shift+tab")
        await until(pilot, lambda: app.pane.view.name == "activity.sessions")
        await pilot.press("9")
        assert app.pane.room.name == "activity"


async def test_filter_sort_and_marks_survive_a_refresh() -> None:
    app = canned(*(session(n) for n in (5, 6, 17)))
    async with app.run_test(size=SIZE) as pilot:
        await started(pilot, app, 3)
        await pilot.press("slash", *"pid<10", "enter")
        await until(pilot, lambda: app.pids == [5, 6])
        await pilot.press("s")
        await until(pilot, lambda: isinstance(app.screen, Picker))
        await pilot.press(*"pid", "enter")
        await until(pilot, lambda: app.pids == [6, 5])
        await pilot.press("home", "m")
        await refreshed(pilot, app, *(session(n) for n in (3, 5, 6, 17)))
        assert app.pids == [6, 5, 3]
        assert [r.pid for r in app.pane.table.marked_rows] == [6]
        assert app.pane.table.cursor_row.pid == 5


async def test_filter_sort_interval_and_theme_are_there_again_after_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "console.json"
    settings = Settings()
    app = canned(session(5), session(17), settings=settings)
    async with app.run_test(size=SIZE) as pilot:
        await started(pilot, app, 2)
        await pilot.press("slash", *"pid>10", "enter")
        await until(pilot, lambda: app.pids == [17])
        await pilot.press("plus", "o", "T")
        await until(pilot, lambda: isinstance(app.screen, Picker))
        await pilot.press(*"light", "enter")
        await until(pilot, lambda: app.theme == "pgtui-light")
        settings.save(file)
    again = canned(session(5), session(17), settings=Settings.load(file))
    async with again.run_test(size=SIZE) as pilot:
        await started(pilot, again, 1)
        assert again.pids == [17] and again.theme == "pgtui-light"
        assert again.pane.every == 5
        await until(pilot, lambda: "filter: pid>10" in text(again) and "every 5 s" in text(again))


@pytest.mark.parametrize(
    "kept", ['{"views": {"a": {"every": "soon"}}}', '{"views": []}', "[", '{"views": {"a": 1}}']
)
def test_settings_that_make_no_sense_are_forgotten(tmp_path: Path, kept: str) -> None:
    file = tmp_path / "console.json"
    file.write_text(kept)
    assert Settings.load(file) == Settings()


async def test_a_wrong_filter_is_explained_while_it_is_written_and_esc_gives_the_old_one_back() -> None:
    app = canned(session(5), session(17))
    async with app.run_test(size=SIZE) as pilot:
        await started(pilot, app, 2)
        await pilot.press("slash", *"pdi>10")
        await until(pilot, lambda: "there is no column called pdi" in text(app))
        await pilot.press("enter")
        await until(pilot, lambda: "keep the filter" in text(app))
        await pilot.press("escape")
        await until(pilot, lambda: "keep the filter" not in text(app))
        assert app.pids == [5, 17] and app.pane.table.has_focus


async def test_esc_takes_away_marks_then_the_filter_then_goes_to_the_first_view() -> None:
    app = canned(session(5), session(17))
    async with app.run_test(size=SIZE) as pilot:
        await started(pilot, app, 2)
        await pilot.press("slash", *"pid>0", "enter", "m")
        await until(pilot, lambda: "act on 1 marked" in text(app))
        await pilot.press("escape")
        await until(pilot, lambda: not app.pane.table.marked and app.pane.table.where)
        await pilot.press("escape")
        await until(pilot, lambda: not app.pane.table.where)
        await pilot.press("tab", "escape")
        await until(pilot, lambda: app.pane.view.name == "activity.sessions")


async def test_an_action_takes_the_row_that_was_under_the_cursor_whatever_comes_meanwhile() -> None:
    app = canned(session(5), session(6), session(7))
    async with app.run_test(size=SIZE) as pilot:
        await started(pilot, app, 3)
        await pilot.press("down", "a")
        await until(pilot, lambda: isinstance(app.screen, Picker))
        assert "Actions on 6" in text(app)
        await refreshed(pilot, app, session(1), session(2), session(7))
        await pilot.press(*"activity.cancel", "enter")
        await until(pilot, lambda: app.planned)
        assert app.planned == [("activity.cancel", {"pid": 6})]


async def test_marked_rows_fill_a_parameter_that_takes_several() -> None:
    app = canned(session(5), session(6), session(7))
    async with app.run_test(size=SIZE) as pilot:
        await started(pilot, app, 3)
        await pilot.press("m", "m", "a")
        await until(pilot, lambda: "Actions on 2 marked rows" in text(app))
        await pilot.press(*"activity.terminate", "enter")
        await until(pilot, lambda: app.planned)
        assert app.planned == [("activity.terminate", {"pid": [5, 6]})]


async def test_idle_sessions_are_shown_when_they_are_asked_for() -> None:
    app = canned(session(5), session(6, state="idle"), session(7, state="idle in transaction"))
    async with app.run_test(size=SIZE) as pilot:
        await started(pilot, app, 2)
        assert "1 idle sessions" in text(app)
        await pilot.press("i")
        await until(pilot, lambda: app.pids == [5, 6, 7])


async def test_details_open_at_once_and_follow_up() -> None:
    app = canned(session(5, query="SELECT [/x]\x1b[2J"))
    async with app.run_test(size=SIZE) as pilot:
        await started(pilot, app, 1)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, DetailDialog))
        await pilot.press("end")
        await until(pilot, lambda: "Since this room was opened" in text(app))
        assert "SELECT [/x]␛[2J" in text(app)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, Console))


async def test_help_lists_the_keys_of_the_room_too() -> None:
    app = canned(session(5))
    async with app.run_test(size=(80, 60)) as pilot:
        await started(pilot, app, 1)
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(app.screen, HelpDialog) and "show idle sessions" in text(app))


async def test_what_is_paused_says_so_and_r_asks_once() -> None:
    app = canned(session(5))
    async with app.run_test(size=SIZE) as pilot:
        await started(pilot, app, 1)
        await pilot.press("space")
        await until(pilot, lambda: "paused" in text(app))
        await refreshed(pilot, app, session(5), session(6))
        assert app.pids == [5, 6]
        await pilot.press("space")
        await until(pilot, lambda: "paused" not in text(app))


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (Unreachable("connection refused", hint="is it running?"), ("connection refused", "is it running?")),
        (Failed("relation is gone"), ("relation is gone",)),
    ],
    ids=["unreachable", "failed"],
)
async def test_trouble_before_the_first_rows_stands_in_their_place(
    trouble: Failed | Unreachable, said: tuple[str, ...]
) -> None:
    app = canned(session(5))
    app.source.trouble = trouble
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: all(words in text(app) for words in said))


async def test_trouble_later_leaves_the_rows_with_their_age() -> None:
    app = canned(session(5))
    async with app.run_test(size=SIZE) as pilot:
        await started(pilot, app, 1)
        app.source.trouble = Unreachable("no answer")
        app.base.action_refresh()
        await until(pilot, lambda: "no answer for" in text(app))
        assert app.pids == [5]
        app.source.trouble = None
        app.base.action_refresh()
        await until(pilot, lambda: "no answer for" not in text(app))


async def test_the_header_says_how_old_the_data_is() -> None:
    app = canned(session(5))
    async with app.run_test(size=SIZE) as pilot:
        await started(pilot, app, 1)
        stands = situation(app.base.desk, app.pane)
        header = app.base.query_one(TargetHeader)
        header.show(replace(stands, collected_at=datetime(2026, 11, 21, tzinfo=UTC)),
                    datetime(2026, 11, 21, tzinfo=UTC) + timedelta(seconds=42))  # fmt: skip
        await until(pilot, lambda: "data 42s old" in text(app))


@pytest.mark.parametrize("size", [(40, 10), (20, 5), (300, 80)], ids=str)
async def test_any_size_shows_the_target_and_the_rows(size: tuple[int, int]) -> None:
    app = canned(session(5))
    async with app.run_test(size=size) as pilot:
        await started(pilot, app, 1)
        await until(pilot, lambda: " lab" in text(app) and "5" in text(app))


async def test_read_only_offers_actions_in_grey_with_the_reason() -> None:
    app = canned(session(5), read_only=True)
    async with app.run_test(size=SIZE) as pilot:
        await started(pilot, app, 1)
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, Picker))
        assert "--read-only" in text(app)
        await pilot.press("enter")
        await until(pilot, lambda: "not now: pgtui was started with --read-only" in text(app))
        assert not app.planned


async def test_a_burst_of_keys_on_a_dialog_answers_it_once() -> None:
    app = canned(session(5))
    async with app.run_test(size=SIZE) as pilot:
        await started(pilot, app, 1)
        await pilot.press("g")
        await until(pilot, lambda: isinstance(app.screen, Picker))
        await asyncio.gather(pilot.press("enter", "enter", "escape"))
        await until(pilot, lambda: isinstance(app.screen, (Console, DetailDialog)))


async def test_rows_are_exported_with_their_exact_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = canned(session(5, query="SELECT '[/x]\x1b[2J'"))
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await started(pilot, app, 1)
        await pilot.press("e")
        await until(pilot, lambda: "1 row written to" in text(app))
    [file] = tmp_path.glob("activity.sessions-*.csv")  # noqa: ASYNC240 -- nothing else runs
    assert "SELECT '[/x]\x1b[2J'" in file.read_text("utf-8")


async def test_copying_gives_the_statement_of_the_row() -> None:
    app = canned(session(5, query="SELECT 1;\nSELECT 2"))
    async with app.run_test(size=SIZE) as pilot:
        await started(pilot, app, 1)
        await pilot.press("y")
        await until(pilot, lambda: app.clipboard == "SELECT 1;\nSELECT 2")
