"""A list to choose from, narrowed down by typing; what cannot be chosen is grey and says why."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from backend.core.clean import clean
from backend.core.declare import Health
from screens.widgets.cells import GLYPHS, fit, width_of
from screens.widgets.lines import joined


@dataclass(frozen=True, slots=True)
class Item:
    """Something to pick: what is answered, how it is called, and what more there is to know.

    It is found by `also` too, which is not shown.
    """

    value: Any
    label: str
    detail: str = ""
    key: str = ""
    unavailable: str = ""
    health: Health = Health.OK
    also: str = ""

    @property
    def words(self) -> str:
        """What typing is compared with."""
        return f"{self.label} {self.detail} {self.also}".lower()


class PickList(Widget):
    """The items that match what was typed, the best first."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "pick--current", "pick--muted", "pick--warning", "pick--critical", "pick--unknown",
    }  # fmt: skip
    DEFAULT_CSS = """
    PickList { height: 10; width: 1fr; }
    PickList > .pick--current { text-style: reverse; }
    """

    class Chosen(Message):
        """A click on an item."""

        def __init__(self, item: Item) -> None:
            super().__init__()
            self.item = item

    def __init__(self, items: Sequence[Item], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.items = tuple(items)
        self.matching = list(items)
        self.at = 0
        self._first = 0
        self._label_width = min(max((width_of(clean(i.label)) for i in items), default=0), 44)

    @property
    def current(self) -> Item | None:
        """The item that Enter would take."""
        return self.matching[self.at] if self.matching else None

    def narrow(self, typed: str) -> None:
        """Keep what contains every word typed; those that start with it come first."""
        words = typed.lower().split()
        found = [i for i in self.items if all(w in i.words for w in words)]
        self.matching = sorted(found, key=lambda i: _rank(i, typed.strip().lower())) if words else found
        self.move_to(0)

    def move_to(self, at: int) -> None:
        """Make an item the current one."""
        self.at = max(0, min(at, len(self.matching) - 1))
        height = max(self.size.height, 1)
        last = max(len(self.matching) - height, 0)
        self._first = max(min(self._first, self.at, last), self.at - height + 1)
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        """Choose what was clicked."""
        if self._first + event.y < len(self.matching):
            self.move_to(self._first + event.y)
            self.post_message(self.Chosen(self.matching[self.at]))

    def render_line(self, y: int) -> Strip:
        """One item: mark, health, name, what more there is, and its key at the right."""
        width, at = self.size.width, self._first + y
        if at >= len(self.matching):
            text = "  nothing matches" if y == 0 and not self.matching else ""
            return joined([(self._style("muted"), fit(text, width))], width)
        item = self.matching[at]
        key = clean(item.key)
        label_width = max(min(self._label_width, width - 7 - width_of(key)), 1)
        label = fit(clean(item.label), label_width)
        glyph = " " if item.health is Health.OK else GLYPHS[item.health]
        style = self._style("current") if at == self.at else self.rich_style
        tone = style + self._partial("muted")
        main = tone if item.unavailable else style
        bad = style if item.health is Health.OK else style + self._partial(item.health.name.lower())
        room = max(width - label_width - 6 - width_of(key) - 1, 0)
        rest = fit(clean(item.unavailable or item.detail), room)
        mark = "› " if at == self.at else "  "
        return joined(
            [(main, mark), (bad, f"{glyph} "), (main, label), (tone, f"  {rest} "), (tone, key)], width
        )

    def _style(self, name: str) -> Any:
        return self.rich_style + self._partial(name)

    def _partial(self, name: str) -> Any:
        return self.get_component_rich_style(f"pick--{name}", partial=True)


def _rank(item: Item, typed: str) -> int:
    label = item.label.lower()
    if label == typed:
        return 0
    if label.startswith(typed):
        return 1
    if any(part.startswith(typed) for part in re.split(r"[._ ]", label)):
        return 2
    return 3 if typed in label else 4
