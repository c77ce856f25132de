from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

import pytest

from backend.core.declare import Ask
from backend.core.errors import Failed
from backend.core.params import params_of
from backend.core.run import Report, StepState
from backend.core.steps import Progress
from backend.core.values import Interval, Size
from screens.modals.form import Form
from screens.modals.picker import Picker
from screens.modals.reading import DetailDialog, HelpDialog, sql_dialog
from screens.modals.runlog import RunLog, bar
from screens.widgets.choices import Choices
from screens.widgets.pick import Item
from screens.widgets.table import ViewTable
from tests.screens.samples import VIEW, Stage, row, snapshot, text, until
from tests.screens.test_preview import Asked

FIVE_MINUTES = Interval("5min")
NASTY = "two\nlines [/x] \x1b[2J \u202e"


async def act(
    s: Any,
    queue: Annotated[str, Ask("Queue", help="Which one")],
    longer_than: Annotated[Interval, Ask("Longer than")] = FIVE_MINUTES,
    size: Annotated[Size | None, Ask("Size")] = None,
    active: Annotated[bool | None, Ask("Active")] = None,
    mode: Annotated[Literal["fast", "smart"], Ask("Mode")] = "fast",
    secret: Annotated[str | None, Ask("Password", secret=True)] = None,
    sql: Annotated[str | None, Ask("Statement", lines=True)] = None,
) -> None:
    pass


def form(**kw: Any) -> Form:
    return Form("queue.create on lab", params_of(act), doc="Create a queue.", **kw)


async def test_a_form_answers_with_what_was_given() -> None:
    async with Stage(ViewTable(VIEW)).run_test(size=(100, 50)) as pilot:
        asked = Asked(pilot, form())
        await until(pilot, lambda: "Which one" in text(pilot.app))
        asked.dialog.fields[0].entry.value = "orders"
        await pilot.press("enter")
        assert await asked.answer() == {"queue": "orders", "longer_than": "5min", "mode": "fast"}


async def test_a_form_says_below_the_field_what_is_wrong_with_it() -> None:
    async with Stage(ViewTable(VIEW)).run_test(size=(100, 50)) as pilot:
        asked = Asked(pilot, form())
        await until(pilot, lambda: "Which one" in text(pilot.app))
        asked.dialog.fields[1].entry.value = "5"
        await pilot.press("enter")
        await until(pilot, lambda: "this has to be given" in text(pilot.app))
        assert "'5' is not a duration; write 90s, 5min" in text(pilot.app)
        assert pilot.app.focused is asked.dialog.fields[0].entry and not asked.answers
        await pilot.press("escape")
        assert await asked.answer() is None


async def test_a_form_passes_a_strange_name_on_exactly() -> None:
    async with Stage(ViewTable(VIEW)).run_test(size=(100, 50)) as pilot:
        asked = Asked(pilot, form(given={"queue": NASTY, "active": True}))
        await until(pilot, lambda: "two␊lines [/x] ␛[2J <U+202E>" in text(pilot.app))
        await pilot.press("enter")
        answer = await asked.answer()
        assert answer["queue"] == NASTY and answer["active"] is True


async def test_choices_of_a_field_are_picked_from_a_list() -> None:
    async with Stage(ViewTable(VIEW)).run_test(size=(100, 50)) as pilot:
        asked = Asked(pilot, form(choices={"queue": ["alpha", NASTY, "beta"]}))
        await until(pilot, lambda: "↓ lists the choices" in text(pilot.app))
        await pilot.press("down")
        await until(pilot, lambda: isinstance(pilot.app.screen, Picker))
        await pilot.press("down", "enter")
        await until(pilot, lambda: pilot.app.screen is asked.dialog)
        await pilot.press("enter")
        assert (await asked.answer())["queue"] == NASTY


async def test_a_boolean_left_alone_is_unchanged() -> None:
    async with Stage(ViewTable(VIEW)).run_test(size=(100, 50)) as pilot:
        asked = Asked(pilot, form(given={"queue": "q"}))
        await until(pilot, lambda: "› unchanged ‹" in text(pilot.app))
        active = next(f.entry for f in asked.dialog.fields if f.param.name == "active")
        assert isinstance(active, Choices)
        active.focus()
        await pilot.press("right", "right", "enter")
        assert (await asked.answer())["active"] is False


async def test_a_password_is_not_shown() -> None:
    async with Stage(ViewTable(VIEW)).run_test(size=(100, 50)) as pilot:
        asked = Asked(pilot, form(given={"queue": "q"}))
        await until(pilot, lambda: "Password" in text(pilot.app))
        asked.dialog.fields[5].entry.value = "hunter2"
        await pilot.pause()
        assert "hunter2" not in text(pilot.app)
        await pilot.press("enter")
        assert (await asked.answer())["secret"] == "hunter2"


@pytest.mark.parametrize("size", [(40, 10), (80, 24)])
async def test_a_form_scrolls_where_the_terminal_is_small(size: tuple[int, int]) -> None:
    async with Stage(ViewTable(VIEW)).run_test(size=size) as pilot:
        asked = Asked(pilot, form())
        await until(pilot, lambda: "Queue" in text(pilot.app))
        asked.dialog.fields[6].entry.focus()
        await until(pilot, lambda: "Statement" in text(pilot.app))


ITEMS = [
    Item("a", "queue.create", "Create a queue", key="c"),
    Item("b", "queue.drop", "Drop a queue", unavailable="the queue has consumers"),
    Item("c", "partman.create_parent", "[/x] markup"),
]


async def test_typing_narrows_a_list_down_and_enter_takes_the_best() -> None:
    async with Stage(ViewTable(VIEW)).run_test() as pilot:
        asked = Asked(pilot, Picker("Actions", ITEMS))
        await until(pilot, lambda: "partman.create_parent" in text(pilot.app))
        asked.dialog.entry.value = "create"
        await until(pilot, lambda: "queue.drop" not in text(pilot.app))
        await pilot.press("enter")
        assert await asked.answer() == "a"


async def test_an_item_is_found_by_the_name_that_the_command_line_gives_it() -> None:
    rooms = [Item("activity", "Activity", also="activity"), Item("partman", "Partitions", also="partman")]
    async with Stage(ViewTable(VIEW)).run_test() as pilot:
        asked = Asked(pilot, Picker("Rooms", rooms))
        asked.dialog.entry.value = "partman"
        await until(pilot, lambda: "Activity" not in text(pilot.app))
        await pilot.press("enter")
        assert await asked.answer() == "partman"


async def test_what_is_named_so_comes_before_what_only_speaks_of_it() -> None:
    items = [
        Item("a", "partman.maintain", "Let go what retention does not keep."),
        Item("b", "partman.apply_retention", "Detach, drop or move partitions."),
    ]
    async with Stage(ViewTable(VIEW)).run_test(size=(100, 30)) as pilot:
        asked = Asked(pilot, Picker("Actions", items, typed="retention"))
        await until(pilot, lambda: "› " in text(pilot.app))
        await pilot.press("enter")
        assert await asked.answer() == "b"


async def test_what_is_unavailable_says_why_and_is_not_taken() -> None:
    async with Stage(ViewTable(VIEW)).run_test() as pilot:
        asked = Asked(pilot, Picker("Actions", ITEMS, current="b"))
        await until(pilot, lambda: "the queue has consumers" in text(pilot.app))
        await pilot.press("enter")
        await until(pilot, lambda: "not now: the queue has consumers" in text(pilot.app))
        await pilot.press("down", "enter")
        assert await asked.answer() == "c"


async def test_a_list_without_a_match_takes_nothing() -> None:
    async with Stage(ViewTable(VIEW)).run_test() as pilot:
        asked = Asked(pilot, Picker("Actions", ITEMS))
        asked.dialog.entry.value = "zzz"
        await until(pilot, lambda: "nothing matches" in text(pilot.app))
        await pilot.press("enter", "escape")
        assert await asked.answer() is None


async def test_details_show_every_column_in_full() -> None:
    shown = row(7, query="SELECT 1\n  FROM x " + "y" * 300 + " END\x1b[2J", age=timedelta(hours=2))
    async with Stage(ViewTable(VIEW)).run_test(size=(80, 40)) as pilot:
        pilot.app.push_screen(DetailDialog(snapshot([shown]), shown))
        await until(pilot, lambda: "END␛[2J" in text(pilot.app))
        screen = text(pilot.app)
        assert all(c.title in screen for c in VIEW.columns)
        assert "✖ age 2h 00m" in screen and "    FROM x" in screen
        await pilot.press("y")
        assert shown.query in pilot.app.clipboard


async def test_help_names_keys_and_columns() -> None:
    async with Stage(ViewTable(VIEW)).run_test(size=(80, 40)) as pilot:
        pilot.app.push_screen(HelpDialog("Help", doc="A room.", keys=[("s", "sort")], views=[VIEW]))
        await until(pilot, lambda: "Where it is connected" in text(pilot.app))
        assert "warning from 5m 00s, critical from 1h 00m" in text(pilot.app)


async def test_sql_is_shown_and_copied() -> None:
    async with Stage(ViewTable(VIEW)).run_test() as pilot:
        pilot.app.push_screen(sql_dialog("SQL", "SELECT 1\n  FROM [/x]", "asked every 2 s"))
        await until(pilot, lambda: "FROM [/x]" in text(pilot.app))
        await pilot.press("y")
        assert pilot.app.clipboard == "SELECT 1\n  FROM [/x]"


def report(**kw: Any) -> Report:
    steps = [StepState("sql", "SELECT 1;", "done", 0.2), StepState("repeat", "DELETE …", "running")]
    return Report("jobmon.purge", "lab", steps=steps, notices=["a notice \x1b[2J"], **kw)


async def test_a_run_is_followed_and_its_end_is_told() -> None:
    async with Stage(ViewTable(VIEW)).run_test(size=(100, 30)) as pilot:
        log = RunLog("jobmon.purge on lab")
        pilot.app.push_screen(log)
        await until(pilot, lambda: log.is_mounted and log.size)
        log.show(report(), progress=Progress(0, None, "", phase="waits for process 4"), elapsed=2)
        await until(pilot, lambda: "waits for process 4" in text(pilot.app))
        log.show(report(), progress=Progress(50, 200, "rows"), output=["x"], elapsed=3)
        await until(pilot, lambda: "25%  50 of 200 rows" in text(pilot.app))
        assert "✔ sql" in text(pilot.app) and "▶ repeat" in text(pilot.app) and "␛[2J" in text(pilot.app)
        log.show(report(seconds=4).fail(Failed("it broke", hint="mend it")), over=True)
        await until(pilot, lambda: "✖ failed after 4.0s: it broke" in text(pilot.app))
        assert "mend it" in text(pilot.app)


async def test_cancelling_a_run_asks_first() -> None:
    asked: list[RunLog] = []

    class Watcher(Stage):
        def on_run_log_cancel_asked(self, event: RunLog.CancelAsked) -> None:
            asked.append(event.log)

    app = Watcher(ViewTable(VIEW))
    async with app.run_test(size=(100, 30)) as pilot:
        log = RunLog("jobmon.purge on lab")
        app.push_screen(log)
        await pilot.pause()
        for keys in (["enter"], ["right", "enter"]):
            await pilot.press("c")
            await until(pilot, lambda: app.screen is not log and getattr(app.screen, "ready", False))
            await pilot.press(*keys)
            await until(pilot, lambda: app.screen is log)
        await until(pilot, lambda: asked == [log])


def test_a_bar_never_leaves_its_bounds() -> None:
    assert bar(5, None, "rows") == "5 rows"
    assert {len(bar(n, 10, "x").split(" ")[0]) for n in (0, 5, 10, 99)} == {30}
