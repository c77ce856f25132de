"""A few fixed lines of text under a table: painted again only where a line changed."""

from __future__ import annotations

from typing import ClassVar

from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from backend.core.clean import clean
from screens.widgets.cells import fit
from screens.widgets.lines import joined
from screens.widgets.viewer import Part


class Excerpt(Widget):
    """A heading, and the first lines of a text; an ellipsis says that there is more.

    A scrollable viewer lays itself out anew for each text, which costs ten times the cursor's own move.
    """

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"excerpt--heading"}
    DEFAULT_CSS = "Excerpt { height: 4; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.text = self.heading = ""
        self._lines: list[str] = []

    def show(self, text: str, heading: str = "") -> None:
        """Show another text, with a heading or without."""
        if (text, heading) != (self.text, self.heading):
            self.text, self.heading = text, heading
            self._wrap()

    def on_resize(self) -> None:
        """Wrap for the new width."""
        self._wrap()

    def render_line(self, y: int) -> Strip:
        """One line of the text."""
        width = self.size.width
        text = self._lines[y] if y < len(self._lines) else ""
        is_heading = y == 0 and self.heading
        style = self.get_component_rich_style("excerpt--heading") if is_heading else self.rich_style
        return joined([(style, fit(text, width))], width)

    def _wrap(self) -> None:
        width, height = self.size
        above = [fit(clean(self.heading), width)] if self.heading else []
        old, self._lines = self._lines, [*above, *_excerpt(self.text, width, height - len(above))]
        changed = [y for y in range(height) if _at(old, y) != _at(self._lines, y)]
        if changed:
            self.refresh(*(Region(0, y, width, 1) for y in changed))


def _excerpt(text: str, width: int, height: int) -> list[str]:
    # A query may be a megabyte; no more of it than could be shown is wrapped.
    if width < 2 or height < 1:
        return []
    lines = Part(text[: width * height * 4]).lines(width)
    if len(lines) <= height:
        return lines
    return [*lines[: height - 1], fit(lines[height - 1], width - 1).rstrip() + "…"]


def _at(lines: list[str], y: int) -> str:
    return lines[y] if y < len(lines) else ""
