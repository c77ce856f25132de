"""Lines of a table as strips: what is compared to know what to repaint, and how it is painted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from backend.core.declare import Health
from screens.widgets.cells import GLYPHS, fit
from screens.widgets.columns import Place

LEAD = 3
# Moving the terminal's cursor and setting a style again costs about as much as writing this many blanks.
MERGE = 24


class Line(NamedTuple):
    """All that a painted line of the table depends on, besides widths and colours."""

    cells: tuple[str, ...]
    healths: tuple[Health, ...]
    health: Health
    marked: bool
    cursor: bool
    stale: bool
    thumb: bool


class Palette:
    """The styles of a table's lines; combinations are made once."""

    def __init__(self, base: Style, named: dict[str, Style]) -> None:
        self.base = base
        self.named = named
        self._made: dict[tuple[Health, bool, bool], Style] = {}

    def cell(self, health: Health, cursor: bool, stale: bool) -> Style:
        """The style of a cell of that health."""
        key = (health, cursor, stale)
        if key not in self._made:
            self._made[key] = self._make(health, cursor, stale)
        return self._made[key]

    def _make(self, health: Health, cursor: bool, stale: bool) -> Style:
        style = self.base
        if stale:
            style += self.named["stale"]
        if health is not Health.OK:
            style += self.named[health.name.lower()]
        return style + self.named["cursor"] if cursor else style


def paint(line: Line, places: Sequence[Place], width: int, palette: Palette) -> Strip:
    """The line as a strip of that width, with as few segments as its styles allow."""
    base = palette.cell(Health.OK, line.cursor, line.stale)
    runs = [(base, _cursor_mark(line))]
    glyph = GLYPHS[line.health] if line.health is not Health.OK else " "
    runs.append((palette.cell(line.health, line.cursor, line.stale), f"{glyph} "))
    end = LEAD
    for place, text, health in zip(places, line.cells, line.healths, strict=True):
        if place.x > end:
            runs.append((base, " " * (place.x - end)))
        fitted = fit(text, place.width, right=place.column.numeric and not place.column.col.text)
        runs.append((palette.cell(health, line.cursor, line.stale), fitted))
        end = place.end
    runs.append((base, " " * (width - 1 - end)))
    runs.append((palette.named["thumb"], "▐") if line.thumb else (base, " "))
    return joined(runs, width)


def _cursor_mark(line: Line) -> str:
    if line.marked:
        return "✱" if line.cursor else "*"
    return "›" if line.cursor else " "


def joined(runs: Sequence[tuple[Style, str]], width: int) -> Strip:
    """The runs as one strip of exactly that width; neighbours of equal style become one segment."""
    segments: list[Segment] = []
    style, text = runs[0]
    for next_style, next_text in runs[1:]:
        if next_style is style or next_style == style:
            text += next_text
        elif next_text:
            segments.append(Segment(text, style))
            style, text = next_style, next_text
    segments.append(Segment(text, style))
    return Strip(segments).adjust_cell_length(width, style)


def spans(old: Line, new: Line, places: Sequence[Place], width: int) -> list[tuple[int, int]]:
    """Which parts of a line differ, near ones merged; all of it when its style differs."""
    if old.cursor != new.cursor or old.stale != new.stale or len(old.cells) != len(new.cells):
        return [(0, width)]
    found: list[tuple[int, int]] = []
    if old.marked != new.marked or old.health != new.health:
        found.append((0, LEAD))
    for i, place in enumerate(places):
        if old.cells[i] != new.cells[i] or old.healths[i] != new.healths[i]:
            found.append((place.x, place.end))
    if old.thumb != new.thumb:
        found.append((width - 1, width))
    return _merged(found)


def _merged(found: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in found:
        if merged and start - merged[-1][1] <= MERGE:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return merged
