"""The audit: every step of every run, before and after, as JSON lines in the user's state folder."""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import socket
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backend.core.clean import mask_all
from backend.core.folders import private, state_folder


class Audit:
    """Appends records; a record is one line, written whole or not at all as far as the system allows."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or state_folder() / "audit.jsonl"

    def write(self, event: str, **what: Any) -> None:
        """Append one record; raises OSError when the file cannot be written."""
        record = mask_all({"at": datetime.now(UTC).isoformat(), "event": event, **who(), **what})
        line = json.dumps(record, default=str).encode("ascii") + b"\n"
        private(self.path.parent)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            with suppress(OSError):  # some network file systems know no locks
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            _append(descriptor, line)
        finally:
            os.close(descriptor)

    def writable(self) -> str:
        """Why records cannot be written; empty when they can."""
        try:
            private(self.path.parent)
            os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
        except OSError as e:
            return f"the audit file {self.path} cannot be written: {e.strerror}"
        return ""


def _append(descriptor: int, line: bytes) -> None:
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":  # the disk was full in the middle of a record
        line = b"\n" + line
    while line:
        line = line[os.write(descriptor, line) :]


def who() -> dict[str, str | int]:
    """Who acts: user, machine and process id."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return {"user": user, "machine": socket.gethostname(), "pid": os.getpid()}
