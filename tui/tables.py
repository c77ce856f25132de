"""Tables for people, drawn by Rich; colour only on a terminal, nothing cropped anywhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from backend.core.clean import clean
from backend.core.declare import Column, Health, View
from backend.core.report import Answered
from backend.core.show import plain, show

GLYPHS = {Health.OK: "", Health.UNKNOWN: "?", Health.WARNING: "▲", Health.CRITICAL: "✖"}
STYLES = {Health.OK: "", Health.UNKNOWN: "magenta", Health.WARNING: "yellow", Health.CRITICAL: "red"}
# Wide enough for any row: off a terminal, lines are as long as what stands in them.
_ENDLESS = 1_000_000


def show_table(view: View[Any], answers: Sequence[Answered], on_terminal: bool) -> str:
    """The rows of all targets in one table."""
    several = len({a.target for a in answers}) > 1
    databases = len({a.database for a in answers}) > 1 and not any(c.name == "database" for c in view.columns)
    columns = [c for c in view.columns if not c.col.hidden]
    table = _table()
    for title in (["Target"] if several else []) + (["Database"] if databases else []):
        table.add_column(title, overflow="fold")
    judged = any(a.snapshot.judgement.findings for a in answers)
    if judged:
        table.add_column("", no_wrap=True)
    for column in columns:
        _add_column(table, column, on_terminal)
    for answered in answers:
        where = [answered.target] * several + [answered.database or ""] * databases
        for row in answered.snapshot.rows:
            table.add_row(*[Text(clean(w)) for w in where], *_cells(answered, columns, row, judged))
    return _drawn(table, on_terminal)


def _add_column(table: Table, column: Column, on_terminal: bool) -> None:
    crop = on_terminal and column.col.text
    table.add_column(
        column.title,
        justify="right" if column.numeric else "left",
        no_wrap=crop,
        overflow="ellipsis" if crop else "fold",
    )


def _cells(answered: Answered, columns: Sequence[Column], row: Any, judged: bool) -> list[Text]:
    found = answered.snapshot.judgement.of(answered.view.key(row))
    glyph = [Text(GLYPHS[found.health], style=STYLES[found.health])] if judged else []
    cells = [
        Text(show(c, answered.snapshot.value(row, c.name)), style=STYLES[found.cells.get(c.name, Health.OK)])
        for c in columns
    ]
    return glyph + cells


def plain_table(
    head: Sequence[str],
    rows: Sequence[Sequence[Any]],
    on_terminal: bool,
    styles: Mapping[str, str] | None = None,
) -> str:
    """A table of any values; `styles` colours the words it names."""
    table = _table()
    for title in head:
        table.add_column(Text(clean(title)), overflow="fold")
    for row in rows:
        cells = ["" if v is None else plain(v) for v in row]
        table.add_row(*[Text(c, style=(styles or {}).get(c, "")) for c in cells])
    return _drawn(table, on_terminal)


def _table() -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")


def _drawn(table: Table, on_terminal: bool) -> str:
    console = Console(
        file=StringIO(),
        force_terminal=on_terminal,
        width=None if on_terminal else _ENDLESS,
        markup=False,
        highlight=False,
        emoji=False,
    )
    with console.capture() as capture:
        console.print(table)
    return "\n".join(text.rstrip() for text in capture.get().split("\n"))
