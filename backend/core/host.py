"""Hosts: where a target's programs and files are.

`Host` is the seam: this machine (`LocalHost`, here) or another one through the OpenSSH client
(`backend.core.ssh.SshHost`). Programs are argument lists; no shell sees them here, and across SSH they are
quoted once, at that boundary.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from backend.core.clean import mask
from backend.core.errors import Failed, Missing, PgtuiError


@dataclass(frozen=True, slots=True)
class Done:
    """A program that has ended: its exit status and what it wrote."""

    argv: tuple[str, ...]
    code: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        """Standard output as text; bytes that are no UTF-8 stay as surrogates."""
        return self.out.decode("utf-8", "surrogateescape")

    @property
    def complaint(self) -> str:
        """What it said of its failure: the last lines of standard error, else of standard output."""
        said = (self.err.strip() or self.out.strip()).decode("utf-8", "surrogateescape")
        return mask("\n".join(said.splitlines()[-5:]))

    def demand(self, *ok: int) -> Done:
        """Itself, or a failure that quotes the program when the exit status is not an expected one."""
        if self.code in (ok or (0,)):
            return self
        name = PurePosixPath(self.argv[0]).name
        raise Failed(f"{name} ended with status {self.code}: {self.complaint or 'it said nothing'}")


class Program(Protocol):
    """A program that outlives the connection: started under a wrapper, followed by its record.

    `reference` names its record folder on the host and is enough to find it again with `Host.attach`.
    """

    @property
    def reference(self) -> str: ...

    async def follow(self, since: int = 0) -> tuple[bytes, int]:
        """What it wrote after byte `since`, and where that ends."""
        ...

    async def status(self) -> int | None:
        """Its exit status, or None while it runs; `Failed` when it vanished without one."""
        ...

    async def cancel(self, grace: float = 5) -> None:
        """End its process group: TERM, then KILL after the grace period."""
        ...

    async def forget(self) -> None:
        """Remove its record once it has ended."""
        ...


class Host(Protocol):
    """A machine on which programs run and files are read and written."""

    @property
    def name(self) -> str: ...

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | None = None,
        timeout: float = 10,
        run_as: str | None = None,
    ) -> Done:
        """Run a program to its end; its exit status is data, not an error.

        Raises `Missing` when the program is not there, `Failed` when the time is up, `Unreachable` when the
        host does not answer, and `Missing` with the sudoers line when `run_as` is not allowed.
        """
        ...

    async def start(self, argv: Sequence[str], *, run_as: str | None = None) -> Program:
        """Start a program that outlives this connection."""
        ...

    async def attach(self, reference: str) -> Program:
        """Find a program started earlier again; `Failed` when there is no such record."""
        ...

    async def which(self, *programs: str) -> frozenset[str]:
        """Those of the programs that are on the host's search path (or in its usual server folders)."""
        ...

    async def read(self, path: str, *, run_as: str | None = None, limit: int = 1 << 20) -> bytes:
        """A file's bytes, at most `limit`; `Failed` with the system's words."""
        ...

    async def write(self, path: str, data: bytes, *, run_as: str | None = None) -> None:
        """Replace a file atomically, keeping mode and owner; the old bytes stay beside it as `.pgtui~`."""
        ...

    async def forward(self, address: str, port: int) -> tuple[str, int]:
        """Where libpq reaches a server that listens at `address` (a folder of a socket, or a host) there."""
        ...

    async def close(self) -> None:
        """End what it holds open."""
        ...


def sudo(argv: Sequence[str], run_as: str | None) -> tuple[str, ...]:
    """The argument list as it runs for another user."""
    return ("sudo", "-n", "-u", run_as, "--", *argv) if run_as else tuple(argv)


def sudo_refusal(done: Done, argv: Sequence[str], run_as: str, user: str, host: str) -> PgtuiError | None:
    """The sentence for a missing sudo rule, with the sudoers line that would allow it; else None."""
    said = done.err.decode("utf-8", "replace")
    if done.code != 1 or "sudo:" not in said:
        return None
    path = shutil.which(argv[0]) or argv[0]
    return Missing(
        f"{user} may not run {PurePosixPath(argv[0]).name} as {run_as} on {host}",
        hint=f"a sudoers line that allows it: {user} ALL=({run_as}) NOPASSWD: {path}",
    )
