"""Consumers of a queue as lanes over its ticks: where each one is, its open batch, what is left to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from backend.core.clean import clean
from backend.core.declare import Health
from backend.core.show import duration
from screens.widgets.cells import STYLES, fit
from screens.widgets.lines import joined

NAME, TOLD = 20, 30
# Ticks done, where the consumer is, its open batch, ticks left to it, the newest tick.
DONE, AT, BATCH, LEFT, NEWEST = "─", "●", "▒", "·", "┤"
NAMES = ("ok", "unknown", "warning", "critical", "muted", "strong")


@dataclass(frozen=True, slots=True)
class Lane:
    """One consumer: its name, health and state, the tick it has finished, and its open batch's last one."""

    name: str
    health: Health
    told: str
    last: int | None
    batch_to: int | None


@dataclass(frozen=True, slots=True)
class Lanes:
    """The lanes of a queue, the furthest behind first, from its lowest position to its newest tick."""

    lanes: tuple[Lane, ...] = ()
    low: int = 0
    high: int = 0

    def column(self, tick: int, width: int) -> int:
        """Where a tick lies in so many columns; the newest in the last one."""
        if self.high <= self.low:
            return width - 1
        return max(0, min(width - 1, (tick - self.low) * (width - 1) // (self.high - self.low)))


def lanes_of(rows: Sequence[Any], healths: Sequence[Health]) -> Lanes:
    """The lanes of these rows of `queue.consumers`, with the health of each."""
    made = [_lane(row, health) for row, health in zip(rows, healths, strict=True)]
    made.sort(key=lambda lane: (lane.last is None, lane.last or 0, lane.name))
    ticks = [lane.last for lane in made if lane.last is not None]
    newest = [row.queue_tick for row in rows if row.queue_tick is not None]
    high = max(newest, default=0)
    return Lanes(tuple(made), min([*ticks, high]), high)


def _lane(row: Any, health: Health) -> Lane:
    return Lane(row.consumer, health, _told(row), row.last_tick, row.next_tick)


def _told(row: Any) -> str:
    if row.batch is not None:
        return f"{row.state}, batch for {duration(row.batch_age)}"
    if row.pending_ticks:
        ticks = "1 tick" if row.pending_ticks == 1 else f"{row.pending_ticks} ticks"
        return f"{row.state}, {ticks} left"
    return str(row.state)


class LanesView(Widget):
    """The ticks, then a line for each consumer; those that do not fit are counted."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"lanes--{name}" for name in NAMES}
    DEFAULT_CSS = "LanesView { height: auto; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.lanes = Lanes()
        self._styles: dict[str, Style] = {}

    def show(self, lanes: Lanes) -> None:
        """Show another state."""
        if lanes == self.lanes:
            return
        self.lanes = lanes
        self.refresh()

    def notify_style_update(self) -> None:
        """Another theme has other colours."""
        self._styles.clear()
        super().notify_style_update()

    def render_line(self, y: int) -> Strip:
        """The ticks, or a lane."""
        width, height = self.size
        runs = self._ticks(width) if y == 0 else self._lane(y - 1, width, height - 1)
        return joined([(self.styled(name), text) for name, text in runs], width)

    def styled(self, name: str) -> Style:
        """The style of that name."""
        if name not in self._styles:
            part = self.get_component_rich_style(f"lanes--{name}", partial=True) if name else Style()
            self._styles[name] = self.rich_style + part
        return self._styles[name]

    def _room(self, width: int) -> tuple[int, int]:
        """The columns for names and for lanes; what a consumer does has its own at the right."""
        name = min(NAME, max(width // 5, 4))
        return name, max(width - name - TOLD - 4, 4)

    def _ticks(self, width: int) -> list[tuple[str, str]]:
        if not self.lanes.lanes:
            return [("", "")]
        name, room = self._room(width)
        lowest, newest = f"tick {self.lanes.low} ", f" {self.lanes.high}"
        between = "─" * (room - len(lowest) - len(newest))
        line = f"{lowest}{between}{newest}" if len(between) > 2 else newest.rjust(room)
        return [("", " " * (name + 2)), ("muted", line)]

    def _lane(self, number: int, width: int, lines: int) -> list[tuple[str, str]]:
        lanes = self.lanes.lanes
        hidden = len(lanes) - lines
        if hidden > 0 and number == lines - 1:
            return [("muted", f" and {hidden + 1} more, nearer to the newest tick")]
        if number >= len(lanes):
            return [("", "")]
        lane = lanes[number]
        name, room = self._room(width)
        style = STYLES[lane.health]
        return [
            ("strong", f" {fit(clean(lane.name), name)} "),
            *self._way(lane, room, style),
            (style if lane.health is not Health.OK else "muted", f"  {fit(lane.told, TOLD)}"),
        ]

    def _way(self, lane: Lane, room: int, style: str) -> Iterator[tuple[str, str]]:
        if lane.last is None:
            yield "muted", LEFT * (room - 1) + NEWEST
            return
        at = self.lanes.column(lane.last, room)
        yield "muted", DONE * at
        yield style, AT
        batch = self.lanes.column(lane.batch_to, room) - at if lane.batch_to is not None else 0
        if lane.batch_to is not None:
            batch = max(batch, 1) if at < room - 1 else 0
        yield style, BATCH * batch
        left = room - at - 1 - batch
        if left > 0:
            yield "muted", LEFT * (left - 1) + NEWEST
