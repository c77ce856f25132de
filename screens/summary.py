"""What is to be said of a partition set in one line: what is wrong, then how far it reaches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from backend.core.clean import clean
from backend.core.declare import Health
from backend.core.show import duration
from screens.timeline import Mark, TimeLine
from screens.widgets.bar import Word
from screens.widgets.cells import STYLES

MOST_DEFAULT = 10_000


def words(of: Any, line: TimeLine) -> list[Word]:
    """The words on a set (a row of `partman.sets`) and its line: marks with their glyphs, the worst first."""
    return [Word(" "), *_marked(of, line), *_reach(of)]


def _marked(of: Any, line: TimeLine) -> Iterator[Word]:
    for mark in Mark:
        if count := line.count(mark):
            style = STYLES[mark.health] if mark.health is not Health.OK else ""
            yield Word(f"{mark.glyph} {_told(mark, count, of, line)}", style)
            yield Word("  ")


def _told(mark: Mark, count: int, of: Any, line: TimeLine) -> str:
    match mark:
        case Mark.STRANDED:
            more = " or more" if of.default_rows >= MOST_DEFAULT else ""
            return f"{of.default_rows}{more} {'row' if of.default_rows == 1 else 'rows'} in default"
        case Mark.LATE:
            return "new rows have no partition"
        case Mark.GAP:
            many = "gap" if of.gaps == 1 else f"{of.gaps} gaps"
            return f"{many} of {count}{' in all' if of.gaps > 1 else ''}, from {line.first(mark)}"
        case Mark.DUE:
            return f"{count} due (retention {clean(of.retention)})"
        case Mark.WANTED:
            return f"{count} of premake {of.premake} not made"
        case _:
            return f"{count} {mark.words}"


def _reach(of: Any) -> Iterator[Word]:
    """How long the partitions last, and who looks after them."""
    one: Any = of.one_interval or of.one_step
    left: Any = of.time_left if of.one_interval else of.ids_left
    if left is not None and one is not None and left > one * 0:
        text = duration(left) if of.one_interval else f"{left} ids"
        short = left < one
        yield Word(f"{'▲ only ' if short else ''}{text} left  ", "warning" if short else "strong")
    if not of.managed:
        yield Word("not managed  ", "muted")
