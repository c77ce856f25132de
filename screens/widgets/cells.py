"""Text in columns of the terminal: cut, padded and aligned by what characters really occupy."""

from __future__ import annotations

from typing import Any

from rich.cells import cell_len, set_cell_size

from backend.core.clean import clean
from backend.core.declare import Column, Health
from backend.core.show import show

ELLIPSIS = "…"
GLYPHS = {Health.OK: "●", Health.UNKNOWN: "?", Health.WARNING: "▲", Health.CRITICAL: "✖"}
STYLES = {Health.OK: "ok", Health.UNKNOWN: "unknown", Health.WARNING: "warning", Health.CRITICAL: "critical"}


def width_of(text: str) -> int:
    """How many columns the text takes."""
    return len(text) if text.isascii() else cell_len(text)


def fit(text: str, width: int, *, right: bool = False) -> str:
    """The text in exactly that many columns, cut with an ellipsis or padded with blanks."""
    if width <= 0:
        return ""
    if text.isascii():
        if len(text) > width:
            return text[: width - 1] + ELLIPSIS
        return text.rjust(width) if right else text.ljust(width)
    return _fit_wide(text, width, right)


def _fit_wide(text: str, width: int, right: bool) -> str:
    # More characters than this are either cut off anyway, or heaps of combining marks.
    head = text[: 4 * width + 8]
    taken = cell_len(head)
    if taken > width or len(head) < len(text):
        return set_cell_size(head, width - 1) + ELLIPSIS
    blanks = " " * (width - taken)
    return blanks + head if right else head + blanks


def cell(column: Column, value: Any, limit: int) -> str:
    """The text of a cell on one line; of very long values about `limit` characters are looked at."""
    if not isinstance(value, str):
        return show(column, value)
    head = value[:limit]
    if column.col.text:
        # Queries and messages are wrapped over many lines; in a table their words matter, not their layout.
        head = " ".join(head.split())
    return clean(head) + (ELLIPSIS if len(value) > limit else "")
