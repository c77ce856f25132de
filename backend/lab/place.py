"""The folder that a lab is in: where it is, what it remembers, who may work on it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.core.errors import Refused
from backend.core.folders import state_folder
from backend.lab.account import Account, server_account
from backend.lab.cluster import fits_a_socket

# Where root keeps a lab when servers, which do not run as root, cannot get into root's own home.
SHARED_PLACE = Path("/var/lib/pgtui/lab")
PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class Place:
    """One lab's folder and the account that its servers run under."""

    folder: Path
    notes: tuple[str, ...] = ()
    account: Account = field(default_factory=server_account)

    @classmethod
    def find(cls, given: Path | None, account: Account | None = None) -> Place:
        """The folder given, else `$PGTUI_LAB`, else the one below the user's state folder."""
        account = account or server_account()
        named = given or (Path(os.environ["PGTUI_LAB"]) if os.environ.get("PGTUI_LAB") else None)
        if named is not None:
            return cls(named.expanduser().resolve(), account=account)
        usual = (state_folder() / "lab").resolve()
        if account.reaches(usual.parent.parent):
            return cls(usual, account=account)
        note = (
            f"the lab is in {SHARED_PLACE}, because its servers do not run as root and cannot enter {usual}"
        )
        return cls(SHARED_PLACE, (note,), account)

    def prepare(self) -> None:
        """Make the folder; Refused when something else is in the way."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        if self.folder.stat().st_uid != os.geteuid():
            raise Refused(f"{self.folder} belongs to somebody else", hint="choose another folder for the lab")
        if any(self.folder.iterdir()) and not self._memory.exists():
            raise Refused(
                f"{self.folder} is not empty and not a lab", hint="choose another folder for the lab"
            )
        if not self._memory.exists():
            self.remember("lab", {"format": 1})
        self._let_servers_in()
        (self.folder / "log").mkdir(mode=0o700, exist_ok=True)

    def exists(self) -> bool:
        """Whether a lab was ever made here."""
        return self._memory.exists()

    def memory(self, part: str) -> dict[str, Any]:
        """What was remembered of a part, nothing if that is unreadable."""
        remembered = self._read().get(part, {})
        return remembered if isinstance(remembered, dict) else {}

    def remember(self, part: str, facts: dict[str, Any]) -> None:
        """Keep what is true of a part now; what was kept before under other names stays."""
        everything = self._read()
        everything[part] = self.memory(part) | facts
        write_whole(self._memory, json.dumps(everything, indent=2) + "\n")

    def socket_folder(self, part: str) -> Path:
        """A folder for the sockets of a part: inside the lab, or elsewhere when that path is too long."""
        inside = self.folder / part / "s"
        if fits_a_socket(inside):
            return inside
        remembered = self.memory(part).get("socket_folder")
        if remembered is not None and self._is_ours(Path(remembered)):
            return Path(remembered)
        return Path(tempfile.mkdtemp(prefix="pgtui-lab-"))

    def forget_sockets(self, folder: Path) -> None:
        """Remove a folder for sockets that had to be outside of the lab."""
        if not folder.is_relative_to(self.folder) and self._is_ours(folder):
            shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else starts or stops this lab meanwhile; waits for who does."""
        with (self.folder / "lock").open("a") as file:
            deadline = time.monotonic() + PATIENCE
            while not _try_lock(file.fileno()):
                if time.monotonic() > deadline:
                    raise Refused(f"another pgtui has been starting or stopping the lab for {PATIENCE:g} s")
                time.sleep(0.1)
            yield

    def _is_ours(self, folder: Path) -> bool:
        # In a folder that everybody writes to, the name may have been taken since.
        try:
            about = folder.lstat()
        except FileNotFoundError:
            return False
        return stat.S_ISDIR(about.st_mode) and about.st_uid in (os.geteuid(), self.account.uid)

    @property
    def _memory(self) -> Path:
        return self.folder / "lab.json"

    def _read(self) -> dict[str, Any]:
        try:
            everything = json.loads(self._memory.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return everything if isinstance(everything, dict) else {}

    def _let_servers_in(self) -> None:
        if not self.account.dropped:
            return
        # Entering is enough; what is in these folders stays unlisted and, file by file, unreadable.
        for folder in {self.folder, self.folder.parent} & {self.folder, state_folder().resolve()}:
            folder.chmod(folder.stat().st_mode & 0o7777 | 0o011)
        if not self.account.reaches(self.folder):
            raise Refused(
                f"PostgreSQL does not run as root, and the account it runs as cannot enter {self.folder}",
                hint=f"choose a folder that everybody can enter, such as {SHARED_PLACE}",
            )


def write_whole(path: Path, text: str) -> None:
    """Replace a file in one step: a reader sees the old text or the new."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text)
    partial.replace(path)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
