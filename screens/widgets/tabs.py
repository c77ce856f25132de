"""The views of a room, on one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

GAP = 2


class TabLine(Widget):
    """Names side by side, the chosen one highlighted; a click chooses."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"tabs--name", "tabs--chosen"}
    DEFAULT_CSS = "TabLine { height: 1; }"

    class Chosen(Message):
        """A name was clicked."""

        def __init__(self, index: int) -> None:
            super().__init__()
            self.index = index

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = list(names)
        self.chosen = 0

    def choose(self, index: int) -> None:
        """Highlight another name."""
        self.chosen = index
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """The one line."""
        plain = self.get_component_rich_style("tabs--name")
        marked = self.get_component_rich_style("tabs--chosen")
        segments = [
            Segment(f" {n} ", marked if i == self.chosen else plain) for i, n in enumerate(self.names)
        ]
        return Strip(segments).crop(self._left).adjust_cell_length(self.size.width, plain)

    @property
    def _left(self) -> int:
        """How much is cut off at the left so that the chosen name is seen."""
        end = sum(len(name) + GAP for name in self.names[: self.chosen + 1])
        return max(0, end - self.size.width)

    def on_click(self, event: events.Click) -> None:
        """Choose what was clicked."""
        left = -self._left
        for index, name in enumerate(self.names):
            if left <= event.x < left + len(name) + GAP:
                self.post_message(self.Chosen(index))
            left += len(name) + GAP
