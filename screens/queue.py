"""The room `queue` on screen: queues, the consumers of one on its ticks, and the events of a consumer."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widget import Widget

from backend.core.clean import clean
from backend.core.registry import find_view
from backend.core.snapshot import Snapshot
from screens.below import HIGH, Below, DetailPane
from screens.room import show_or_hide
from screens.widgets.bar import Bar, Word
from screens.widgets.chart import plain, sparkline
from screens.widgets.lanes import LanesView, lanes_of

# From how many lines on there is room for lanes, and for the events beside the consumers.
LANES, ROOMY = 20, 34
MOST_LANES = 6
# How many samples of a queue's rate are kept: at every 2 s the last two minutes.
SAMPLES = 60
SPARK = 20


class QueuesPane(DetailPane):
    """Queues above, lanes and consumers of the one under the cursor below, and on `p` a consumer's events."""

    DEFAULT_CSS = "QueuesPane #peek { height: 1fr; }"
    DETAIL = "queue.consumers"
    FILLED = ("queue",)
    WORDS = ("queues", "consumers")
    BINDINGS: ClassVar[list[BindingType]] = [Binding("p", "peek", "Events", show=False)]

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.peeking = False
        self.peek = Below(find_view("queue.events"), self.desk, _nothing, _nothing, id="peek")
        self.peek.display = False
        self._rates: dict[str, deque[float | None]] = defaultdict(lambda: deque(maxlen=SAMPLES))

    def between(self) -> ComposeResult:
        """What is to be said of the queue, and its consumers on its ticks."""
        yield Bar(id="summary")
        yield LanesView(id="lanes")

    def around(self, tables: Widget) -> ComposeResult:
        """The room's table, its detail, and the events."""
        yield from super().around(tables)
        yield self.peek

    def on_resize(self, event: events.Resize) -> None:
        """Give up what there is no room for."""
        super().on_resize(event)
        self._draw()

    def leave(self) -> None:
        """Watch nothing."""
        super().leave()
        self.peek.stop()

    def prepared(self, snapshot: Snapshot) -> Snapshot:
        """The worst first, as long as nobody sorts otherwise."""
        if snapshot.view.name not in ("queue.queues", "queue.consumers"):
            return snapshot
        key = snapshot.view.key
        rows = sorted(snapshot.rows, key=lambda r: -snapshot.judgement.of(key(r)).health.value)
        return replace(snapshot, rows=tuple(rows))

    def news(self, snapshot: Snapshot) -> None:
        """Remember the rates, for the line that shows how they went."""
        if snapshot.view.name == "queue.queues" and snapshot.rows:
            for row in snapshot.rows:
                rates = snapshot.rates.get(snapshot.view.key(row), {})
                self._rates[row.queue].append(rates.get("events"))
        super().news(snapshot)

    def has_detail(self, row: Any) -> bool:
        """Beside the view of all consumers, and where events need the place, there are none below."""
        if self.view.name == "queue.consumers" or (self.peeking and self.height < ROOMY):
            return False
        return super().has_detail(row)

    def row_moved(self, row: Any) -> None:
        """Another queue has other consumers."""
        super().row_moved(row)
        self._draw()
        self._peek_at(self.detail.cursor_row if self.detail.display else row)

    def detail_shown(self, snapshot: Snapshot) -> None:
        """The consumers are there, or have moved on."""
        if self.is_mounted:
            self._draw()

    def detail_moved(self, row: Any) -> None:
        """The events are those of the consumer under the cursor."""
        if self.is_mounted:
            self._peek_at(row or self.table.cursor_row)

    def footer_keys(self) -> Sequence[tuple[str, str]]:
        """Events can be had wherever a queue is."""
        if getattr(self.table.cursor_row, "queue", None) is None:
            return super().footer_keys()
        return [*super().footer_keys(), ("p", "no events" if self.peeking else "events")]

    def own_keys(self) -> Sequence[tuple[str, str]]:
        """The keys of this room alone."""
        return [("p", "peek at the events that the consumer has open or is given next")]

    def action_peek(self) -> None:
        """Show events, or hide them."""
        self.peeking = not self.peeking
        self.row_moved(self.table.cursor_row)
        self.post_message(self.Arranged())

    def _peek_at(self, row: Any) -> None:
        """Show the events of a row's consumer, else the newest of its queue."""
        queue = getattr(row, "queue", None)
        show_or_hide(self.peek, self.peeking and queue is not None and self.height >= HIGH)
        if not self.peek.display or not self._watching:
            self.peek.stop()
            return
        consumer = getattr(row, "consumer", None)
        self.peek.watch_row({"queue": queue} | ({"consumer": consumer} if consumer else {}))

    # -- what is said and drawn --------------------------------------------------------------------

    def _draw(self) -> None:
        summary, lanes = self.query_one("#summary", Bar), self.query_one(LanesView)
        row = self.table.cursor_row if self.view.name == "queue.queues" else None
        found = self.detail.snapshot
        show_or_hide(summary, row is not None and self.height >= HIGH)
        # While the next queue's consumers come, the lanes keep their place: each layout paints everything.
        coming = found.loading and lanes.display
        show_or_hide(lanes, self.detail.display and self.height >= LANES and (coming or bool(found.rows)))
        if row is not None:
            summary.say(*self._words(row))
        if lanes.display:
            healths = [found.judgement.of(found.view.key(r)).health for r in found.rows]
            lanes.show(lanes_of(found.rows, healths))
        if lanes.display and not coming:
            lanes.styles.height = 1 + min(len(found.rows), MOST_LANES)

    def _words(self, row: Any) -> tuple[list[Word], list[Word]]:
        rates = self._rates[row.queue]
        now = rates[-1] if rates else None
        rate = "" if now is None else f"{plain(now)} events/s "
        left = [Word(f" {clean(row.queue)} ", "strong"), Word(_rotation(row), _urgency(row))]
        return left, [Word(sparkline(rates, SPARK), "ok"), Word(f" {rate}", "muted")]


def _rotation(row: Any) -> str:
    if row.why:
        return f"rotation {row.why}"
    return f"rotation: {row.rotation}"


def _urgency(row: Any) -> str:
    return "warning" if row.why else "muted"


def _nothing(what: Any) -> None:
    """Nobody follows the events."""


PANE = QueuesPane
