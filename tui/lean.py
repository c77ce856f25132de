"""Stand-ins for modules that libraries import at their start and the console never uses.

Textual's command palette brings most of its widgets with it, and psycopg asks for its own version number
through a reader of package metadata: together 17 ms of the way to the first rows. What is asked of a stand-in
besides these names is an error at once, and a test holds the names to what the libraries import.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

PALETTE = ("CommandListItem", "CommandPalette", "DiscoveryHit", "Hit", "Hits", "Provider", "SimpleProvider")
STAND_INS: dict[str, dict[str, Any]] = {
    "textual.command": {name: type(name, (), {}) for name in PALETTE},
    "psycopg.version": {"__version__": "unknown"},
    "psycopg_binary.version": {"__version__": "unknown"},
}


def leave_out() -> None:
    """Put the stand-ins in the place of modules that are not there yet."""
    for name, contents in STAND_INS.items():
        module = ModuleType(name)
        vars(module).update(contents)
        sys.modules.setdefault(name, module)
