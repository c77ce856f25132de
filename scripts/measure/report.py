"""What was measured, as a page."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from measure.events import Inserted
from measure.moves import PROCEDURE, Move
from measure.processes import Once
from measure.programs import Console
from measure.trials import Keys, Start, Steady, median, p90

BEGIN, END = "<!-- measured: written by make bench -->\n", "<!-- end of what was measured -->\n"


@dataclass(frozen=True, slots=True)
class Found:
    """All measurements, by console."""

    starts: dict[str, Start]
    load: dict[str, Steady]
    idle: dict[str, Steady]
    keys: dict[str, Keys]
    crowd: Keys
    headless: dict[str, list[Once]]
    events: Inserted | None
    queues: Sequence[Row]
    moves: dict[str, list[Move]] | None
    lives: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table; `reached` when the number must not exceed something."""

    what: str
    anchor: str
    ours: str
    must: str = ""
    reached: bool | None = None

    def __str__(self) -> str:
        verdict = {None: "", True: "yes", False: "**no**"}[self.reached]
        return f"| {self.what} | {self.anchor} | {self.ours} | {self.must} | {verdict} |"


def page(found: Found, server: str, consoles: Sequence[Console]) -> str:
    """The table and the machine."""
    head = ["| what | pg_activity | pgtui | must reach | reached |", "|---|---|---|---|---|"]
    lines = [*_machine(server), "", *head, *map(str, _rows(found)), ""]
    return "\n".join(lines)


def write(path: Path, measured: str) -> None:
    """Put the measurements where the page has the last ones; what is written around them stays."""
    text = path.read_text() if path.exists() else f"# Performance\n\n{BEGIN}{END}"
    before, _, rest = text.partition(BEGIN)
    path.write_text(f"{before}{BEGIN}\n{measured}\n{END}{rest.partition(END)[2]}")


def _rows(found: Found) -> list[Row]:
    return [
        *_start_rows(found.starts),
        *_steady_rows(found.load, found.idle),
        *_key_rows(found.keys, found.crowd),
        _quit_row(found.starts),
        *_headless_rows(found.headless),
        *_event_rows(found.events),
        *found.queues,
        *_move_rows(found.moves),
        *found.lives,
    ]


def _start_rows(starts: dict[str, Start]) -> list[Row]:
    anchor, ours = starts["pg_activity"], starts["pgtui"]
    ratio = median(ours.wall) / median(anchor.wall)
    cpu = median(ours.cpu) / median(anchor.cpu)
    return [
        Row(
            "from Enter to live rows, median",
            f"{median(anchor.wall):.0f} ms",
            f"{median(ours.wall):.0f} ms ({ratio:.2f}×)",
            "1.3×",
            ratio <= 1.3,
        ),
        Row(
            "CPU until then, median",
            f"{median(anchor.cpu):.0f} ms",
            f"{median(ours.cpu):.0f} ms ({cpu:.2f}×)",
        ),
    ]


def _steady_rows(load: dict[str, Steady], idle: dict[str, Steady]) -> list[Row]:
    anchor, ours = load["pg_activity"], load["pgtui"]
    quiet, our_quiet = idle["pg_activity"], idle["pgtui"]
    return [
        _less("CPU a minute, 200 sessions", anchor.cpu, ours.cpu, "s", anchor.cpu, 2),
        _less("CPU a minute, idle", quiet.cpu, our_quiet.cpu, "s", 0.15, 2),
        _less("statements a refresh", _statements(anchor), _statements(ours), "", 2),
        _less("server time a refresh", _server_ms(anchor), _server_ms(ours), "ms", 2),
        _less("server time a refresh, idle", _server_ms(quiet), _server_ms(our_quiet), "ms"),
        _less(
            "to the terminal a minute, 200 sessions",
            anchor.kilobytes,
            ours.kilobytes,
            "kB",
            anchor.kilobytes,
            0,
        ),
        _less("to the terminal a refresh, idle", _per_refresh(quiet), _per_refresh(our_quiet), "kB"),
        _less("memory, peak", anchor.megabytes, ours.megabytes, "MB", digits=0),
    ]


def _less(
    what: str, anchor: float, ours: float, unit: str, limit: float | None = None, digits: int = 1
) -> Row:
    must = "less" if limit == anchor else "" if limit is None else f"{limit:g} {unit}".strip()
    reached = None if limit is None else ours < limit if limit == anchor else ours <= limit
    theirs, own = (f"{value:.{digits}f} {unit}".strip() for value in (anchor, ours))
    return Row(what, theirs, own, must, reached)


def _statements(used: Steady) -> float:
    return used.cost.statements / used.refreshes


def _server_ms(used: Steady) -> float:
    return used.cost.milliseconds / used.refreshes


def _per_refresh(used: Steady) -> float:
    return used.kilobytes / 30


def _key_rows(keys: dict[str, Keys], crowd: Keys) -> list[Row]:
    anchor, ours = keys["pg_activity"], keys["pgtui"]
    return [
        _less(
            "key to settled screen, median", median(anchor.last), median(ours.last), "ms", median(anchor.last)
        ),
        _less("key to settled screen, p90", p90(anchor.last), p90(ours.last), "ms", p90(anchor.last)),
        Row("key to first change, median", f"{median(anchor.first):.1f} ms", f"{median(ours.first):.1f} ms"),
        Row(
            "key to settled screen, 10,000 rows: median; p90",
            "-",
            f"{median(crowd.last):.1f}; {p90(crowd.last):.1f} ms",
        ),
    ]


def _quit_row(starts: dict[str, Start]) -> Row:
    anchor, ours = median(starts["pg_activity"].quit), median(starts["pgtui"].quit)
    return _less("quit", anchor, ours, "ms", 150, 0)


def _headless_rows(runs: dict[str, list[Once]]) -> list[Row]:
    cpu = {name: median([once.cpu_ms for once in each]) for name, each in runs.items()}
    wall = {name: median([once.wall_ms for once in each]) for name, each in runs.items()}
    others = "psql {psql:.0f}, psycopg alone {psycopg:.0f} ms"
    ratio = cpu["pgtui"] / cpu["psycopg"]
    return [
        Row(
            "headless one-statement action, CPU of the whole process",
            others.format(**cpu),
            f"{cpu['pgtui']:.0f} ms ({ratio:.2f}× psycopg alone)",
            "2× psycopg alone",
            ratio <= 2,
        ),
        Row("the same, wall time", others.format(**wall), f"{wall['pgtui']:.0f} ms"),
    ]


def _event_rows(found: Inserted | None) -> list[Row]:
    if found is None:
        return []
    ratio = found.pgtui / found.pipelined
    return [
        Row(
            f"{found.events:,} events from a file into a queue, a second, whole process",
            f"`pgq.insert_event` pipelined {found.pipelined:,.0f}",
            f"{found.pgtui:,.0f} ({ratio:.1f}×)",
            "3×",
            ratio >= 3,
        )
    ]


def _move_rows(moves: dict[str, list[Move]] | None) -> list[Row]:
    if moves is None:
        return [Row("rows out of a default partition", "-", "this server has no pg_partman")]
    theirs, ours = moves[PROCEDURE], moves["pgtui"]
    best, own = (max(turn.rate for turn in turns) for turns in (theirs, ours))
    return [
        Row(
            f"{ours[0].rows:,} rows out of a default partition, best of {len(ours)}",
            f"{PROCEDURE} {best:,.0f} rows/s",
            f"{own:,.0f} rows/s ({own / best:.2f}×)",
            "not slower",
            own >= best,
        ),
        _longest(
            "meanwhile: default partition locked against all, longest",
            [turn.locked for turn in theirs],
            [turn.locked for turn in ours],
            True,
        ),
        _longest(
            "meanwhile: insert of a row of today, longest",
            [turn.writes for turn in theirs],
            [turn.writes for turn in ours],
        ),
        _longest(
            "meanwhile: look at today's rows, longest",
            [turn.reads for turn in theirs],
            [turn.reads for turn in ours],
        ),
    ]


def _longest(
    what: str, theirs: Sequence[Sequence[float]], ours: Sequence[Sequence[float]], judged: bool = False
) -> Row:
    """The longest of each turn, in seconds; of the turns the middle one, since one moment decides each."""
    anchor, own = (statistics.median(max(turn, default=0.0) for turn in turns) for turns in (theirs, ours))
    shorter = own < anchor if judged else None
    return Row(what, f"{anchor * 1000:.0f} ms", f"{own * 1000:.0f} ms", "shorter" if judged else "", shorter)


def _machine(server: str) -> list[str]:
    system = platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("textual", "psycopg", "typer")
    )
    return [
        "Made by `make bench`: a terminal of 160x50, both consoles refreshing every 2 s; load is 200 sessions"
        " of pgbench within short transactions. Both are installed as users install them and take turns.",
        "",
        f"Machine: {os.cpu_count()} cores ({platform.machine()}), {memory:.0f} GB of memory, {system},"
        f" Python {platform.python_version()}, PostgreSQL {server}, {versions}, pg_activity 3.6.2.",
    ]
