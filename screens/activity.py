"""The room `activity` on screen: the whole statement under the table, charts beside it, idle on demand."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widget import Widget

from backend.core.clean import clean
from backend.core.errors import PgtuiError
from backend.core.record import record
from backend.core.registry import find_view
from backend.core.show import moment
from backend.core.snapshot import Snapshot
from screens.room import RoomPane, show_or_hide
from screens.widgets.chart import Chart
from screens.widgets.excerpt import Excerpt
from screens.widgets.viewer import Grid, Part, Readable

# Beside the table where both have room, else not at all: the statement is worth more than a curve.
WIDE = 150
HIGH = 16
NONE = timedelta()
HISTORY = 50
# A point of a curve stands for this many seconds: 68 points are eleven minutes, and redrawing all curves
# at every refresh would cost more than the table.
POINT = 10.0


@record
class Moment:
    """What a session did at one time."""

    at: datetime
    state: str | None
    query: str | None


class Beside(Horizontal):
    """Table and charts, which cover it."""

    BLANK = True


class Charts(Vertical):
    """Sessions by what they do, and transactions per second."""

    DEFAULT_CSS = "Charts { width: 36; padding: 0 0 0 1; }"

    def __init__(self) -> None:
        super().__init__()
        self._points: dict[str, tuple[float, float]] = {}

    def compose(self) -> ComposeResult:
        """Four curves."""
        yield Chart("active", id="active")
        yield Chart("waiting for a lock", id="waiting")
        yield Chart("idle in transaction", id="idle-in-transaction")
        yield Chart("transactions/s", id="transactions")

    def sessions(self, rows: Sequence[Any]) -> None:
        """Add the counts of a new state of the sessions."""
        clients = [r for r in rows if r.backend_type == "client backend"]
        self._add("active", sum(r.state == "active" for r in clients))
        self._add("waiting", sum(bool(r.blocked_by) for r in rows))
        self._add("idle-in-transaction", sum(r.idle_in_transaction is not None for r in clients))

    def transactions(self, snapshot: Snapshot) -> None:
        """Add the rate of commits and rollbacks."""
        rates = next(iter(snapshot.rates.values()), {})
        known = [r for r in (rates.get("commits"), rates.get("rollbacks")) if r is not None]
        if not snapshot.error and known:
            self._add("transactions", sum(known))

    def _add(self, chart: str, value: float) -> None:
        """Show the value; a point of the curve is the largest of its seconds."""
        widget, began, most = self.query_one(f"#{chart}", Chart), *self._points.get(chart, (0.0, 0.0))
        now = monotonic()
        if now - began >= POINT:
            self._points[chart] = now, value
            widget.add(max(value, most))
        else:
            self._points[chart] = began, max(value, most)
            widget.now(value)


class ActivityPane(RoomPane):
    """Sessions with their whole statement, lock trees, and what holds back vacuum."""

    DEFAULT_CSS = """
    ActivityPane #statement { height: 5; border-top: solid $border; padding: 0 1; }
    ActivityPane #sessions { height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("i", "idle", "Idle sessions", show=False)]

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.show_idle = False
        self._high = True
        self._history: dict[tuple[int, datetime | None], deque[Moment]] = defaultdict(
            lambda: deque(maxlen=HISTORY)
        )
        self._unwatch_server: Callable[[], None] = lambda: None

    def around(self, tables: Widget) -> ComposeResult:
        """Charts at the right, the statement below."""
        with Beside(id="sessions"):
            yield tables
            yield Charts()
        yield Excerpt(id="statement")

    def on_resize(self, event: events.Resize) -> None:
        """Give up what there is no room for."""
        show_or_hide(self.query_one(Charts), event.size.width >= WIDE)
        self._high = event.size.height >= HIGH
        self._watch_server()
        self.row_moved(self.table.cursor_row)

    def enter(self) -> None:
        """Watch the server's transactions too, while their chart is seen."""
        super().enter()
        self._watch_server()

    def leave(self) -> None:
        """Watch nothing."""
        super().leave()
        self._unwatch_server()

    def _watch_server(self) -> None:
        self._unwatch_server()
        charts = self.query_one(Charts)
        if self._watching and self.desk.is_open and charts.display:
            feed = self.desk.feed(find_view("activity.server"))
            self._unwatch_server = feed.subscribe(charts.transactions, POINT)

    def prepared(self, snapshot: Snapshot) -> Snapshot:
        """The worst and oldest first; sessions that do nothing are left out until they are asked for."""
        if snapshot.view.name != "activity.sessions" or not snapshot.rows:
            return snapshot
        rows = sorted(snapshot.rows, key=lambda row: _urgency(row, snapshot))
        if self.show_idle:
            return replace(snapshot, rows=tuple(rows))
        busy = tuple(r for r in rows if _is_busy(r, snapshot))
        hidden = len(rows) - len(busy)
        note = (
            f"{hidden} idle sessions and background processes are not shown; i shows them" if hidden else ""
        )
        return replace(snapshot, rows=busy, note=note)

    def news(self, snapshot: Snapshot) -> None:
        """Charts, history and the statement follow the sessions."""
        if snapshot.view.name == "activity.sessions" and not snapshot.error:
            self.query_one(Charts).sessions(snapshot.rows)
            self._remember(snapshot)
        self.row_moved(self.table.cursor_row)

    def _remember(self, snapshot: Snapshot) -> None:
        living = set()
        for row in snapshot.rows:
            key = (row.pid, row.backend_start)
            living.add(key)
            past = self._history[key]
            if row.query and (not past or (past[-1].state, past[-1].query) != (row.state, row.query)):
                past.append(
                    Moment(snapshot.collected_at or datetime.now().astimezone(), row.state, row.query)
                )
        for gone in self._history.keys() - living:
            del self._history[gone]

    def row_moved(self, row: Any) -> None:
        """The statement of the row under the cursor, and what the table has no room for."""
        statement = self.query_one("#statement", Excerpt)
        show_or_hide(statement, self._high and self.table.text_column is not None)
        statement.show(self.table.text_of(row), self.table.left_out(row))

    async def more_about(self, row: Any) -> Sequence[Readable]:
        """Locks held and waited for, and what the session has done since the room was opened."""
        pid = getattr(row, "pid", None)
        if not pid:
            return ()
        past = _past(list(self._history.get((pid, getattr(row, "backend_start", None)), ())))
        try:
            locks = await self.desk.ask(find_view("activity.session_locks"), pid=pid)
        except PgtuiError as e:
            return [*past, Part(""), Part(e.message, "warning")]
        return [*_locks(locks), *past]

    def footer_keys(self) -> Sequence[tuple[str, str]]:
        """Idle sessions are shown or hidden where there are some."""
        return [("i", "hide idle" if self.show_idle else "idle too")] if self._lists_sessions else []

    @property
    def _lists_sessions(self) -> bool:
        return self.view.name == "activity.sessions"

    def own_keys(self) -> Sequence[tuple[str, str]]:
        """The one key of this room alone."""
        return [("i", "show idle sessions and background processes, or hide them")]

    def action_idle(self) -> None:
        """Show or hide what is idle."""
        if self._lists_sessions:
            self.show_idle = not self.show_idle
            self._received(self.snapshot)


def _urgency(row: Any, snapshot: Snapshot) -> tuple[int, timedelta, timedelta, int]:
    """Where a session stands: all ages grow alike, so that rows change places only when they change."""
    health = snapshot.judgement.of(snapshot.view.key(row)).health
    started, since = row.transaction_age or NONE, row.duration or NONE
    return (-health.value, -started, -since, row.pid)


def _is_busy(row: Any, snapshot: Snapshot) -> bool:
    """Whether a session is worth a line: it works, waits, keeps a transaction open, or is not well."""
    if snapshot.view.key(row) in snapshot.judgement.findings:
        return True
    if row.state is None:
        return not row.visible or row.backend_type in ("walsender", "autovacuum worker")
    return bool(row.state != "idle")


def _locks(rows: Sequence[Any]) -> Iterator[Readable]:
    yield Part("")
    yield Part("Locks held and waited for", "muted")
    yield Grid(rows, indent=2) if rows else Part("none, or it has ended", indent=2)


def _past(moments: Sequence[Moment]) -> Iterator[Readable]:
    yield Part("")
    yield Part("Since this room was opened", "muted")
    for m in reversed(moments):
        yield Part(f"{moment(m.at)}  {clean(m.state or ''):<20} {clean(m.query or '')}", indent=2)


PANE = ActivityPane
