"""A database with queues, and parameters for the room's views and actions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.registry.samples import Samples
from tests.rooms.queue.conftest import has_pgq, sample
from tests.servers import Database

VIEWS: dict[str, dict[str, object]] = {}


@contextmanager
def populate(database: Database) -> Iterator[Samples]:
    """The sample, where the server has PgQ."""
    if not has_pgq(database):
        yield Samples(without=frozenset({"pgq", "pgq_node"}))
        return
    sample(database)
    yield Samples(views=VIEWS)
