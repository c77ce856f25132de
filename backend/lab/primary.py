"""The lab's primary: a private server with a shop in it, and with logged jobs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from backend.core.errors import Missing
from backend.jobmon.api import dblink_statements, install_statements
from backend.jobmon.api.connection import connection_statement
from backend.lab.cluster import SUPERUSER, PrivateCluster, free_port
from backend.lab.partitions import make_partitions
from backend.lab.parts import Part, status_of
from backend.lab.place import Place
from backend.lab.queues import make_queues
from backend.lab.servers import Installation, find_installations, preferred
from backend.lab.shop import DATABASE, ROLES, SHOP, THRESHOLDS

NAME = "primary"

# A sandbox: nothing in it is worth waiting for a disk. The rest gives every room something to show.
SETTINGS = {
    "fsync": "off",
    "shared_buffers": "64MB",
    "max_connections": "300",
    "max_prepared_transactions": "10",
    "wal_level": "logical",
    "max_wal_size": "256MB",
    "track_io_timing": "on",
    "track_functions": "all",
    "autovacuum_naptime": "20s",
    "log_lock_waits": "on",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}
STATEMENTS_LIBRARY = "pg_stat_statements"


@dataclass(frozen=True, slots=True)
class Primary:
    """Makes the primary."""

    def up(self, place: Place) -> None:
        """Create, start and fill the server, or whatever of that is missing."""
        place.remember(NAME, {"wanted": True})
        cluster = _existing(place)
        if cluster is None or not cluster.running():
            cluster = _with_programs(place)
            if not cluster.data.exists():
                cluster.create()
            cluster.start()
        _fill(cluster)

    def down(self, place: Place) -> None:
        """Stop the server; its data stays."""
        place.remember(NAME, {"wanted": False})
        if (cluster := _existing(place)) is not None:
            cluster.end()
            place.forget_sockets(cluster.socket_dir)

    def look(self, place: Place) -> Part:
        """Whether the server runs, and how to connect to its database."""
        cluster = _existing(place)
        wanted = bool(place.memory(NAME).get("wanted"))
        if cluster is None:
            return Part(NAME, "postgres", status_of(alive=False, wanted=wanted))
        pid = cluster.pid()
        status = status_of(alive=pid is not None, wanted=wanted)
        return Part(NAME, "postgres", status, cluster.dsn(DATABASE), pid)


def dsn(place: Place) -> str:
    """How the lab's superuser connects to the shop."""
    cluster = _existing(place)
    if cluster is None:
        raise Missing(f"there is no lab in {place.folder}", hint="pgtui demo up makes it")
    return cluster.dsn(DATABASE)


def _existing(place: Place) -> PrivateCluster | None:
    known = place.memory(NAME)
    if "port" not in known:
        return None
    bindir = Path(known["bindir"])
    installation = Installation(known["major"], known["version"], bindir, known["origin"])
    return _cluster(place, installation, known["port"], Path(known["socket_folder"]))


def _cluster(place: Place, installation: Installation, port: int, sockets: Path) -> PrivateCluster:
    settings = SETTINGS
    if _has_library(installation, STATEMENTS_LIBRARY):
        settings = SETTINGS | {"shared_preload_libraries": STATEMENTS_LIBRARY}
    folder = place.folder / NAME
    return PrivateCluster(folder, installation, port, sockets, settings, account=place.account)


def _with_programs(place: Place) -> PrivateCluster:
    installation = _choose(place)
    if not place.account.reaches(installation.bindir):
        installation = installation.relocated(place.folder)
    port = place.memory(NAME).get("port") or free_port()
    sockets = place.socket_folder(NAME)
    place.remember(NAME, {
        "port": port, "socket_folder": str(sockets), "major": installation.major,
        "version": installation.version, "bindir": str(installation.bindir), "origin": installation.origin,
    })  # fmt: skip
    return _cluster(place, installation, port, sockets)


def _choose(place: Place) -> Installation:
    found = find_installations()
    data = place.folder / NAME / "data"
    made_by = major_of(data)
    for each in found:
        if each.major == made_by:
            return each
    if made_by is not None:
        # Its programs were removed. The lab keeps nothing of value: it starts anew on what is there.
        shutil.rmtree(data)
    chosen = preferred(found)
    if chosen is None:
        raise Missing(
            "no PostgreSQL server programs were found on this machine",
            hint="install the package postgresql, or pgtui-console[embedded] into pgtui's environment",
        )
    return chosen


def major_of(data: Path) -> int | None:
    """The major version that made a data folder; None where there is none."""
    try:
        return int((data / "PG_VERSION").read_text())
    except (FileNotFoundError, ValueError):
        return None


def _has_library(installation: Installation, name: str) -> bool:
    prefix = installation.bindir.parent
    folders = (prefix / "lib", prefix / "lib" / "postgresql", prefix / "lib64" / "pgsql")
    return any((folder / name).with_suffix(end).exists() for folder in folders for end in (".so", ".dylib"))


def _fill(cluster: PrivateCluster) -> None:
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        for role in ROLES:
            if not _exists(connection, "SELECT FROM pg_roles WHERE rolname = %s", role):
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
        if not _exists(connection, "SELECT FROM pg_database WHERE datname = %s", DATABASE):
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
    with psycopg.connect(cluster.dsn(DATABASE)) as connection:
        if "shared_preload_libraries" in cluster.settings:
            connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        # Made in one transaction, so there is all of it or nothing; making it again would wait for locks.
        if not _exists(connection, "SELECT FROM pg_class WHERE oid = to_regclass(%s)", "public.events"):
            for table in SHOP:
                connection.execute(table)
        make_partitions(connection)
        make_queues(connection)
        for statement in _logging():
            connection.execute(statement)


def _exists(connection: psycopg.Connection, question: str, name: str) -> bool:
    return connection.execute(question.encode(), [name]).fetchone() is not None


def _logging() -> Iterator[sql.Composed | sql.SQL]:
    yield from dblink_statements("dblink")
    yield from install_statements("jobmon", "dblink")
    yield connection_statement("jobmon", username=SUPERUSER)
    for role in ROLES:
        yield sql.SQL("GRANT USAGE ON SCHEMA jobmon TO {}").format(sql.Identifier(role))
    yield from map(sql.SQL, THRESHOLDS)
