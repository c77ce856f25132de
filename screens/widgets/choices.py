"""A few choices side by side: yes or no, on or off, one word of some."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from backend.core.clean import clean
from screens.widgets.cells import width_of
from screens.widgets.lines import joined


class Choices(Widget, can_focus=True):
    """One line of choices; left and right move, Enter takes the current one."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"choices--current", "choices--blurred"}
    DEFAULT_CSS = """
    Choices { height: 1; width: 1fr; }
    Choices > .choices--current { text-style: bold reverse; }
    Choices > .choices--blurred { text-style: bold; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "step(-1)", "Left", show=False),
        Binding("right,space", "step(1)", "Right", show=False),
    ]

    class Taken(Message):
        """A click on a choice."""

        def __init__(self, choices: Choices, time: float) -> None:
            super().__init__()
            self.choices, self.pressed_at = choices, time

    def __init__(
        self, options: Sequence[str], current: int = 0, *, id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.options = tuple(options)
        self.current = current

    @property
    def value(self) -> str:
        """The current choice."""
        return self.options[self.current]

    def select(self, index: int) -> None:
        """Make a choice the current one."""
        self.current = index % len(self.options)
        self.refresh()

    def action_step(self, by: int) -> None:
        """Go to the next choice or to the one before."""
        self.select(self.current + by)

    def on_click(self, event: events.Click) -> None:
        """Make the choice under the mouse the current one, and tell."""
        for i, (start, end) in enumerate(self._extents()):
            if start <= event.x < end:
                self.select(i)
                self.post_message(self.Taken(self, event.time))

    def on_focus(self) -> None:
        """Show the current choice in full."""
        self.refresh()

    def on_blur(self) -> None:
        """Show that keys go elsewhere."""
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """The choices; the current one between arrows, so that it shows without colour."""
        runs: list[tuple[Style, str]] = [(self.rich_style, "")]
        for i in range(len(self.options)):
            runs += [(self._style(i), self._label(i)), (self.rich_style, "  ")]
        return joined(runs, self.size.width)

    def _style(self, index: int) -> Style:
        if index != self.current:
            return self.rich_style
        name = "choices--current" if self.has_focus else "choices--blurred"
        return self.rich_style + self.get_component_rich_style(name, partial=True)

    def _label(self, index: int) -> str:
        text = clean(self.options[index])
        return f"› {text} ‹" if index == self.current else f"  {text}  "

    def _extents(self) -> list[tuple[int, int]]:
        extents, x = [], 0
        for i in range(len(self.options)):
            end = x + width_of(self._label(i))
            extents.append((x, end))
            x = end + 2
        return extents
