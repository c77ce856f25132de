"""What the header says of a target, from its desk and the room that is looked at."""

from __future__ import annotations

from backend.core.errors import Unreachable
from backend.core.snapshot import Snapshot
from screens.desk import Desk
from screens.room import RoomPane
from screens.widgets.header import Situation


def situation(desk: Desk, pane: RoomPane | None) -> Situation:
    """How the target stands now."""
    target, facts = desk.target, desk.facts
    snapshot = pane.snapshot if pane else None
    return Situation(
        target.name,
        role=facts.role if facts else "",
        version=f"PostgreSQL {facts.version}" if facts else "",
        database=_other(facts.database if facts else target.dbname or "", target.name),
        guard=target.guard,
        read_only=desk.read_only,
        paused=desk.is_open and desk.poller.paused,
        interval=pane.every if pane else 0,
        running=len(desk.running),
        collected_at=snapshot.collected_at if snapshot else None,
        trouble=_trouble(snapshot, target.label),
    )


def _trouble(snapshot: Snapshot | None, name: str) -> str:
    """What hinders the whole target; a view's own trouble is said in its table."""
    error = snapshot.error if snapshot else None
    return error.message.removeprefix(f"{name} ") if isinstance(error, Unreachable) else ""


def _other(database: str, target: str) -> str:
    """The database, unless the target's name says it already, as a DSN's does."""
    return "" if target.endswith(f"/{database}") else database
