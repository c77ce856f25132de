"""How the lab's workers get into its server."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

Connection = psycopg.AsyncConnection[tuple[Any, ...]]


@dataclass(slots=True)
class Door:
    """The way in; remembers when somebody last got through."""

    dsn: str
    last_entered: float = field(default_factory=time.monotonic)

    async def enter(self, application: str, user: str) -> Connection:
        """A connection of that user, committing each statement by itself."""
        dsn = make_conninfo(self.dsn, user=user, application_name=application, connect_timeout=10)
        connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
        self.last_entered = time.monotonic()
        return connection


Worker = Callable[[Door], Awaitable[None]]
