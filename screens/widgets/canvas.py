"""How a table is painted: which lines are on screen, and which parts of them changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from backend.core.declare import Health, View
from backend.core.judge import Key
from backend.core.snapshot import Snapshot
from screens.widgets.cells import GLYPHS, cell, fit
from screens.widgets.columns import Layout, Place, Widths
from screens.widgets.lines import LEAD, Line, Palette, joined, paint, spans
from screens.widgets.model import Rows, nearest, shown
from screens.widgets.states import Saying, banner, state

HEADER = 1
STRIPS_KEPT = 400
STYLES = (
    "header",
    "sorted",
    "cursor",
    "blurred",
    "warning",
    "critical",
    "unknown",
    "stale",
    "thumb",
    "saying",
)


def utc_now() -> datetime:
    """The time, as data is stamped with it."""
    return datetime.now(UTC)


class Canvas(Widget):
    """A window on the rows of a view, painted line by line.

    It scrolls by itself: Textual's scrolling lays the whole screen out again whenever the number of rows
    changes, which costs more than painting.
    """

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"table--{name}" for name in STYLES}
    DEFAULT_CSS = """
    Canvas { width: 1fr; height: 1fr; }
    Canvas > .table--header { text-style: bold; }
    Canvas > .table--sorted { text-style: bold underline; }
    Canvas > .table--cursor { text-style: reverse; }
    Canvas > .table--warning { text-style: bold; }
    Canvas > .table--critical { text-style: bold; }
    """

    def __init__(
        self,
        view: View[Any],
        *,
        id: str | None = None,
        classes: str | None = None,
        now: Callable[[], datetime] = utc_now,
        follow: Callable[[Any], None] = lambda row: None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.view = view
        # Told of the row under the cursor before it is painted: what follows by message comes a frame later.
        self.follow = follow
        self.columns = shown(view.columns)
        self.marked: set[Key] = set()
        self._now = now
        self._rows = Rows(view, Snapshot(view))
        self._widths = Widths(self.columns)
        self._layout = Layout((), True, 0)
        self._indices: tuple[int, ...] = ()
        self._cursor: Key | None = None
        self._top = self._at = self._shift = self._pan = 0
        self._touched = False
        self._cells: dict[Key, tuple[Any, Any, tuple[str, ...]]] = {}
        self._strips: dict[Line, Strip] = {}
        self._painted: dict[int, Line] = {}
        self._is_new = True
        self._palette: Palette | None = None
        self._banner: Saying | None = None
        self._sayings: list[Saying] = []

    def on_focus(self) -> None:
        """Show the cursor in full."""
        self._restyle()

    def on_blur(self) -> None:
        """Show that keys go elsewhere."""
        self._restyle()

    def on_resize(self) -> None:
        """Place the columns anew."""
        self._cells.clear()
        self._top = self._following(self._top)
        self._arrange_columns()

    def notify_style_update(self) -> None:
        """Forget painted lines when the theme changes."""
        super().notify_style_update()
        self._palette = None
        self._strips.clear()

    def render_line(self, y: int) -> Strip:
        """The line of the widget at that height."""
        if y == 0:
            return self._header()
        if self._banner and y == self.size.height - 1:
            return self._said(self._banner, "▏")
        if self._sayings:
            return self._saying(y)
        at = self._top + y - HEADER
        if at >= len(self._rows):
            self._painted.pop(y, None)
            return Strip.blank(self.size.width, self.palette.base)
        line = self._line(y)
        self._painted[y] = line
        return self._strip(line)

    @property
    def palette(self) -> Palette:
        """The styles that the theme gives to lines."""
        if self._palette is None:
            # The text style of a component is its own, its colours are those that show on the table.
            named = {name: self.get_component_rich_style(f"table--{name}", partial=True) for name in STYLES}
            if not self.has_focus:
                named["cursor"] = named["blurred"]
            self._palette = Palette(self.rich_style, named)
        return self._palette

    @property
    def page(self) -> int:
        """How many rows fit on the screen."""
        return max(self.size.height - HEADER - (1 if self._banner else 0), 0)

    # Where the window and the cursor are

    def _settle(self, old: Sequence[Key]) -> None:
        """Find the cursor's row again after rows came, went or moved, and repaint what differs."""
        was_on_screen, screen_line = self._on_screen(), self._at - self._top
        before = self._cursor
        self._find_cursor(old)
        self._set_state()
        self._top = self._kept_in_place(was_on_screen, screen_line)
        if self._learn():
            self._arrange_columns()
        self._repaint()
        if self._cursor != before:
            self._cursor_moved()

    def _find_cursor(self, old: Sequence[Key]) -> None:
        if not len(self._rows):
            self._cursor, self._at = None, 0
            return
        if self._cursor is None:
            self._at = 0
        elif self._cursor in self._rows.place:
            self._at = self._rows.place[self._cursor]
        else:
            self._at = nearest(old, self._at, self._rows.place)
        self._cursor = self._rows.order[self._at]

    def _kept_in_place(self, was_on_screen: bool, screen_line: int) -> int:
        """The first row shown: the top stays the top, elsewhere the cursor's row stays where it is."""
        if not was_on_screen:
            return self._clamped(self._top)
        if not self._touched and not self._on_screen():
            # Nobody chose this row: whoever only watches wants to see the top.
            self._at = self._top
            self._cursor = self._rows.order[self._at] if len(self._rows) > self._at else self._cursor
        if self._top == 0 and self._on_screen():
            return 0
        return self._following(self._clamped(self._at - screen_line))

    def _on_screen(self) -> bool:
        return self._top <= self._at < self._top + max(self.page, 1)

    def _clamped(self, top: int) -> int:
        return max(0, min(top, len(self._rows) - self.page))

    def _following(self, top: int) -> int:
        """The nearest window that shows the cursor."""
        top = self._clamped(top)
        return max(min(top, self._at), self._at - max(self.page, 1) + 1)

    def _go(self, at: int, top: int | None = None) -> None:
        """Put the cursor on that row; the window follows."""
        if not len(self._rows):
            return
        self._touched = True
        self._at = max(0, min(at, len(self._rows) - 1))
        moved = self._cursor != self._rows.order[self._at]
        self._cursor = self._rows.order[self._at]
        self._scroll(self._following(self._top if top is None else top))
        if moved:
            self._cursor_moved()

    def _scroll(self, top: int) -> None:
        top = self._clamped(top)
        if top != self._top:
            self._top = top
            if self._learn():
                self._arrange_columns()
        self._repaint()

    def _cursor_moved(self) -> None:
        """Tell whom it concerns."""

    # Columns

    def _arrange_columns(self) -> None:
        self._learn()
        self._layout = self._widths.layout(LEAD, self.size.width - 1, self._shift)
        self._shift = min(self._shift, self._layout.last_shift)
        numbers = {c.name: i for i, c in enumerate(self.columns)}
        self._indices = tuple(numbers[p.column.name] for p in self._layout.places)
        self._set_state()
        self._strips.clear()
        self.refresh()

    def _learn(self) -> bool:
        """Look at the rows on screen; whether a column needs more room."""
        keys = self._rows.order[self._top : self._top + self.page]
        return self._widths.learn([self._cells_of(key) for key in keys])

    def _cells_of(self, key: Key) -> tuple[str, ...]:
        row, rates = self._rows.by_key[key], self._rows.rates(key)
        known = self._cells.get(key)
        if known and known[0] == row and known[1] == rates:
            return known[2]
        limit = self._pan + 2 * self.size.width
        value = self._rows.value
        cells = tuple(cell(c, value(key, c.name), limit) for c in self.columns)
        self._cells[key] = (row, rates, cells)
        return cells

    # Lines

    def _line(self, y: int) -> Line:
        at = self._top + y - HEADER
        key = self._rows.order[at]
        cells, found = self._cells_of(key), self._rows.finding(key)
        names = self.columns
        return Line(
            tuple(self._panned(i, cells[i]) for i in self._indices),
            tuple(found.cells.get(names[i].name, Health.OK) for i in self._indices),
            found.health,
            key in self.marked,
            at == self._at,
            self.snapshot.error is not None,
            self._is_thumb(y),
        )

    @property
    def snapshot(self) -> Snapshot:
        """The state that is shown."""
        return self._rows.snapshot

    def _panned(self, index: int, text: str) -> str:
        return text[self._pan :] if self._pan and self.columns[index].col.text else text

    def _is_thumb(self, y: int) -> bool:
        count, page = len(self._rows), self.page
        if count <= page:
            return False
        size = max(1, page * page // count)
        start = round((page - size) * self._top / (count - page))
        return start <= y - HEADER < start + size

    def _strip(self, line: Line) -> Strip:
        strip = self._strips.get(line)
        if strip is None:
            if len(self._strips) > STRIPS_KEPT:
                self._strips.clear()
            strip = paint(line, self._layout.places, self.size.width, self.palette)
            self._strips[line] = strip
        return strip

    def _repaint(self) -> None:
        """Refresh the parts of lines that no longer are what was painted."""
        if self._is_new:
            self._is_new = False
            self._painted.clear()
            self.refresh()
            return
        if self._sayings:
            return
        width, regions = self.size.width, []
        for y in range(HEADER, HEADER + self.page):
            regions += [Region(start, y, end - start, 1) for start, end in self._differences(y, width)]
        if regions:
            self.refresh(*regions)

    def _differences(self, y: int, width: int) -> list[tuple[int, int]]:
        old = self._painted.get(y)
        if self._top + y - HEADER >= len(self._rows):
            return [(0, width)] if old else []
        new = self._line(y)
        if old is None:
            return [(0, width)]
        return [] if old == new else spans(old, new, self._layout.places, width)

    def _restyle(self) -> None:
        self._palette = None
        self._strips.clear()
        self.refresh()

    # Header, banner and states

    def _header(self) -> Strip:
        plain = self._style("header")
        runs: list[tuple[Style, str]] = [(plain, " " * LEAD)]
        end = LEAD
        for place in self._layout.places:
            runs.append((plain, " " * (place.x - end)))
            style = self._style("sorted") if self._is_sorted(place) else plain
            runs.append((style, self._title(place)))
            end = place.end + (1 if self._is_sorted(place) else 0)
        return joined([*runs, (plain, " " * max(self.size.width - end, 0))], self.size.width)

    def _title(self, place: Place) -> str:
        text = fit(place.column.title, place.width, right=place.column.numeric and not place.column.col.text)
        if not self._is_sorted(place):
            return text
        # The arrow stands in the gap after the column, so that no title has to make room for it.
        return text + ("▼" if self._rows.sort.descending else "▲")

    def _is_sorted(self, place: Place) -> bool:
        return self._rows.sort.column == place.column.name

    def _set_state(self) -> None:
        count = len(self._rows)
        had, said = self._sayings, self._banner
        self._sayings = state(self.snapshot, self._rows.where, count, self.size.width - 6)
        self._banner = banner(self.snapshot, count, self._now())
        if had != self._sayings or bool(said) != bool(self._banner):
            self._painted.clear()
            self._is_new = True
        elif said != self._banner:
            self._refresh_banner()

    def _refresh_banner(self) -> None:
        self.refresh(Region(0, self.size.height - 1, self.size.width, 1))

    def _saying(self, y: int) -> Strip:
        if 0 <= y - HEADER - 1 < len(self._sayings):
            return self._said(self._sayings[y - HEADER - 1], " ")
        return Strip.blank(self.size.width, self.palette.base)

    def _said(self, saying: Saying, edge: str) -> Strip:
        style = self._style("saying" if saying.health is Health.OK else saying.health.name.lower())
        glyph = " " if saying.health is Health.OK else GLYPHS[saying.health]
        return joined([(style, fit(f"{edge}{glyph} {saying.text}", self.size.width))], self.size.width)

    def _style(self, name: str) -> Style:
        return self.palette.base + self.palette.named[name]
