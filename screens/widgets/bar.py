"""One-line widgets made of styled words: painted again only when their words change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from rich.style import Style
from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from screens.widgets.cells import fit, width_of
from screens.widgets.lines import joined

STYLES = ("strong", "muted", "key", "current", "ok", "unknown", "warning", "critical")


class Word(NamedTuple):
    """A piece of a bar: its text, the name of its style, and what a click on it means."""

    text: str
    style: str = ""
    click: str = ""


class Bar(Widget):
    """Words from the left, words from the right; when both do not fit, the left ones stay."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"bar--{name}" for name in STYLES}
    DEFAULT_CSS = """
    Bar { height: 1; width: 1fr; }
    Bar > .bar--strong { text-style: bold; }
    Bar > .bar--current { text-style: bold reverse; }
    Bar > .bar--key { text-style: bold; }
    """

    class Clicked(Message):
        """A click on a word that means something."""

        def __init__(self, bar: Bar, click: str) -> None:
            super().__init__()
            self.bar, self.click = bar, click

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        # Asking Textual for the style of each word is most of what painting a bar costs.
        self._styles: dict[str, Style] = {}
        self._left: tuple[Word, ...] = ()
        self._right: tuple[Word, ...] = ()

    def say(self, left: Sequence[Word], right: Sequence[Word] = ()) -> None:
        """Show these words."""
        new = tuple(left), tuple(right)
        if new != (self._left, self._right):
            self._left, self._right = new
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """The words."""
        width, plain = self.size.width, self.styled("")
        left, right = list(self._left), list(self._right)
        while right and total_width(left) + total_width(right) >= width:
            right.pop(0)
        gap = width - total_width(left) - total_width(right)
        runs: list[tuple[Style, str]] = [(plain, "")]
        runs += [(self.styled(w.style), w.text) for w in left]
        runs.append((plain, " " * max(gap, 0)))
        runs += [(self.styled(w.style), w.text) for w in right]
        return joined(runs, width)

    def on_click(self, event: events.Click) -> None:
        """Tell which word was clicked."""
        if click := self.meant(event.x, event.y):
            self.post_message(self.Clicked(self, click))

    def meant(self, x: int, y: int) -> str:
        """What a click there means; empty when nothing."""
        at = 0
        for word in self._left:
            if at <= x < at + width_of(word.text):
                return word.click
            at += width_of(word.text)
        return ""

    def styled(self, name: str) -> Style:
        """The style of that name in this bar."""
        style = self._styles.get(name)
        if style is None:
            style = self.rich_style
            if name:
                style += self.get_component_rich_style(f"bar--{name}", partial=True)
            self._styles[name] = style
        return style

    def notify_style_update(self) -> None:
        """Forget the styles when the theme changes."""
        super().notify_style_update()
        self._styles.clear()


def total_width(words: Sequence[Word]) -> int:
    """How many columns the words take."""
    return sum(width_of(w.text) for w in words)


def short(text: str, width: int) -> str:
    """The text, cut when it is longer."""
    return fit(text, width) if width_of(text) > width else text
