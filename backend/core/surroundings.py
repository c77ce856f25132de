"""What a step needs from the run that it belongs to."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from backend.core.connection import Connection
from backend.core.errors import Interrupted
from backend.core.host import Host, Program


@dataclass(frozen=True, slots=True)
class Progress:
    """How much of a step is done, in how many rounds; `total` is None where nobody knows.

    `phase` is what the server says it is at, and who holds it up; then done and total are of that phase.
    """

    done: int
    total: int | None
    unit: str
    rounds: int = 0
    phase: str = ""


class Surroundings(Protocol):
    """What a step needs from the run it belongs to."""

    cancelled: asyncio.Event

    async def connection(self, on: str | None, dbname: str | None, *, spare: bool = False) -> Connection:
        """The run's connection to a target and database; a `spare` one is another than the usual."""
        ...

    async def host(self, on: str | None) -> Host:
        """The host of a target."""
        ...

    def busy(self, connection: Connection | None = None, program: Program | None = None) -> None:
        """Tell what is running, so that a cancel knows what to stop."""
        ...

    def progress(self, progress: Progress) -> None:
        """Tell how far the step is."""
        ...

    def output(self, text: str) -> None:
        """Tell what a program wrote."""
        ...


def stop_if_cancelled(around: Surroundings) -> None:
    """End the step here when the run has been cancelled."""
    # A cancel that arrives between two statements finds nothing to stop on the server.
    if around.cancelled.is_set():
        raise Interrupted("")
