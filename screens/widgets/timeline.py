"""The time line of a partition set: a bar for each partition, what is missing, now and the horizon."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from rich.style import Style
from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from backend.core.clean import clean
from backend.core.show import size
from screens.timeline import Mark, Slot, TimeLine, Zone, grouped
from screens.widgets.cells import STYLES, fit, width_of
from screens.widgets.chart import BLOCKS
from screens.widgets.lines import joined

Measure = Literal["bytes", "rows"]

WIDEST = 10
APART = 2
HOLE = "░"
NAMES = ("past", "ahead", "muted", "now", "selected", "unknown", "warning", "critical")


@dataclass(frozen=True, slots=True)
class Bar:
    """A slot on the screen."""

    slot: Slot
    x: int
    width: int

    @property
    def ink(self) -> int:
        """How many columns are painted; wide bars leave one between them."""
        return self.width - 1 if self.width > 2 else self.width


class TimeLineView(Widget):
    """Bars above, what stands out about them, and where they begin; a click chooses a bar.

    Where there are more slots than columns, neighbours share a bar: it is as high as the largest of them and
    shows the worst that is true of one.
    """

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"timeline--{name}" for name in NAMES}
    DEFAULT_CSS = "TimeLineView { height: 7; }"

    class Chosen(Message):
        """A click on the bar of these partitions."""

        def __init__(self, keys: tuple[str, ...]) -> None:
            super().__init__()
            self.keys = keys

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.line = TimeLine()
        self.measure: Measure = "bytes"
        self.selected = ""
        self.share = 1
        self.bars: tuple[Bar, ...] = ()
        self._grid = Grid(0, 0)

    @property
    def scale(self) -> str:
        """What the highest bar stands for, and how many partitions share one."""
        values = [v for bar in self.bars if (v := value_of(bar.slot, self.measure))]
        if not values:
            return ""
        most = f"{max(values)} rows" if self.measure == "rows" else size(max(values))
        shared = f"{self.share} to a bar, " if self.share > 1 else ""
        return f"{shared}up to {most} "

    def show(self, line: TimeLine, measure: Measure) -> None:
        """Show another state."""
        if (line, measure) != (self.line, self.measure):
            self.line, self.measure = line, measure
            self._arrange()

    def select(self, key: str) -> None:
        """Mark the bar of that partition."""
        if key != self.selected:
            self.selected = key
            self._draw()

    def on_resize(self) -> None:
        """Draw for the new size."""
        self._arrange()

    def on_click(self, event: events.Click) -> None:
        """Tell which bar was clicked."""
        for bar in self.bars:
            if bar.x <= event.x < bar.x + bar.width and bar.slot.keys:
                self.post_message(self.Chosen(bar.slot.keys))

    def render_line(self, y: int) -> Strip:
        """One line of the drawing."""
        width = self.size.width
        runs = [(self._styled(name), text) for name, text in self._grid.runs(y)]
        return joined(runs or [(self.rich_style, "")], width)

    def _styled(self, name: str) -> Style:
        style = self.rich_style
        for part in name.split():
            style += self.get_component_rich_style(f"timeline--{part}", partial=True)
        return style

    def _arrange(self) -> None:
        self.bars, self.share = places(self.line, self.size.width)
        self._draw()

    def _draw(self) -> None:
        width, height = self.size
        old, self._grid = self._grid, Grid(width, height)
        if width and height:
            Drawing(self._grid, self.line, self.bars, self.measure, self.selected).draw()
        if old != self._grid:
            self.refresh()


def places(line: TimeLine, width: int) -> tuple[tuple[Bar, ...], int]:
    """Where each slot stands, and how many slots share a bar."""
    outside, within, default = (line.of(zone) for zone in (Zone.DETACHED, Zone.LINE, Zone.DEFAULT))
    shown, _ = grouped(outside, max(width // 6, 1))
    left = max(len(shown), width_of(Zone.DETACHED.value)) + APART if shown else 0
    right = width_of(Zone.DEFAULT.value) + APART if default else 0
    room = max(width - left - right, 1)
    bars, share = grouped(within, room)
    each = max(1, min(WIDEST, room // max(len(bars), 1)))
    found = list(_beside(shown, 0, max(1, min(each, (left - APART) // max(len(shown), 1)))))
    found += _beside(bars, left, each)
    found += _beside(default, left + each * len(bars) + (APART if bars else 0), max(right - APART, 1))
    return tuple(found), share


def _beside(slots: Sequence[Slot], x: int, width: int) -> Iterator[Bar]:
    return (Bar(slot, x + n * width, width) for n, slot in enumerate(slots))


def value_of(slot: Slot, measure: Measure) -> int:
    """What the height of its bar stands for; nothing where nobody knows."""
    return (slot.bytes if measure == "bytes" else slot.rows) or 0


class Grid:
    """Characters with the names of their styles."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._texts = [[" "] * width for _ in range(height)]
        self._styles = [[""] * width for _ in range(height)]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Grid):
            return NotImplemented
        return (self._texts, self._styles) == (other._texts, other._styles)

    __hash__ = None  # type: ignore[assignment]

    def put(self, x: int, y: int, text: str, style: str = "") -> None:
        """Write a text; what is outside is left out."""
        for at, character in enumerate(text, x):
            if 0 <= at < self.width and 0 <= y < self.height:
                self._texts[y][at], self._styles[y][at] = character, style

    def free(self, x: int, y: int, width: int) -> bool:
        """Whether a text fits there, with a blank at both sides."""
        if x < 0 or x + width > self.width:
            return False
        return all(c == " " for c in self._texts[y][max(x - 1, 0) : x + width + 1])

    def runs(self, y: int) -> list[tuple[str, str]]:
        """The line as pieces of one style each: the style's name, then the text."""
        found: list[tuple[str, str]] = []
        if y >= self.height:
            return found
        for style, character in zip(self._styles[y], self._texts[y], strict=True):
            if found and found[-1][0] == style:
                found[-1] = style, found[-1][1] + character
            else:
                found.append((style, character))
        return found


@dataclass(frozen=True, slots=True)
class Drawing:
    """One state of a line, drawn into a grid: from three lines (bars, marks, labels) to any number."""

    grid: Grid
    line: TimeLine
    bars: tuple[Bar, ...]
    measure: Measure
    selected: str

    @property
    def top(self) -> int:
        """The first line of the bars; above them stands where now is, if there is room."""
        return 1 if self.grid.height > 3 else 0

    @property
    def bottom(self) -> int:
        """The line below the bars."""
        return self.grid.height - (2 if self.grid.height > 2 else 1)

    def draw(self) -> None:
        """Draw everything."""
        most = max((value_of(bar.slot, self.measure) for bar in self.bars), default=0)
        for bar in self.bars:
            self._bar(bar, most)
            self._mark(bar)
        self._moments()
        if self.bottom < self.grid.height - 1:
            self._labels()

    def _style(self, bar: Bar) -> str:
        worst = bar.slot.worst
        if worst and worst.health in STYLES and worst.health.value:
            name = STYLES[worst.health]
        elif bar.slot.zone is Zone.LINE and not bar.slot.ahead:
            name = "past"
        else:
            name = "ahead"
        return f"{name} selected" if self._is_selected(bar) else name

    def _is_selected(self, bar: Bar) -> bool:
        return self.selected in bar.slot.keys

    def _bar(self, bar: Bar, most: int) -> None:
        style, height = self._style(bar), self.bottom - self.top
        value = value_of(bar.slot, self.measure)
        eighths = max(1, round(value / most * 8 * height)) if value and most else 0
        for line in range(height):
            text = BLOCKS[max(0, min(8, eighths - 8 * line))]
            if bar.slot.absent and bar.slot.worst is not Mark.WANTED:
                text = HOLE
            self.grid.put(bar.x, self.bottom - 1 - line, text * bar.ink, style)

    def _mark(self, bar: Bar) -> None:
        text = bar.slot.worst.glyph if bar.slot.worst else ""
        if self._is_selected(bar):
            # Not by colour alone: where there is one column, what is wrong matters more.
            text = fit(f"{text}^"[: bar.ink], bar.ink)
        self.grid.put(bar.x, self.bottom, text, self._style(bar))

    def _moments(self) -> None:
        """Now and the premake horizon: above the bars, or else between the marks."""
        y = 0 if self.top else self.bottom
        for place, text in ((self.line.now, "▼"), (self.line.horizon, "┤")):
            if place is not None:
                x = self._x(place) - (1 if text == "┤" else 0)
                if self.top or self.grid.free(x, y, 1):
                    self.grid.put(x, y, text, "now")
        if self.top and self.line.now is not None:
            self._name(self._x(self.line.now) + 1, " now", y)
        if self.top and self.line.horizon is not None:
            self._name(self._x(self.line.horizon), " premake", y)

    def _name(self, x: int, text: str, y: int) -> None:
        mirrored = text.strip() + " "
        if self.grid.free(x + 1, y, len(text) - 1):
            self.grid.put(x, y, text, "muted")
        elif self.grid.free(x - 1 - len(mirrored), y, len(mirrored) - 1):
            self.grid.put(x - 1 - len(mirrored), y, mirrored, "muted")

    def _x(self, place: float) -> int:
        """The column of a place between the slots."""
        at, end = float(sum(bar.slot.span for bar in self.bars if bar.slot.zone is Zone.DETACHED)), 0
        for bar in self.bars:
            if bar.slot.zone is not Zone.LINE:
                continue
            if place < at + bar.slot.span:
                return bar.x + int((place - at) / bar.slot.span * bar.width)
            at += bar.slot.span
            end = bar.x + bar.width
        return end

    def _labels(self) -> None:
        """Where bars begin, of the selected one first, then of as many others as there is room for."""
        y, named = self.grid.height - 1, set[Zone]()
        for bar in sorted(
            self.bars, key=lambda bar: (bar.slot.zone is Zone.LINE, not self._is_selected(bar))
        ):
            text, zone = clean(bar.slot.label), bar.slot.zone
            if zone is not Zone.LINE:
                text = "" if zone in named else zone.value
                named.add(zone)
            text = fit(text, WIDEST * 2) if width_of(text) > WIDEST * 2 else text
            style = "now" if self._is_selected(bar) and zone is Zone.LINE else "muted"
            # A cell holds one column; a name of wide characters is read in the table.
            if text and width_of(text) == len(text) and self.grid.free(bar.x, y, width_of(text)):
                self.grid.put(bar.x, y, text, style)
