"""Databases with PgQ, where the server has it: queues, and a hand that ticks, consumes and maintains."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.rooms.jobmon.conftest import Console, Consoles
from tests.servers import Database, Server

# Names that break whoever builds SQL, patterns, markup or terminals from them.
ODD = 'it\'s "50%" [red]\\odd\x1b[2J'

_AT_ONCE = (
    "UPDATE pgq.queue SET queue_ticker_max_lag = '0 s', queue_ticker_idle_period = '0 s'"
    " WHERE queue_name = %s"
)
_AS_USUAL = (
    "UPDATE pgq.queue SET queue_ticker_max_lag = '3 s', queue_ticker_idle_period = '1 min'"
    " WHERE queue_name = %s"
)


def available(database: Database, extension: str) -> bool:
    """Whether the server can install an extension."""
    return bool(database.execute("SELECT 1 FROM pg_available_extensions WHERE name = %s", params=[extension]))


def has_pgq(database: Database) -> bool:
    """Whether the server can install PgQ."""
    return available(database, "pgq")


def demand_pgq(server: Server, extension: str = "pgq") -> None:
    """Skip where PgQ is absent; Debian has it for its own server, and there it must be."""
    if available(Database(server, "postgres"), extension):
        return
    absent = f"PostgreSQL {server.major} here has no {extension}"
    if os.environ.get("CI") and server.installation.bindir.is_relative_to("/usr/lib/postgresql"):
        pytest.fail(absent)
    pytest.skip(absent)


@dataclass(frozen=True, slots=True)
class Hand:
    """Works with PgQ as producers, consumers and the ticker do; each call is a transaction of its own."""

    database: Database

    def value(self, statement: str, *params: Any) -> Any:
        """The first value of the answer."""
        return self.database.execute(statement, params)[0][0]

    def create(self, *queues: str) -> None:
        """Create queues with the settings that PgQ gives them."""
        for queue in queues:
            self.value("SELECT pgq.create_queue(%s)", queue)

    def configure(self, queue: str, **settings: str) -> None:
        """Set what `pgq.set_queue_config` can set."""
        for name, value in settings.items():
            self.value("SELECT pgq.set_queue_config(%s, %s, %s)", queue, name, value)

    def insert(self, queue: str, *events: tuple[str | None, str | None], extra1: str | None = None) -> None:
        """Insert events of these types and data, in one transaction."""
        with psycopg.connect(self.database.dsn) as connection:
            for kind, data in events:
                connection.execute(
                    "SELECT pgq.insert_event(%s, %s, %s, %s, NULL, NULL, NULL)", [queue, kind, data, extra1]
                )

    def tick(self, queue: str) -> int:
        """Tick now, whether or not a tick is due, without moving the event sequence; the tick's number."""
        with psycopg.connect(self.database.dsn) as connection:
            connection.execute(_AT_ONCE, [queue])
            row = connection.execute("SELECT pgq.ticker(%s)", [queue]).fetchone()
            connection.execute(_AS_USUAL, [queue])
        assert row is not None
        assert row[0] is not None, "the ticker found nothing to do"
        return int(row[0])

    def subscribe(self, queue: str, *consumers: str) -> None:
        """Register consumers at the last tick."""
        for consumer in consumers:
            self.value("SELECT pgq.register_consumer(%s, %s)", queue, consumer)

    def share(self, queue: str, main: str, *subconsumers: str) -> None:
        """Make registered consumers subconsumers of `main`, idle, as pgq_coop registers them."""
        for each in subconsumers:
            self.database.execute(
                "UPDATE pgq.subscription SET sub_last_tick = NULL, sub_id = (SELECT s.sub_id"
                "  FROM pgq.subscription AS s JOIN pgq.consumer AS c ON c.co_id = s.sub_consumer"
                " WHERE s.sub_queue = subscription.sub_queue AND c.co_name = %s)"
                " WHERE sub_queue = (SELECT queue_id FROM pgq.queue WHERE queue_name = %s)"
                "   AND sub_consumer = (SELECT co_id FROM pgq.consumer WHERE co_name = %s)",
                [main, queue, each],
            )

    def open_batch(self, queue: str, consumer: str) -> int | None:
        """Take the next batch, or the one that is open; None where there is none."""
        batch: int | None = self.value("SELECT pgq.next_batch(%s, %s)", queue, consumer)
        return batch

    def events(self, batch: int) -> list[tuple[Any, ...]]:
        """What the consumer is given: id, type and data of each event."""
        return self.database.execute("SELECT ev_id, ev_type, ev_data FROM pgq.get_batch_events(%s)", [batch])

    def finish(self, batch: int) -> None:
        """Finish a batch."""
        assert self.value("SELECT pgq.finish_batch(%s)", batch) == 1

    def consume(self, queue: str, consumer: str) -> list[tuple[Any, ...]]:
        """Take and finish every batch there is; all events."""
        found: list[tuple[Any, ...]] = []
        while (batch := self.open_batch(queue, consumer)) is not None:
            found += self.events(batch)
            self.finish(batch)
        return found

    def retry(self, queue: str, consumer: str, seconds: int = 0) -> int:
        """Put every event of the open batch on the retry queue; how many."""
        batch = self.open_batch(queue, consumer)
        stored: int = self.value("SELECT pgq.batch_retry(%s, %s)", batch, seconds)
        return stored

    def maintain(self, queue: str) -> None:
        """Rotate the queue if that is possible, as the daemon does."""
        self.value("SELECT pgq.maint_rotate_tables_step1(%s)", queue)
        self.value("SELECT pgq.maint_rotate_tables_step2()")

    def age_rotation(self, queue: str, age: str) -> None:
        """Let the last rotation be that long ago."""
        self.database.execute(
            "UPDATE pgq.queue SET queue_switch_time = now() - %s::interval WHERE queue_name = %s",
            [age, queue],
        )

    def age_ticks(self, queue: str, age: str) -> None:
        """Let every tick of the queue be that much older."""
        self.database.execute(
            "UPDATE pgq.tick SET tick_time = tick_time - %s::interval"
            " WHERE tick_queue = (SELECT queue_id FROM pgq.queue WHERE queue_name = %s)",
            [age, queue],
        )

    def age_consumer(self, queue: str, consumer: str, age: str) -> None:
        """Let a consumer have been seen that long ago."""
        self.database.execute(
            "UPDATE pgq.subscription SET sub_active = now() - %s::interval"
            " WHERE sub_queue = (SELECT queue_id FROM pgq.queue WHERE queue_name = %s)"
            "   AND sub_consumer = (SELECT co_id FROM pgq.consumer WHERE co_name = %s)",
            [age, queue, consumer],
        )

    def event_table(self, queue: str, number: int) -> sql.Identifier:
        """One of the tables that events are in."""
        prefix = self.value("SELECT queue_data_pfx FROM pgq.queue WHERE queue_name = %s", queue)
        return sql.Identifier(*f"{prefix}_{number}".split("."))

    def current_table(self, queue: str) -> int:
        """The number of the table that is written to."""
        number: int = self.value("SELECT queue_cur_table FROM pgq.queue WHERE queue_name = %s", queue)
        return number


def install(database: Database) -> None:
    """Install PgQ."""
    database.execute("CREATE EXTENSION pgq")


def sample(database: Database) -> None:
    """A queue `orders` with consumers `good` and `slow`, one event delivered to `good` alone; and `idle`."""
    install(database)
    hand = Hand(database)
    hand.create("orders", "idle")
    hand.subscribe("orders", "good", "slow")
    hand.subscribe("idle", "good")
    hand.insert("orders", ("note", "first"))
    hand.tick("orders")
    hand.consume("orders", "good")


def cascade(database: Database) -> None:
    """Root of the cascade `chain`, which has a subscriber elsewhere, and a branch of the cascade `far`."""
    database.execute("CREATE EXTENSION pgq_node")
    for queue, node in (("chain", "n1"), ("chain", "n2"), ("far", "n1"), ("far", "n2")):
        database.execute(
            "SELECT pgq_node.register_location(%s, %s, %s, false)",
            params=[queue, node, f"host={node} dbname=shop password=hush"],
        )
    database.execute("SELECT pgq_node.create_node('chain', 'root', 'n1', 'chain_worker', NULL, NULL, NULL)")
    database.execute("SELECT pgq_node.register_subscriber('chain', 'n2', 'n2_worker', NULL)")
    database.execute("SELECT pgq_node.create_node('far', 'branch', 'n2', 'far_worker', 'n1', 1, NULL)")


def capture(database: Database, table: str, function: str, *arguments: str) -> None:
    """Let changes of a table with a key `id` be events, by one of PgQ's triggers."""
    database.execute(
        sql.SQL(
            "CREATE TRIGGER {} AFTER INSERT OR UPDATE OR DELETE ON {} FOR EACH ROW EXECUTE FUNCTION {}({})"
        ).format(
            sql.Identifier(f"by {function}"),
            sql.Identifier(table),
            sql.Identifier("pgq", function),
            sql.SQL(", ").join(map(sql.Literal, arguments)),
        )
    )


@pytest.fixture
def pgq(database_from: Callable[[str, Callable[[Database], None]], Database], server: Server) -> Database:
    """A fresh database with the sample; skipped where PgQ is absent."""
    demand_pgq(server)
    database = database_from("queue_sample", sample)
    # As if the sample had been made just now, for the template is as old as the test run.
    database.execute(
        "UPDATE pgq.tick SET tick_time = tick_time + (now() - (SELECT max(tick_time) FROM pgq.tick))"
    )
    database.execute("UPDATE pgq.subscription SET sub_active = now()")
    database.execute("UPDATE pgq.queue SET queue_switch_time = now()")
    return database


@pytest.fixture
def bare(database_from: Callable[[str, Callable[[Database], None]], Database], server: Server) -> Database:
    """A fresh database with PgQ and no queue."""
    demand_pgq(server)
    return database_from("queue_bare", install)


@pytest.fixture
def hand(pgq: Database) -> Hand:
    """Works on the database with the sample."""
    return Hand(pgq)


@pytest.fixture
async def consoles() -> AsyncIterator[Consoles]:
    """Opens consoles on connection strings, closed at the end of the test."""
    opener = Consoles()
    yield opener
    for each in opener.opened:
        await each.session.close()


@pytest.fixture
async def console(pgq: Database, consoles: Consoles) -> Console:
    """A console of the superuser on the database with the sample."""
    return await consoles(pgq.dsn)


@pytest.fixture
def role_in(pgq: Database) -> Iterator[Callable[..., str]]:
    """Makes a role that is a member of these, `role_in("pgq_reader")`; the answer is how it connects."""
    made: list[sql.Identifier] = []

    def make(*member_of: str) -> str:
        name = f"{pgq.name} role {len(made)}"
        made.append(sql.Identifier(name))
        pgq.execute(sql.SQL("CREATE ROLE {} LOGIN").format(made[-1]))
        for role in member_of:
            pgq.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(role), made[-1]))
        return pgq.server.dsn(pgq.name, user=name)

    yield make
    for each in made:
        pgq.execute(sql.SQL("DROP OWNED BY {}").format(each))
        pgq.execute(sql.SQL("DROP ROLE {}").format(each))
