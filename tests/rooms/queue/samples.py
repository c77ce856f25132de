"""A database with queues, and parameters for the room's views and actions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from tests.registry.samples import Samples
from tests.rooms.queue.conftest import Hand, available, capture, cascade, has_pgq, sample
from tests.servers import Database

VIEWS: dict[str, dict[str, Any]] = {"queue.events": {"queue": "orders"}}
ACTIONS: dict[str, dict[str, Any]] = {}


@contextmanager
def populate(database: Database) -> Iterator[Samples]:
    """The sample, a table that feeds a queue, an event to deliver again, a transaction that holds ticks."""
    if not has_pgq(database):
        yield Samples(views=VIEWS, actions=ACTIONS, without=frozenset({"pgq", "pgq_node"}))
        return
    sample(database)
    hand = Hand(database)
    database.execute("CREATE TABLE goods (id int PRIMARY KEY, name text)")
    capture(database, "goods", "jsontriga", "orders")
    hand.retry("orders", "slow")
    nodes = available(database, "pgq_node")
    if nodes:
        cascade(database)
    with psycopg.connect(database.dsn) as holding:
        holding.execute("SELECT pg_catalog.txid_current()")
        hand.tick("orders")
        yield Samples(views=VIEWS, actions=ACTIONS, without=frozenset() if nodes else frozenset({"pgq_node"}))
