"""The live table of the console: what others ask of it and tell it, keys and mouse."""

from __future__ import annotations

from typing import Any, ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message

from backend.core.declare import Column
from backend.core.judge import Key
from backend.core.show import show
from backend.core.snapshot import Snapshot
from backend.core.where import Where
from screens.widgets.canvas import HEADER, Canvas
from screens.widgets.model import Sort

PAN = 20
WHEEL = 3
CELLS_KEPT = 2000


class ViewTable(Canvas, can_focus=True):
    """A view's rows with cursor, marks, sort and filter; all of them survive a refresh."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "edge(-1)", "First", show=False),
        Binding("end", "edge(1)", "Last", show=False),
        Binding("left", "shift(-1)", "Left", show=False),
        Binding("right", "shift(1)", "Right", show=False),
        Binding("enter", "choose", "Details", show=False),
    ]

    class CursorMoved(Message):
        """The cursor came to stand on another row, or on none."""

        def __init__(self, table: ViewTable, key: Key | None, row: Any) -> None:
            super().__init__()
            self.table, self.key, self.row = table, key, row

    class RowChosen(Message):
        """Enter or a double click on a row."""

        def __init__(self, table: ViewTable, key: Key, row: Any) -> None:
            super().__init__()
            self.table, self.key, self.row = table, key, row

    class Arranged(Message):
        """Sort or filter changed."""

        def __init__(self, table: ViewTable) -> None:
            super().__init__()
            self.table = table

    # What others ask and tell

    @property
    def keys(self) -> list[Key]:
        """The keys of the rows that pass the filter, in the order shown."""
        return self._rows.order

    @property
    def rows(self) -> list[Any]:
        """The rows that pass the filter, in the order shown."""
        return list(self._rows)

    @property
    def cursor_key(self) -> Key | None:
        """The key of the row under the cursor."""
        return self._cursor

    @property
    def cursor_row(self) -> Any:
        """The row under the cursor, or None."""
        return self._rows.by_key.get(self._cursor) if self._cursor is not None else None

    @property
    def marked_rows(self) -> list[Any]:
        """The marked rows that still exist, in the server's order."""
        return [row for key, row in self._rows.by_key.items() if key in self.marked]

    @property
    def sort(self) -> Sort:
        """How rows are sorted."""
        return self._rows.sort

    @property
    def where(self) -> Where:
        """The filter."""
        return self._rows.where

    @property
    def text_column(self) -> Column | None:
        """The column of the query or message, where there is one."""
        return next((c for c in self.columns if c.col.text), None)

    def text_of(self, row: Any) -> str:
        """The row's query or message, whole."""
        column = self.text_column
        return str(getattr(row, column.name, None) or "") if column else ""

    def left_out(self, row: Any) -> str:
        """What the row says in columns that there is no room for, the important ones first."""
        if row is None or (key := self.view.key(row)) not in self._rows.by_key:
            return ""
        placed = {p.column.name for p in self._layout.places}
        absent = [c for c in self.columns if c.name not in placed and not c.col.text]
        ranked = sorted(absent, key=lambda c: c.col.priority)
        texts = ((c.title, show(c, self._rows.value(key, c.name))) for c in ranked)
        return "  ".join(f"{title}: {text}" for title, text in texts if text)

    def show(self, snapshot: Snapshot) -> None:
        """Take new data; cursor, marks, sort, filter and scroll stay."""
        old = self._rows.order
        self._rows.load(snapshot)
        self.marked &= self._rows.by_key.keys()
        if len(self._cells) > CELLS_KEPT:
            self._cells = {k: v for k, v in self._cells.items() if k in self._rows.by_key}
        self._settle(old)

    def tick(self) -> None:
        """Bring the age of old data up to date; cheap enough for every second."""
        if self._banner:
            self._set_state()

    def sort_by(self, column: str | None, descending: bool = False) -> None:
        """Sort by a column's raw values, None last; None gives the server's order back."""
        self._rows.sort = Sort(column, descending)
        self._rearrange()

    def cycle_sort(self, step: int = 1) -> None:
        """Sort by the next column that is shown; numbers start with the largest. After the last: unsorted."""
        names: list[str | None] = [None, *(p.column.name for p in self._layout.places)]
        at = names.index(self.sort.column) if self.sort.column in names else 0
        name = names[(at + step) % len(names)]
        self.sort_by(name, name is not None and self.column(name).numeric)

    def reverse_sort(self) -> None:
        """Sort in the other direction."""
        self.sort_by(self.sort.column, not self.sort.descending)

    def filter(self, where: Where) -> None:
        """Show only the rows that pass."""
        self._rows.where = where
        self._rearrange()

    def move_to(self, key: Key) -> bool:
        """Put the cursor on the row of that key; whether it is there."""
        if key not in self._rows.place:
            return False
        self._go(self._rows.place[key])
        return True

    def toggle_mark(self) -> None:
        """Mark the row under the cursor, or take its mark away, and go on to the next row."""
        if self._cursor is not None:
            self.marked ^= {self._cursor}
            self._go(self._at + 1)
            self._repaint()

    def clear_marks(self) -> None:
        """Take all marks away."""
        self.marked.clear()
        self._repaint()

    def column(self, name: str) -> Column:
        """The shown column of that name."""
        return next(c for c in self.columns if c.name == name)

    # Keys and mouse

    def action_move(self, by: int) -> None:
        """Move the cursor by lines."""
        self._go(self._at + by)

    def action_page(self, by: int) -> None:
        """Move the cursor by pages."""
        step = by * max(self.page - 1, 1)
        self._go(self._at + step, self._top + step)

    def action_edge(self, end: int) -> None:
        """Move the cursor to the first or the last row."""
        self._go(0 if end < 0 else len(self._rows) - 1)

    def action_shift(self, by: int) -> None:
        """Scroll sideways: first through the columns that do not fit, then through the text."""
        at_end = self._shift >= self._layout.last_shift
        if (by < 0 and self._pan) or (by > 0 and at_end):
            self._pan = max(0, min(self._pan + by * PAN, self._longest()))
        else:
            self._shift = max(0, min(self._shift + by, self._layout.last_shift))
        self._cells.clear()
        self._arrange_columns()

    def action_choose(self) -> None:
        """Tell that the row under the cursor was chosen."""
        if self._cursor is not None:
            self.post_message(self.RowChosen(self, self._cursor, self.cursor_row))

    def on_click(self, event: events.Click) -> None:
        """Select, choose by a double click, sort by a click on a title, scroll by the bar."""
        at = self._top + event.y - HEADER
        if event.y == 0:
            self._click_title(event.x)
        elif event.x >= self.size.width - 1 and len(self._rows) > self.page:
            self._scroll(round((event.y - HEADER) / max(self.page - 1, 1) * len(self._rows)))
        elif at < min(len(self._rows), self._top + self.page):
            self._go(at)
            if event.chain == 2:
                self.action_choose()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Scroll without moving the cursor."""
        event.stop()
        self._scroll(self._top + WHEEL)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Scroll without moving the cursor."""
        event.stop()
        self._scroll(self._top - WHEEL)

    def _cursor_moved(self) -> None:
        self.follow(self.cursor_row)
        self.post_message(self.CursorMoved(self, self._cursor, self.cursor_row))

    def _rearrange(self) -> None:
        old = self._rows.order
        self._rows.arrange()
        self._settle(old)
        self.refresh(Region(0, 0, self.size.width, HEADER))
        self.post_message(self.Arranged(self))

    def _longest(self) -> int:
        """How far the text can be scrolled so that the longest on screen is seen to its end."""
        place = self._layout.text
        if place is None:
            return 0
        name = place.column.name
        rows = self._rows.order[self._top : self._top + self.page]
        longest = max((len(str(self._rows.value(key, name) or "")) for key in rows), default=0)
        return max(0, longest - place.width)

    def _click_title(self, x: int) -> None:
        for place in self._layout.places:
            if place.x <= x <= place.end:
                name = place.column.name
                turned = self.sort.column == name
                self.sort_by(name, not self.sort.descending if turned else place.column.numeric)
