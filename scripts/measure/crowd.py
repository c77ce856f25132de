"""A table of 10,000 rows on a terminal, a fifth of them new every two seconds; a program of its own."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from textual.app import App, ComposeResult

import themes
from backend.core.declare import Col, View
from backend.core.facts import Needs
from backend.core.judge import judge
from backend.core.snapshot import Snapshot
from backend.core.values import minutes
from screens.widgets.table import ViewTable
from tui.driver import QuickDriver

ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Row:
    """A session that does not exist."""

    pid: Annotated[int, Col("Pid", key=True)]
    database: Annotated[str, Col("Database")]
    user: Annotated[str, Col("User")]
    state: Annotated[str, Col("State")]
    age: Annotated[timedelta, Col("Age", warn=minutes(5))]
    query: Annotated[str, Col("Query", text=True)]


async def _ask(s: Any) -> list[Row]:
    """Nothing."""
    return []


VIEW: View[Row] = View("sample.sessions", _ask, Needs(), 2, "nobody is connected", None, None)


class Crowd(App[None]):
    """The table alone."""

    CSS_PATH = list(themes.STYLE_SHEETS)  # noqa: RUF012
    BINDINGS = [("q", "quit", "Quit")]  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__(driver_class=QuickDriver)
        for theme in themes.THEMES.values():
            self.register_theme(theme)
        self.theme = themes.DEFAULT
        self._numbers = itertools.count(1)
        self._rows = [
            Row(pid, "bench", f"user{pid % 7}", "active", timedelta(seconds=pid % 400), f"SELECT {pid}")
            for pid in range(1, ROWS + 1)
        ]

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return themes.VARIABLES

    def compose(self) -> ComposeResult:
        yield ViewTable(VIEW)

    def on_mount(self) -> None:
        self._refresh()
        self.query_one(ViewTable).focus()
        self.set_interval(2, self._refresh)

    def _refresh(self) -> None:
        number = next(self._numbers)
        for i in range(number % 5, ROWS, 5):
            self._rows[i] = replace(self._rows[i], query=f"SELECT {i} FROM moment_{number}")
        rows = tuple(self._rows)
        self.query_one(ViewTable).show(Snapshot(VIEW, rows, datetime.now(UTC), 0.01, judge(VIEW, rows)))


if __name__ == "__main__":
    Crowd().run()
