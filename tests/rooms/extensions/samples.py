"""A database with extensions in use, and parameters for the room's views and actions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.registry.samples import Samples
from tests.servers import Database


@contextmanager
def populate(database: Database) -> Iterator[Samples]:
    """An extension that is used, one of an older version, and a schema to move to."""
    for statement in (
        "CREATE SCHEMA elsewhere",
        "CREATE EXTENSION citext",
        "CREATE TABLE people (name citext)",
        "CREATE EXTENSION hstore VERSION '1.6'",
    ):
        database.execute(statement)
    yield Samples(
        views={"extensions.versions": {"name": "hstore"}},
        actions={
            "extensions.create": {"name": "earthdistance", "cascade": True},
            "extensions.update": {"name": "hstore"},
            "extensions.move": {"name": "hstore", "schema": "elsewhere"},
            "extensions.drop": {"name": "citext", "cascade": True},
        },
    )
