"""A second table under a room's first one: what belongs to the row under the cursor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from textual.timer import Timer

from backend.core.declare import View
from backend.core.snapshot import Snapshot
from screens.desk import Desk
from screens.widgets.table import ViewTable

# A held arrow key passes ten rows a second; only where it rests is anything asked.
REST = 0.15


class Below(ViewTable):
    """The table of a view whose parameters come from another table's row."""

    DEFAULT_CSS = "Below { height: 1fr; border-top: solid $border; }"

    def __init__(self, view: View[Any], desk: Desk) -> None:
        super().__init__(view, id="below")
        self.desk = desk
        self._params: Mapping[str, Any] | None = None
        self._unwatch: Callable[[], None] = lambda: None
        self._timer: Timer | None = None

    def watch_row(self, params: Mapping[str, Any] | None) -> None:
        """Show what belongs to a row with these parameters; with None there is nothing to show."""
        if params is not None and params == self._params:
            return
        self.stop()
        self._params = params
        self.show(Snapshot(self.view, collected_at=None if params else datetime.now(UTC)))
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
            self._unwatch = self.desk.feed(self.view, **self._params).subscribe(self.show)
