"""Whether a server runs, by its postmaster.pid and the process that it names, and by nothing else.

A server that was killed leaves the file behind, and its pid may since belong to another program, even to
another server. A port that answers proves nothing either: it may be somebody else's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Literal

from backend.cluster.scan import Folder, Process

State = Literal["up", "starting", "stopping", "down", "crashed", "unknown"]

# The server notes its start when it begins, the system when the process does; a stepped clock moves the
# one and not the other.
CLOSE = 60.0


@dataclass(frozen=True, slots=True)
class PidFile:
    """The lines of a postmaster.pid; the later ones appear while the server starts."""

    pid: int
    data: str = ""
    started: datetime | None = None
    port: int | None = None
    socket: str = ""
    address: str = ""
    status: str = ""

    @classmethod
    def read(cls, text: str) -> PidFile | None:
        """The file, or None when it is empty or is none."""
        found = [line.strip() for line in text.split("\n")] + [""] * 8
        pid = _number(found[0])
        if pid is None:
            return None
        at = _number(found[2])
        started = datetime.fromtimestamp(at, UTC) if at else None
        # A single-user server writes its pid as a negative number.
        return cls(abs(pid), found[1], started, _number(found[3]), found[4], found[5], found[7])


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Standing:
    """How a server stands, by which process, and since when."""

    state: State
    process: Process | None = None
    file: PidFile | None = None


def standing(folder: Folder, processes: Mapping[int, Process], clock: Clock) -> Standing:
    """Whether the server of a data folder runs."""
    file = PidFile.read(folder.values.get("postmaster.pid", ""))
    process = next(
        (p for p in processes.values() if p.pid != (file and file.pid) and _is_in(p, folder)), None
    )
    if file and (named := processes.get(file.pid)) and _is_of(named, folder, file, clock):
        process = named
    if process:
        return Standing(_state(file), process, file)
    if not clock.known or not (folder.readable or "absent" in folder.values):
        return Standing("unknown", None, file)
    return Standing("crashed" if file else "down", None, file)


def _is_of(process: Process, folder: Folder, file: PidFile, clock: Clock) -> bool:
    """Whether the process that the file names is the file's server and not a later one with its number."""
    if process.cwd:
        return _is_in(process, folder)
    if (at := data_of(process)) and at.startswith("/"):
        return at in (folder.path, folder.values.get("given"))
    began = clock.began(process)
    return bool(began and file.started and abs((began - file.started).total_seconds()) < CLOSE)


# Such a process only looks at a data folder.
_LOOKING = {"-C", "-V", "--version", "--check", "--boot", "--describe-config"}


def _is_in(process: Process, folder: Folder) -> bool:
    if _LOOKING & set(process.args):
        return False
    at = process.cwd.removesuffix(" (deleted)") or data_of(process)
    return at in (folder.path, folder.values.get("given"))


def data_of(process: Process) -> str:
    """The data folder that its arguments name; empty when they name none."""
    args = process.args
    for n, word in enumerate(args):
        if word == "-D" and n + 1 < len(args):
            return args[n + 1].rstrip("/") or "/"
        if word.startswith("-D") and len(word) > 2:
            return str(PurePosixPath(word[2:]))
    return ""


def _state(file: PidFile | None) -> State:
    if file and file.status in ("starting", "stopping"):
        return "starting" if file.status == "starting" else "stopping"
    return "up"


@dataclass(frozen=True, slots=True)
class Clock:
    """What turns a process's start, in ticks since the machine's, into a time; all 0 without /proc."""

    ticks: int = 0
    boot: int = 0

    @property
    def known(self) -> bool:
        """Whether the host tells of its processes at all."""
        return bool(self.ticks and self.boot)

    def began(self, process: Process) -> datetime | None:
        """When the process began."""
        fields = process.values.get("stat", "").rpartition(") ")[2].split()
        if not self.known or len(fields) < 20:
            return None
        return datetime.fromtimestamp(self.boot + int(fields[19]) / self.ticks, UTC)
