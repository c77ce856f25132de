"""The measurements. Candidates take turns, so that whatever else the machine does meets all of them."""

from __future__ import annotations

import contextlib
import random
import statistics
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from measure.processes import Once, cpu_seconds, peak_megabytes, whole
from measure.programs import Console
from measure.server import Cost, Server
from measure.terminal import Program

INTERVAL = 2.0  # seconds between the refreshes of both consoles
WARM = 25.0  # seconds until the server keeps generic plans and all that is done once is over
SETTLED = 0.08  # seconds without output after which a screen is taken for settled


@dataclass(slots=True)
class Start:
    """Starts of one console: to its rows and to its end, in milliseconds."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    quit: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Steady:
    """A minute of one console that is left alone."""

    cpu: float
    kilobytes: float
    cost: Cost
    refreshes: float
    megabytes: float


@dataclass(slots=True)
class Keys:
    """From a key to the first and to the last cell that it changed, in milliseconds."""

    first: list[float] = field(default_factory=list)
    last: list[float] = field(default_factory=list)


def starts(server: Server, consoles: Sequence[Console], times: int) -> dict[str, Start]:
    """Start and quit each console so often; the first time only warms the caches."""
    found = {console.name: Start() for console in consoles}
    for attempt in range(times + 1):
        for console in consoles:
            program = Program(console.command(server), console.environment)
            seconds = program.shows(console.rows)
            cpu = cpu_seconds(program.pid)
            program.watch(1.0)
            end = program.end(console.quit)
            if attempt:
                start = found[console.name]
                start.wall.append(seconds * 1000)
                start.cpu.append(cpu * 1000)
                start.quit.append(end * 1000)
    return found


def steady(server: Server, consoles: Sequence[Console], seconds: float, idle: bool) -> dict[str, Steady]:
    """Leave consoles alone for a while; all at once, so that they meet the same moments."""
    with contextlib.ExitStack() as stack:
        programs = {c.name: _opened(stack, server, c, c.idle if idle else c.rows) for c in consoles}
        _watch(programs.values(), min(WARM, seconds / 2))
        server.forget_costs()
        before = {name: (cpu_seconds(p.pid), p.bytes) for name, p in programs.items()}
        began = time.perf_counter()
        _watch(programs.values(), seconds)
        passed = time.perf_counter() - began
        return {name: _used(server, name, p, *before[name], passed) for name, p in programs.items()}


def _used(server: Server, name: str, program: Program, cpu: float, size: int, passed: float) -> Steady:
    a_minute = 60 / passed
    return Steady(
        (cpu_seconds(program.pid) - cpu) * a_minute,
        (program.bytes - size) / 1024 * a_minute,
        server.cost(name),
        passed / INTERVAL,
        peak_megabytes(program.pid),
    )


def keys(server: Server, consoles: Sequence[Console], times: int) -> dict[str, Keys]:
    """Move the cursor down and up again, in one console and then in the other."""
    found = {console.name: Keys() for console in consoles}
    with contextlib.ExitStack() as stack:
        programs = {c.name: _opened(stack, server, c, c.rows) for c in consoles}
        _watch(programs.values(), 3)
        for attempt in range(times):
            for name, program in programs.items():
                _watch(programs.values(), random.uniform(0.1, 0.3))
                press(program, "\x1b[A" if attempt % 2 else "\x1b[B", found[name])
    return found


def press(program: Program, key: str, keys: Keys) -> None:
    """Press a key and note when cells changed, until nothing more comes."""
    while program.chunk(SETTLED) is not None:
        pass
    before = program.snapshot()
    pressed = program.press(key)
    first = last = 0.0
    while (at := program.chunk(SETTLED if first else 1.0)) is not None:
        if program.changed(before):
            first, last = first or at, at
    if first:
        keys.first.append((first - pressed) * 1000)
        keys.last.append((last - pressed) * 1000)


def headless(commands: Mapping[str, Sequence[str]], console: Console, times: int) -> dict[str, list[Once]]:
    """Run whole processes in turn."""
    found: dict[str, list[Once]] = {name: [] for name in commands}
    for attempt in range(times + 1):
        for name, command in commands.items():
            once = whole(command, console.environment)
            if attempt:
                found[name].append(once)
    return found


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def p90(values: Sequence[float]) -> float:
    """What nine of ten do not exceed."""
    return sorted(values)[min(len(values) - 1, round(0.9 * (len(values) - 1)))]


def _opened(stack: contextlib.ExitStack, server: Server, console: Console, ready: str) -> Program:
    program = Program(console.command(server), console.environment)
    stack.callback(lambda: program.end(console.quit))
    program.shows(ready)
    return program


def _watch(programs: Collection[Program], seconds: float) -> None:
    """Take the output of several programs for so long."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for program in programs:
            program.watch(min(0.02, max(end - time.perf_counter(), 0.001)))
