"""The room `partman` on screen: sets above, the partitions of the set under the cursor below."""

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

# From how many lines on the partitions leave the sets enough.
HIGH = 16


class PartitionsPane(RoomPane):
    """Sets above, the partitions of the set under the cursor below."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._height = HIGH

    def around(self, tables: Widget) -> ComposeResult:
        """The sets, and the partitions of one of them."""
        yield tables
        yield Below(find_view("partman.partitions"), self.desk)

    @property
    def partitions(self) -> Below:
        """The table of partitions."""
        return self.query_one(Below)

    def on_resize(self, event: events.Resize) -> None:
        """Give up what there is no room for."""
        self._height = event.size.height
        self.row_moved(self.table.cursor_row)

    def leave(self) -> None:
        """Watch nothing."""
        super().leave()
        self.partitions.stop()

    def news(self, snapshot: Snapshot) -> None:
        """The first rows bring the first set."""
        self.row_moved(self.table.cursor_row)

    def row_moved(self, row: Any) -> None:
        """Show the partitions of the row's set."""
        parent = getattr(row, "parent", None)
        self.partitions.display = parent is not None and self._height >= HIGH
        if self.partitions.display and self._watching:
            self.partitions.watch_row({"parent": parent})

    def footer_keys(self) -> Sequence[tuple[str, str]]:
        """The partitions can have the keys where they are shown."""
        if not self.partitions.display:
            return ()
        return [("w", "sets" if self.partitions.has_focus else "partitions")]


PANE = PartitionsPane
