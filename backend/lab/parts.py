"""What a lab consists of."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

from backend.lab.place import Place

Kind = Literal["postgres", "pgbouncer", "pgqd", "sshd", "relay", "workload"]
Status = Literal["running", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a lab as it is at this moment; failed is what should run and does not."""

    name: str
    kind: Kind
    status: Status
    dsn: str | None = None
    pid: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The part as scripts read it."""
        return asdict(self)


class Maker(Protocol):
    """Makes one part; each of its methods may be called at any time, again and again."""

    def up(self, place: Place) -> None:
        """Make and start the part, or whatever of it is missing."""

    def down(self, place: Place) -> None:
        """Stop the part."""

    def look(self, place: Place) -> Part | None:
        """The part as it is, found out without changing anything; None where there cannot be one."""
        ...


def status_of(alive: bool, wanted: bool) -> Status:
    """How a part is, from whether it lives and whether it should."""
    if alive:
        return "running"
    return "failed" if wanted else "stopped"
