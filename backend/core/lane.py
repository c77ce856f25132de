"""One looking connection, and the questions that wait for it.

What is asked in the same tick travels in one pipelined round trip of prepared statements. When one of them
fails, what it has voided is asked again singly on a fresh connection. Behind a pooler each question is a
transaction of its own that leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import psycopg
from psycopg.rows import class_row

from backend.core import connection as link
from backend.core.connection import Connection
from backend.core.target import Target

_NO_SUCH_STATEMENT = "26000"
# The server has ended an idle connection: a restart, pg_terminate_backend, idle_session_timeout.
_ENDED = ("57P01", "57P05")
# The statement took all the time there is; asking it again would take as long again.
_TOO_LONG = "57014"


@dataclass(slots=True, eq=False)
class Request:
    """A question, and where its answer goes."""

    row: type[Any]
    statement: bytes
    params: tuple[Any, ...]
    answer: asyncio.Future[list[Any]]

    def succeed(self, rows: list[Any]) -> None:
        """Hand over the rows, unless nobody waits any more."""
        if not self.answer.done():
            self.answer.set_result(rows)

    def fail(self, error: BaseException) -> None:
        """Hand over the error, unless nobody waits any more."""
        if self.answer.done():
            return
        if isinstance(error, asyncio.CancelledError):
            self.answer.cancel()
        else:
            self.answer.set_exception(error)


class Owner(Protocol):
    """What a lane needs from its session."""

    target: Target
    timeout: float

    @property
    def pooled(self) -> bool:
        """Whether a pooler sits between."""
        ...

    async def looking(self, lane: Lane) -> Connection:
        """Open a looking connection."""
        ...

    def took(self, statements: Sequence[bytes], seconds: float) -> bool:
        """Remember how long the statements took; whether that was too long to travel with others."""
        ...

    def failed(self, statement: bytes) -> None:
        """Remember that the statement failed."""
        ...


class Lane:
    """Asks one round after the other, each on the connection that there then is."""

    def __init__(self, owner: Owner, *, together: bool) -> None:
        self.connection: Connection | None = None
        self.turn = asyncio.Lock()
        self._opening = asyncio.Lock()
        self._owner = owner
        self._together = together
        self._singly_once = False
        self._waiting: list[Request] = []
        self._task: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Whether the connection is there."""
        return self.connection is not None and not self.connection.closed

    def ask(self, request: Request) -> None:
        """Let the request travel with whatever else is asked in this tick."""
        self._waiting.append(request)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._drain(), name="lane")

    async def open(self) -> Connection:
        """The connection, opened when there is none."""
        async with self._opening:
            if self.connection is None or self.connection.closed:
                self.connection = await self._owner.looking(self)
            return self.connection

    async def close(self) -> None:
        """End what runs and close, without waiting for a frozen server."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await link.close(self.connection)

    async def _drain(self) -> None:
        try:
            while self._waiting:
                async with self.turn:
                    batch, self._waiting = [r for r in self._waiting if not r.answer.done()], []
                    await self._attempt(batch)
        except asyncio.CancelledError as e:
            for request in self._waiting:
                request.fail(e)
            raise

    async def _attempt(self, batch: Sequence[Request]) -> None:
        """Ask them all; whatever goes wrong, each gets an answer or an error."""
        try:
            await self._round(batch)
        except BaseException as e:
            for request in batch:
                request.fail(e)
            if not isinstance(e, Exception):
                raise

    async def _round(self, batch: Sequence[Request]) -> None:
        singly, self._singly_once = self._singly_once, False
        if self._together and len(batch) > 1 and not singly and not self._owner.pooled:
            await self._pipelined(batch)
            return
        for request in batch:
            await self._single(request)

    async def _pipelined(self, batch: Sequence[Request]) -> None:
        connection = await self.open()
        cursors = [connection.cursor(row_factory=class_row(r.row)) for r in batch]
        started = time.monotonic()
        try:
            await self._guard(_send(connection, cursors, batch), connection)
        except psycopg.Error as e:
            await self._after_failure(e, connection, cursors, batch)
            return
        self._singly_once = self._owner.took([r.statement for r in batch], time.monotonic() - started)
        for request, cursor in zip(batch, cursors, strict=True):
            await _answer(request, cursor)

    async def _after_failure(
        self,
        error: psycopg.Error,
        connection: Connection,
        cursors: Sequence[psycopg.AsyncCursor[Any]],
        batch: Sequence[Request],
    ) -> None:
        """Keep what was answered before the failure, and ask the rest singly.

        A pipeline voids all that follows a failure, and psycopg then believes in statements that the server
        never prepared; a fresh connection costs 3 ms and is certain.
        """
        rest = [r for r, c in zip(batch, cursors, strict=True) if c.pgresult is None]
        for request, cursor in zip(batch, cursors, strict=True):
            if cursor.pgresult is not None:
                await _answer(request, cursor)
        await link.close(connection)
        if error.sqlstate == _TOO_LONG and rest:
            self._failed(rest.pop(0), error)
        for request in rest:
            await self._single(request)

    async def _single(self, request: Request) -> None:
        connection = await self.open()
        try:
            await self._timed(connection, request)
        except psycopg.Error as e:
            if not _worth_repeating(e):
                self._failed(request, e)
                return
            await link.close(connection)
            await self._repeat(request)

    async def _repeat(self, request: Request) -> None:
        try:
            await self._timed(await self.open(), request)
        except psycopg.Error as e:
            self._failed(request, e)

    async def _timed(self, connection: Connection, request: Request) -> None:
        started = time.monotonic()
        rows = await self._guard(self._execute(connection, request), connection)
        self._owner.took([request.statement], time.monotonic() - started)
        request.succeed(rows)

    def _failed(self, request: Request, error: psycopg.Error) -> None:
        if link.is_lost(error):
            request.fail(link.unreachable(self._owner.target, error))
            return
        self._owner.failed(request.statement)
        request.fail(link.explain(error, "the server says"))

    async def _execute(self, connection: Connection, request: Request) -> list[Any]:
        if not self._owner.pooled:
            return await _rows(connection, request)
        # Behind a pooler nothing may outlive the transaction: neither a setting nor a prepared statement.
        await connection.execute(link.pooled_begin(self._owner.timeout), prepare=False)
        try:
            return await _rows(connection, request)
        finally:
            with suppress(psycopg.Error):
                await connection.execute(b"ROLLBACK", prepare=False)

    async def _guard(self, task: Any, connection: Connection) -> Any:
        # The server's own time limit comes first, if the server lives.
        return await link.guarded(task, self._owner.timeout + 0.5, connection, self._owner.target.label)


async def _send(
    connection: Connection, cursors: Sequence[psycopg.AsyncCursor[Any]], batch: Sequence[Request]
) -> None:
    """Send all and read all: one round trip, since the rows are fetched after the block."""
    async with connection.pipeline():
        for cursor, request in zip(cursors, batch, strict=True):
            await cursor.execute(request.statement, request.params or None)


async def _answer(request: Request, cursor: psycopg.AsyncCursor[Any]) -> None:
    try:
        request.succeed(await cursor.fetchall())
    except (psycopg.Error, TypeError) as e:  # TypeError: columns and fields differ
        request.fail(e)


async def _rows(connection: Connection, request: Request) -> list[Any]:
    async with connection.cursor(row_factory=class_row(request.row)) as cursor:
        await cursor.execute(request.statement, request.params or None)
        return await cursor.fetchall()


def _worth_repeating(error: psycopg.Error) -> bool:
    """Whether a fresh connection helps: a prepared statement was lost, or the server had hung up."""
    if error.sqlstate in (_NO_SUCH_STATEMENT, *_ENDED):
        return True
    # Its text is translated; the name of the function that raises it is not.
    return error.sqlstate == "0A000" and error.diag.source_function == "RevalidateCachedQuery"
