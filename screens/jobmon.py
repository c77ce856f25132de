"""The room `jobmon` on screen: alerts, open and past jobs, and under them the steps of the chosen one."""

from __future__ import annotations

from typing import Any

from textual import events
from textual.app import ComposeResult
from textual.widget import Widget

from backend.core.declare import find_view
from backend.core.snapshot import Snapshot
from screens.below import Below
from screens.room import RoomPane

HIGH = 16


class JobsPane(RoomPane):
    """Jobs above, steps of the job under the cursor below."""

    def around(self, tables: Widget) -> ComposeResult:
        """The jobs, and the steps."""
        yield tables
        yield Below(find_view("jobmon.steps"), self.desk)

    @property
    def steps(self) -> Below:
        """The table of steps."""
        return self.query_one(Below)

    def on_resize(self, event: events.Resize) -> None:
        """Give up the steps where there is no room for both."""
        self.steps.display = event.size.height >= HIGH
        self.row_moved(self.table.cursor_row)

    def leave(self) -> None:
        """Watch nothing."""
        super().leave()
        self.steps.stop()

    def news(self, snapshot: Snapshot) -> None:
        """The first rows bring the first job."""
        self.row_moved(self.table.cursor_row)

    def row_moved(self, row: Any) -> None:
        """Show the steps of that row's job."""
        job_id = getattr(row, "job_id", None)
        if self.steps.display and self._watching:
            self.steps.watch_row({"job_id": job_id} if job_id is not None else None)


PANE = JobsPane
