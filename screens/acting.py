"""From an action to its run: choose, fill the form, preview, confirm, watch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from textual.app import App

from backend.core.clean import clean
from backend.core.declare import Action, Room, View
from backend.core.errors import PgtuiError
from backend.core.params import Param
from backend.core.registry import actions, find_view
from screens.desk import Desk, command_line
from screens.modals.form import Form
from screens.modals.picker import Picker
from screens.modals.runlog import RunLog
from screens.room import on_row
from screens.widgets.cells import cell
from screens.widgets.pick import Item

if TYPE_CHECKING:
    from backend.core.plan import Plan
    from backend.core.run import Run

# Seconds after which a key that has shown nothing yet wants an explanation.
SLOW = 0.7
# Seconds for which a form waits for the choices of its fields; it takes any word without them.
CHOICES_WITHIN = 3
CHOICE_WIDTH = 80


async def choose_and_run(app: App[Any], desk: Desk, room: Room, view: View[Any], rows: Sequence[Any]) -> None:
    """Offer the room's actions, those on the chosen rows first, and go on with the one that is picked."""
    fitting = offered(room, view)
    on_rows = rows and any(view.name in a.on for a in fitting)
    title = f"Actions on {_named(view, rows)}" if on_rows else f"Actions of {room.title}"
    picked = await app.push_screen_wait(Picker(title, [item(a, desk) for a in fitting]))
    if picked is not None:
        await carry_out(app, desk, picked, on_row(picked, view, list(rows)))


def offered(room: Room, view: View[Any]) -> list[Action]:
    """The room's actions, those on rows of the view first, of these the dangerous last: no slip picks one."""
    return sorted(actions(room.name), key=lambda a: (view.name not in a.on, a.danger))


def item(action: Action, desk: Desk) -> Item:
    """The action in a list; grey with the reason where it cannot be done."""
    return Item(action, action.name, action.doc, key=action.danger.word, unavailable=_obstacle(action, desk))


def _obstacle(action: Action, desk: Desk) -> str:
    if desk.read_only:
        return "pgtui was started with --read-only"
    if desk.target.guard == "read-only":
        return f"target {desk.target.name} is guarded as read-only"
    if not action.needs.sql:
        return ""
    if desk.facts is None:
        return "the target has not answered yet"
    if desk.facts.pooler:
        return "this DSN is a pooler"
    return action.needs.missing(desk.facts)


async def carry_out(app: App[Any], desk: Desk, action: Action, given: dict[str, Any]) -> None:
    """Ask for what is missing, show the plan, and run it once it is confirmed."""
    from screens.modals.preview import Preview  # imports psycopg, which the first frame does without

    planned = await _planned(app, desk, action, given)
    if planned is None:
        return
    values, plan = planned
    if not plan.steps:
        said = "; ".join(plan.notes) or f"{action.name}: there is nothing to do"
        app.notify(said, markup=False)
        return
    title = f"{action.name} on {desk.target.label}"
    line = command_line(desk.target, action, values)
    wanted = desk.ceremony(plan)
    if await app.push_screen_wait(Preview(plan, wanted, title=title, command=line)):
        watch(app, desk, await desk.confirmed(action, values, plan))


async def _planned(
    app: App[Any], desk: Desk, action: Action, given: dict[str, Any]
) -> tuple[dict[str, Any], Plan] | None:
    """The parameters and the plan: from the row where nothing else is to be said, else from a form.

    What a form was filled with is not lost when it is refused: the form says why, and can be mended.
    """
    complete = all(p.name in given or p.ask.instead or p.ask.draft for p in action.params)
    filled = given if complete else await _form(app, desk, action, given)
    while filled is not None:
        values = await _edited(app, desk, action, filled)
        try:
            return values, await _said_when_slow(app, desk.plan(action, values))
        except PgtuiError as e:
            if complete or values is not filled:
                raise
            filled = await _form(app, desk, action, filled, e)
    return None


async def _said_when_slow(app: App[Any], planning: Coroutine[Any, Any, Plan]) -> Plan:
    """The plan; a server that takes its time is not mistaken for a key that was not heard."""
    task = asyncio.ensure_future(planning)
    done, _ = await asyncio.wait([task], timeout=SLOW)
    if not done:
        app.notify("planning: the server has not answered yet", timeout=5, markup=False)
    return await task


async def _form(
    app: App[Any], desk: Desk, action: Action, given: dict[str, Any], wrong: PgtuiError | None = None
) -> dict[str, Any] | None:
    """The parameters as a form gives them, or None when it is left."""
    choices = await choices_of(app, desk, action.params)
    return await app.push_screen_wait(
        Form(
            action.name,
            [p for p in action.params if p.ask.draft is None],
            given=given,
            choices=choices,
            doc=action.doc,
            wrong="\n".join(filter(None, (wrong.message, wrong.hint))) if wrong else "",
        )
    )


async def _edited(app: App[Any], desk: Desk, action: Action, values: dict[str, Any]) -> dict[str, Any]:
    """The values with those that the user writes in an editor, which has the terminal meanwhile."""
    from backend.core.editing import edit, to_be_edited  # the first frame does without

    for name, draft in to_be_edited(action.params, values).items():
        text = await desk.begin(draft, values)
        with app.suspend():
            values = {**values, name: edit(text, name)}
        app.refresh()
    return values


async def choices_of(app: App[Any], desk: Desk, params: Sequence[Param]) -> dict[str, dict[str, str]]:
    """The choices of each parameter that has some, as far as they come in time."""
    asked = {p.name: asyncio.ensure_future(_choices(desk, p)) for p in params if p.ask.choices}
    if not asked:
        return {}
    await asyncio.wait(asked.values(), timeout=SLOW)
    if not all(task.done() for task in asked.values()):
        app.notify("the server has not answered yet what there is to choose from", markup=False)
        await asyncio.wait(asked.values(), timeout=CHOICES_WITHIN - SLOW)
    return {name: task.result() for name, task in asked.items() if task.done()}


async def _choices(desk: Desk, param: Param) -> dict[str, str]:
    """The values of a view's column, each with what the view says of it; none when it cannot be asked now."""
    name, _, field = (param.ask.choices or "").rpartition(".")
    view = find_view(name)
    try:
        rows = await desk.ask(view)
    except PgtuiError:
        return {}
    found: dict[str, str] = {}
    for row in rows:
        if (value := getattr(row, field)) is not None:
            found.setdefault(param.text(value), _described(view, row, field))
    return found


def _described(view: View[Any], row: Any, field: str) -> str:
    """What tells one row from another in a list of choices: the important columns, the text last."""
    ranked = sorted(
        (c for c in view.columns if not c.col.hidden and not c.col.rate and c.name != field),
        key=lambda c: (c.col.text, c.col.priority),
    )
    said = [cell(c, getattr(row, c.name), CHOICE_WIDTH) for c in ranked]
    return "  ".join(s for s in said if s)


def watch(app: App[Any], desk: Desk, run: Run) -> None:
    """Start the run and show its log; it goes on when the log is closed."""
    log = LiveLog(run)
    app.push_screen(log)
    desk.carry_out(run, lambda ended: _tell(app, ended, log.is_current))


def _tell(app: App[Any], run: Run, seen: bool) -> None:
    if seen:
        return
    report = run.report
    said = report.error.message if report.error else "done"
    severity = "error" if report.error else "information"
    app.notify(f"{run.action.name}: {clean(said)}", severity=severity, markup=False)  # type: ignore[arg-type]


def _named(view: View[Any], rows: Sequence[Any]) -> str:
    if len(rows) > 1:
        return f"{len(rows)} marked rows"
    return " ".join(clean(str(part)) for part in view.key(rows[0]) if part is not None)


class LiveLog(RunLog):
    """The log of a run that may still be going on."""

    def __init__(self, run: Run) -> None:
        super().__init__(f"{run.action.name} on {run.report.target}")
        self.run = run
        self.began = time.monotonic()

    def on_mount(self) -> None:
        """Show how it stands, and follow it."""
        self.run.changed = self.stand
        self.set_interval(1.0, lambda: None if self.over else self.stand(self.run))
        self.stand(self.run)

    def stand(self, run: Run) -> None:
        """Show how the run stands now."""
        if self.is_mounted:
            self.show(
                run.report,
                progress=run.step_progress,
                output=run.log,
                over=run.finished.is_set(),
                elapsed=time.monotonic() - self.began,
            )

    async def on_run_log_cancel_asked(self) -> None:
        """The user wants it to stop."""
        await self.run.cancel()
