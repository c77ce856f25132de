"""This machine as a host: programs start directly, without a shell unless another user is asked for."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Sequence

from backend.core import files, program
from backend.core.child import Child, environment, spawn
from backend.core.errors import Failed
from backend.core.host import (
    Done,
    Forward,
    Program,
    absent,
    basename,
    become,
    checked,
    judged,
    overdue,
)


class LocalHost:
    """The machine that pgtui itself runs on."""

    name = "localhost"
    where = "this machine"

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | None = None,
        timeout: float = 10,
        run_as: str | None = None,
    ) -> Done:
        """Run a program to its end; its exit status is data, not an error."""
        words = checked(argv, run_as)
        done = await self._run(words, become(words, run_as), stdin, timeout, run_as)
        return await judged(self, done, run_as)

    async def start(
        self, argv: Sequence[str], *, stdin: bytes | None = None, run_as: str | None = None
    ) -> Program:
        """Start a program that outlives this process."""
        return await program.start(self, checked(argv, run_as), stdin, run_as)

    async def attach(self, reference: str) -> Program:
        """Find a program started earlier again."""
        return await program.attach(self, reference)

    async def which(self, *programs: str) -> frozenset[str]:
        """Those of the programs that are on the search path or in the usual server folders."""
        path = environment(os.environ)["PATH"]
        return frozenset(name for name in programs if shutil.which(name, path=path))

    async def read(self, path: str, *, run_as: str | None = None, limit: int = 1 << 20) -> bytes:
        """A file's first bytes, at most `limit`."""
        return await files.read(self, path, run_as, limit)

    async def write(self, path: str, data: bytes, *, run_as: str | None = None) -> None:
        """Replace a file atomically, keeping mode, owner and a copy."""
        await files.write(self, path, data, run_as)

    async def forward(self, address: str, port: int) -> Forward:
        """The address itself: nothing lies between."""
        return Forward(address, port)

    async def close(self) -> None:
        """Nothing is held open."""

    async def _run(
        self,
        argv: tuple[str, ...],
        command: tuple[str, ...],
        stdin: bytes | None,
        timeout: float,
        run_as: str | None,
    ) -> Done:
        try:
            child = await spawn(command, stdin=stdin)
        except FileNotFoundError:
            raise absent(argv[0], self.where) from None
        except PermissionError as e:
            return Done(argv, 126, b"", f"{argv[0]}: {e.strerror}".encode())
        except OSError as e:
            raise Failed(f"{basename(argv)} cannot be started on {self.where}: {e.strerror}") from None
        try:
            async with asyncio.timeout(timeout):
                await child.end()
        except TimeoutError:
            await self._stop(child, run_as)
            raise overdue(argv, self.where, timeout) from None
        except asyncio.CancelledError:
            await self._stop(child, run_as)
            raise
        finally:
            child.close()
        return Done(argv, child.code, bytes(child.out.head), bytes(child.err.head), child.out.cut)

    async def _stop(self, child: Child, run_as: str | None) -> None:
        if not await child.stop() and run_as:
            group = str(child.transport.get_pid())
            words = program.end(group, "", run_as, grace=2)
            await self._run(words, words, None, program.END_LIMIT, None)
            await child.exited(2)
