"""A million rows out of a default partition: pg_partman's own procedure beside `partman.move_data`."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from measure.server import Server

DAYS = 50
TEMPLATE = "moves"
# The default partition lets nobody in while this is held.
ALONE = "AccessExclusiveLock"
PROCEDURE = "partition_data_proc"
SET_UP = (
    "CREATE SCHEMA partman",
    "CREATE EXTENSION pg_partman SCHEMA partman",
    "CREATE TABLE events (at timestamptz NOT NULL, id bigint NOT NULL, payload text) PARTITION BY RANGE (at)",
    "CREATE INDEX ON events (at)",
    "SELECT partman.create_parent(p_parent_table := 'public.events', p_control := 'at', p_type := {kind},"
    " p_interval := '1 day')",
    # From 150 to 100 days ago: no partition is so old.
    "INSERT INTO events SELECT date_trunc('day', now()) - interval '150 days'"
    " + n * (interval '{days} days' / {rows}), n, md5(n::text) FROM generate_series(0, {rows} - 1) AS n",
    "VACUUM ANALYZE events",
)


@dataclass(slots=True)
class Move:
    """One way of moving the rows: how long it took, and how long others had to wait.

    `locked` is for how long at a stretch the default partition was locked against everybody, as seen in
    pg_locks; `writes` and `reads` are what an insert of a row of today and a look at today's rows took, in
    seconds each, as another session met it.
    """

    rows: int
    seconds: float = 0.0
    locked: list[float] = field(default_factory=list)
    writes: list[float] = field(default_factory=list)
    reads: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Rows per second."""
        return self.rows / self.seconds


def moves(server: Server, pgtui: str, rows: int, times: int) -> dict[str, list[Move]] | None:
    """So many turns of each way; None where the server has no pg_partman."""
    if not server.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'pg_partman'"):
        return None
    _prepare(server, rows)
    ways: Mapping[str, Callable[[str], None]] = {PROCEDURE: _by_procedure, "pgtui": _by_pgtui(pgtui)}
    found: dict[str, list[Move]] = {name: [] for name in ways}
    for _ in range(times):
        for name, way in ways.items():
            found[name].append(_one(server, way, rows))
    return found


def _prepare(server: Server, rows: int) -> None:
    server.execute(f"CREATE DATABASE {TEMPLATE}")
    with psycopg.connect(server.cluster.dsn(TEMPLATE), autocommit=True) as connection:
        for statement in SET_UP[:2]:
            connection.execute(statement.encode())
        found = connection.execute(
            "SELECT extversion LIKE '4.%' FROM pg_extension WHERE extname = 'pg_partman'"
        ).fetchone()
        kind = "'native'" if found == (True,) else "'range'"
        for statement in SET_UP[2:]:
            connection.execute(statement.format(kind=kind, days=DAYS, rows=rows).encode())


def _one(server: Server, way: Callable[[str], None], rows: int) -> Move:
    """Move the rows of a fresh copy while others look on."""
    name = "move"
    server.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    dsn, found = server.cluster.dsn(name), Move(rows)
    with _watched(dsn, found):
        began = time.perf_counter()
        way(dsn)
        found.seconds = time.perf_counter() - began
    with psycopg.connect(dsn) as connection:
        left = connection.execute("SELECT count(*) FROM events_default").fetchone()
    if left != (0,):
        raise SystemExit(f"{left} rows were not moved")
    server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    return found


def _by_procedure(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CALL partman.partition_data_proc('public.events', p_wait := 0, p_quiet := true)")


def _by_pgtui(program: str) -> Callable[[str], None]:
    def run(dsn: str) -> None:
        words = ["run-action", "partman.move_data", "--parent", "public.events", "-t", dsn, "-o", "json"]
        done = subprocess.run([program, *words], capture_output=True, check=True)
        if json.loads(done.stdout)["status"] != "ok":
            raise SystemExit(done.stdout.decode())

    return run


@contextlib.contextmanager
def _watched(dsn: str, found: Move) -> Iterator[None]:
    over = threading.Event()
    watchers = [
        threading.Thread(target=watch, args=(dsn, found, over)) for watch in (_locks, _writer, _reader)
    ]
    for watcher in watchers:
        watcher.start()
    try:
        yield
    finally:
        over.set()
        for watcher in watchers:
            watcher.join()


def _locks(dsn: str, found: Move, over: threading.Event) -> None:
    """Note for how long the default partition is locked against everybody."""
    asked = sql.SQL(
        "SELECT l.pid, l.virtualtransaction FROM pg_locks AS l"
        " WHERE l.relation = 'public.events_default'::regclass AND l.granted AND l.mode = {}"
    ).format(sql.Literal(ALONE))
    since: tuple[object, float] | None = None
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=1) as connection:
        while not over.is_set():
            held, now = connection.execute(asked).fetchone(), time.perf_counter()
            if since and held != since[0]:
                found.locked.append(now - since[1])
                since = None
            if held and not since:
                since = held, now
            time.sleep(0.002)


def _writer(dsn: str, found: Move, over: threading.Event) -> None:
    _again(dsn, "INSERT INTO events VALUES (now(), 0, 'new')", found.writes, over)


def _reader(dsn: str, found: Move, over: threading.Event) -> None:
    _again(dsn, "SELECT count(*) FROM events WHERE at > now() - interval '1 second'", found.reads, over)


def _again(dsn: str, statement: str, took: list[float], over: threading.Event) -> None:
    """Run a statement every few milliseconds and note what it takes."""
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as connection:
        while not over.is_set():
            began = time.perf_counter()
            connection.execute(statement.encode())
            took.append(time.perf_counter() - began)
            time.sleep(0.005)
