"""Who runs the lab's servers: the user, or for root, whom PostgreSQL refuses, an account without rights."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.core.errors import Failed, Missing


@dataclass(frozen=True, slots=True)
class Account:
    """An account of this machine; `dropped` when root hands its programs over to it."""

    uid: int
    gid: int
    dropped: bool

    def run(self, command: Sequence[str | Path], *, seconds: float = 120) -> str:
        """What the program says on standard output; Failed with its complaint when it does not succeed."""
        words = [str(word) for word in command]
        try:
            done = subprocess.run(
                words,
                cwd="/",
                env=clean_environment(os.environ),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds,
                user=self.uid if self.dropped else None,
                group=self.gid if self.dropped else None,
                extra_groups=[] if self.dropped else None,
            )
        except FileNotFoundError as error:
            raise Missing(f"{words[0]} is not installed") from error
        except subprocess.TimeoutExpired as error:
            raise Failed(f"{Path(words[0]).name} did not end within {seconds:g} s") from error
        if done.returncode != 0:
            complaint = (done.stderr.strip() or done.stdout.strip()).rsplit("\n", 1)[-1]
            raise Failed(f"{Path(words[0]).name} failed with status {done.returncode}: {complaint}")
        return done.stdout

    def make_folder(self, folder: Path) -> None:
        """Make a folder that only this account, and root, can enter."""
        folder.mkdir(mode=0o700, exist_ok=True)
        self.own(folder)
        folder.chmod(0o700)

    def own(self, path: Path) -> None:
        """Hand one file or folder over to this account."""
        if self.dropped:
            os.chown(path, self.uid, self.gid)

    def reaches(self, path: Path) -> bool:
        """Whether this account can get through every folder down to `path`, as far as it exists."""
        if not self.dropped:
            return True
        real = path.resolve()
        return all(self._enters(folder) for folder in [*real.parents, real] if folder.exists())

    def _enters(self, path: Path) -> bool:
        about = path.stat()
        if about.st_uid == self.uid:
            return bool(about.st_mode & stat.S_IXUSR)
        if about.st_gid == self.gid:
            return bool(about.st_mode & stat.S_IXGRP)
        return bool(about.st_mode & stat.S_IXOTH)


def server_account() -> Account:
    """The account that servers run under when this process starts them."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), dropped=False)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid, dropped=True)
    raise Missing(
        "PostgreSQL does not run as root, and this machine has neither an account postgres nor nobody",
        hint="start pgtui as an ordinary user",
    )


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without what would change how PostgreSQL's programs behave."""
    kept = {name: value for name, value in environment.items() if not name.startswith(("PG", "LC_"))}
    return kept | {"LANG": "C", "LC_ALL": "C"}
