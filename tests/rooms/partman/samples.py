"""A database with partition sets, and parameters for the room's views and actions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.registry.samples import Samples
from tests.rooms.partman.conftest import everything, has_partman, unmanaged
from tests.servers import Database


@contextmanager
def populate(database: Database) -> Iterator[Samples]:
    """Sets that pg_partman manages, where the server has it, and one that nobody does."""
    present = has_partman(database)
    (everything if present else unmanaged)(database)
    yield Samples(
        views={"partman.partitions": {"parent": "public.logs"}},
        actions={},
        without=frozenset() if present else frozenset({"pg_partman"}),
    )
