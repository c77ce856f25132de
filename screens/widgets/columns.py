"""Which columns fit, and how wide they are.

Widths only grow, so that a refresh does not make columns jump. The text column takes what is left and is
never pushed out. In a narrow place the least important columns go first; scrolling to the right brings them
in field order while the key columns stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from backend.core.declare import Column
from backend.core.record import record
from backend.core.values import Size
from screens.widgets.cells import width_of

TEXT_LEAST = 20
# The text is what tells one row from another, so it gets this share of the width before lesser columns do.
TEXT_SHARE = 0.3
KEY_LEAST = 6
WIDEST = 28
WIDE_SCREEN = 100


@record
class Place:
    """A column on the screen: where it starts and how wide it is."""

    column: Column
    x: int
    width: int

    @property
    def end(self) -> int:
        """The first position after it."""
        return self.x + self.width


@record
class Layout:
    """The columns shown, from left to right; `complete` when none had to be left out."""

    places: tuple[Place, ...]
    complete: bool
    last_shift: int

    @property
    def text(self) -> Place | None:
        """The text column."""
        return next((p for p in self.places if p.column.col.text), None)


class Widths:
    """What each column needs, learnt from the cells seen so far."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = columns
        self._widths = [c.col.width or max(width_of(c.title), _usual(c)) for c in columns]

    def __getitem__(self, index: int) -> int:
        return self._widths[index]

    def learn(self, lines: Sequence[Sequence[str]]) -> bool:
        """Take note of the cells of some lines; whether a column became wider."""
        grown = False
        for i, column in enumerate(self.columns):
            if column.col.width or column.col.text or not lines:
                continue
            needed = min(max(width_of(cells[i][: 2 * WIDEST]) for cells in lines), WIDEST)
            if needed > self._widths[i]:
                self._widths[i], grown = needed, True
        return grown

    def layout(self, left: int, width: int, shift: int) -> Layout:
        """Place the columns from position `left` on; `shift` skips columns that are no keys."""
        gap = 2 if width >= WIDE_SCREEN else 1
        return _Arrangement(self, left, width, gap).at(shift)


class _Arrangement:
    def __init__(self, widths: Widths, left: int, width: int, gap: int) -> None:
        self.columns, self.left, self.width, self.gap = widths.columns, left, width, gap
        self.widths = {i: widths[i] for i in range(len(widths.columns))}
        self.text = next((i for i, c in enumerate(self.columns) if c.col.text), None)
        self.keys = [i for i, c in enumerate(self.columns) if c.col.key and i != self.text]
        if not self.keys and self.columns and self.text != 0:
            # Where the keys are hidden, as in a tree, the first column tells the rows apart.
            self.keys = [0]
        self.others = [i for i in range(len(self.columns)) if i not in self.keys and i != self.text]
        self._shrink_keys()

    def at(self, shift: int) -> Layout:
        best = self._by_priority()
        complete = len(best) == len(self.others)
        last = 0 if complete else self._last_shift()
        chosen = best if not shift or complete else self._from(min(shift, last) - 1)
        return Layout(self._placed(chosen), complete, last)

    @property
    def _room(self) -> int:
        reserved = max(TEXT_LEAST, int(self.width * TEXT_SHARE)) if self.text is not None else -self.gap
        taken = sum(self.widths[i] + self.gap for i in self.keys)
        return self.width - self.left - reserved - taken

    def _by_priority(self) -> list[int]:
        room, chosen, refused = self._room, [], 99
        for i in sorted(self.others, key=lambda i: self.columns[i].col.priority):
            priority, needed = self.columns[i].col.priority, self.widths[i] + self.gap
            if priority > refused:
                # What matters less must not take the place of what did not fit.
                break
            if needed > room:
                refused = priority
                continue
            room -= needed
            chosen.append(i)
        return sorted(chosen)

    def _from(self, start: int) -> list[int]:
        room, chosen = self._room, []
        for i in self.others[start:]:
            room -= self.widths[i] + self.gap
            if room < 0:
                break
            chosen.append(i)
        return chosen or self.others[start : start + 1]

    def _last_shift(self) -> int:
        for start in range(len(self.others)):
            if self.others[-1] in self._from(start):
                return start + 1
        return 1

    def _shrink_keys(self) -> None:
        while self.keys and self._room < 0:
            widest = max(self.keys, key=lambda i: self.widths[i])
            if self.widths[widest] <= KEY_LEAST:
                return
            self.widths[widest] -= 1

    def _placed(self, chosen: Sequence[int]) -> tuple[Place, ...]:
        indices = sorted([*self.keys, *chosen]) if len(chosen) == len(self.others) else [*self.keys, *chosen]
        if self.text is not None:
            indices.append(self.text)
        places, x = [], self.left
        for i in indices:
            width = max(self.width - x, 0) if i == self.text else min(self.widths[i], max(self.width - x, 0))
            places.append(Place(self.columns[i], x, width))
            x += width + self.gap
        return tuple(p for p in places if p.width)


def _usual(column: Column) -> int:
    """The width that a column of this type reaches sooner or later."""
    kinds: dict[Any, int] = {timedelta: 7, datetime: 8, bool: 3, int: 3, float: 5, Size: 6}
    if column.col.unit == "bytes":
        return 8 if column.col.rate else 6
    return 4 if column.col.text else kinds.get(column.type, 4)
