"""A server that logs every statement, with an empty and a populated database for each room."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from backend.core.local import LocalHost
from backend.core.registry import rooms
from backend.core.session import Session
from backend.core.target import Target
from backend.lab.servers import Installation
from tests.registry.samples import Samples, populate_of
from tests.registry.serverlog import SETTINGS, Asked, asked
from tests.servers import Database, Server, Workspace


@dataclass
class Stage:
    """A server with databases `empty` and, for each room, one of its name."""

    server: Server
    samples: dict[str, Samples]

    @property
    def position(self) -> int:
        """The end of the log."""
        return self.server.cluster.log.stat().st_size

    def heard(self, start: int) -> list[Asked]:
        """What pgtui has asked since then."""
        return [a for a in asked(self.server.cluster.log, start) if a.application.startswith("pgtui")]


@pytest.fixture(scope="module")
def stage(workspace: Workspace, installation: Installation) -> Iterator[Stage]:
    """The server, with all that the rooms' samples keep open."""
    cluster = workspace.cluster(installation, SETTINGS)
    cluster.start()
    server = Server(cluster)
    with ExitStack() as stack:
        stack.callback(cluster.stop, "immediate")
        for statement in (
            "CREATE ROLE monitor LOGIN",
            "GRANT pg_monitor TO monitor",
            "CREATE ROLE plain LOGIN",
            "CREATE DATABASE empty",
        ):
            server.psql(statement)
        samples: dict[str, Samples] = {}
        for room in rooms():
            server.psql(f"CREATE DATABASE {room.name}")
            samples[room.name] = stack.enter_context(populate_of(room.name)(Database(server, room.name)))
        yield Stage(server, samples)


@dataclass
class Sessions:
    """Opens looking sessions on the stage."""

    stage: Stage
    made: list[Session]

    async def __call__(self, dbname: str, role: str | None = None) -> Session:
        dsn = self.stage.server.dsn(dbname, **({"user": role} if role else {}))
        self.made.append(Session(Target("stage", dsn), LocalHost()))
        return await self.made[-1].open()


@pytest.fixture
async def look(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sessions]:
    """Opens looking sessions, closed at the end of the test."""
    for samples in stage.samples.values():
        for name, value in samples.environment.items():
            monkeypatch.setenv(name, value)
    sessions = Sessions(stage, [])
    yield sessions
    for session in sessions.made:
        await session.close()
