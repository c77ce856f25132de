"""What is open for one target: the looking connection, acting connections, the host.

What views ask in the same tick travels in one pipelined round trip of prepared statements. When one of
them fails, the round is repeated singly on a fresh connection, and the culprit goes alone from then on;
so does a statement that proved slow. Every wait is guarded, so a dead or frozen server never blocks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from backend.core import connection as link
from backend.core.connection import AskPassword, Connection, guarded
from backend.core.declare import asking
from backend.core.discover import ask_facts
from backend.core.errors import PgtuiError, Unreachable
from backend.core.facts import Facts, Query
from backend.core.host import Host
from backend.core.target import Target

T = TypeVar("T")

SLOW = 0.1  # seconds; a statement that takes longer no longer travels with the others
APART = 300.0  # seconds that a slow or failed statement stays apart
BACKOFF = (0.0, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)  # seconds between attempts to reconnect


@dataclass(slots=True)
class _Request:
    row: type[Any]
    statement: bytes
    params: tuple[Any, ...]
    answer: asyncio.Future[list[Any]]


@dataclass(slots=True)
class _Apart:
    """Statements that travel alone, and until when."""

    until: dict[bytes, float] = field(default_factory=dict)

    def add(self, statement: bytes) -> None:
        self.until[statement] = time.monotonic() + APART

    def __contains__(self, statement: bytes) -> bool:
        return self.until.get(statement, 0) > time.monotonic()


# A view's table was altered under its prepared statement, or the server lost that: a fresh connection helps.
_FORGOTTEN = (psycopg.errors.FeatureNotSupported, psycopg.errors.InvalidSqlStatementName)

_NET = b"SET LOCAL TRANSACTION READ ONLY"


class Session:
    """An open target. `open()` first; then views `await s.fetch(Row, QUERY, …)`."""

    def __init__(
        self,
        target: Target,
        host: Host,
        *,
        timeout: float = 10,
        ask_password: AskPassword | None = None,
    ) -> None:
        self.target = target
        self.host = host
        self.timeout = timeout
        self.sent: dict[str, dict[bytes, None]] = {}
        self._ask = ask_password
        self._password: str | None = None
        self._facts: Facts | None = None
        self._main: Connection | None = None
        self._side: Connection | None = None
        self._pending: list[_Request] = []
        self._running: asyncio.Task[None] | None = None
        self._apart = _Apart()
        self._test_singly = False
        self._attempts = 0
        self._next_attempt = 0.0
        self._down: PgtuiError | None = None

    @property
    def facts(self) -> Facts:
        """What is known of the target; asked at every connect."""
        if self._facts is None:
            raise self._down or Unreachable(f"{self.target.label} is not connected")
        return self._facts

    @property
    def known(self) -> bool:
        """Whether the target has ever answered, so that there are facts."""
        return self._facts is not None

    @property
    def connected(self) -> bool:
        """Whether the looking connection is there."""
        return self._main is not None and not self._main.closed

    @property
    def own_pids(self) -> list[int]:
        """The backends of this session's looking connections, which views leave out."""
        return [c.pgconn.backend_pid for c in (self._main, self._side) if c and not c.closed]

    async def open(self) -> Session:
        """Connect and learn the facts; `Unreachable` in the server's words."""
        if not self.connected:
            self._main = await self._looking()
        return self

    async def close(self) -> None:
        """Close everything that is open, without waiting for a frozen server."""
        if self._running:
            self._running.cancel()
        for connection in (self._main, self._side):
            await link.close(connection)
        await self.host.close()

    def retry_now(self) -> None:
        """Forget back-offs and slow marks: the user asked for a refresh."""
        self._attempts, self._next_attempt = 0, 0.0
        self._apart.until.clear()

    async def fetch(
        self, row: type[T], query: Query, *params: Any, **identifiers: str | sql.Composable
    ) -> list[T]:
        """The query's rows as `row`s, named columns to fields; batched with what else is asked now."""
        await self.ready()
        answer: asyncio.Future[list[T]] = asyncio.get_running_loop().create_future()
        statement = query.compose(self.facts, identifiers)
        self.sent.setdefault(asking.get(), {})[statement] = None
        self._pending.append(_Request(row, statement, params, answer))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._drain())
        return await answer

    async def open_acting(self, target: Target, action: str, lock_wait: str = "5s") -> Connection:
        """A connection of its own for one run, named after the action; the run closes it."""
        return await link.acting(
            target, self.host, action=action, lock_wait=lock_wait, password=self._password, limit=self.timeout
        )

    async def refresh_facts(self) -> Facts:
        """Ask the facts again, after something that may have changed them."""
        if self._main is None or self._main.closed:
            await self.open()
        elif not self.facts.pooler:
            self._facts = await self._ask_facts(self._main)
        return self.facts

    # -- connecting ------------------------------------------------------------------------------

    async def ready(self) -> None:
        """Connect again if need be, not more often than the back-off allows."""
        if self.connected:
            return
        if time.monotonic() < self._next_attempt and self._down:
            raise self._down
        try:
            await self.open()
        except PgtuiError as e:
            self._attempts = min(self._attempts + 1, len(BACKOFF) - 1)
            self._next_attempt = time.monotonic() + BACKOFF[self._attempts]
            self._down = e
            raise
        self._attempts, self._down = 0, None

    async def _looking(self) -> Connection:
        connection = await self._connect()
        try:
            facts = await self._ask_facts(connection)
            if not facts.pooler:
                settings = link.LOOKING | {"statement_timeout": f"{int(self.timeout * 1000)}ms"}
                await guarded(link.settle(connection, settings), self.timeout, connection, self.target.label)
            else:
                connection.prepare_threshold = None
        except BaseException:
            await link.close(connection)
            raise
        self._facts = facts
        return connection

    async def _connect(self) -> Connection:
        try:
            return await self._dial()
        except Unreachable as e:
            if not self._ask or self._password or "password" not in e.message:
                raise
            self._password = await self._ask(f"Password for {self.target.label}: ")
            return await self._dial()

    async def _dial(self) -> Connection:
        return await link.connect(
            self.target, self.host, name="pgtui", limit=self.timeout, password=self._password
        )

    async def _ask_facts(self, connection: Connection) -> Facts:
        try:
            return await guarded(ask_facts(connection), self.timeout, connection, self.target.label)
        except psycopg.Error as e:
            raise link.not_a_server(self.target, e) from None

    # -- asking ----------------------------------------------------------------------------------

    async def _drain(self) -> None:
        while self._pending:
            batch, self._pending = self._pending, []
            try:
                await self._round(batch)
            except BaseException as e:
                for request in batch:
                    _fail(request, e)
                if not isinstance(e, Exception):
                    raise

    async def _round(self, batch: list[_Request]) -> None:
        alone = [r for r in batch if r.statement in self._apart]
        together = [r for r in batch if r.statement not in self._apart]
        if self.facts.pooler or self._test_singly or len(together) == 1:
            self._test_singly = False
            for request in together:
                await self._single(request, await self._main_connection())
        elif together:
            await self._together(together)
        for request in alone:
            await self._single(request, await self._side_connection())

    async def _together(self, batch: list[_Request]) -> None:
        connection = await self._main_connection()
        started = time.monotonic()
        try:
            answers = await self._guard(_pipeline(connection, batch), connection)
        except psycopg.Error:
            # A pipeline voids all that follows a failure, and psycopg then believes in statements that the
            # server never prepared; a fresh connection costs 3 ms and is certain.
            await link.close(connection)
            for request in batch:
                await self._single(request, await self._main_connection())
            return
        self._test_singly = time.monotonic() - started > SLOW
        for request, rows in zip(batch, answers, strict=True):
            _succeed(request, rows)

    async def _single(self, request: _Request, connection: Connection) -> None:
        started = time.monotonic()
        try:
            rows = await self._guard(self._execute(connection, request), connection)
        except _FORGOTTEN:
            await link.close(connection)
            await self._retry(request)
            return
        except psycopg.Error as e:
            self._failed(request, e, connection)
            return
        if time.monotonic() - started > SLOW:
            self._apart.add(request.statement)
        _succeed(request, rows)

    async def _retry(self, request: _Request) -> None:
        connection = await self._main_connection()
        try:
            _succeed(request, await self._guard(self._execute(connection, request), connection))
        except psycopg.Error as e:
            self._failed(request, e, connection)

    def _failed(self, request: _Request, error: psycopg.Error, connection: Connection) -> None:
        if connection.closed or connection.broken:
            _fail(request, link.unreachable(self.target, error))
            return
        self._apart.add(request.statement)
        _fail(request, link.explain(error, self.target.label))

    async def _execute(self, connection: Connection, request: _Request) -> list[Any]:
        if not self.facts.pooler:
            return await _rows(connection, request)
        # Behind a pooler nothing may outlive the transaction: neither a setting nor a prepared statement.
        async with connection.transaction():
            await connection.execute(_NET, prepare=False)
            return await _rows(connection, request)

    async def _guard(self, task: Any, connection: Connection) -> Any:
        return await guarded(task, self.timeout + 0.5, connection, self.target.label)

    async def _main_connection(self) -> Connection:
        if self._main is None or self._main.closed:
            self._main = await self._looking()
        return self._main

    async def _side_connection(self) -> Connection:
        if self.facts.pooler:
            return await self._main_connection()
        if self._side is None or self._side.closed:
            self._side = await self._looking()
        return self._side


async def _pipeline(connection: Connection, batch: Sequence[_Request]) -> list[list[Any]]:
    """The rows of each request; one round trip, since the answers are fetched after the block."""
    cursors = [connection.cursor(row_factory=class_row(r.row)) for r in batch]
    async with connection.pipeline():
        for cursor, request in zip(cursors, batch, strict=True):
            await cursor.execute(request.statement, request.params or None)
    return [await cursor.fetchall() for cursor in cursors]


async def _rows(connection: Connection, request: _Request) -> list[Any]:
    async with connection.cursor(row_factory=class_row(request.row)) as cursor:
        await cursor.execute(request.statement, request.params or None)
        return await cursor.fetchall()


def _succeed(request: _Request, rows: list[Any]) -> None:
    if not request.answer.done():
        request.answer.set_result(rows)


def _fail(request: _Request, error: BaseException) -> None:
    if request.answer.done():
        return
    if isinstance(error, asyncio.CancelledError):
        request.answer.cancel()
    else:
        request.answer.set_exception(error)
