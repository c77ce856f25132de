"""What the console remembers between starts: theme, intervals, filters and sort orders per view."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from backend.core.folders import private, state_folder


@dataclass(slots=True)
class Arrangement:
    """How a view was last looked at."""

    where: str = ""
    sort: str | None = None
    descending: bool = False


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
            views = {name: Arrangement(**kept) for name, kept in data.get("views", {}).items()}
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


def _path() -> Path:
    return state_folder() / "console.json"
