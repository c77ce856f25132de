"""Sessions on real servers, closed at the end of the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import psycopg
import pytest

from backend.core.local import LocalHost
from backend.core.session import Session
from backend.core.target import Target


class OpenSession(Protocol):
    """Opens a session on a connection string."""

    async def __call__(self, dsn: str, **more: Any) -> Session: ...


@dataclass(frozen=True, slots=True)
class Word:
    word: str


@dataclass(frozen=True, slots=True)
class Value:
    value: Any


@pytest.fixture
async def make_session() -> AsyncIterator[Callable[..., Session]]:
    """Makes sessions that are not open yet: `make_session(dsn, timeout=2)`, `target=` for more than a DSN."""
    made: list[Session] = []

    def make(dsn: str = "", *, target: Target | None = None, **more: Any) -> Session:
        made.append(Session(target or Target("t", dsn), LocalHost(), **more))
        return made[-1]

    yield make
    for session in made:
        await session.close()


@pytest.fixture
async def open_session(make_session: Callable[..., Session]) -> OpenSession:
    """Makes sessions that are open."""

    async def opened(dsn: str, **more: Any) -> Session:
        return await make_session(dsn, **more).open()

    return opened


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = 30) -> None:
    """Return when the condition holds; fail when it does not for long."""
    import asyncio

    deadline = asyncio.get_running_loop().time() + seconds
    while not await condition():
        assert asyncio.get_running_loop().time() < deadline, "it did not happen"
        await asyncio.sleep(0.02)


async def ask(dsn: str, statement: str) -> list[Any]:
    """What a statement answers, on a connection of its own, without blocking the event loop."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        cursor = await connection.execute(statement.encode())
        return await cursor.fetchall() if cursor.description else []
