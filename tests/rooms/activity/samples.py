"""A database in which something goes on, and parameters for the room's views and actions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from backend.core.values import Interval
from tests.registry.samples import Samples
from tests.rooms.activity.conftest import Crowd
from tests.servers import Database


@contextmanager
def populate(database: Database) -> Iterator[Samples]:
    """A chain of locks, a prepared transaction, a slot, and commands that report progress."""
    crowd = Crowd(database.dsn)
    try:
        yield _people(crowd, database)
    finally:
        crowd.leave()


def _people(crowd: Crowd, database: Database) -> Samples:
    crowd("CREATE TABLE big AS SELECT generate_series(1, 100000) AS i", "CREATE TABLE t (i int)")
    crowd("SELECT pg_create_logical_replication_slot(current_database(), 'test_decoding')")
    crowd("BEGIN", "INSERT INTO t VALUES (1)", "PREPARE TRANSACTION 'sample'")
    crowd("BEGIN", "INSERT INTO t VALUES (2)")
    crowd("BEGIN").waits("LOCK TABLE t")
    crowd().waits("TABLE t")
    crowd().waits("CREATE INDEX CONCURRENTLY ON t (i)")
    crowd("SET vacuum_cost_delay = 100", "SET vacuum_cost_limit = 1").starts("VACUUM big")
    sleeper = crowd().starts("SELECT pg_sleep(600)").pid
    return Samples(
        views={"activity.session_locks": {"pid": sleeper}},
        actions={
            "activity.cancel": {"pid": sleeper},
            "activity.terminate": {"database": database.name, "state": "idle in transaction"},
            "activity.terminate_idle": {"longer_than": Interval("0s")},
            "activity.commit_prepared": {"gid": "sample"},
            "activity.rollback_prepared": {"gid": "sample"},
        },
    )
