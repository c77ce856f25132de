"""Master and detail: under a room's table a second one, with what belongs to the row under the cursor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.timer import Timer
from textual.widget import Widget

from backend.core.declare import View
from backend.core.registry import find_view
from backend.core.snapshot import Snapshot
from screens.desk import Desk
from screens.room import RoomPane
from screens.widgets.table import ViewTable

# A held arrow key passes ten rows a second; only where it rests is anything asked.
REST = 0.15
# From how many lines on the detail leaves the room's own table enough.
HIGH = 16


class Below(ViewTable):
    """The table of a view whose parameters come from another table's row."""

    DEFAULT_CSS = "Below { height: 1fr; border-top: solid $border; }"

    def __init__(
        self,
        view: View[Any],
        desk: Desk,
        shown: Callable[[Snapshot], None],
        follow: Callable[[Any], None],
        *,
        id: str = "below",
    ) -> None:
        super().__init__(view, id=id, follow=follow)
        self.desk = desk
        self._shown = shown
        self._params: Mapping[str, Any] | None = None
        self._unwatch: Callable[[], None] = lambda: None
        self._timer: Timer | None = None

    @property
    def params(self) -> Mapping[str, Any]:
        """What it is asked with."""
        return self._params or {}

    def watch_row(self, params: Mapping[str, Any] | None) -> None:
        """Show what belongs to a row with these parameters; with None there is nothing to show."""
        if params is not None and params == self._params:
            return
        self.stop()
        self._params = params
        self._receive(Snapshot(self.view, collected_at=None if params else datetime.now(UTC)))
        if params:
            self._timer = self.set_timer(REST, self._begin)

    def stop(self) -> None:
        """Ask nothing more."""
        if self._timer:
            self._timer.stop()
        self._unwatch()
        self._unwatch, self._params = (lambda: None), None

    def _begin(self) -> None:
        if self._params is not None and self.desk.is_open:
            self._unwatch = self.desk.feed(self.view, **self._params).subscribe(self._receive)

    def _receive(self, snapshot: Snapshot) -> None:
        self.show(snapshot)
        self._shown(snapshot)


class DetailPane(RoomPane):
    """A room whose screen shows, below its table, the view `DETAIL` for the row under the cursor.

    The detail's required parameters, or those that `FILLED` names, are filled from the row's columns of the
    same names; beside views that lack one of them, with no row, and where the room is too low, there is no
    detail. `w` goes between the two tables; `WORDS` is what the line of keys calls them. All that such a room
    has to say is this:

        class JobsPane(DetailPane):
            DETAIL = "jobmon.steps"
            WORDS = ("jobs", "steps")

    What else depends on the row overrides `between` for its widgets, `row_moved` (and calls it) for the row
    under the room's own cursor, `detail_shown` for the detail's rows, `detail_moved` for the row under the
    detail's cursor.
    """

    DETAIL: ClassVar[str]
    WORDS: ClassVar[tuple[str, str]]
    FILLED: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        detail = find_view(self.DETAIL)
        self.detail = Below(detail, self.desk, self.detail_shown, self.detail_moved)
        self.detail.display = False
        self._wanted = self.FILLED or tuple(p.name for p in detail.params if p.required)

    def between(self) -> ComposeResult:
        """What stands between the two tables."""
        yield from ()

    def detail_shown(self, snapshot: Snapshot) -> None:
        """Called with each new state of the detail: loading, its rows, or why there are none."""

    def detail_moved(self, row: Any) -> None:
        """Called when the detail's cursor stands on another row, or on none."""

    def around(self, tables: Widget) -> ComposeResult:
        """The room's table, and what belongs to one of its rows."""
        yield tables
        yield from self.between()
        yield self.detail

    @property
    def height(self) -> int:
        """The lines there are for tables and all between; Textual may lay a pane out without a Resize."""
        return self.size.height

    def on_resize(self, event: events.Resize) -> None:
        """Give up what there is no room for."""
        self.row_moved(self.table.cursor_row)

    def leave(self) -> None:
        """Watch nothing."""
        super().leave()
        self.detail.stop()

    def news(self, snapshot: Snapshot) -> None:
        """The first rows bring the first detail."""
        self.row_moved(self.table.cursor_row)

    def has_detail(self, row: Any) -> bool:
        """Whether the detail can be asked for this row, which may be none."""
        columns = {c.name for c in self.view.columns}
        return row is not None and columns.issuperset(self._wanted)

    def row_moved(self, row: Any) -> None:
        """Show the row's detail."""
        wanted = self.height >= HIGH and self.has_detail(row)
        if self.detail.display is not wanted:
            self.detail.display = wanted
            self.post_message(self.Arranged())
        if self.detail.display and self._watching:
            params = {name: getattr(row, name) for name in self._wanted}
            self.detail.watch_row(None if None in params.values() else params)

    def asked_by(self, table: ViewTable) -> Mapping[str, Any]:
        """The detail is asked with what the row has."""
        return self.detail.params if table is self.detail else super().asked_by(table)

    def footer_keys(self) -> Sequence[tuple[str, str]]:
        """The detail can have the keys where it is shown."""
        if not self.detail.display:
            return ()
        return [("w", self.WORDS[0] if self.detail.has_focus else self.WORDS[1])]
