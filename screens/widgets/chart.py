"""Small charts of what a number has been lately, drawn with braille dots or blocks."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from backend.core.clean import clean
from screens.widgets.cells import fit
from screens.widgets.lines import joined

KEPT = 1000
BLOCKS = " ▁▂▃▄▅▆▇█"
# The dots of a braille character from bottom to top, for its left and its right half.
LEFT = (0x40, 0x04, 0x02, 0x01)
RIGHT = (0x80, 0x20, 0x10, 0x08)

Number = float | None


def plain(value: float) -> str:
    """A number in few characters."""
    return f"{value:,.0f}" if abs(value) >= 10 or value == int(value) else f"{value:.1f}"


class Chart(Widget):
    """A series over time: one line with title, current value and maximum, below it the area in braille."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"chart--title", "chart--area", "chart--axis"}
    DEFAULT_CSS = """
    Chart { height: 5; width: 1fr; }
    Chart > .chart--title { text-style: bold; }
    """

    def __init__(
        self, title: str, *, show: Callable[[float], str] = plain, least: float = 1, id: str | None = None
    ) -> None:
        super().__init__(id=id)
        self.heading = clean(title)
        self.values: deque[Number] = deque(maxlen=KEPT)
        self._now: Number = None
        self._show = show
        self._least = least
        self._drawn: list[str] = []

    def add(self, value: Number) -> None:
        """One more value; None is a gap."""
        self.values.append(value if value is not None and math.isfinite(value) else None)
        self._now = self.values[-1]
        self._draw()

    def now(self, value: Number) -> None:
        """Say the present value in the title; the curve stays."""
        self._now = value
        if self._drawn:
            self._write(0, self._headline(self.size.width))

    def on_resize(self) -> None:
        """Draw for the new size."""
        self._draw()

    def render_line(self, y: int) -> Strip:
        """The title, or a line of the area."""
        width = self.size.width
        name = "title" if y == 0 else "area"
        style = self.rich_style + self.get_component_rich_style(f"chart--{name}", partial=True)
        text = self._drawn[y] if y < len(self._drawn) else ""
        return joined([(style, text.ljust(width))], width)

    def _draw(self) -> None:
        width, height = self.size
        old = self._drawn
        area = braille(list(self.values), width, max(height - 1, 0), self._least) if width else []
        self._drawn = [self._headline(width), *area]
        changed = [i for i, line in enumerate(self._drawn) if i >= len(old) or old[i] != line]
        if changed:
            self.refresh(*(Region(0, y, width, 1) for y in changed))

    def _write(self, y: int, line: str) -> None:
        if self._drawn[y] != line:
            self._drawn[y] = line
            self.refresh(Region(0, y, self.size.width, 1))

    def _headline(self, width: int) -> str:
        known = [v for v in self.values if v is not None]
        if not known:
            return fit(self.heading, width)
        now = self._show(self._now) if self._now is not None else "no answer"
        return fit(f"{self.heading}  {now}  max {self._show(max(known))}", width)


class Spark(Widget):
    """A series in one line of blocks."""

    ALLOW_SELECT = False
    DEFAULT_CSS = "Spark { height: 1; width: 20; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.values: deque[Number] = deque(maxlen=KEPT)

    def add(self, value: Number) -> None:
        """One more value; None is a gap."""
        self.values.append(value if value is not None and math.isfinite(value) else None)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """The blocks."""
        text = sparkline(list(self.values), self.size.width)
        return joined([(self.rich_style, text)], self.size.width)


def sparkline(values: Sequence[Number], width: int) -> str:
    """The last values as blocks, from zero to their maximum."""
    shown = list(values)[-width:] if width > 0 else []
    top = max((v for v in shown if v is not None), default=0) or 1
    blocks = [" " if v is None else BLOCKS[max(1, _level(v, top, 8))] for v in shown]
    return "".join(blocks).rjust(max(width, 0))


def braille(values: Sequence[Number], width: int, height: int, least: float = 1) -> list[str]:
    """The last values as an area of braille dots, two to a character, four to a line, newest at the right."""
    if width <= 0 or height <= 0:
        return []
    shown = list(values)[-2 * width :]
    top = max([least, *(v for v in shown if v is not None)])
    dots = [0 if v is None else _level(v, top, 4 * height) for v in shown]
    dots = [0] * (2 * width - len(dots)) + dots
    return [_braille_line(dots, line) for line in reversed(range(height))]


def _braille_line(dots: Sequence[int], line: int) -> str:
    base = 4 * line
    pairs = zip(dots[::2], dots[1::2], strict=True)
    return "".join(chr(0x2800 + _half(a - base, LEFT) + _half(b - base, RIGHT)) for a, b in pairs)


def _half(count: int, bits: Sequence[int]) -> int:
    return sum(bits[: max(0, min(count, 4))])


def _level(value: float, top: float, steps: int) -> int:
    """How many of the steps the value fills; anything above nothing shows."""
    if not value > 0:
        return 0
    return max(1, min(steps, round(value / top * steps)))
