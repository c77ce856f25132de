"""Where runs are logged besides the audit: rooms that keep such a log name a module in `Room.run_log`.

The module has `open_log(run)`, which answers with a log, or with None where this run is not to be logged.
A log that fails is told as a notice; it never changes what becomes of the run.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Awaitable, Callable
from typing import Protocol

import psycopg

from backend.core.connection import Connection, explain
from backend.core.declare import Action
from backend.core.errors import PgtuiError, Unreachable
from backend.core.outcome import Report, StepStatus
from backend.core.plan import Plan
from backend.core.registry import rooms
from backend.core.session import Session


class Logged(Protocol):
    """What a log needs of a run; `connection` gives the one that the run's own statements travel on."""

    session: Session
    action: Action
    plan: Plan

    async def connection(self, on: str | None, dbname: str | None) -> Connection:
        """The run's connection to a target and database."""
        ...

    def busy(self, connection: Connection | None = None) -> None:
        """Tell what is running, so that a cancel knows what to stop."""
        ...


class RunLog(Protocol):
    """One run in one log. Steps begin and end in pairs; secrets are masked in all that is told."""

    async def begin(self, text: str) -> None:
        """A step begins."""
        ...

    async def finish(self, status: StepStatus, said: str) -> None:
        """The step has ended."""
        ...

    async def end(self, report: Report) -> None:
        """The run has ended."""
        ...


class RunLogs:
    """The logs of one run; `notices` collects why one of them could not be kept.

    A log that failed hears no more of the run than its end.
    """

    def __init__(self, notices: list[str]) -> None:
        self._notices = notices
        self._open: list[RunLog] = []
        self._broken: list[RunLog] = []

    async def open(self, run: Logged) -> None:
        """Begin to log the run wherever it is to be logged."""
        for module in [r.run_log for r in rooms() if r.run_log]:
            try:
                log: RunLog | None = await importlib.import_module(module).open_log(run)
            except (PgtuiError, psycopg.Error) as e:
                self._notices.append(f"this run is not logged as a job: {_words(e)}")
            else:
                self._open += [log] if log else []

    async def begin(self, text: str) -> None:
        """Tell that a step begins."""
        await self._tell(lambda log: log.begin(text))

    async def finish(self, status: StepStatus, said: str) -> None:
        """Tell how the step ended."""
        await self._tell(lambda log: log.finish(status, said))

    async def end(self, report: Report) -> None:
        """Tell how the run ended."""
        broken = list(self._broken)
        await self._tell(lambda log: log.end(report))
        for log in broken:
            with contextlib.suppress(PgtuiError, psycopg.Error):
                await log.end(report)

    async def _tell(self, what: Callable[[RunLog], Awaitable[None]]) -> None:
        for log in list(self._open):
            try:
                await what(log)
            except (PgtuiError, psycopg.Error) as e:
                self._notices.append(f"this run is not logged in full: {_words(e)}")
                self._open.remove(log)
                self._broken += [] if isinstance(e, Unreachable) else [log]


def _words(error: PgtuiError | psycopg.Error) -> str:
    # The context that the server adds may show a whole connection string.
    return error.message if isinstance(error, PgtuiError) else explain(error, "the server says").message
