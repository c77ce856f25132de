"""The console's dialogs: what to pick, to read and to decide, each in a few lines."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from textual.app import App

from backend.core.declare import Ask, Room, View
from backend.core.errors import PgtuiError
from backend.core.facts import Facts
from backend.core.params import params_of
from backend.core.registry import actions
from backend.core.target import Inventory
from screens import acting, shell
from screens.desk import Desk, show_line
from screens.keys import HELP
from screens.memory import Memory
from screens.modals.confirm import Confirm
from screens.modals.form import Form
from screens.modals.picker import Picker
from screens.modals.reading import DetailDialog, HelpDialog, TextDialog, sql_dialog
from screens.room import RoomPane
from screens.widgets.pick import Item
from screens.widgets.table import ViewTable
from screens.widgets.viewer import Part, Readable

if TYPE_CHECKING:
    from screens.console import Console


async def _wanted(session: object, password: Annotated[str, Ask("Password", secret=True)]) -> None:
    """What the form for a password asks."""


async def ask_password(app: App[Any], prompt: str) -> str | None:
    """The password, asked once and kept in memory only; None when the user gives up."""
    answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
    form = Form(prompt, params_of(_wanted))
    app.push_screen(form, lambda values: answer.set_result((values or {}).get("password")))
    return await answer


async def pick_room(app: App[Any], rooms: Sequence[Room]) -> str | None:
    """A room's name."""
    items = [
        Item(r.name, r.title, r.doc, key=str((n + 1) % 10) if n < 10 else "", also=r.name)
        for n, r in enumerate(rooms)
    ]
    return await app.push_screen_wait(Picker("Rooms", items))


async def pick_target(app: App[Any], inventory: Inventory) -> str | None:
    """A target's name."""
    if not inventory.targets:
        app.notify("the inventory lists no target; pgtui targets add NAME adds one", markup=False)
        return None
    items = [Item(t.name, t.name, ", ".join(t.tags), key=t.guard) for t in inventory.targets.values()]
    return await app.push_screen_wait(Picker("Targets", items))


async def pick_database(app: App[Any], facts: Facts) -> str | None:
    """A database's name."""
    items = [Item(name, name) for name in facts.databases]
    return await app.push_screen_wait(Picker("Databases", items, current=facts.database))


async def pick_sort(app: App[Any], table: ViewTable) -> None:
    """Sort by a column, numbers from the largest; the one that sorts already is turned round."""
    sort = table.sort
    items = [Item("", "in the room's own order", key="unsorted")]
    for column in table.columns:
        arrow = ("▼" if sort.descending else "▲") if column.name == sort.column else ""
        items.append(Item(column.name, column.title, column.col.help, key=arrow))
    picked = await app.push_screen_wait(Picker("Sort by", items, current=sort.column or ""))
    if picked == "":
        table.sort_by(None)
    elif picked is not None and picked == sort.column:
        table.reverse_sort()
    elif picked is not None:
        table.sort_by(picked, table.column(picked).numeric)


async def view_options(app: App[Any], pane: RoomPane) -> None:
    """Choose what the view is asked with."""
    view = pane.view
    choices = await acting.choices_of(app, pane.desk, view.params)
    form = Form(view.name, view.params, given=pane.options, choices=choices, doc=view.doc)
    values: dict[str, Any] | None = await app.push_screen_wait(form)
    if values is not None and pane.view is view:
        pane.choose_options(values)


async def pick_theme(app: App[Any], memory: Memory) -> None:
    """Change the theme, and keep it for the next start."""
    from themes import THEMES

    picked = await app.push_screen_wait(Picker("Themes", [Item(t, t) for t in THEMES], current=app.theme))
    if picked:
        app.theme = memory.theme = picked


async def palette(console: Console) -> None:
    """Rooms, views, targets and actions by typing."""
    found = await console.app.push_screen_wait(Picker("Go to, or do", list(_palette_items(console))))
    if found is None:
        return
    kind, what = found
    if kind == "view":
        await console.show_view(what)
    elif kind == "room":
        console.show_room(what)
    elif kind == "database":
        await console.change_target(console.desk.target.database(what))
    elif kind == "target":
        await console.change_target(console.inventory.get(what))
    elif kind == "action" and console.pane:
        try:
            await acting.carry_out(console.app, console.desk, what, {})
        except PgtuiError as e:
            show_error(console.app, e)


def _palette_items(console: Console) -> list[Item]:
    from backend.core.registry import views

    items = [Item(("room", r), r.title, r.doc, key="room", also=r.name) for r in console.rooms]
    items += [Item(("view", v.name), v.name, v.doc, key="view") for r in console.rooms for v in views(r.name)
              if not any(p.required for p in v.params)]  # fmt: skip
    for action in actions():
        made = acting.item(action, console.desk)
        items.append(
            Item(("action", action), made.label, made.detail, key=made.key, unavailable=made.unavailable)
        )
    items += [
        Item(("target", t.name), t.name, ", ".join(t.tags), key="target")
        for t in console.inventory.targets.values()
    ]
    databases = console.desk.facts.databases if console.desk.facts else ()
    return items + [Item(("database", name), name, key="database") for name in databases]


async def may_quit(app: App[Any], desk: Desk) -> bool:
    """Whether to quit: asked only while runs are going on."""
    if not desk.running:
        return True
    names = ", ".join(r.action.name for r in desk.running)
    question = f"{names} would be cancelled. What is done by then stays done."
    confirm = Confirm("Quit while a run is going on?", question, yes="Yes, quit")
    return await app.push_screen_wait(confirm)


async def runs(app: App[Any], desk: Desk) -> None:
    """The runs of this console and their logs."""
    items = [
        Item(run, run.action.name, _standing(run), key=run.report.subject) for run in reversed(desk.runs)
    ]
    if not items:
        app.notify("nothing has been run here yet", markup=False)
        return
    if picked := await app.push_screen_wait(Picker("Runs", items)):
        app.push_screen(acting.LiveLog(picked))


def _standing(run: Any) -> str:
    return run.report.status if run.finished.is_set() else "running"


async def psql(app: App[Any], desk: Desk) -> None:
    """Open psql; asks first where the target is guarded, and opens it read-only there."""
    if desk.read_only:
        app.notify("pgtui was started with --read-only; psql is not opened", severity="warning", markup=False)
        return
    guarded = bool(desk.target.guard)
    question = f"{desk.target.name} is guarded; psql opens read-only."
    if guarded and not await app.push_screen_wait(Confirm("Open psql?", question, yes="Yes, open it")):
        return
    try:
        await shell.psql(app, desk, read_only=guarded)
    except PgtuiError as e:
        show_error(app, e)


async def show_details(app: App[Any], pane: RoomPane, chosen: ViewTable.RowChosen) -> None:
    """The row in full at once, and what the room knows besides as soon as the server has answered."""
    dialog = DetailDialog(chosen.table.snapshot, chosen.row)
    await app.push_screen(dialog)
    more: Sequence[Readable]
    try:
        more = await pane.more_about(chosen.row)
    except PgtuiError as e:
        more = [Part(""), Part(e.message, "warning")]
    if dialog.is_mounted:
        dialog.add(more)


def show_source(app: App[Any], desk: Desk, view: View[Any], asked: Mapping[str, Any]) -> None:
    """The SQL behind the view, and the command that gives the same rows."""
    line = show_line(desk.target, view, asked)
    app.push_screen(sql_dialog(view.name, desk.sql_of(view), line))


def show_help(app: App[Any], pane: RoomPane) -> None:
    """Keys, views and columns of the room."""
    keys = [*HELP, *pane.own_keys()]
    app.push_screen(HelpDialog(pane.room.title, doc=pane.room.doc, keys=keys, views=pane.views))


def show_error(app: App[Any], error: PgtuiError) -> None:
    """An error as its sentence and hint."""
    parts = [Part(error.message, "critical"), *([Part(""), Part(error.hint)] if error.hint else [])]
    app.push_screen(TextDialog(error.kind, parts, error.message))
