"""A database with tables in every condition, and parameters for the room's views and actions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.registry.samples import Samples
from tests.servers import Database


@contextmanager
def populate(database: Database) -> Iterator[Samples]:
    """A table with an unused and a duplicate index, and a sequence."""
    for statement in (
        "CREATE TABLE orders (id serial PRIMARY KEY, customer int, note text)",
        "INSERT INTO orders (customer) SELECT i FROM generate_series(1, 1000) AS i",
        "CREATE INDEX by_customer ON orders (customer)",
        "CREATE INDEX by_customer_again ON orders (customer)",
        "DELETE FROM orders WHERE id > 500",
    ):
        database.execute(statement)
    yield Samples(
        actions={
            "tables.vacuum": {"table": "public.orders"},
            "tables.analyze": {"table": "public.orders"},
            "tables.reindex": {"index": "public.by_customer", "table": "public.orders"},
        },
    )
