"""What rooms remember of how they were looked at; the application keeps it between starts."""

from __future__ import annotations

from typing import Protocol


class Arrangement(Protocol):
    """Filter and sort order of one view."""

    where: str
    sort: str | None
    descending: bool


class Memory(Protocol):
    """Arrangements by the name of the view."""

    def arrangement(self, view: str) -> Arrangement:
        """How that view was last looked at."""
        ...
