"""Databases with sets that pg_partman manages, where the server has it, and with one that nobody does."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from psycopg import sql

from tests.rooms.jobmon.conftest import Console, Consoles
from tests.servers import Database, Server

DAY = "date_trunc('day', now())"


def has_partman(database: Database) -> bool:
    """Whether the server can install pg_partman."""
    return bool(database.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'pg_partman'"))


def demand_partman(server: Server) -> None:
    """Skip where pg_partman is absent; Debian has it for its own server, and there it must be."""
    if has_partman(Database(server, "postgres")):
        return
    absent = f"PostgreSQL {server.major} here has no pg_partman"
    if os.environ.get("CI") and server.installation.bindir.is_relative_to("/usr/lib/postgresql"):
        pytest.fail(absent)
    pytest.skip(absent)


def install(database: Database, schema: str = "partman") -> None:
    """Install pg_partman in a schema of its own."""
    name = sql.Identifier(schema)
    database.execute(sql.SQL("CREATE SCHEMA {}").format(name))
    database.execute(sql.SQL("CREATE EXTENSION pg_partman SCHEMA {}").format(name))


def major(database: Database) -> int:
    """The major version of pg_partman."""
    [(version,)] = database.execute("SELECT extversion FROM pg_extension WHERE extname = 'pg_partman'")
    return int(version.split(".")[0])


def create_parent(database: Database, parent: str, control: str, interval: str, **more: Any) -> None:
    """Hand a table over to pg_partman, whichever version it is."""
    [(schema,)] = database.execute(
        "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'pg_partman'"
    )
    kind = "native" if major(database) < 5 else "range"
    given = {"p_parent_table": parent, "p_control": control, "p_type": kind, "p_interval": interval} | more
    arguments = sql.SQL(", ").join(
        sql.SQL("{} := {}").format(sql.Identifier(name), sql.Literal(value)) for name, value in given.items()
    )
    database.execute(
        sql.SQL("SELECT {}({})").format(sql.Identifier(schema.strip('"'), "create_parent"), arguments)
    )


def unmanaged(database: Database) -> None:
    """A set by day that nobody manages, with a gap and a row in its default partition."""
    database.execute("CREATE TABLE logs (at timestamptz NOT NULL, t text) PARTITION BY RANGE (at)")
    for name, first in (("a", -2), ("b", -1), ("d", 1)):
        database.execute(
            f"DO $$ BEGIN EXECUTE format('CREATE TABLE logs_{name} PARTITION OF logs"
            f" FOR VALUES FROM (%L) TO (%L)', {DAY} + interval '{first} days',"
            f" {DAY} + interval '{first + 1} days'); END $$"
        )
    database.execute("CREATE TABLE logs_default PARTITION OF logs DEFAULT")
    database.execute("INSERT INTO logs VALUES (now(), 'x'), (now() - interval '1 day', 'y')")


def managed(database: Database) -> None:
    """The extension and three sets: by day, by number, and one with retention."""
    install(database)
    for name in ("events", "old"):
        database.execute(f"CREATE TABLE {name} (at timestamptz NOT NULL, t text) PARTITION BY RANGE (at)")
    create_parent(database, "public.events", "at", "1 day")
    database.execute(
        "INSERT INTO events SELECT now() - n * interval '1 h', 'x' FROM generate_series(0, 50) n"
    )
    create_parent(
        database,
        "public.old",
        "at",
        "1 day",
        p_start_partition=str(database.execute("SELECT current_date - 6")[0][0]),
    )
    database.execute("INSERT INTO old SELECT now() - n * interval '1 day', 'x' FROM generate_series(0, 5) n")
    database.execute("UPDATE partman.part_config SET retention = '3 days' WHERE parent_table = 'public.old'")
    database.execute("CREATE TABLE numbers (id bigint NOT NULL PRIMARY KEY, t text) PARTITION BY RANGE (id)")
    create_parent(database, "public.numbers", "id", "1000")
    database.execute("INSERT INTO numbers SELECT n, 'x' FROM generate_series(1, 1500) n")


def gap(database: Database) -> None:
    """A managed set with a gap of two partitions."""
    database.execute("CREATE TABLE gappy (id bigint NOT NULL PRIMARY KEY) PARTITION BY RANGE (id)")
    create_parent(database, "public.gappy", "id", "10")
    for start in (20, 30):
        database.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(f"gappy_p{start}")))


def stale(database: Database) -> None:
    """What is left of a managed set whose table was dropped."""
    database.execute("CREATE TABLE dropped (id bigint NOT NULL PRIMARY KEY) PARTITION BY RANGE (id)")
    create_parent(database, "public.dropped", "id", "10")
    database.execute("DROP TABLE dropped CASCADE")


def everything(database: Database) -> None:
    """Managed sets beside one that is not."""
    managed(database)
    unmanaged(database)


@pytest.fixture
def partman(database_from: Callable[[str, Callable[[Database], None]], Database], server: Server) -> Database:
    """A fresh database with managed sets and one that is not; skipped where pg_partman is absent."""
    demand_partman(server)
    return database_from("partman_sample", everything)


@pytest.fixture
def logs(database: Database) -> Database:
    """A fresh database with one set that nobody manages."""
    unmanaged(database)
    return database


@pytest.fixture
async def consoles() -> AsyncIterator[Consoles]:
    """Opens consoles on connection strings, closed at the end of the test."""
    opener = Consoles()
    yield opener
    for each in opener.opened:
        await each.session.close()


@pytest.fixture
async def console(partman: Database, consoles: Consoles) -> Console:
    """A console of the superuser on the database with managed sets."""
    return await consoles(partman.dsn)
