"""Sessions to servers under test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from backend.core.local import LocalHost
from backend.core.registry import find_view
from backend.core.session import Session
from backend.core.target import Target
from tests.servers import Server


@dataclass
class Looking:
    """Asks views of servers."""

    opened: list[Session]

    def session(self, server: Server, **more: Any) -> Session:
        """A session to a server that may be down."""
        given = {"dsn": server.dsn(), "cluster": {"data": str(server.data)}} | more
        self.opened.append(Session(Target("t", **given), LocalHost(), timeout=5))
        return self.opened[-1]

    async def __call__(
        self, server: Server, view: str, *, target: dict[str, Any] | None = None, **params: Any
    ) -> Any:
        """The rows of a view."""
        return await find_view(f"cluster.{view}").ask(self.session(server, **(target or {})), **params)


@pytest.fixture
async def looking() -> AsyncIterator[Looking]:
    """Asks views of servers, and closes what it opened."""
    made = Looking([])
    yield made
    for session in made.opened:
        await session.close()
