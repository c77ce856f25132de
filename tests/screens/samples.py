"""Canned data for screens: a view of sessions, its snapshots, and an app to show widgets in."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.widget import Widget

import themes
from backend.core.declare import Col, View
from backend.core.errors import PgtuiError
from backend.core.facts import Needs
from backend.core.judge import NOTHING, judge
from backend.core.snapshot import Snapshot
from backend.core.values import minutes

AT = datetime(2026, 11, 21, 10, 32, 5, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Row:
    pid: Annotated[int, Col("PID", key=True)]
    database: Annotated[str, Col("Database", priority=3, help="Where it is connected")]
    user: Annotated[str, Col("User", priority=2)]
    state: Annotated[str | None, Col("State", priority=1)]
    age: Annotated[timedelta | None, Col("Age", warn=minutes(5), crit=minutes(60), priority=1)]
    memory: Annotated[int, Col("Memory", unit="bytes", priority=7)]
    hit: Annotated[float, Col("Hit", unit="percent", priority=8)]
    blocks: Annotated[int, Col("Blocks", rate=True, priority=6)]
    query: Annotated[str, Col("Query", text=True)]


async def _ask(s: Any) -> list[Row]:
    """Sessions of a server that does not exist."""
    return []


VIEW: View[Row] = View("sample.sessions", _ask, Needs(), 2, "nobody is connected", None, None)


def row(pid: int, **kw: Any) -> Row:
    values: dict[str, Any] = {
        "database": "bench",
        "user": f"user{pid % 7}",
        "state": "active",
        "age": timedelta(seconds=pid % 200),
        "memory": pid * 100_000,
        "hit": 99.5,
        "blocks": 10,
        "query": f"SELECT {pid} FROM pgbench_accounts WHERE aid = {pid} AND bid IN (1, 2, 3)",
    }
    return Row(pid, **values | kw)


def rows(count: int) -> list[Row]:
    return [row(pid) for pid in range(1000, 1000 + count)]


def snapshot(
    rows: Iterable[Row] = (),
    *,
    error: PgtuiError | None = None,
    missing: str = "",
    note: str = "",
    at: datetime | None = AT,
    rates: Mapping[tuple[Any, ...], Mapping[str, float | None]] | None = None,
    view: View[Any] = VIEW,
) -> Snapshot:
    kept = tuple(rows)
    judgement = judge(view, kept) if kept else NOTHING
    return Snapshot(view, kept, at, 0.01, judgement, rates or {}, error, missing, note)


class Stage(App[Any]):
    """An app that shows the given widgets with the console's styles."""

    CSS_PATH = list(themes.STYLE_SHEETS)  # noqa: RUF012
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, *widgets: Widget, theme: str = themes.DEFAULT) -> None:
        super().__init__(ansi_color=themes.ansi_color(os.environ))
        self.widgets = widgets
        self.messages: list[Any] = []
        for each in themes.THEMES.values():
            self.register_theme(each)
        self.theme = theme

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return themes.VARIABLES

    def compose(self) -> ComposeResult:
        yield from self.widgets


def text(app: App[Any]) -> str:
    """What is on the screen."""
    strips = app.screen._compositor.render_strips()
    return "\n".join(strip.text.rstrip() for strip in strips)


async def until(pilot: Pilot[Any], holds: Callable[[], object], seconds: float = 5) -> None:
    """Wait for a condition; fail with what is on the screen."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, text(pilot.app)
        await pilot.pause(0.01)


Then = Callable[[], Awaitable[None]]
Rows = Sequence[Row]
