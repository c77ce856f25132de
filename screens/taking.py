"""What is taken out of a table: a row for the clipboard, all of them for a file."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from backend.core.clean import clean_lines
from backend.core.declare import View
from backend.core.show import show


def row_text(view: View[Any], row: Any) -> str:
    """What copying a row gives: its text column whole, else all columns by title."""
    for column in view.columns:
        if column.col.text and getattr(row, column.name):
            return clean_lines(str(getattr(row, column.name)))
    return "\n".join(f"{c.title}: {show(c, getattr(row, c.name))}" for c in view.columns if not c.col.hidden)


def write_csv(path: Path, view: View[Any], rows: list[Any]) -> None:
    """The rows with their exact values, one column for each field."""
    with path.open("x", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(c.name for c in view.columns)
        writer.writerows([getattr(r, c.name) for c in view.columns] for r in rows)
