"""Actions of the room `activity`."""

from __future__ import annotations

from typing import Annotated

from backend.core.declare import Ask, Danger, action
from backend.core.plan import Plan, over
from backend.core.session import Session


@action("activity.cancel", danger=Danger.CHANGE, on="activity.sessions", exclusive=False)
async def cancel(s: Session, pid: Annotated[int, Ask("Process id")]) -> Plan:
    """Cancel the statement that a session is running."""
    from backend.activity.views import sessions

    rows = [r for r in await sessions(s) if r.pid == pid]
    step = over(
        "SELECT v.pid, pg_catalog.pg_cancel_backend(v.pid) AS cancelled"
        "  FROM ({keys}) AS v(pid, backend_start)"
        "  JOIN pg_catalog.pg_stat_activity a ON a.pid = v.pid AND a.backend_start = v.backend_start",
        [(r.pid, r.backend_start) for r in rows],
        [str(r.pid) for r in rows],
    )
    return Plan(s.target.name, (step,), rows=tuple(rows))
