"""The console on answers that a test puts together: no server, and every state when it is wanted."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from textual.screen import Screen

from backend.activity.sessions import SessionRow
from backend.core.declare import Action
from backend.core.errors import Failed, PgtuiError
from backend.core.facts import Facts
from backend.core.plan import Plan
from backend.core.poller import Poller
from backend.core.registry import rooms
from backend.core.target import Inventory, Target
from screens.console import Console
from screens.desk import Desk
from screens.room import RoomPane
from tui.app import Options, PgtuiApp
from tui.settings import Settings

FACTS: dict[str, Any] = {
    "version_num": 170002, "version": "17.2", "role": "primary", "database": "shop", "user": "dba",
    "superuser": True, "member_of": frozenset(), "extensions": {}, "databases": ("postgres", "shop"),
    "system_identifier": "1", "encoding": "UTF8",
}  # fmt: skip
START = datetime(2026, 11, 21, 9, tzinfo=UTC)


def session(pid: int, **more: Any) -> SessionRow:
    """A client session that works."""
    given: dict[str, Any] = {
        "leader_pid": None, "database": "shop", "username": f"user{pid}", "application": "app",
        "client": "local", "backend_type": "client backend", "state": "active", "wait": None,
        "transaction_age": timedelta(seconds=1), "duration": timedelta(seconds=100 - pid),
        "idle_in_transaction": None, "blocked_by": None, "xmin_age": None, "query_id": None,
        "backend_start": START, "query": f"SELECT {pid}",
    }  # fmt: skip
    return SessionRow(pid, **given | more)


@dataclass
class CannedSource:
    """Answers with the rows of each type, or fails as it is told."""

    target: Target
    facts: Facts = field(default_factory=lambda: Facts(**FACTS))
    known: bool = True
    answers: dict[type[Any], list[Any]] = field(default_factory=dict)
    trouble: PgtuiError | None = None
    sent: dict[str, Any] = field(default_factory=dict)
    own_pids: tuple[int, ...] = ()
    round_trip: float = 0.0
    awaits_password: bool = False

    async def ready(self) -> None:
        if self.trouble:
            raise self.trouble

    def retry_now(self) -> None: ...

    async def refresh_facts(self) -> Facts:
        return self.facts

    async def close(self) -> None: ...

    async def fetch(self, row: type[Any], query: Any, *params: Any, **names: Any) -> list[Any]:
        if row not in self.answers:
            raise Failed("nobody has put an answer into the can")
        return list(self.answers[row])


class CannedDesk(Desk):
    """A desk whose session is a canned source; it notes what it was asked to plan."""

    source: CannedSource
    planned: list[tuple[str, dict[str, Any]]]

    def open(self) -> None:
        """Nothing to connect to."""
        self._session = self.source  # type: ignore[assignment]
        self._poller = Poller(self.source)
        self._poller.start()

    async def plan(self, action: Action, values: Any) -> Plan:
        """A plan with nothing in it."""
        self.planned.append((action.name, dict(values)))
        return Plan("nothing", (), notes=("nothing to do",))


class CannedApp(PgtuiApp):
    """pgtui on a canned source, with the rooms that need nothing of the server."""

    def __init__(self, source: CannedSource, settings: Settings | None = None, **options: Any) -> None:
        self.source = source
        self.planned: list[tuple[str, dict[str, Any]]] = []
        super().__init__(source.target, Options(**options), settings or Settings())

    def get_default_screen(self) -> Screen[None]:
        """The console with a canned desk."""
        console = Console(
            self.target,
            self.options.inventory,
            self.settings,
            read_only=self.options.read_only,
            make_desk=self._desk,
        )
        console.rooms = tuple(r for r in rooms() if r.name in ("activity", "jobmon"))
        return console

    def _desk(self, target: Target, inventory: Inventory, **how: Any) -> Desk:
        desk = CannedDesk(target, inventory, **how)
        desk.source, desk.planned = self.source, self.planned
        return desk

    @property
    def base(self) -> Console:
        """The screen below all dialogs."""
        return next(s for s in self.screen_stack if isinstance(s, Console))

    @property
    def pane(self) -> RoomPane:
        """The room that is looked at."""
        pane = self.base.pane
        assert pane is not None
        return pane

    @property
    def pids(self) -> list[int]:
        """The sessions in the table, from the top."""
        return [row.pid for row in self.pane.table.rows]


def canned(*sessions: SessionRow, settings: Settings | None = None, **options: Any) -> CannedApp:
    """The console on these sessions."""
    source = CannedSource(Target("lab", "dbname=shop", listed=True), answers={SessionRow: list(sessions)})
    return CannedApp(source, settings, **options)
