"""Tables for people, drawn by Rich; colour only on a terminal, nothing cropped anywhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from backend.core.clean import clean
from backend.core.declare import Column, Health, View
from backend.core.report import Answered
from backend.core.show import plain, show
from screens.widgets.columns import WIDE_SCREEN, Widths

GLYPHS = {Health.OK: "", Health.UNKNOWN: "?", Health.WARNING: "▲", Health.CRITICAL: "✖"}
STYLES = {Health.OK: "", Health.UNKNOWN: "magenta", Health.WARNING: "yellow", Health.CRITICAL: "red"}
# Wide enough for any row: off a terminal, lines are as long as what stands in them.
_ENDLESS = 1_000_000


@dataclass(frozen=True, slots=True)
class Drawn:
    """A table, and how many columns the terminal has no room for."""

    text: str
    left_out: int


def show_table(view: View[Any], answers: Sequence[Answered], on_terminal: bool) -> Drawn:
    """The rows of all targets in one table; on a terminal as many columns as the console would show."""
    several = len({a.target for a in answers}) > 1
    databases = len({a.database for a in answers}) > 1 and not any(c.name == "database" for c in view.columns)
    judged = any(a.snapshot.judgement.findings for a in answers)
    columns = [c for c in view.columns if not c.col.hidden]
    heads = ["Target"] * several + ["Database"] * databases + [""] * judged
    leads, cells = [], []
    for answered in answers:
        place = [Text(clean(answered.target))] * several + [Text(clean(answered.database or ""))] * databases
        for row in answered.snapshot.rows:
            leads.append(place + _glyph(answered, row) * judged)
            cells.append(_cells(answered, columns, row))
    width = _console(on_terminal).width
    gap = 2 if width >= WIDE_SCREEN else 1
    left = sum(max(t.cell_len for t in [Text(head), *(lead[i] for lead in leads)]) + gap
               for i, head in enumerate(heads))  # fmt: skip
    placed = _places(columns, cells, left, width)
    table = _table(gap)
    for head in heads:
        table.add_column(head, overflow="fold")
    for i, most in placed:
        _add_column(table, columns[i], most, on_terminal)
    for lead, line in zip(leads, cells, strict=True):
        table.add_row(*lead, *(line[i] for i, _ in placed))
    return Drawn(_drawn(table, on_terminal), len(columns) - len(placed))


def _places(
    columns: Sequence[Column], cells: Sequence[Sequence[Text]], left: int, width: int
) -> list[tuple[int, int]]:
    """Which columns are shown, and how wide each may be."""
    widths = Widths(columns)
    widths.learn([[text.plain for text in line] for line in cells])
    layout = widths.layout(left, width, 0)
    return [(columns.index(place.column), place.width) for place in layout.places]


def _add_column(table: Table, column: Column, most: int, on_terminal: bool) -> None:
    crop = on_terminal and column.col.text
    table.add_column(
        column.title,
        justify="right" if column.numeric else "left",
        no_wrap=crop,
        overflow="ellipsis" if crop else "fold",
        max_width=most if on_terminal else None,
    )


def _glyph(answered: Answered, row: Any) -> list[Text]:
    health = answered.snapshot.judgement.of(answered.view.key(row)).health
    return [Text(GLYPHS[health], style=STYLES[health])]


def _cells(answered: Answered, columns: Sequence[Column], row: Any) -> list[Text]:
    found = answered.snapshot.judgement.of(answered.view.key(row))
    return [
        Text(show(c, answered.snapshot.value(row, c.name)), style=STYLES[found.cells.get(c.name, Health.OK)])
        for c in columns
    ]


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


def _table(gap: int = 2) -> Table:
    return Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")


def _console(on_terminal: bool) -> Console:
    return Console(
        file=StringIO(),
        force_terminal=on_terminal,
        width=None if on_terminal else _ENDLESS,
        markup=False,
        highlight=False,
        emoji=False,
    )


def _drawn(table: Table, on_terminal: bool) -> str:
    console = _console(on_terminal)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(text.rstrip() for text in capture.get().split("\n"))
