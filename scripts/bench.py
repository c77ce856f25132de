"""Measures pgtui against pg_activity and psql on a private server; writes docs/performance.md.

QUICK=1 in the environment measures less, to try it, and writes nothing but to the terminal.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from measure import events, life, moves, queues, report, server, trials
from measure.processes import Once
from measure.programs import ROOT, Console, consoles
from measure.terminal import Program

PAGE = ROOT / "docs" / "performance.md"
CROWD = Path(__file__).parent / "measure" / "crowd.py"
CONNECT_ALONE = "import psycopg, sys; psycopg.connect(sys.argv[1], autocommit=True).execute(sys.argv[2])"


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured."""

    starts: int
    seconds: float
    keys: int
    processes: int
    rows: int
    moves: int


FULL, QUICK = Extent(15, 60, 40, 15, 1_000_000, 7), Extent(3, 15, 10, 3, 100_000, 1)


def main() -> int:
    """Measure everything and write it down."""
    quick = os.environ.get("QUICK", "") not in ("", "0")
    extent = QUICK if quick else FULL
    # Ended from outside, it still takes its server along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    _say("making ready")
    candidates = consoles()
    with server.running() as running:
        found = measure(running, candidates, extent)
        page = report.page(found, running.version, candidates)
    print(page)
    if not quick:
        report.write(PAGE, page)
    return 0


def measure(running: server.Server, candidates: list[Console], extent: Extent) -> report.Found:
    """All the measurements, one after the other."""
    with running.busy():
        _say("starts under load")
        starts = trials.starts(running, candidates, extent.starts)
        _say("a minute under load")
        load = trials.steady(running, candidates, extent.seconds, idle=False)
        _say("keys under load")
        keys = trials.keys(running, candidates, extent.keys)
    idle: dict[str, trials.Steady] = {}
    for console in candidates:
        _say(f"an idle minute of {console.name}")
        idle |= trials.steady(running, [console], extent.seconds, idle=True)
    _say("10,000 rows")
    crowd = crowded(candidates[-1], extent.keys)
    _say("headless")
    processes = headless(running, candidates[-1], extent.processes)
    _say("events into a queue")
    queued = events.inserted(running, candidates[-1], quick=extent is QUICK)
    _say("200 queues")
    crowded_queues = queues.rows(running, candidates[-1], extent.seconds, extent.keys)
    _say("rows out of a default partition")
    program = str(candidates[-1].python.with_name("pgtui"))
    moved = moves.moves(running, program, extent.rows, extent.moves)
    _say("starting and stopping servers")
    lives = life.rows(candidates[-1], 1 if extent is QUICK else life.TIMES)
    return report.Found(starts, load, idle, keys, crowd, processes, queued, crowded_queues, moved, lives)


def crowded(console: Console, times: int) -> trials.Keys:
    """Keys in a table of 10,000 rows: down, and a page down every now and then."""
    program = Program([str(console.python), str(CROWD)], console.environment)
    program.shows(r"SELECT \d+")
    program.watch(3)
    found = trials.Keys()
    for attempt in range(times):
        trials.press(program, "\x1b[6~" if attempt % 4 == 3 else "\x1b[B", found)
    program.end(console.quit)
    return found


def headless(running: server.Server, console: Console, times: int) -> dict[str, list[Once]]:
    """One statement to cancel a session's statement, as a whole process."""
    dsn = running.dsn("dba")
    psql = str(running.cluster.installation.program("psql"))
    with running.victim() as pid:
        statement = f"SELECT pg_cancel_backend({pid})"
        pgtui = [str(console.python.with_name("pgtui")), "run-action", "activity.cancel"]
        commands = {
            "psql": [psql, "-XAtqc", statement, dsn],
            "psycopg": [str(console.python), "-c", CONNECT_ALONE, dsn, statement],
            "pgtui": [*pgtui, "--pid", str(pid), "--target", dsn, "--output", "json"],
        }
        return trials.headless(commands, console, times)


def _say(what: str) -> None:
    print(f"bench: {what}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
