"""The room `jobmon` on screen: alerts, open and past jobs; below, a job's message and its steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from textual import events
from textual.app import ComposeResult
from textual.widget import Widget

from backend.core.registry import find_view
from backend.core.snapshot import Snapshot
from screens.below import Below
from screens.room import RoomPane
from screens.widgets.excerpt import Excerpt

# From how many lines on the steps leave the jobs enough, and from how many on the message does too.
HIGH = 16
HIGHER = 20


class JobsPane(RoomPane):
    """Jobs above, message and steps of the job under the cursor below."""

    DEFAULT_CSS = "JobsPane #message { height: 4; border-top: solid $border; padding: 0 1; }"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._height = HIGHER

    def around(self, tables: Widget) -> ComposeResult:
        """The jobs, and what belongs to one of them."""
        yield tables
        yield Excerpt(id="message")
        yield Below(find_view("jobmon.steps"), self.desk)

    @property
    def steps(self) -> Below:
        """The table of steps."""
        return self.query_one(Below)

    def on_resize(self, event: events.Resize) -> None:
        """Give up what there is no room for."""
        self._height = event.size.height
        self.row_moved(self.table.cursor_row)

    def leave(self) -> None:
        """Watch nothing."""
        super().leave()
        self.steps.stop()

    def news(self, snapshot: Snapshot) -> None:
        """The first rows bring the first job."""
        self.row_moved(self.table.cursor_row)

    def row_moved(self, row: Any) -> None:
        """Show that row's message, and the steps of its job where it names one."""
        has_job = any(c.name == "job_id" for c in self.view.columns) and self.table.cursor_row is not None
        message = self.query_one("#message", Excerpt)
        message.display = has_job and self._height >= HIGHER
        message.show(self.table.text_of(row), self.table.left_out(row))
        self.steps.display = has_job and self._height >= HIGH
        job_id = getattr(row, "job_id", None)
        if self.steps.display and self._watching:
            self.steps.watch_row({"job_id": job_id} if job_id is not None else None)

    def footer_keys(self) -> Sequence[tuple[str, str]]:
        """The steps can have the keys where they are shown."""
        if not self.steps.display:
            return ()
        return [("w", "jobs" if self.steps.has_focus else "steps")]


PANE = JobsPane
