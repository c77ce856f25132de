"""Another machine as a host, reached through the user's own OpenSSH client.

All programs share one connection (`backend.core.sshlink`), opened by the first and opened again when it
has broken. An exit status of 255 may be ssh's or the program's; to tell them apart, each program runs
under a few lines of POSIX `sh` on the far side that mark on standard error when it begins (with its
process group, so that it can be ended from here) and how it ended. The marks hold a random word, and are
taken out of what the caller gets; whatever the far side's login files print comes before the first mark
and is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.core import files, program
from backend.core.child import GRACE, Child
from backend.core.errors import Failed, Unreachable, Usage
from backend.core.forwards import Forwards
from backend.core.host import (
    OUTPUT_LIMIT,
    SEARCH,
    Done,
    Forward,
    Program,
    basename,
    become,
    checked,
    judged,
    overdue,
    script,
)
from backend.core.sshlink import Link, private_folder

# sshd's MaxSessions is 10: one holds the connection open, one is left for ending a program whose time is up.
SESSIONS = 8

TICK = 0.05

# The group is only told where it is surely this command's own: sshd gives each a session of its own.
_WATCHED = """\
mark=$1 path=$2; shift 2
LC_ALL=C PATH=$PATH:$path
export LC_ALL PATH
unset LANGUAGE
cd /
{ read -r _ _ _ _ group _ <"/proc/$$/stat" || group=$(ps -o pgid= -p $$); } 2>/dev/null
group=$((group))
[ "$group" = $$ ] || [ "$group" = $PPID ] || group=0
echo "$mark"
echo "$mark $group" >&2
(exec "$@")
echo "$mark-ended $?" >&2
"""


@dataclass(frozen=True, slots=True)
class _Trace:
    """What the marks in a session's output say: whether it began, where, and how it ended."""

    group: int | None
    code: int | None
    out: bytes
    err: bytes


class _NotBegun(Exception):
    """The session was refused before the program began; `busy` when for want of a free one."""

    def __init__(self, busy: bool) -> None:
        super().__init__()
        self.busy = busy


class SshHost:
    """A machine of the user's SSH configuration."""

    def __init__(self, name: str, *, config: Path | None = None, connect_timeout: float = 10) -> None:
        if not name or name.startswith("-") or "\0" in name:
            raise Usage(f"{name or 'the empty name'} is not the name of a host")
        self.name = name
        self.where = f"host {name}"
        self._config = config
        self._connect_timeout = connect_timeout
        self._folder: Path | None = None
        self._link: Link | None = None
        self._opening = asyncio.Lock()
        self._sessions = asyncio.Semaphore(SESSIONS)
        self._forwards = Forwards(self)

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
        done = await self._patiently(words, stdin, timeout, run_as)
        return await judged(self, done, run_as)

    async def start(
        self, argv: Sequence[str], *, stdin: bytes | None = None, run_as: str | None = None
    ) -> Program:
        """Start a program that outlives this connection and this process."""
        return await program.start(self, checked(argv, run_as), stdin, run_as)

    async def attach(self, reference: str) -> Program:
        """Find a program started earlier again."""
        return await program.attach(self, reference)

    async def which(self, *programs: str) -> frozenset[str]:
        """Those of the programs that are on the search path or in the usual server folders."""
        return await files.which(self, programs)

    async def read(self, path: str, *, run_as: str | None = None, limit: int = 1 << 20) -> bytes:
        """A file's first bytes, at most `limit`."""
        return await files.read(self, path, run_as, limit)

    async def write(self, path: str, data: bytes, *, run_as: str | None = None) -> None:
        """Replace a file atomically, keeping mode, owner and a copy."""
        await files.write(self, path, data, run_as)

    async def forward(self, address: str, port: int) -> Forward:
        """Where libpq reaches a server that listens there; ask again before every connect."""
        return await self._forwards.find(address, port)

    async def link(self) -> tuple[Link, Path]:
        """The open connection, opened if need be, and the folder for its sockets."""
        async with self._opening:
            if self._folder is None:
                self._folder = private_folder()
            if self._link is None or not self._link.alive:
                await self._drop()
                link = Link(self.name, self._config, self._folder, self._connect_timeout)
                await link.open()
                self._link = link
            return self._link, self._folder

    async def close(self) -> None:
        """End the connection with its forwards; programs started with `start` go on."""
        async with self._opening:
            await self._drop()
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
                self._folder = None

    async def _drop(self, link: Link | None = None) -> None:
        if self._link is not None and link in (None, self._link):
            gone, self._link = self._link, None
            await gone.close()

    async def _patiently(
        self, argv: tuple[str, ...], stdin: bytes | None, timeout: float, run_as: str | None
    ) -> Done:
        """Run it in a session of its own; one that never began may be tried again."""
        async with self._sessions:
            loop = asyncio.get_running_loop()
            pause, broken, deadline = 0.02, 0, loop.time() + timeout
            while True:
                link, _ = await self.link()
                try:
                    return await self._once(link, argv, stdin, timeout, run_as)
                except _NotBegun as e:
                    broken += not e.busy
                    if not e.busy:
                        await self._drop(link)
                if broken > 1:
                    raise Unreachable(f"the connection to {self.where} breaks as soon as it is made")
                if loop.time() > deadline:
                    raise Failed(
                        f"{basename(argv)} cannot be started on {self.where}: it takes no more sessions",
                        hint="raise MaxSessions in its sshd_config, to 10 or more",
                    )
                await asyncio.sleep(pause)
                pause = min(2 * pause, 0.5)

    async def _once(
        self, link: Link, argv: tuple[str, ...], stdin: bytes | None, timeout: float, run_as: str | None
    ) -> Done:
        mark = f"pgtui-{secrets.token_hex(8)}"
        words = script(_WATCHED, mark, SEARCH, *become(argv, run_as))
        child = await link.session(words, stdin=stdin, mark=f"{mark}-ended ".encode())
        try:
            async with asyncio.timeout(timeout):
                await child.end()
        except TimeoutError:
            if not await self._stop(link, child, mark, run_as):
                await self._drop(link)
                raise Unreachable(f"{self.where} does not answer: nothing within {timeout:g} s") from None
            raise overdue(argv, self.where, timeout) from None
        except asyncio.CancelledError:
            await self._stop(link, child, mark, run_as)
            raise
        finally:
            child.close()
        return await self._outcome(link, child, argv, _trace(child, mark))

    async def _outcome(self, link: Link, child: Child, argv: tuple[str, ...], trace: _Trace) -> Done:
        if trace.code is not None:
            cut = child.out.cut or len(trace.out) > OUTPUT_LIMIT
            return Done(argv, trace.code, trace.out[:OUTPUT_LIMIT], trace.err, cut)
        if trace.group is None:
            raise _NotBegun(busy=_refused_session(child.err.whole))
        if await link.answers():
            raise Failed(f"{basename(argv)} on {self.where} was killed")
        await self._drop(link)
        raise Unreachable(
            f"the connection to {self.where} broke while {basename(argv)} ran there",
            hint="whether it came to its end is not known",
        )

    async def _stop(self, link: Link, child: Child, mark: str, run_as: str | None) -> bool:
        """End the program there, then the client here; False when it never said that it began."""
        try:
            group = await _begun(child, mark)
            if group and link is self._link and link.alive:
                await self._end(link, group, run_as)
        finally:
            await child.stop()
        return group is not None

    async def _end(self, link: Link, group: int, run_as: str | None) -> None:
        mark = f"pgtui-{secrets.token_hex(8)}"
        words = script(_WATCHED, mark, SEARCH, *program.end(str(group), "", run_as, grace=2))
        child = await link.session(words, stdin=None, mark=f"{mark}-ended ".encode())
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(program.END_LIMIT):
                    await child.end()
                    return
            await self._drop(link)
        finally:
            child.close()


async def _begun(child: Child, mark: str) -> int | None:
    """The program's process group; a program on its way to begin is waited for, or it would escape."""
    for _ in range(round(GRACE / TICK)):
        group = _trace(child, mark).group
        if group is not None or not child.running:
            return group
        await asyncio.sleep(TICK)
    return None


def _refused_session(said: bytes) -> bool:
    return b"session request failed" in said or b"Session open refused" in said


def _trace(child: Child, mark: str) -> _Trace:
    """What the marks say, and the output without them."""
    word = mark.encode()
    begun = re.search(word + rb" (\d+)\n", child.err.whole)
    if begun is None:
        return _Trace(None, None, b"", child.err.whole)
    err = child.err.whole[begun.end() :]
    ended = re.search(word + rb"-ended (\d+)\n", err)
    if ended:
        err = err[: ended.start()] + err[ended.end() :]
    _, _, out = bytes(child.out.head).partition(word + b"\n")
    return _Trace(int(begun[1]), int(ended[1]) if ended else None, out, err)
