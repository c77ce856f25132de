"""The room `partman` on screen: sets, the time line of the one under the cursor, and its partitions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from backend.core.declare import Health
from backend.core.registry import find_view
from backend.core.snapshot import Snapshot
from screens.below import DetailPane
from screens.room import show_or_hide
from screens.summary import words
from screens.timeline import time_line
from screens.widgets.bar import Bar, Word
from screens.widgets.moves import Moves
from screens.widgets.timeline import Measure, TimeLineView

# From how many lines on bars may be high, and how high the time line then is; below, two lines have to do.
ROOMY, TALL = 32, 7
LOW, SHORT = 19, 2


class PartitionsPane(DetailPane):
    """Sets above, the partitions of the set under the cursor below, between them how these lie in time."""

    DEFAULT_CSS = "PartitionsPane #line { height: 2; }"
    DETAIL = "partman.partitions"
    WORDS = ("sets", "partitions")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("b", "measure", "Bars by size or rows", show=False),
        Binding("f", "fold", "Sets within sets", show=False),
    ]

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.measure: Measure = "bytes"
        self.unfolded = False

    def between(self) -> ComposeResult:
        """What runs, what is to be said of the set, and its time line."""
        yield Moves(id="moves")
        yield Bar(id="summary")
        yield TimeLineView(id="line")

    def on_mount(self) -> None:
        """Look every second how far runs are; while there is none nothing is painted."""
        self.set_interval(1.0, self._follow_runs)
        self._follow_runs()

    def on_resize(self, event: events.Resize) -> None:
        """Give up what there is no room for."""
        self.query_one(TimeLineView).styles.height = TALL if event.size.height >= ROOMY else SHORT

    def prepared(self, snapshot: Snapshot) -> Snapshot:
        """The worst first; sets that are partitions of others are left out while they are well."""
        if snapshot.view.name != "partman.sets":
            return snapshot
        healths = {id(r): snapshot.judgement.of(snapshot.view.key(r)).health for r in snapshot.rows}
        rows = sorted(snapshot.rows, key=lambda r: -healths[id(r)].value)
        if self.unfolded:
            return replace(snapshot, rows=tuple(rows))
        kept = tuple(r for r in rows if r.part_of is None or healths[id(r)] is not Health.OK)
        hidden = len(rows) - len(kept)
        are = "set within a set is" if hidden == 1 else "sets within sets are"
        note = f"{hidden} {are} not shown; f shows {'it' if hidden == 1 else 'them'}" if hidden else ""
        return replace(snapshot, rows=kept, note=note)

    def row_moved(self, row: Any) -> None:
        """Another set has another line."""
        super().row_moved(row)
        self._draw()

    def detail_shown(self, snapshot: Snapshot) -> None:
        """The partitions are there, or others are."""
        if self.is_mounted:
            self._draw()

    def detail_moved(self, row: Any) -> None:
        """The bar of the partition under the cursor stands out."""
        self.query_one(TimeLineView).select(row.partition if row else "")

    def footer_keys(self) -> Sequence[tuple[str, str]]:
        """What bars mean can be changed where there are some."""
        if not self.query_one(TimeLineView).display:
            return super().footer_keys()
        other = "rows" if self.measure == "bytes" else "size"
        return [*super().footer_keys(), ("b", f"bars by {other}")]

    def own_keys(self) -> Sequence[tuple[str, str]]:
        """The keys of this room alone."""
        return [
            ("b", "the bars of the time line: size or rows"),
            ("f", "show sets that are partitions of others, or hide them while they are well"),
        ]

    def action_measure(self) -> None:
        """Let bars mean the other thing."""
        self.measure = "rows" if self.measure == "bytes" else "bytes"
        self._draw()
        self.post_message(self.Arranged())

    def action_fold(self) -> None:
        """Show or hide sets within sets."""
        self.unfolded = not self.unfolded
        if self.view.name == "partman.sets":
            self._received(self.snapshot)

    @on(TimeLineView.Chosen)
    def _chosen(self, event: TimeLineView.Chosen) -> None:
        """The row of the bar that was clicked; of a bar of several the first."""
        self.detail.move_to((event.keys[0],))

    # -- the line --------------------------------------------------------------------------------

    def _draw(self) -> None:
        view, summary, of = self.query_one(TimeLineView), self.query_one("#summary", Bar), self._set()
        wanted = of is not None and self.detail.display and self.height >= LOW
        show_or_hide(view, wanted)
        show_or_hide(summary, wanted)
        if wanted:
            line = time_line(of, self.detail.snapshot.rows)
            view.show(line, self.measure)
            summary.say(words(of, line), [Word(view.scale, "muted")])

    def _set(self) -> Any:
        """The set whose partitions are shown, as the view of all sets last told of it."""
        if not self.desk.is_open:
            return None
        known = self.desk.feed(find_view("partman.sets")).snapshot.rows
        parent = getattr(self.table.cursor_row, "parent", None)
        return next((row for row in known if row.parent == parent and not row.stale), None)

    # -- runs ------------------------------------------------------------------------------------

    def _follow_runs(self) -> None:
        moves = self.query_one(Moves)
        own = [run for run in self.desk.running if run.action.room == self.room.name]
        show_or_hide(moves, moves.follow(own))


PANE = PartitionsPane
