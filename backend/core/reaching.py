"""What a run reaches its targets by: acting connections and hosts, each opened when first needed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from backend.core import connection as link
from backend.core.connection import Connection
from backend.core.errors import Refused
from backend.core.host import Host
from backend.core.plan import Check, Command, File, Step
from backend.core.session import Session
from backend.core.target import Target

SessionOf = Callable[[str], Awaitable[Session]]
Dial = Callable[[Session, Target], Awaitable[Connection]]


class Reach:
    """The connections of one run, made by `dial`; `session_of` finds other targets of the inventory."""

    def __init__(self, session: Session, session_of: SessionOf | None, dial: Dial) -> None:
        self._session = session
        self._session_of = session_of
        self._dial = dial
        self._connections: dict[tuple[str | None, str | None, bool], Connection] = {}

    async def session(self, on: str | None) -> Session:
        """The session of a target."""
        if on is None or on == self._session.target.name:
            return self._session
        if self._session_of is None:
            raise Refused(f"a step runs on target {on}, which the inventory does not list")
        return await self._session_of(on)

    async def connection(self, on: str | None, dbname: str | None, spare: bool = False) -> Connection:
        """The connection to a target and database; a new one when the last one broke."""
        key = (on, dbname, spare)
        if key not in self._connections or self._connections[key].closed:
            session = await self.session(on)
            self._connections[key] = await self._dial(session, session.target.database(dbname))
        return self._connections[key]

    async def host(self, on: str | None) -> Host:
        """The host of a target."""
        return (await self.session(on)).host

    async def prepare(self, step: Step) -> None:
        """Have at hand what the step needs, so that an absent target is told from a lost one."""
        if isinstance(step, (Command, File)):
            session = await self.session(step.on)
            if session.target.ssh:
                await session.host.run(("true",))
        elif not isinstance(step, Check):
            await self.connection(step.on, step.dbname)

    async def close(self) -> None:
        """Close the connections; sessions and hosts belong to others."""
        for connection in self._connections.values():
            await link.close(connection)
