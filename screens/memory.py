"""What rooms remember of how they were looked at; the application keeps it between starts."""

from __future__ import annotations

from typing import Protocol


class Arrangement(Protocol):
    """Filter, sort order and interval of one view; no interval is the view's own."""

    where: str
    sort: str | None
    descending: bool
    every: float | None


class Memory(Protocol):
    """The theme that was chosen, and arrangements by the name of the view."""

    theme: str

    def arrangement(self, view: str) -> Arrangement:
        """How that view was last looked at."""
        ...
