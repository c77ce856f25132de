"""What is open for one target: two lanes of looking, acting connections, the host.

Views ask; quick questions share the first lane's round trips, and one that proved slow or failed goes on
the second, where it holds up nobody. Every wait is guarded, so a dead or frozen server never blocks.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psycopg
from psycopg import sql

from backend.core import connection as link
from backend.core.connection import AskPassword, Connection, guarded
from backend.core.declare import asking
from backend.core.discover import ask_facts
from backend.core.errors import PgtuiError, Unreachable
from backend.core.facts import Facts, Query
from backend.core.host import Host
from backend.core.lane import Lane, Request
from backend.core.target import Inventory, Target

T = TypeVar("T")

NONE_LISTED = Inventory()
SLOW = 0.1  # seconds; a statement that takes longer no longer travels with the others
APART = 300.0  # seconds that a slow or failed statement stays apart
BACKOFF = (0.0, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)  # seconds between attempts to reconnect


@dataclass(slots=True)
class _Apart:
    """Statements that travel alone, and until when."""

    until: dict[bytes, float] = field(default_factory=dict)

    def add(self, statement: bytes) -> None:
        self.until[statement] = time.monotonic() + APART

    def __contains__(self, statement: bytes) -> bool:
        return self.until.get(statement, 0) > time.monotonic()


@dataclass(slots=True)
class _Backoff:
    """When to try again, and what was said the last time."""

    failures: int = 0
    until: float = 0.0
    error: PgtuiError | None = None

    def note(self, error: PgtuiError) -> None:
        self.failures = min(self.failures + 1, len(BACKOFF) - 1)
        self.until = time.monotonic() + BACKOFF[self.failures]
        self.error = error

    def demand(self) -> None:
        if self.error and time.monotonic() < self.until:
            raise self.error

    def forget(self) -> None:
        self.failures, self.until, self.error = 0, 0.0, None


@dataclass(slots=True)
class _Passwords:
    """Passwords typed by the user, by connection string; in memory only, each asked for once."""

    ask: AskPassword | None
    known: dict[str, str] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    asking: bool = False

    async def obtain(self, dsn: str, label: str) -> bool:
        """Ask for the password; whether there is a new one to try."""
        if self.ask is None or dsn in self.refused:
            return False
        self.known.pop(dsn, None)
        self.refused.add(dsn)
        self.asking = True
        try:
            typed = await self.ask(f"Password for {label}: ")
        finally:
            self.asking = False
        if typed:
            self.known[dsn] = typed
        return bool(typed)

    def wrong(self, dsn: str) -> None:
        """Forget a password that did not help; it is asked for again when the user wants to."""
        self.known.pop(dsn, None)

    def right(self, dsn: str) -> None:
        """The password opened the door: should it change one day, ask again."""
        self.refused.discard(dsn)


class Session:
    """An open target. `open()` first; then views `await s.fetch(Row, QUERY, …)`.

    `other` finds another target of the inventory by its name, for views that compare two.
    """

    def __init__(
        self,
        target: Target,
        host: Host,
        *,
        timeout: float = 10,
        ask_password: AskPassword | None = None,
        other: Callable[[str], Target] = NONE_LISTED.get,
    ) -> None:
        self.target = target
        self.host = host
        self.timeout = timeout
        self.other = other
        self.sent: dict[str, dict[bytes, Sequence[Any]]] = {}  # by view, with the parameters of the last time
        self.round_trip = 0.0
        self._passwords = _Passwords(ask_password)
        self._facts: Facts | None = None
        self._main = Lane(self, together=True)
        self._side = Lane(self, together=False)
        self._apart = _Apart()
        self._backoff = _Backoff()
        self._opening = asyncio.Lock()
        self._closed = False

    @property
    def facts(self) -> Facts:
        """What is known of the target; asked at every connect."""
        if self._facts is None:
            raise self._backoff.error or Unreachable(f"{self.target.label} is not connected")
        return self._facts

    @property
    def known(self) -> bool:
        """Whether the target has ever answered, so that there are facts."""
        return self._facts is not None

    @property
    def connected(self) -> bool:
        """Whether the looking connection is there."""
        return self._main.connected

    @property
    def awaits_password(self) -> bool:
        """Whether the user is being asked for the password."""
        return self._passwords.asking

    @property
    def pooled(self) -> bool:
        """Whether a pooler sits between."""
        return self._facts is not None and self._facts.pooler

    @property
    def own_pids(self) -> list[int]:
        """The backends of this session's looking connections, which views leave out."""
        lanes = (self._main, self._side)
        return [lane.connection.pgconn.backend_pid for lane in lanes if lane.connection and lane.connected]

    async def open(self) -> Session:
        """Connect and learn the facts; `Unreachable` in the server's words."""
        async with self._opening:
            await self._main.open()
        return self

    async def close(self) -> None:
        """Close everything that is open, without waiting for a frozen server."""
        await self._hang_up()
        await self.host.close()

    async def _hang_up(self) -> None:
        self._closed = True
        await asyncio.gather(self._main.close(), self._side.close())

    @contextlib.asynccontextmanager
    async def beside(self, dbname: str) -> AsyncIterator[Session]:
        """An open session to another database of the server for a block, over the same host and password."""
        session = Session(self.target.database(dbname), self.host, timeout=self.timeout, other=self.other)
        session._passwords = self._passwords
        try:
            yield await session.open()
        finally:
            await session._hang_up()

    def password(self, dsn: str) -> str | None:
        """The password that the user has typed for that connection string."""
        return self._passwords.known.get(dsn)

    def retry_now(self) -> None:
        """Forget back-offs, slow marks and refused passwords: the user asked for a refresh."""
        self._backoff.forget()
        self._apart.until.clear()
        self._passwords.refused.clear()

    async def ready(self) -> None:
        """Connect again if need be, not more often than the back-off allows."""
        if self.connected:
            return
        self._backoff.demand()
        async with self._opening:
            if self.connected:
                return
            self._backoff.demand()
            try:
                await self._main.open()
            except PgtuiError as e:
                self._backoff.note(e)
                raise
        self._backoff.forget()

    async def fetch(
        self, row: type[T], query: Query, *params: Any, **identifiers: str | sql.Composable
    ) -> list[T]:
        """The query's rows as `row`s, named columns to fields; batched with what else is asked now."""
        await self.ready()
        answer: asyncio.Future[list[T]] = asyncio.get_running_loop().create_future()
        statement = query.compose(self.facts, identifiers)
        self.sent.setdefault(asking.get(), {})[statement] = params
        lane = self._side if statement in self._apart and not self.pooled else self._main
        lane.ask(Request(row, statement, params, answer))
        return await answer

    async def open_acting(self, target: Target, action: str, lock_wait: str = "5s") -> Connection:
        """A connection of its own for one run, named after the action; the run closes it."""
        if self.pooled and target.act is None:
            raise link.refused_behind_pooler()
        dsn = target.dsn if target.act is None else target.act
        return await self._with_password(
            dsn,
            lambda password: link.acting(
                target, self.host, action=action, lock_wait=lock_wait, password=password, limit=self.timeout
            ),
        )

    async def refresh_facts(self) -> Facts:
        """Ask the facts again, after something that may have changed them."""
        async with self._main.turn:
            if self._main.connection is None or not self._main.connected:
                await self.open()
            else:
                self._learn(await self._ask_facts(self._main.connection))
        return self.facts

    # -- what the lanes need (lane.Owner) --------------------------------------------------------

    async def looking(self, lane: Lane) -> Connection:
        """A looking connection; the first lane's also tells the facts."""
        if self._closed:
            raise Unreachable(f"{self.target.label} has been closed")
        connection = await self._with_password(self.target.dsn, self._dial)
        try:
            await self._prepare(connection, lane)
        except BaseException:
            await link.close(connection)
            raise
        if self._closed:  # while the user was typing a password
            await link.close(connection)
            raise Unreachable(f"{self.target.label} has been closed")
        return connection

    def took(self, statements: Sequence[bytes], seconds: float) -> bool:
        """Remember a slow statement; the quickest round so far is what the way itself costs."""
        self.round_trip = min(self.round_trip or seconds, seconds)
        slow = seconds - self.round_trip > SLOW
        if slow and len(statements) == 1:
            self._apart.add(statements[0])
        return slow

    def failed(self, statement: bytes) -> None:
        """Let a statement that failed go alone from now on."""
        self._apart.add(statement)

    # -- connecting ------------------------------------------------------------------------------

    async def _prepare(self, connection: Connection, lane: Lane) -> None:
        link.demand_server(self.target, connection)
        if lane is self._main:
            self._learn(await self._ask_facts(connection))
        if self.pooled:
            connection.prepare_threshold = None
            return
        settings = link.LOOKING | {"statement_timeout": f"{int(self.timeout * 1000)}ms"}
        started = time.monotonic()
        await self._settle(connection, settings)
        self.took((), time.monotonic() - started)

    async def _settle(self, connection: Connection, settings: dict[str, str]) -> None:
        try:
            await guarded(link.settle(connection, settings), self.timeout, connection, self.target.label)
        except psycopg.Error as e:
            raise link.unreachable(self.target, e) from None

    async def _ask_facts(self, connection: Connection) -> Facts:
        try:
            return await guarded(ask_facts(connection), self.timeout, connection, self.target.label)
        except psycopg.Error as e:
            raise link.not_a_server(self.target, e) from None

    def _learn(self, facts: Facts) -> None:
        if facts == self._facts:
            return
        self._facts = facts
        self._apart.until.clear()

    async def _dial(self, password: str | None) -> Connection:
        return await link.connect(self.target, self.host, name="pgtui", limit=self.timeout, password=password)

    async def _with_password(self, dsn: str, dial: link.Dial) -> Connection:
        passwords = self._passwords
        try:
            return await dial(passwords.known.get(dsn))
        except link.PasswordWanted:
            if not await passwords.obtain(dsn, self.target.label):
                raise
        try:
            opened = await dial(passwords.known[dsn])
        except link.PasswordWanted:
            passwords.wrong(dsn)
            raise
        passwords.right(dsn)
        return opened
