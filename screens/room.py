"""What all rooms share on screen: views as tabs, their tables, filter, sort, details, actions, export.

A room that is special subclasses `RoomPane`; its file bears the room's name and exports `PANE`.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.widget import Widget

from backend.core.clean import clean
from backend.core.declare import Action, Health, Room, View
from backend.core.errors import Usage
from backend.core.params import Param
from backend.core.registry import views
from backend.core.snapshot import Snapshot
from backend.core.where import EVERYTHING, parse
from screens.desk import Desk
from screens.memory import Memory
from screens.taking import row_text, write_csv
from screens.widgets.table import ViewTable
from screens.widgets.tabs import TabLine
from screens.widgets.viewer import Readable

if TYPE_CHECKING:
    from screens.filtering import FilterLine

INTERVALS = (0.5, 1, 2, 5, 10, 30, 60)


class Frame(Vertical):
    """A container that its widgets cover: what it would paint itself is never seen, and costs as much."""

    BLANK = True


class RoomPane(Frame):
    """One room: its views as tabs, the table of the chosen one, and what is special about the room."""

    DEFAULT_CSS = """
    RoomPane { height: 1fr; overflow: hidden; }
    RoomPane ViewTable, RoomPane #tables { height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab,right_square_bracket", "turn(1)", "Next view", key_display="Tab"),
        Binding("shift+tab,left_square_bracket", "turn(-1)", "Previous view", show=False),
        Binding("slash", "filter", "Filter"),
        Binding("s", "sort", "Sort"),
        Binding("o", "reverse", "Reverse sort", show=False),
        Binding("m", "mark", "Mark", show=False),
        Binding("w,f6", "other_table", "Other table", show=False),
        Binding("a", "actions", "Actions"),
        Binding("v", "options", "Options", show=False),
        Binding("S", "source", "SQL", show=False),
        Binding("y", "copy", "Copy", show=False),
        Binding("e", "export", "Export", show=False),
        Binding("plus,equals_sign", "faster(1)", "Slower", show=False),
        Binding("minus", "faster(-1)", "Faster", show=False),
    ]

    class Shown(Message):
        """A view of the room has new data."""

        def __init__(self, snapshot: Snapshot) -> None:
            super().__init__()
            self.snapshot = snapshot

    class Arranged(Message):
        """What the line of keys tells has changed: filter, marks, or where keys go."""

    class Ready(Message):
        """The room's widgets are there; only now can it be entered."""

        def __init__(self, pane: RoomPane) -> None:
            super().__init__()
            self.pane = pane

    class Wanted(Message):
        """The user wants one of the room's dialogs; the console opens it."""

        def __init__(self, what: str, pane: RoomPane, subject: Any = None) -> None:
            super().__init__()
            self.what, self.pane, self.subject = what, pane, subject

    def __init__(self, room: Room, desk: Desk, memory: Memory) -> None:
        super().__init__(id=f"room-{room.name}")
        self.room = room
        self.desk = desk
        self.memory = memory
        self.views = self.choose_views(views(room.name))
        self.view = self.views[0]
        self._tables: dict[str, ViewTable] = {}
        self._options: dict[str, Mapping[str, Any]] = {}
        self._filter_line: FilterLine | None = None
        self._unwatch: Callable[[], None] = lambda: None
        self._watching = False

    # -- for rooms that are special ----------------------------------------------------------------

    def choose_views(self, known: list[View[Any]]) -> list[View[Any]]:
        """The views that become tabs: those that need no parameter."""
        return [v for v in known if not any(p.required for p in v.params)]

    def around(self, tables: Widget) -> ComposeResult:
        """Where the tables stand; a special room puts its own widgets beside them."""
        yield tables

    def prepared(self, snapshot: Snapshot) -> Snapshot:
        """What the table shows of a new state."""
        return snapshot

    def news(self, snapshot: Snapshot) -> None:
        """Called with each new state of the view shown."""

    def row_moved(self, row: Any) -> None:
        """Called when the cursor stands on another row, or on none."""

    async def more_about(self, row: Any) -> Sequence[Readable]:
        """What the details of a row show besides its columns."""
        return ()

    def footer_keys(self) -> Sequence[tuple[str, str]]:
        """The keys of this room that the line of keys shows."""
        return ()

    def own_keys(self) -> Sequence[tuple[str, str]]:
        """The keys of this room alone, for the help."""
        return ()

    # -- building --------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        """Tabs and the first view's table; other tables and the filter line come when they are wanted."""
        yield TabLine([v.name.partition(".")[2] for v in self.views])
        yield from self.around(Frame(self.table, id="tables"))

    def on_mount(self) -> None:
        """Tell that the room can be entered."""
        self.post_message(self.Ready(self))

    @property
    def table(self) -> ViewTable:
        """The table of the view shown."""
        if self.view.name not in self._tables:
            self._tables[self.view.name] = self._new_table(self.view)
        return self._tables[self.view.name]

    @property
    def focused_table(self) -> ViewTable:
        """The table that has the keys: the view's own, or one that a special room puts beside it."""
        focused = self.screen.focused
        return focused if isinstance(focused, ViewTable) else self.table

    def _new_table(self, view: View[Any]) -> ViewTable:
        table = ViewTable(view, id="table-" + view.name.replace(".", "-"), follow=self._followed)
        kept = self.memory.arrangement(view.name)
        if kept.sort in {c.name for c in view.columns}:
            table.sort_by(kept.sort, kept.descending)
        if kept.where:
            self._keep_filter(table, kept.where)
        return table

    def _keep_filter(self, table: ViewTable, text: str) -> None:
        try:
            table.filter(parse(text, table.view.columns))
        except Usage:
            self.memory.arrangement(table.view.name).where = ""

    # -- watching --------------------------------------------------------------------------------

    def enter(self) -> None:
        """The room is looked at: watch the view shown."""
        self._watching = True
        self._watch()
        self.table.focus()

    def leave(self) -> None:
        """The room is no longer looked at."""
        self._watching = False
        self._unwatch()

    @property
    def every(self) -> float:
        """The interval of the view shown, in seconds."""
        return self.memory.arrangement(self.view.name).every or self.view.every

    def _watch(self) -> None:
        self._unwatch()
        if self._watching and self.desk.is_open:
            feed = self.desk.feed(self.view, **self.options)
            self._unwatch = feed.subscribe(self._received, self.every)

    def _received(self, snapshot: Snapshot) -> None:
        self.table.show(self.prepared(snapshot))
        self.news(snapshot)
        self.post_message(self.Shown(snapshot))

    @property
    def snapshot(self) -> Snapshot:
        """The present state of the view shown."""
        if not self.desk.is_open:
            return Snapshot(self.view)
        return self.desk.feed(self.view, **self.options).snapshot

    @property
    def options(self) -> Mapping[str, Any]:
        """What the view shown is asked with, where the user chose something."""
        return self._options.get(self.view.name, {})

    def asked_by(self, table: ViewTable) -> Mapping[str, Any]:
        """What one of the room's tables is asked with."""
        return self.options if table is self.table else {}

    def choose_options(self, values: Mapping[str, Any]) -> None:
        """Ask the view shown with these parameters from now on."""
        self._options[self.view.name] = {
            p.name: values[p.name] for p in self.view.params if values.get(p.name) not in (None, p.default)
        }
        self._watch()
        self._received(self.snapshot)
        self.post_message(self.Arranged())

    def look_at(self, name: str) -> None:
        """Show the view of that name."""
        self.view = next(v for v in self.views if v.name == name)
        for known in self._tables.values():
            show_or_hide(known, False)
        if not self.table.is_attached:
            self.query_one("#tables").mount(self.table)
        show_or_hide(self.table, True)
        self.query_one(TabLine).choose(self.views.index(self.view))
        self._watch()
        self.table.focus()
        self.row_moved(self.table.cursor_row)

    def back(self) -> bool:
        """Undo the nearest of marks, filter and choice of a view; whether there was one."""
        table = self.focused_table
        if table.marked:
            table.clear_marks()
        elif table is not self.table:
            self.table.focus()
        elif self.table.where:
            self.table.filter(EVERYTHING)
            self.memory.arrangement(self.view.name).where = ""
        elif self.view is not self.views[0]:
            self.look_at(self.views[0].name)
        else:
            return False
        self.post_message(self.Arranged())
        return True

    @property
    def keys(self) -> Sequence[tuple[str, str]]:
        """What keys do here that they do not do everywhere, the most wanted first."""
        if not self.is_mounted:
            return ()
        if self._filter_line and self._filter_line.is_open:
            return [("Enter", "keep the filter"), ("Esc", "give it up")]
        if marked := len(self.focused_table.marked_rows):
            return [("a", f"act on {marked} marked"), ("m", "mark"), ("Esc", "unmark")]
        return self.footer_keys()

    @property
    def note(self) -> str:
        """What the line of keys says at its end: the filter, or what is wrong with it."""
        if self._filter_line and self._filter_line.problem:
            return self._filter_line.problem
        filtered = f"filter: {clean(self.table.where.text)}" if self.table.where else ""
        chosen = ", ".join(map(self._said, (p for p in self.view.params if p.name in self.options)))
        return " · ".join(filter(None, [clean(chosen), filtered]))

    def _said(self, param: Param) -> str:
        value, label = self.options[param.name], param.ask.label.lower()
        return label if value is True else f"{label} {param.text(value)}"

    def on_descendant_focus(self) -> None:
        """Other keys may work now."""
        self.post_message(self.Arranged())

    # -- keys ------------------------------------------------------------------------------------

    def action_turn(self, by: int) -> None:
        """Show the next or the previous view."""
        at = (self.views.index(self.view) + by) % len(self.views)
        self.look_at(self.views[at].name)

    def action_filter(self) -> None:
        """Write a filter; it works while it is written."""
        if self._filter_line is None:
            from screens.filtering import FilterLine

            self._filter_line = FilterLine()
            self.mount(self._filter_line, after=self.query_one(TabLine))
        self._filter_line.edit(self.table)
        self.post_message(self.Arranged())

    def action_sort(self) -> None:
        """Choose the column to sort by."""
        self.post_message(self.Wanted("sort", self, self.focused_table))

    def action_reverse(self) -> None:
        """Turn the sort round."""
        self.focused_table.reverse_sort()

    def action_mark(self) -> None:
        """Mark the row for an action on several."""
        self.focused_table.toggle_mark()
        self.post_message(self.Arranged())

    def action_other_table(self) -> None:
        """Give the keys to the next table of the room."""
        tables = [t for t in self.query(ViewTable) if t.display]
        at = tables.index(self.focused_table) if self.focused_table in tables else 0
        tables[(at + 1) % len(tables)].focus()

    def action_faster(self, by: int) -> None:
        """Choose the next longer or shorter interval."""
        now = self.every
        later = [i for i in INTERVALS if i > now] if by > 0 else [i for i in reversed(INTERVALS) if i < now]
        if later:
            self.memory.arrangement(self.view.name).every = later[0]
            self._watch()
            self.post_message(self.Arranged())

    def action_actions(self) -> None:
        """Choose an action on the row under the cursor, or on the marked ones: those of this moment."""
        table = self.focused_table
        row = table.cursor_row
        rows = table.marked_rows or ([row] if row is not None else [])
        self.post_message(self.Wanted("actions", self, (table.view, rows)))

    def action_options(self) -> None:
        """Choose what the view is asked with: what its command line takes as options."""
        if self.view.params:
            self.post_message(self.Wanted("options", self, self.view))
        else:
            self.app.notify(f"{self.view.name} has no options", timeout=3, markup=False)

    def action_source(self) -> None:
        """Show the SQL behind the view, and the command that asks it with the same options."""
        table = self.focused_table
        self.post_message(self.Wanted("source", self, (table.view, self.asked_by(table))))

    def action_copy(self) -> None:
        """Copy the text of the row under the cursor."""
        table = self.focused_table
        if (row := table.cursor_row) is not None:
            self.app.copy_to_clipboard(row_text(table.view, row))
            self.app.notify("copied", timeout=2, markup=False)

    def action_export(self) -> None:
        """Write the rows that are shown to a CSV file in the working folder."""
        table = self.focused_table
        path = Path(f"{table.view.name}-{datetime.now().astimezone():%Y%m%d-%H%M%S}.csv")
        try:
            write_csv(path, table.view, table.rows)
        except OSError as e:
            self.app.notify(f"{path} cannot be written: {e.strerror}", severity="error", markup=False)
        else:
            self.app.notify(
                f"{len(table.rows)} {'row' if len(table.rows) == 1 else 'rows'} written to {path}",
                markup=False,
            )

    # -- filter line -----------------------------------------------------------------------------

    def on_filter_line_closed(self, event: FilterLine.Closed) -> None:
        """Remember the filter."""
        self.memory.arrangement(event.table.view.name).where = event.table.where.text
        self.table.focus()
        self.post_message(self.Arranged())

    def on_filter_line_told(self) -> None:
        """Tell whether what is written makes sense."""
        self.post_message(self.Arranged())

    # -- the table's messages --------------------------------------------------------------------

    def _followed(self, row: Any) -> None:
        if self.is_mounted:
            self.row_moved(row)

    @on(ViewTable.RowChosen)
    def _row_chosen(self, event: ViewTable.RowChosen) -> None:
        self.post_message(self.Wanted("details", self, event))

    @on(ViewTable.Arranged)
    def _arranged(self, event: ViewTable.Arranged) -> None:
        kept = self.memory.arrangement(event.table.view.name)
        kept.sort, kept.descending = event.table.sort.column, event.table.sort.descending

    @on(TabLine.Chosen)
    def _tab_chosen(self, event: TabLine.Chosen) -> None:
        self.look_at(self.views[event.index].name)


def pane_for(room: Room, desk: Desk, memory: Memory) -> RoomPane:
    """The pane of a room: its own where `screens/ROOM.py` has one, else the plain one."""
    name = f"screens.{room.name}"
    kind: type[RoomPane] = RoomPane
    if importlib.util.find_spec(name):
        kind = importlib.import_module(name).PANE
    return kind(room, desk, memory)


def show_or_hide(widget: Widget, wanted: bool) -> None:
    """Show or hide a widget; told what is so already, Textual would lay out and paint everything anew."""
    if widget.display is not wanted:
        widget.display = wanted


def on_row(action: Action, view: View[Any], rows: list[Any]) -> dict[str, Any]:
    """The parameters that the chosen rows fill: columns of the same names."""
    if not rows or view.name not in action.on:
        return {}
    values: dict[str, Any] = {}
    for param in action.params:
        if not param.ask.fill or param.ask.instead or not any(c.name == param.name for c in view.columns):
            continue
        found = [v for row in rows if (v := getattr(row, param.name)) is not None]
        if found:
            values[param.name] = found if param.many else found[0]
    return values


def worst(snapshot: Snapshot) -> Health:
    """How a room's navigation shows a view: unknown when it cannot be asked."""
    if snapshot.missing or snapshot.loading:
        return Health.OK
    return Health.UNKNOWN if snapshot.error else snapshot.judgement.overall.health
