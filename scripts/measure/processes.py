"""CPU time and memory of a program and of all that it starts, from /proc."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Once:
    """One whole process, from its start to its end."""

    cpu_ms: float
    wall_ms: float


def whole(command: Sequence[str], environment: Mapping[str, str]) -> Once:
    """Run a program to its end; what it said is thrown away."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Once(cpu * 1000, wall * 1000)


def tree(root: int) -> list[int]:
    """The process and everything below it."""
    children = defaultdict(list)
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (parent := _parent(int(entry.name))):
            children[parent].append(int(entry.name))
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children[pid]
    return found


def cpu_seconds(root: int) -> float:
    """What the tree has used so far, with the children that have ended and were waited for."""
    return sum(max(_counted(pid), _scheduled(pid)) for pid in tree(root))


def peak_megabytes(root: int) -> float:
    """The most memory that the processes of the tree have held, added up."""
    return sum(_peak(pid) for pid in tree(root)) / 1024


def _parent(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[1]) if fields else None


def _stat(pid: int) -> list[str]:
    """The fields after the program's name, which may hold blanks and brackets itself."""
    try:
        return (PROC / str(pid) / "stat").read_text("latin-1").rpartition(")")[2].split()
    except OSError:
        return []


def _counted(pid: int) -> float:
    """User and system time of the process and of its ended children, in steps of a clock tick."""
    return sum(int(field) for field in _stat(pid)[11:15]) / TICK


def _scheduled(pid: int) -> float:
    """The exact time that living threads have spent on a CPU, where the kernel counts it."""
    total = 0
    try:
        for thread in (PROC / str(pid) / "task").iterdir():
            total += int((thread / "schedstat").read_text().split()[0])
    except (OSError, IndexError):
        return 0.0
    return total / 1e9


def _peak(pid: int) -> int:
    try:
        lines = (PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)
