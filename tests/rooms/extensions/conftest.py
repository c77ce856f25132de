"""A console on a fresh database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.rooms.jobmon.conftest import Console as Console
from tests.rooms.jobmon.conftest import Consoles as Consoles
from tests.rooms.jobmon.conftest import consoles as consoles
from tests.servers import Database


@pytest.fixture
async def console(database: Database, consoles: Consoles) -> Console:
    """A console of the superuser on a fresh database."""
    return await consoles(database.dsn)


@pytest.fixture
def few(database: Database) -> Iterator[str]:
    """A role with no rights."""
    role = f"{database.name} few"
    database.execute(f'CREATE ROLE "{role}" LOGIN')
    yield role
    database.execute(f'DROP OWNED BY "{role}"')
    database.execute(f'DROP ROLE "{role}"')
