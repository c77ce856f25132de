"""What an earlier pgtui left unfinished on this target: planned anew, undone, or forgotten."""

from __future__ import annotations

import shlex
from typing import Any

from textual.app import App

from backend.core.clean import clean
from backend.core.errors import PgtuiError
from backend.core.journal import Entry, Journal
from backend.core.registry import find_action
from backend.core.undoing import UndoJournal, undo_action, undo_plan
from screens import acting
from screens.desk import Desk
from screens.dialogs import show_error
from screens.modals.picker import Picker
from screens.modals.preview import Preview
from screens.widgets.pick import Item


async def offer(app: App[Any], desk: Desk) -> None:
    """Ask of each unfinished run what is to become of it; nothing runs before it is confirmed."""
    for entry in Journal().unfinished():
        if entry.target == desk.target.label:
            choice = await app.push_screen_wait(Picker(f"Unfinished: {clean(entry.sentence)}", _items(entry)))
            try:
                await _follow(app, desk, entry, choice)
            except PgtuiError as e:
                show_error(app, e)


def _items(entry: Entry) -> list[Item]:
    items = [
        Item("resume", "plan it anew", "shows what is left to do; nothing runs before you confirm"),
        _undo_item("undo", "undo what was done", entry, interrupted=False),
    ]
    if entry.is_interrupted and entry.undo[entry.done]:
        label = f"undo step {entry.done + 1} too"
        items.append(_undo_item("undo-all", label, entry, interrupted=True))
    return [*items, Item("forget", "forget it", "the server is as the run has left it")]


def _undo_item(choice: str, label: str, entry: Entry, *, interrupted: bool) -> Item:
    try:
        plan = undo_plan(entry, interrupted)
    except PgtuiError as e:
        return Item(choice, label, unavailable=e.message)
    if not plan.steps:
        return Item(choice, label, unavailable="nothing that was done has an undo")
    return Item(choice, label, " ".join("; ".join(s.text for s in plan.steps).split()))


async def _follow(app: App[Any], desk: Desk, entry: Entry, choice: str | None) -> None:
    if choice == "forget":
        Journal().remove(entry)
    elif choice == "resume":
        await _resume(app, desk, entry)
    elif choice in ("undo", "undo-all"):
        await _undo(app, desk, entry, interrupted=choice == "undo-all")


async def _resume(app: App[Any], desk: Desk, entry: Entry) -> None:
    """The same action, planned for what is there now; a run of it takes the place of the unfinished one."""
    action, runs = find_action(entry.action), len(desk.runs)
    given = {p.name: p.parse(entry.params[p.name]) for p in action.params if p.name in entry.params}
    await acting.carry_out(app, desk, action, given)
    if len(desk.runs) > runs:
        Journal().remove(entry)


async def _undo(app: App[Any], desk: Desk, entry: Entry, *, interrupted: bool) -> None:
    action = undo_action(entry, interrupted)
    plan = await desk.plan(action, {})
    title = f"undo {entry.action} on {desk.target.label}"
    line = shlex.join(["pgtui", "runs", "undo", entry.id, *(["--interrupted"] if interrupted else [])])
    if await app.push_screen_wait(Preview(plan, desk.ceremony(plan), title=title, command=line)):
        journal = UndoJournal(entry, interrupted)
        acting.watch(app, desk, await desk.confirmed(action, {}, plan, journal))
