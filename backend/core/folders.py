"""Where pgtui keeps its own files."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def _base(variable: str, default: str) -> Path:
    given = os.environ.get(variable)
    return Path(given) if given else Path.home() / default


def state_folder() -> Path:
    """Audit, journal and reports: `$XDG_STATE_HOME/pgtui`."""
    return _base("XDG_STATE_HOME", ".local/state") / "pgtui"


def config_folder() -> Path:
    """Inventory and settings: `$XDG_CONFIG_HOME/pgtui`."""
    return _base("XDG_CONFIG_HOME", ".config") / "pgtui"


def runtime_folder() -> Path:
    """Sockets of control connections and forwards; short, since a socket's path is at most 107 bytes."""
    given = os.environ.get("XDG_RUNTIME_DIR")
    return Path(given) / "pgtui" if given else Path(tempfile.gettempdir()) / f"pgtui-{os.getuid()}"


def private(folder: Path) -> Path:
    """The folder, made if need be, readable by nobody else."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
