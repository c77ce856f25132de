from __future__ import annotations

import asyncio
from typing import Any

import pytest
from textual import events
from textual.pilot import Pilot

from backend.core.confirm import Confirmation
from backend.core.declare import Danger
from backend.core.plan import Plan, statement
from screens.modals.confirm import Confirm
from screens.modals.preview import Preview
from screens.widgets.table import ViewTable
from tests.screens.samples import VIEW, Stage, rows, snapshot, text, until

COMMAND = "pgtui run-action activity.terminate --pid 1000"


def plan(danger: Danger, subject: str = "bench", **kw: Any) -> Plan:
    return Plan(subject, (statement("SELECT pg_terminate_backend(1000)"),), danger=danger, **kw)


def preview(ceremony: Any, subject: str = "bench", **kw: Any) -> Preview:
    dangers = {"none": Danger.NONE, "enter": Danger.CHANGE, "ask": Danger.DISRUPT, "type": Danger.DESTROY}
    made = plan(dangers[ceremony], subject, **kw)
    return Preview(made, Confirmation(ceremony, subject), title="activity.terminate on lab", command=COMMAND)


class Asked:
    """A dialog on the screen, and what it answered."""

    def __init__(self, pilot: Pilot[Any], dialog: Any) -> None:
        self.pilot, self.dialog, self.answers = pilot, dialog, list[Any]()
        pilot.app.push_screen(dialog, self.answers.append)

    async def ready(self) -> None:
        await until(self.pilot, lambda: self.dialog.ready)

    async def answer(self) -> Any:
        await until(self.pilot, lambda: self.answers)
        return self.answers[0]

    async def none(self) -> None:
        """Give every timer the time to fire; nothing may have been answered."""
        await asyncio.sleep(0.4)
        await self.pilot.pause()
        assert self.answers == [] and self.pilot.app.screen is self.dialog


def send(app: Any, *keys: str) -> None:
    """Keys as they come out of one read of the terminal, behind each other in the queue."""
    for key in keys:
        app._driver.process_message(events.Key(key, "\r" if key == "enter" else key))


@pytest.mark.parametrize("ceremony", ["none", "enter"])
async def test_enter_runs_what_can_be_undone(ceremony: str) -> None:
    async with Stage(ViewTable(VIEW)).run_test() as pilot:
        asked = Asked(pilot, preview(ceremony))
        await asked.ready()
        await pilot.press("enter")
        assert await asked.answer() is True


@pytest.mark.parametrize("ceremony", ["none", "enter", "ask", "type"])
async def test_escape_leaves_the_plan_alone(ceremony: str) -> None:
    async with Stage(ViewTable(VIEW)).run_test() as pilot:
        asked = Asked(pilot, preview(ceremony))
        await asked.ready()
        await pilot.press("escape")
        assert await asked.answer() is False


async def test_two_enters_in_one_read_do_not_run_a_plan() -> None:
    app = Stage(ViewTable(VIEW))
    async with app.run_test() as pilot:
        asked = Asked(pilot, preview("enter"))
        send(app, "enter", "enter")
        await asked.ready()
        await asked.none()


async def test_keys_from_before_the_plan_was_painted_are_dropped() -> None:
    app = Stage(ViewTable(VIEW))
    async with app.run_test() as pilot:
        asked = Asked(pilot, preview("ask"))
        send(app, "right", "enter")
        await asked.ready()
        await asked.none()
        assert asked.dialog.choices.current == 0


async def test_a_key_that_was_pressed_early_and_comes_late_is_dropped() -> None:
    app = Stage(ViewTable(VIEW))
    async with app.run_test() as pilot:
        early = events.Key("enter", "\r")
        asked = Asked(pilot, preview("enter"))
        await asked.ready()
        app._driver.process_message(early)  # type: ignore[union-attr]
        await asked.none()


async def test_two_enters_in_sight_of_the_plan_do_not_run_it_either() -> None:
    app = Stage(ViewTable(VIEW))
    async with app.run_test() as pilot:
        asked = Asked(pilot, preview("enter"))
        await asked.ready()
        send(app, "enter", "enter")
        await asked.none()
        assert "Enter came twice" in text(app)
        await asyncio.sleep(0.2)
        await pilot.press("enter")
        assert await asked.answer() is True


async def test_a_held_enter_never_runs_a_plan() -> None:
    app = Stage(ViewTable(VIEW))
    async with app.run_test() as pilot:
        asked = Asked(pilot, preview("enter"))
        for _ in range(40):
            send(app, "enter")
            await asyncio.sleep(0.03)
        await asked.none()


async def test_no_is_in_focus_when_a_plan_disrupts() -> None:
    async with Stage(ViewTable(VIEW)).run_test() as pilot:
        asked = Asked(pilot, preview("ask"))
        await asked.ready()
        await until(pilot, lambda: "› No, leave it ‹" in text(pilot.app))
        await pilot.press("enter")
        assert await asked.answer() is False


async def test_yes_has_to_be_chosen() -> None:
    async with Stage(ViewTable(VIEW)).run_test() as pilot:
        asked = Asked(pilot, preview("ask"))
        await asked.ready()
        await pilot.press("right", "enter")
        assert await asked.answer() is True


async def test_two_enters_on_yes_do_not_run_it() -> None:
    app = Stage(ViewTable(VIEW))
    async with app.run_test() as pilot:
        asked = Asked(pilot, preview("ask"))
        await asked.ready()
        send(app, "right", "enter", "enter")
        await asked.none()


@pytest.mark.parametrize("typed", ["", "Bench", "benc", "bench "])
async def test_destroy_is_not_content_with_another_word(typed: str) -> None:
    async with Stage(ViewTable(VIEW)).run_test() as pilot:
        asked = Asked(pilot, preview("type"))
        await asked.ready()
        asked.dialog.answer.value = typed
        await pilot.press("enter")
        await asked.none()
        assert "that is not it" in text(pilot.app)


SUBJECTS = [
    "bench",
    "[/x] [bold]",
    "two\nlines",
    "\x1b]0;x\x07",
    "\u202eevil",
    "日本語",
    "y" * 10_000,
    '"q"."t"',
]


@pytest.mark.parametrize("subject", SUBJECTS, ids=range(len(SUBJECTS)))
async def test_any_subject_can_be_shown_and_typed(subject: str) -> None:
    from backend.core.clean import clean

    async with Stage(ViewTable(VIEW)).run_test(size=(80, 24)) as pilot:
        asked = Asked(pilot, preview("type", subject, notes=(subject,), rows=tuple(rows(3))))
        await asked.ready()
        assert "\x1b" not in text(pilot.app) and "\u202e" not in text(pilot.app)
        asked.dialog.answer.value = clean(subject)
        await pilot.press("enter")
        assert await asked.answer() is True


async def test_what_is_typed_ahead_is_not_taken_for_the_word() -> None:
    app = Stage(ViewTable(VIEW))
    async with app.run_test() as pilot:
        asked = Asked(pilot, preview("type"))
        send(app, *"bench", "enter")
        await asked.ready()
        await asked.none()
        assert asked.dialog.answer.value == ""


@pytest.mark.parametrize("size", [(40, 10), (80, 24), (160, 50)])
@pytest.mark.parametrize("ceremony", ["enter", "ask", "type"])
async def test_danger_and_answer_show_at_every_size(ceremony: str, size: tuple[int, int]) -> None:
    async with Stage(ViewTable(VIEW)).run_test(size=size) as pilot:
        asked = Asked(pilot, preview(ceremony, rows=tuple(rows(40))))
        await asked.ready()
        wanted = {"enter": "● change", "ask": "▲ disrupt", "type": "✖ destroy"}[ceremony]
        answer = {"enter": "Enter runs it", "ask": "No, leave it", "type": "Type bench to run it"}[ceremony]
        await until(pilot, lambda: wanted in text(pilot.app) and answer in text(pilot.app))


async def test_the_whole_plan_and_its_victims_can_be_read() -> None:
    async with Stage(ViewTable(VIEW)).run_test(size=(100, 24)) as pilot:
        pilot.app.query_one(ViewTable).show(snapshot(rows(5)))
        asked = Asked(pilot, preview("enter", rows=tuple(rows(40)), notes=("they roll back",)))
        await asked.ready()
        seen = text(pilot.app)
        for _ in range(8):
            await pilot.press("pagedown")
            seen += text(pilot.app)
        assert all(str(r.pid) in seen for r in rows(40))
        assert "they roll back" in seen and "pg_terminate_backend(1000)" in seen and COMMAND in seen


async def test_the_command_line_is_shown_and_copied() -> None:
    async with Stage(ViewTable(VIEW)).run_test() as pilot:
        asked = Asked(pilot, preview("ask"))
        await asked.ready()
        await pilot.press("y")
        assert pilot.app.clipboard == COMMAND
        await pilot.press("S")
        await until(pilot, lambda: pilot.app.screen is not asked.dialog)
        await pilot.press("escape")
        await asked.none()


async def test_an_empty_plan_runs_nothing() -> None:
    empty = Preview(Plan("x", ()), Confirmation("none"), title="nothing")
    async with Stage(ViewTable(VIEW)).run_test() as pilot:
        asked = Asked(pilot, empty)
        await asked.ready()
        await until(pilot, lambda: "There is nothing to do." in text(pilot.app))
        await pilot.press("enter")
        assert await asked.answer() is False


@pytest.mark.parametrize(
    ("keys", "answer"), [(["enter"], False), (["right", "enter"], True), (["escape"], False)]
)
async def test_a_question_is_answered_with_no_unless_yes_is_chosen(keys: list[str], answer: bool) -> None:
    async with Stage(ViewTable(VIEW)).run_test() as pilot:
        asked = Asked(pilot, Confirm("Quit?", "Two runs go on."))
        await asked.ready()
        await pilot.press(*keys)
        assert await asked.answer() is answer
