"""Looking at a host once: `scan.sh` tells all that discovery decides from."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from backend.core.errors import Failed, Missing
from backend.core.host import Host, script
from backend.core.target import Target

# Where data folders are that neither postgresql-common knows nor a running server tells of.
ROOTS = (
    "/var/lib/pgsql/*/data",
    "/var/lib/pgsql/data",
    "/var/lib/postgres/data",
    "/usr/local/pgsql/data",
    "/opt/homebrew/var/postgresql*",
)
SECONDS = 20.0

_SCAN = Path(__file__).with_name("scan.sh").read_text("utf-8")


@dataclass(slots=True)
class Process:
    """A running postmaster, as the system shows it; `cwd` is empty where that may not be read."""

    pid: int
    values: dict[str, str] = field(default_factory=dict)

    @property
    def args(self) -> list[str]:
        """Its arguments."""
        return self.values.get("args", "").rstrip("\1").split("\1")

    @property
    def cwd(self) -> str:
        """The folder it works in: a postmaster's data folder."""
        return self.values.get("cwd", "")


@dataclass(slots=True)
class Folder:
    """A data folder and the texts of its configuration files by path, their comments left empty."""

    path: str
    debian: str = ""
    values: dict[str, str] = field(default_factory=dict)
    has: set[str] = field(default_factory=set)
    tablespaces: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)

    @property
    def readable(self) -> bool:
        """Whether its files can be read."""
        return "readable" in self.values


@dataclass(slots=True)
class Scan:
    """All that one look at a host tells; `refused` is why it was not made as the servers' owner."""

    values: dict[str, str] = field(default_factory=dict)
    folders: list[Folder] = field(default_factory=list)
    processes: dict[int, Process] = field(default_factory=dict)
    debian: dict[str, dict[str, str]] = field(default_factory=dict)
    refused: Missing | None = None


async def look(host: Host, target: Target, roots: Sequence[str] = ROOTS) -> Scan:
    """What the host has, in one round trip; as `run_as` where that is set and allowed."""
    given = target.cluster
    # The host's own environment is the one that counts; sudo and setpriv would lose this machine's.
    confroot = "" if target.ssh else os.environ.get("PG_CLUSTER_CONF_ROOT", "")
    named = [given["data"]] if "data" in given else []
    words = script(_SCAN, confroot, given.get("bin", ""), *named, *roots)
    refused = None
    if target.run_as:
        try:
            return read((await host.run(words, timeout=SECONDS, run_as=target.run_as)).demand().out)
        except Missing as e:
            refused = e
    scan = read((await host.run(words, timeout=SECONDS)).demand().out)
    scan.refused = refused
    return scan


def read(out: bytes) -> Scan:
    """The script's answer; `Failed` when it is none."""
    words = out.decode("utf-8", "surrogateescape").split("\0")
    if len(words) % 2 == 0 or words[-1]:
        raise Failed("the host's answer about its servers breaks off in the middle")
    scan = Scan()
    place = _Place(scan)
    for name, value in zip(words[0:-1:2], words[1::2], strict=True):
        place.put(name, value)
    return scan


_TOP = {"user", "now", "systemd", "kubernetes", "ticks", "boot", "units", "files", "contained"}


@dataclass(slots=True)
class _Place:
    """Where in the answer we are, so that each value goes where it belongs."""

    scan: Scan
    folder: Folder | None = None
    process: Process | None = None
    debian: str = ""
    file: str = ""

    def put(self, name: str, value: str) -> None:
        if name in _TOP:
            self.scan.values[name] = value
        elif name == "debian":
            self.debian, self.folder = value, None
            if value:
                self.scan.debian[value] = {}
        elif name == "process":
            self.folder, self.process = None, Process(int(value))
            self.scan.processes[self.process.pid] = self.process
        elif name == "cluster":
            self.folder = Folder(value, self.debian)
            self.scan.folders.append(self.folder)
        elif self.folder is not None:
            self._of_folder(self.folder, name, value)
        elif self.debian:
            self.scan.debian[self.debian][name] = value
        elif self.process is not None:
            self.process.values[name] = value

    def _of_folder(self, folder: Folder, name: str, value: str) -> None:
        match name:
            case "has":
                folder.has.add(value)
            case "tablespace":
                folder.tablespaces.append(value)
            case "file":
                self.file = value
            case "text":
                folder.files[self.file] = value
            case "unreadable":
                folder.unreadable.append(value)
            case _:
                folder.values[name] = value


def pairs(text: str, separator: str = "=") -> Iterator[tuple[str, str]]:
    """The names and values of lines such as `Name=value`."""
    for line in text.splitlines():
        name, found, value = line.partition(separator)
        if found:
            yield name.strip(), value.strip()
