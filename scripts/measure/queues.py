"""The room `queue` on 200 queues with 1,000 consumers: its statements, its CPU, and a key.

`PYTHONPATH=scripts:. python -m measure.queues` measures it alone and prints it.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import psycopg
from psycopg.conninfo import make_conninfo

from measure import server, trials
from measure.processes import cpu_seconds
from measure.programs import Console, consoles
from measure.report import Row
from measure.server import ROLES, Server
from measure.terminal import Program

QUEUES, CONSUMERS = 200, 5
DATABASE = "queues"
ROOM = "4"
WARM = 15.0
# Each queue has ticked for most of an hour, and its consumers are up to six ticks behind.
SET_UP = (
    "CREATE EXTENSION pgq",
    "SELECT count(pgq.create_queue('queue ' || n)) FROM generate_series(1, {queues}) AS n",
    "SELECT count(pgq.register_consumer('queue ' || n, 'consumer ' || c))"
    "  FROM generate_series(1, {queues}) AS n, generate_series(1, {consumers}) AS c",
    "INSERT INTO pgq.tick (tick_queue, tick_id, tick_event_seq, tick_time)"
    " SELECT q, t, t, now() - (1000 - t) * interval '3 seconds'"
    "   FROM generate_series(1, {queues}) AS q, generate_series(2, 1000) AS t",
    "UPDATE pgq.subscription SET sub_last_tick = 1000 - sub_id % 7",
    "GRANT pgq_admin TO by_pgtui",
    "ANALYZE",
)


@dataclass(frozen=True, slots=True)
class Found:
    """A minute of the room, and keys in it; times are in milliseconds, CPU in seconds a minute."""

    statements: float
    server: float
    cpu: float
    keys: trials.Keys


def rows(running: Server, console: Console, seconds: float, times: int) -> list[Row]:
    """What is found, as lines of the report's table; none where the server has no PgQ."""
    if not running.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'pgq'"):
        return []
    return _told(trial(running, console, seconds, times))


def trial(running: Server, console: Console, seconds: float, times: int) -> Found:
    """Open the room, leave it alone for so long, then move the cursor."""
    fill(running)
    dsn = make_conninfo(running.dsn(ROLES["pgtui"]), dbname=DATABASE)
    program = Program([str(console.python.with_name("pgtui")), dsn], console.environment)
    program.shows("Activity|activity")
    program.watch(2)
    program.press(ROOM)
    program.shows(r"queue \d+ ")
    program.watch(min(WARM, seconds))
    running.forget_costs()
    cpu, began = cpu_seconds(program.pid), time.perf_counter()
    program.watch(seconds)
    passed = time.perf_counter() - began
    used, cost = cpu_seconds(program.pid) - cpu, running.cost("pgtui")
    keys = trials.Keys()
    for attempt in range(times):
        trials.press(program, "\x1b[6~" if attempt % 4 == 3 else "\x1b[B", keys)
    program.end(console.quit)
    refreshes = passed / trials.INTERVAL
    return Found(cost.statements / refreshes, cost.milliseconds / refreshes, used * 60 / passed, keys)


def fill(running: Server) -> None:
    """Make the queues in a database of their own."""
    running.execute(f"CREATE DATABASE {DATABASE}")
    with psycopg.connect(running.cluster.dsn(DATABASE), autocommit=True) as connection:
        for statement in SET_UP:
            connection.execute(statement.format(queues=QUEUES, consumers=CONSUMERS).encode())


def _told(found: Found) -> list[Row]:
    what = f"{QUEUES} queues, {QUEUES * CONSUMERS:,} consumers"
    keys = found.keys.last
    return [
        Row(
            f"{what}: statements; server time a refresh",
            "-",
            f"{found.statements:.1f}; {found.server:.1f} ms",
        ),
        Row(f"{what}: CPU a minute", "-", f"{found.cpu:.2f} s"),
        Row(
            f"{what}: key to settled screen, median; p90",
            "-",
            f"{trials.median(keys):.1f}; {trials.p90(keys):.1f} ms",
        ),
    ]


def main() -> int:
    """Measure it alone."""
    console = consoles()[-1]
    with server.running() as running:
        print(*rows(running, console, 60, 40), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
