"""What the room needs of a target, and questions that a server which is down may leave unanswered."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, TypeVar

from psycopg import sql

from backend.core.errors import Missing, PgtuiError
from backend.core.facts import Needs, Query
from backend.core.params import Ask
from backend.core.session import Session

T = TypeVar("T")

HOST = Needs(sql=False)
SERVER = Needs()

ClusterName = Annotated[
    str | None, Ask("Cluster", choices="cluster.clusters.cluster", help="VERSION/NAME; else the target's own")
]

# Seconds that a view of the host waits for a server that may be frozen.
PATIENCE = 3.0


async def asked(
    s: Session, row: type[T], query: Query, *params: Any, **names: str | sql.Composable
) -> list[T]:
    """The rows; none where the server is down, frozen or does not let us in."""
    try:
        async with asyncio.timeout(min(PATIENCE, s.timeout / 2)):
            return await s.fetch(row, query, *params, **names)
    except (PgtuiError, TimeoutError):
        return []


def granting(error: Missing, *functions: str) -> Missing:
    """The refusal with the statements that would allow what was asked."""
    if error.sqlstate != "42501" or not functions:
        return error
    return Missing(error.message, hint="; ".join(functions), sqlstate=error.sqlstate)
