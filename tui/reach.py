"""Reaching targets from the command line: sessions, time limits, passwords asked for, interrupts."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from time import monotonic
from typing import Any, TypeVar

from backend.core.clean import clean
from backend.core.errors import Interrupted, PgtuiError, Unreachable
from backend.core.facts import Needs
from backend.core.hosts import host_for
from backend.core.session import Session
from backend.core.target import Target
from tui.options import ALL_DATABASES, Options
from tui.out import say

T = TypeVar("T")

AT_ONCE = 16


class Interrupts:
    """Ctrl-C and SIGTERM: the first one asks what runs to end, the second one ends pgtui at once."""

    def __init__(self) -> None:
        self.happened = False
        self.asking = Asking()
        self._end: Callable[[], Any] | None = None
        self._task: asyncio.Task[Any] | None = None

    def watch(self, task: asyncio.Task[Any]) -> None:
        """Cancel this task when nothing else is said."""
        self._task = task
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._interrupt)

    @asynccontextmanager
    async def instead(self, end: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
        """While inside, the first interrupt calls `end` instead of cancelling."""
        self._end = end
        try:
            yield
        finally:
            self._end = None

    def _interrupt(self) -> None:
        if self.happened:
            self.asking.restore()
            os._exit(Interrupted.exit_code)
        self.happened = True
        if self._end:
            say("cancelling; once more ends at once")
            self._ending = asyncio.ensure_future(self._end())
        elif self._task:
            self.asking.restore()
            self._task.cancel()


class Asking:
    """Asks for a password once for each target, on the terminal, while everything else goes on."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.busy = False
        self._known: dict[str, str] = {}
        self._lock = asyncio.Lock()
        self._terminal: tuple[int, Any] | None = None

    def asker(self, target: str) -> Callable[[str], Awaitable[str | None]] | None:
        """What a session asks with; None where nobody could answer."""
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return None
        return lambda prompt: self._ask(target, prompt)

    async def _ask(self, target: str, prompt: str) -> str | None:
        async with self._lock:
            if target not in self._known:
                began, self.busy = monotonic(), True
                self._known[target] = await self._read(clean(prompt))
                self.seconds, self.busy = self.seconds + monotonic() - began, False
            return self._known[target]

    async def _read(self, prompt: str) -> str:
        import threading
        from getpass import getpass

        # A thread of its own, not the loop's: an executor would wait for the answer when pgtui ends.
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[str] = loop.create_future()

        def read() -> None:
            with suppress(EOFError, OSError, RuntimeError):
                given = getpass(prompt)
                loop.call_soon_threadsafe(_settle, answer, given)

        self._remember_terminal()
        threading.Thread(target=read, daemon=True).start()
        return await answer

    def _remember_terminal(self) -> None:
        import termios

        with suppress(termios.error):
            self._terminal = (sys.stdin.fileno(), termios.tcgetattr(sys.stdin.fileno()))

    def restore(self) -> None:
        """Give the terminal its echo back."""
        if self._terminal:
            import termios

            with suppress(termios.error):
                termios.tcsetattr(self._terminal[0], termios.TCSANOW, self._terminal[1])


def _settle(answer: asyncio.Future[str], given: str) -> None:
    if not answer.done():
        answer.set_result(given)


def run(main: Callable[[Interrupts], Coroutine[Any, Any, int]]) -> int:
    """The exit code of a coroutine; 130 when it was interrupted."""

    async def watched() -> int:
        interrupts = Interrupts()
        task = asyncio.ensure_future(main(interrupts))
        interrupts.watch(task)
        try:
            return await task
        except asyncio.CancelledError:
            return Interrupted.exit_code

    return asyncio.run(watched())


async def within(work: Coroutine[Any, Any, T], seconds: float, what: str, asking: Asking) -> T:
    """The result, or `Unreachable` when the time is up; waiting for a password is not counted."""
    task = asyncio.ensure_future(work)
    deadline, asked = monotonic() + seconds, asking.seconds
    try:
        while not task.done():
            left = deadline + (asking.seconds - asked) - monotonic()
            if left <= 0 and not asking.busy:
                raise Unreachable(
                    f"{what} did not answer within {seconds:g} s", hint="--timeout gives it more"
                )
            await asyncio.wait({task}, timeout=max(left, 0.05))
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=0.5)


@asynccontextmanager
async def session_for(target: Target, options: Options, asking: Asking) -> AsyncIterator[Session]:
    """A session, not opened yet; closed at the end without waiting for a frozen server."""
    session = Session(
        target,
        host_for(target),
        timeout=options.patience,
        ask_password=asking.asker(target.name),
        other=lambda name: options.read_inventory().get(name),
    )
    try:
        yield session
    finally:
        await session.close()


async def databases(target: Target, options: Options, asking: Asking, needs: Needs) -> list[Target]:
    """The target as seen from each database that is meant; a host is the same from all of them."""
    if options.dbname != ALL_DATABASES or not needs.sql:
        return [target]
    async with session_for(target, options, asking) as session:
        await within(session.open(), options.patience, target.name, asking)
        return [replace(target, dbname=name) for name in session.facts.databases]


def together(codes: list[int]) -> int:
    """One exit code for several results: interrupted, else failed, else the highest."""
    for code in (Interrupted.exit_code, PgtuiError.exit_code):
        if code in codes:
            return code
    return max(codes, default=0)
