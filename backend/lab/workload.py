"""What makes a lab's rooms move: `python -m backend.lab.workload FOLDER`.

Ends when told to, and by itself when the server has been gone for long.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backend.core.errors import Failed
from backend.lab import primary
from backend.lab.crowd import crowd
from backend.lab.parts import Part, status_of
from backend.lab.place import Place

NAME = "workload"
PATIENCE = 15.0


@dataclass(frozen=True, slots=True)
class Workload:
    """Makes the workload: a process of its own that outlives the one that started it."""

    def up(self, place: Place) -> None:
        """Start the workload unless it runs."""
        place.remember(NAME, {"wanted": True})
        if _pid(place.folder) is not None:
            return
        with (place.folder / "log" / "workload.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "backend.lab.workload", str(place.folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
            )
        if not _wait(lambda: _pid(place.folder) is not None or process.poll() is not None):
            raise Failed("the workload did not start in time")
        if process.poll() is not None:
            raise Failed(f"the workload ended at once; its words are in {log.name}")
        # It is meant to outlive this process, which therefore never waits for it.
        process.returncode = 0

    def down(self, place: Place) -> None:
        """Stop the workload."""
        place.remember(NAME, {"wanted": False})
        for number in (signal.SIGTERM, signal.SIGKILL):
            pid = _pid(place.folder)
            if pid is None:
                return
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            _wait(lambda: _pid(place.folder) is None)

    def look(self, place: Place) -> Part:
        """Whether the workload runs."""
        pid = _pid(place.folder)
        wanted = bool(place.memory(NAME).get("wanted"))
        return Part(NAME, "workload", status_of(alive=pid is not None, wanted=wanted), None, pid)


def main() -> None:
    """Make the rooms of the lab in the folder given move, until told to stop."""
    folder = Path(sys.argv[1])
    _be_the_only_one(folder)
    asyncio.run(_until_told(primary.dsn(Place(folder))))


async def _until_told(dsn: str) -> None:
    work = asyncio.ensure_future(crowd(dsn))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, work.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await work


def _be_the_only_one(folder: Path) -> None:
    # The lock, not the number in the file, says whether a workload lives. Nothing closes the file, so that
    # the lock ends with the process and not while it is still on its way out.
    descriptor = os.open(folder / "workload.pid", os.O_RDWR | os.O_CREAT, 0o644)
    if not _wait(lambda: _lock(descriptor, fcntl.LOCK_EX)):
        sys.exit("another workload runs")
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())


def _pid(folder: Path) -> int | None:
    try:
        with (folder / "workload.pid").open() as file:
            if _lock(file.fileno(), fcntl.LOCK_SH):
                return None
            return int(file.read())
    except (FileNotFoundError, ValueError):
        return None


def _lock(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait(happened: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


if __name__ == "__main__":
    main()
