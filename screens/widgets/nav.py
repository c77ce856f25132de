"""The rooms: digit, title and worst health, on one line or, where it is wide, in a column."""

from __future__ import annotations

from collections.abc import Sequence

from textual.strip import Strip

from backend.core.clean import clean
from backend.core.declare import Health
from backend.core.record import record
from screens.widgets.bar import Bar, Word
from screens.widgets.cells import GLYPHS, STYLES, width_of
from screens.widgets.lines import joined

# Titles are cut to between so many letters; fewer tell no room from another.
LONGEST_CUT, LEAST_CUT = 8, 3
WHOLE = 1000


@record
class Tab:
    """A room in the navigation; `health` is None while nothing is known of it."""

    name: str
    title: str
    health: Health | None = None


class RoomNav(Bar):
    """The rooms by digit, with the class `-column` below each other; a click posts their name.

    In a line that is too short, titles other than the current one are cut, or give way to their digits.
    """

    DEFAULT_CSS = """
    RoomNav { height: 1; width: 1fr; }
    RoomNav.-column { height: 1fr; width: 20; }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.tabs: tuple[Tab, ...] = ()
        self.current = ""

    def show(self, tabs: Sequence[Tab], current: str) -> None:
        """Show the rooms, the current one highlighted."""
        new = tuple(tabs), current
        if new != (self.tabs, self.current):
            self.tabs, self.current = new
            self._arrange()

    def on_resize(self) -> None:
        """Fit the titles again."""
        self._arrange()

    def meant(self, x: int, y: int) -> str:
        """The room at that place."""
        if not self.is_column:
            return super().meant(x, y)
        return self.tabs[y].name if y < len(self.tabs) else ""

    @property
    def is_column(self) -> bool:
        """Whether rooms stand below each other."""
        return self.has_class("-column")

    def render_line(self, y: int) -> Strip:
        """One line of rooms, or one room of the column."""
        if not self.is_column:
            return super().render_line(y)
        words = self._tab(y, WHOLE) if y < len(self.tabs) else []
        return joined(
            [(self.styled(""), ""), *((self.styled(w.style), w.text) for w in words)], self.size.width
        )

    def _arrange(self) -> None:
        if self.is_column:
            self.say([word for n in range(len(self.tabs)) for word in self._tab(n, WHOLE)])
            return
        letters = next((n for n in (WHOLE, *range(LONGEST_CUT, LEAST_CUT - 1, -1)) if self._fits(n)), 0)
        self.say([Word(" "), *(word for n in range(len(self.tabs)) for word in self._tab(n, letters))])

    def _fits(self, letters: int) -> bool:
        """Whether titles of so many letters fit, also once each has a glyph: none is cut anew for one."""
        titles = (t.title if t.name == self.current else t.title[:letters] for t in self.tabs)
        return 1 + sum(width_of(clean(title)) + 6 for title in titles) <= self.size.width

    def _tab(self, number: int, letters: int) -> list[Word]:
        tab = self.tabs[number]
        here = tab.name == self.current
        digit = str((number + 1) % 10) if number < 10 else " "
        title = clean(tab.title if here or digit == " " else tab.title[:letters])
        label = f" {digit} {title}".rstrip() + " "
        words = [Word(label, "current" if here else "muted", tab.name)]
        if tab.health is not None and tab.health is not Health.OK:
            words.append(Word(f"{GLYPHS[tab.health]} ", STYLES[tab.health], tab.name))
        return words
