"""Events from a file into a queue: pgtui's COPY beside pipelined calls of `pgq.insert_event`."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from measure.processes import whole
from measure.programs import Console
from measure.server import Server

DATABASE = "events"
EVENTS = 200_000
ROUNDS = 5
# What logutriga writes of a narrow row: about 110 bytes of data.
DATA = (
    "id={}&name=O%27Brien+%26+co&flag=t&created=2026-01-02+03%3A04%3A05&amount=12.50"
    "&note=a+note+of+some+length&nn"
)


@dataclass(frozen=True, slots=True)
class Inserted:
    """Events a second, medians; pgtui's as a whole process, with its start."""

    pipelined: float
    pgtui: float
    events: int


def inserted(server: Server, console: Console, quick: bool) -> Inserted | None:
    """Both in turn, each time into an empty queue; None where the server has no PgQ."""
    if not server.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'pgq'"):
        return None
    events, rounds = (EVENTS // 10, 2) if quick else (EVENTS, ROUNDS)
    server.execute(f"CREATE DATABASE {DATABASE}")
    dsn = server.cluster.dsn(DATABASE)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION pgq")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "events.jsonl"
        _write(file, events)
        pgtui = [str(console.python.with_name("pgtui")), "run-action", "queue.insert", "--queue", "bulk"]
        command = [*pgtui, "--file", str(file), "--target", dsn, "--output", "json"]
        pipelined, by_pgtui = list[float](), list[float]()
        for _ in range(rounds):
            pipelined.append(_timed(dsn, events, lambda: _pipelined(dsn, file)))
            by_pgtui.append(_timed(dsn, events, lambda: whole(command, console.environment)))
    return Inserted(events / statistics.median(pipelined), events / statistics.median(by_pgtui), events)


def _write(file: Path, events: int) -> None:
    with file.open("w") as lines:
        for number in range(events):
            event = {"ev_type": "U:id", "ev_data": DATA.format(number), "ev_extra1": "public.t1"}
            lines.write(json.dumps(event) + "\n")


def _timed(dsn: str, events: int, insert: Callable[[], object]) -> float:
    """Seconds to insert into a queue of its own, after which all events are there."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SELECT pgq.create_queue('bulk')")
        began = time.perf_counter()
        insert()
        seconds = time.perf_counter() - began
        row = connection.execute("SELECT queue_data_pfx FROM pgq.queue").fetchone()
        [(count,)] = _count(connection, row[0] if row else "")
        connection.execute("SELECT pgq.drop_queue('bulk')")
        connection.execute("CHECKPOINT")
    if count != events:
        raise SystemExit(f"{events} events were inserted, and {count} are there")
    return seconds


def _count(connection: psycopg.Connection[tuple[int, ...]], table: str) -> Sequence[tuple[int, ...]]:
    asked = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(*table.split(".")))
    return connection.execute(asked).fetchall()


def _pipelined(dsn: str, file: Path) -> None:
    """As a careful script does it: one transaction, a pipeline, prepared statements."""
    call = "SELECT pgq.insert_event('bulk', %(ev_type)s, %(ev_data)s, %(ev_extra1)s, NULL, NULL, NULL)"
    with psycopg.connect(dsn) as connection, connection.pipeline(), file.open() as lines:
        for line in lines:
            connection.execute(call, json.loads(line))
