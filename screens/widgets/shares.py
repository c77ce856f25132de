"""How full file systems are: a bar for each place, and for how long it lasts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from backend.core.clean import clean
from backend.core.declare import Health
from screens.widgets.cells import GLYPHS, STYLES, fit
from screens.widgets.lines import joined

NAME, TOLD, WIDEST = 18, 44, 60
FULL, EMPTY = "█", "░"
NAMES = ("ok", "unknown", "warning", "critical", "muted", "strong")


@dataclass(frozen=True, slots=True)
class Share:
    """A place: how much of its file system is used (0 to 1, None when unknown), and what is said of it."""

    name: str
    used: float | None
    told: str
    health: Health = Health.OK


class SharesView(Widget):
    """A line for each share."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"shares--{name}" for name in NAMES}
    DEFAULT_CSS = "SharesView { height: 3; border-top: solid $border; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.shares: tuple[Share, ...] = ()
        self._styles: dict[str, Style] = {}

    def show(self, shares: Sequence[Share]) -> None:
        """Show another state."""
        if tuple(shares) != self.shares:
            self.shares = tuple(shares)
            self.refresh()

    def notify_style_update(self) -> None:
        """Another theme has other colours."""
        self._styles.clear()
        super().notify_style_update()

    def render_line(self, y: int) -> Strip:
        """A share: glyph, name, bar, words."""
        width = self.size.width
        if y >= len(self.shares):
            return joined([(self.styled(""), "")], width)
        share = self.shares[y]
        style = STYLES[share.health]
        room = max(min(width - NAME - TOLD - 6, WIDEST), 6)
        used = 0 if share.used is None else round(min(max(share.used, 0), 1) * room)
        glyph = " " if share.health is Health.OK else GLYPHS[share.health]
        runs = [
            (style, f" {glyph} "),
            ("strong", f"{fit(clean(share.name), NAME)} "),
            (style, FULL * used),
            ("muted", EMPTY * (room - used)),
            ("muted" if share.health is Health.OK else style, f"  {clean(share.told)}"),
        ]
        return joined([(self.styled(name), text) for name, text in runs], width)

    def styled(self, name: str) -> Style:
        """The style of that name."""
        if name not in self._styles:
            part = self.get_component_rich_style(f"shares--{name}", partial=True) if name else Style()
            self._styles[name] = self.rich_style + part
        return self._styles[name]
