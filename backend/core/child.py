"""Children: programs of this machine that run beside the event loop.

asyncio's own `Process.communicate` waits until every pipe is closed, keeps all output, and hands the
program a socket as standard input (which cannot be opened as /dev/stdin). A `Child` ends when the program
ends, even when something it left behind still holds the pipes; keeps a limited part of the output while
it drains the rest; and reads its standard input from a nameless file.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from typing import cast

from backend.core.host import OUTPUT_LIMIT, SEARCH

# How long pipes may stay open and silent after the program has ended.
LINGER = 0.5
GRACE = 2.0


class Sink:
    """The first bytes of a stream up to a limit, and its very end."""

    __slots__ = ("count", "head", "limit", "tail")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.head = bytearray()
        self.tail = b""
        self.count = 0

    def add(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        room = self.limit - len(self.head)
        self.count += len(data)
        self.head += data[:room]
        self.tail = (self.tail + data[room:])[-4096:]

    @property
    def cut(self) -> bool:
        """Whether there was more than is kept."""
        return self.count > self.limit

    @property
    def whole(self) -> bytes:
        """What is kept, beginning and end together."""
        return bytes(self.head) + self.tail


class Child(asyncio.SubprocessProtocol):
    """A running program, leader of its own process group.

    `over` is done when the program has ended or has written the `mark` on the stream given with it.
    """

    transport: asyncio.SubprocessTransport

    def __init__(self, limit: int, mark: tuple[int, bytes] | None) -> None:
        loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None] = loop.create_future()
        self._exited: asyncio.Future[None] = loop.create_future()
        self._closed: asyncio.Future[None] = loop.create_future()
        self.out, self.err = Sink(limit), Sink(limit)
        self._mark = mark
        self._last = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The program has been started."""
        self.transport = cast(asyncio.SubprocessTransport, transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """It has written something."""
        (self.out if fd == 1 else self.err).add(data)
        if self._mark and fd == self._mark[0]:
            self._last += data
            if self._mark[1] in self._last:
                _finish(self.over)
            self._last = self._last[-len(self._mark[1]) :]

    def process_exited(self) -> None:
        """It has ended; its pipes may still be open."""
        _finish(self._exited)
        _finish(self.over)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended, and its pipes are closed."""
        _finish(self._closed)

    @property
    def running(self) -> bool:
        """Whether the program has not ended yet."""
        return not self._exited.done()

    @property
    def code(self) -> int:
        """Its exit status as a shell tells it: 128 and the signal's number when killed; -1 while it runs."""
        code = self.transport.get_returncode()
        if code is None:
            return -1
        return 128 - code if code < 0 else code

    async def end(self) -> None:
        """Return when the program is over and its output has been read."""
        await self.over
        count = -1
        while not self._closed.done() and count != self.out.count + self.err.count:
            count = self.out.count + self.err.count
            await asyncio.wait([self._closed], timeout=LINGER)

    async def exited(self, timeout: float) -> bool:
        """Whether it ends within that time."""
        await asyncio.wait([self._exited], timeout=timeout)
        return self._exited.done()

    def signal(self, number: signal.Signals) -> bool:
        """Signal its process group; False when that is not ours to do."""
        try:
            os.killpg(self.transport.get_pid(), number)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return True

    async def stop(self, grace: float = GRACE) -> bool:
        """End its process group: TERM, then KILL after the grace period; False when we may not."""
        if not self.signal(signal.SIGTERM):
            return False
        await self.exited(grace)
        self.signal(signal.SIGKILL)
        return await self.exited(grace)

    def close(self) -> None:
        """Let go of its pipes; kill what still runs."""
        if self.running:
            self.signal(signal.SIGKILL)
        # asyncio kills what still runs, which may be another user's.
        with contextlib.suppress(PermissionError):
            self.transport.close()


async def spawn(
    argv: Sequence[str],
    *,
    stdin: bytes | int | None = None,
    limit: int = OUTPUT_LIMIT,
    mark: tuple[int, bytes] | None = None,
) -> Child:
    """Start a program; standard input is nothing, these bytes, or an open file."""
    given = _nameless(stdin) if isinstance(stdin, bytes) else stdin
    try:
        _, child = await asyncio.get_running_loop().subprocess_exec(
            lambda: Child(limit, mark),
            *argv,
            stdin=subprocess.DEVNULL if given is None else given,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env=environment(os.environ),
            start_new_session=True,
        )
    finally:
        if isinstance(stdin, bytes) and given is not None:
            os.close(given)
    return child


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """The environment for programs: ours, speaking plain English, and finding servers' folders too."""
    kept = {k: v for k, v in given.items() if not k.startswith("LC_") and k != "LANGUAGE"}
    path = given.get("PATH")
    return kept | {"LC_ALL": "C", "PATH": f"{path}:{SEARCH}" if path else SEARCH}


def _nameless(data: bytes) -> int:
    """A file without a name that holds the bytes: in memory where possible, since they may be secret."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("pgtui")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
