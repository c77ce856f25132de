"""The journal of unfinished runs: what a killed pgtui had been doing, for the next start to tell.

An entry is a file of its own, written and fsynced before each step, removed when the run has ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from backend.core.declare import Danger
from backend.core.folders import private, state_folder

if TYPE_CHECKING:
    from backend.core.kept import Kept
    from backend.core.plan import Plan


@dataclass(slots=True)
class Entry:
    """One run: what was confirmed, how far it came, and how each finished step would be undone.

    `undo_kept` and `always_kept` make those steps again (see `core.kept`). `undone` has the numbers of
    the steps that are undone by now, and of those that ran in any case, which are counted behind the others.
    """

    action: str
    target: str
    subject: str
    params: Mapping[str, str]
    steps: list[str]
    undo: list[str | None]
    undo_kept: list[Kept | None] = field(default_factory=list)
    always: list[str] = field(default_factory=list)
    always_kept: list[Kept | None] = field(default_factory=list)
    danger: str = Danger.CHANGE.word
    done: int = 0
    is_interrupted: bool = False
    undone: list[int] = field(default_factory=list)
    program: str | None = None
    started_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    pid: int = field(default_factory=os.getpid)
    born: str = ""
    machine: str = field(default_factory=socket.gethostname)
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])

    @property
    def alive(self) -> bool:
        """Whether the pgtui that wrote it still runs."""
        return (
            self.machine == socket.gethostname() and bool(self.born) and process_birth(self.pid) == self.born
        )

    @property
    def sentence(self) -> str:
        """What happened, for a person."""
        step = f"step {self.done + 1} of {len(self.steps)}" if self.done < len(self.steps) else "the end"
        return (
            f"{self.action} on {self.target} ({self.subject}), started {self.started_at}, stopped at {step}"
        )


class Journal:
    """The entries under the user's state folder."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or state_folder() / "journal"

    def wants(self, plan: Plan) -> bool:
        """Whether a run of the plan is kept: what disrupts, and what can be undone."""
        undoable = any(s.undo for s in plan.steps) or bool(plan.always)
        return plan.danger >= Danger.DISRUPT or undoable

    def write(self, entry: Entry) -> None:
        """Put the entry on the disk, whole, before the next step runs."""
        entry.born = entry.born or process_birth(entry.pid)
        private(self.folder)
        path = self._path(entry.id)
        part = path.with_suffix(".part")
        with part.open("w", encoding="utf-8") as file:
            json.dump(asdict(entry), file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        _sync_folder(self.folder)

    def remove(self, entry: Entry) -> None:
        """Forget a run that has ended."""
        self._path(entry.id).unlink(missing_ok=True)

    def unfinished(self) -> list[Entry]:
        """The runs whose pgtui is gone, oldest first."""
        entries = [e for path in sorted(self.folder.glob("*.json")) if (e := _read(path)) and not e.alive]
        return sorted(entries, key=lambda e: e.started_at)

    def find(self, name: str) -> Entry | None:
        """The unfinished run of that id; None when it has been undone or forgotten."""
        return next((e for e in self.unfinished() if e.id == name), None)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"


def process_birth(pid: int) -> str:
    """When a process started, in the kernel's clock ticks; empty when there is none. Tells a reused pid."""
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return ""


def _read(path: Path) -> Entry | None:
    try:
        return Entry(**json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
