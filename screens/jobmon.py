"""The room `jobmon` on screen: alerts, open and past jobs; below, a job's message and its steps."""

from __future__ import annotations

from typing import Any

from textual.app import ComposeResult

from screens.below import DetailPane
from screens.room import show_or_hide
from screens.widgets.excerpt import Excerpt

# From how many lines on there is room for the message too.
HIGHER = 20


class JobsPane(DetailPane):
    """Jobs above, message and steps of the job under the cursor below."""

    DEFAULT_CSS = "JobsPane #message { height: 4; border-top: solid $border; padding: 0 1; }"
    DETAIL = "jobmon.steps"
    WORDS = ("jobs", "steps")

    def between(self) -> ComposeResult:
        """The message of the job."""
        yield Excerpt(id="message")

    def row_moved(self, row: Any) -> None:
        """Show that row's message, and the steps of its job where it names one."""
        super().row_moved(row)
        message = self.query_one("#message", Excerpt)
        show_or_hide(message, self.height >= HIGHER and self.has_detail(row))
        message.show(self.table.text_of(row), self.table.left_out(row))


PANE = JobsPane
