"""What the console remembers between starts: theme, intervals, filters and sort orders per view."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from backend.core.folders import private, state_folder


@dataclass(slots=True)
class Arrangement:
    """How a view was last looked at."""

    where: str = ""
    sort: str | None = None
    descending: bool = False
    every: float | None = None


@dataclass(slots=True)
class Settings:
    """The remembered state; losing it costs nothing but a few keys."""

    theme: str = ""
    views: dict[str, Arrangement] = field(default_factory=dict)

    def arrangement(self, view: str) -> Arrangement:
        """How that view was last looked at."""
        return self.views.setdefault(view, Arrangement())

    @classmethod
    def load(cls, path: Path | None = None) -> Settings:
        """The settings of the last start; defaults when the file is not there or makes no sense."""
        try:
            data = json.loads((path or _path()).read_text("utf-8"))
            views = {name: _arrangement(kept) for name, kept in data.get("views", {}).items()}
            return cls(str(data.get("theme", "")), views)
        except (OSError, ValueError, TypeError, AttributeError):
            return cls()

    def save(self, path: Path | None = None) -> None:
        """Write the settings; a full disk is no reason to complain here."""
        target = path or _path()
        with contextlib.suppress(OSError):
            private(target.parent)
            part = target.with_suffix(".part")
            part.write_text(json.dumps(asdict(self)), "utf-8")
            part.replace(target)


def _arrangement(kept: dict[str, Any]) -> Arrangement:
    """What a file says, each value of the kind that the console takes; a type error when it is not."""
    every = kept.get("every")
    return Arrangement(
        where=str(kept.get("where", "")),
        sort=None if kept.get("sort") is None else str(kept["sort"]),
        descending=bool(kept.get("descending")),
        every=None if every is None else max(float(every), 0.5),
    )


def _path() -> Path:
    return state_folder() / "console.json"
