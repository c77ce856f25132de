"""Text to read: details of a row, plans, SQL, help, logs. It scrolls, wraps, and is always cleaned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from rich.cells import chop_cells
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from backend.core.clean import clean_lines
from backend.core.declare import columns_of
from backend.core.record import record
from screens.widgets.cells import cell, fit, width_of
from screens.widgets.columns import Place, Widths
from screens.widgets.lines import joined
from screens.widgets.model import shown

STYLES = ("title", "strong", "muted", "code", "ok", "unknown", "warning", "critical")


@record
class Part:
    """A piece of text with the name of its style; lines that are too long are wrapped."""

    text: str
    style: str = ""
    indent: int = 0

    def lines(self, width: int) -> list[str]:
        """The lines in a viewer of that width."""
        blanks = " " * self.indent
        room = max(width - self.indent, 1)
        return [blanks + line for raw in clean_lines(self.text).split("\n") for line in wrap(raw, room)]


@record
class Grid:
    """Rows of one dataclass as a small table."""

    rows: Sequence[Any]
    style: str = ""
    indent: int = 0

    def lines(self, width: int) -> list[str]:
        """The heading and a line for each row."""
        row_type: type = type(self.rows[0])
        columns = shown(columns_of(row_type))
        cells = [tuple(cell(c, getattr(row, c.name), 2 * width) for c in columns) for row in self.rows]
        widths = Widths(columns)
        widths.learn(cells)
        places = widths.layout(self.indent, width, 0).places
        numbers = [next(i for i, c in enumerate(columns) if c is p.column) for p in places]
        heading = _row(places, [p.column.title for p in places])
        return [heading, *(_row(places, [line[i] for i in numbers]) for line in cells)]


def _row(places: Sequence[Place], cells: Sequence[str]) -> str:
    line, end = "", 0
    for place, text in zip(places, cells, strict=True):
        right = place.column.numeric and not place.column.col.text
        line += " " * (place.x - end) + fit(text, place.width, right=right)
        end = place.end
    return line.rstrip()


Readable = Part | Grid


def wrap(line: str, width: int) -> list[str]:
    """The line in pieces of at most that many columns, broken at blanks where there are some."""
    pieces = []
    while width_of(line) > width:
        head = line[:width] if line.isascii() else (chop_cells(line, width) or [line])[0]
        cut = head.rfind(" ")
        # A line broken near its start would leave a ragged column of single words.
        cut = cut + 1 if cut > width // 2 else max(len(head), 1)
        pieces.append(line[:cut])
        line = line[cut:]
    return [*pieces, line]


class TextView(ScrollView, can_focus=True):
    """A scrollable text made of parts."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"text--{name}" for name in STYLES}
    DEFAULT_CSS = """
    TextView { height: 1fr; width: 1fr; overflow-x: hidden; scrollbar-size-vertical: 1; }
    TextView > .text--title { text-style: bold; }
    TextView > .text--strong { text-style: bold; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "by(-1)", "Up", show=False),
        Binding("down,j", "by(1)", "Down", show=False),
        Binding("pageup", "pages(-1)", "Page up", show=False),
        Binding("pagedown,space", "pages(1)", "Page down", show=False),
        Binding("home", "to(0)", "Top", show=False),
        Binding("end", "to(-1)", "Bottom", show=False),
    ]

    def __init__(
        self, parts: Sequence[Readable] = (), *, id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.parts = tuple(parts)
        self._lines: list[tuple[str, str]] = []
        self._wrapped_at = -1

    def show(self, parts: Sequence[Readable], *, follow: bool = False) -> None:
        """Show other parts; with `follow` the end stays in sight where it was."""
        at_end = self.scroll_offset.y >= self.max_scroll_y
        self.parts = tuple(parts)
        self._wrap()
        if follow and at_end:
            self.scroll_to(y=self.max_scroll_y, animate=False)

    def line_count(self, width: int) -> int:
        """How many lines the text needs in that width."""
        return sum(len(part.lines(width)) for part in self.parts)

    def on_resize(self) -> None:
        """Wrap for the new width."""
        if self._wrapped_at != self._room:
            self._wrap()

    def render_line(self, y: int) -> Strip:
        """The line of the widget at that height."""
        at = self.scroll_offset.y + y
        if at >= len(self._lines):
            return Strip.blank(self.size.width, self.rich_style)
        style, text = self._lines[at]
        return joined([(self._styled(style), text.ljust(self.size.width))], self.size.width)

    def action_by(self, lines: int) -> None:
        """Scroll by lines."""
        self.scroll_to(y=self.scroll_offset.y + lines, animate=False)

    def action_pages(self, pages: int) -> None:
        """Scroll by pages."""
        self.action_by(pages * max(self.size.height - 1, 1))

    def action_to(self, end: int) -> None:
        """Scroll to the top or to the bottom."""
        self.scroll_to(y=self.max_scroll_y if end else 0, animate=False)

    @property
    def _room(self) -> int:
        return self.scrollable_content_region.width or self.size.width

    def _wrap(self) -> None:
        width = self._wrapped_at = self._room
        if not width:
            return
        self._lines = [(part.style, line) for part in self.parts for line in part.lines(width)]
        self.virtual_size = Size(width, len(self._lines))
        self.refresh()

    def _styled(self, name: str) -> Style:
        if not name:
            return self.rich_style
        return self.rich_style + self.get_component_rich_style(f"text--{name}", partial=True)
