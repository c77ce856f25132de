"""The lab's pgqd, which ticks, rotates and puts events back for its queues; only where it is installed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from backend.core.errors import Failed
from backend.lab import primary
from backend.lab.parts import Part, status_of
from backend.lab.place import Place, write_whole
from backend.lab.shop import DATABASE

NAME = "pgqd"
PATIENCE = 15.0

# Seconds; a person who looks wants to see things move.
SETTINGS = {
    "ticker_period": "0.5",
    "maint_period": "15",
    "retry_period": "5",
    "check_period": "10",
    "syslog": "0",
    "initial_database": DATABASE,
    "database_list": DATABASE,
}


@dataclass(frozen=True, slots=True)
class Ticker:
    """Makes pgqd, on a primary that has PgQ."""

    def up(self, place: Place) -> None:
        """Start pgqd unless it runs or has nothing to do."""
        program = _program()
        wanted = program is not None and _has_queues(place)
        place.remember(NAME, {"wanted": wanted})
        if program is None or not wanted or _pid(place) is not None:
            return
        place.account.make_folder(_folder(place))
        _pid_file(place).unlink(missing_ok=True)
        write_whole(_file(place), _configuration(place))
        place.account.own(_file(place))
        place.account.run([program, "-d", _file(place)])
        if not _wait(lambda: _pid(place) is not None):
            raise Failed(f"pgqd did not start; its words are in {_folder(place) / 'pgqd.log'}")

    def down(self, place: Place) -> None:
        """Stop pgqd."""
        place.remember(NAME, {"wanted": False})
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            pid = _pid(place)
            if pid is None:
                return
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
                os.kill(pid, number)
            _wait(lambda: _pid(place) is None)

    def look(self, place: Place) -> Part | None:
        """Whether pgqd runs; None where it is not installed."""
        pid = _pid(place)
        if pid is None and _program() is None:
            return None
        wanted = bool(place.memory(NAME).get("wanted"))
        return Part(NAME, "pgqd", status_of(alive=pid is not None, wanted=wanted), None, pid)


def _program() -> str | None:
    return shutil.which("pgqd")


def _has_queues(place: Place) -> bool:
    with psycopg.connect(primary.dsn(place)) as connection:
        return connection.execute("SELECT to_regclass('pgq.queue') IS NOT NULL").fetchone() == (True,)


def _folder(place: Place) -> Path:
    return place.folder / NAME


def _file(place: Place) -> Path:
    return _folder(place) / "pgqd.ini"


def _pid_file(place: Place) -> Path:
    return _folder(place) / "pgqd.pid"


def _configuration(place: Place) -> str:
    where = conninfo_to_dict(primary.dsn(place))
    where.pop("dbname", None)
    settings = SETTINGS | {
        "base_connstr": make_conninfo("", **where, application_name=NAME),
        "logfile": str(_folder(place) / "pgqd.log"),
        "pidfile": str(_pid_file(place)),
    }
    return "\n".join(["[pgqd]", *(f"{name} = {value}" for name, value in settings.items())]) + "\n"


def _pid(place: Place) -> int | None:
    """The process, where it is the one that was started with this configuration."""
    try:
        pid = int(_pid_file(place).read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if os.fsencode(_file(place)) in words else None


def _wait(happened: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
