"""A console on a fresh database."""

from __future__ import annotations

import pytest

from tests.rooms.jobmon.conftest import Console as Console
from tests.rooms.jobmon.conftest import Consoles as Consoles
from tests.rooms.jobmon.conftest import consoles as consoles
from tests.servers import Database


@pytest.fixture
async def console(database: Database, consoles: Consoles) -> Console:
    """A console of the superuser on a fresh database."""
    return await consoles(database.dsn)
