"""`pgtui demo`: the lab, and the console on it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from backend.core.report import line
from tui.options import Options
from tui.out import out, say


def demo(options: Options, folder: str | None) -> int:
    """Start the lab if need be and open the console on it."""
    from backend.lab import lab as sandbox
    from tui.console import open_console

    state = sandbox.up(_path(folder)).to_json()
    code = open_console(replace(options, inventory=Path(state["inventory"])), None)
    say("the lab goes on; pgtui demo down ends it")
    return code


def lab(word: str, options: Options, folder: str | None) -> int:
    """Start, stop or show the lab, and print how it stands."""
    from backend.lab import lab as sandbox

    form = options.format("table", "json")
    does = {"up": sandbox.up, "down": sandbox.down, "status": sandbox.status}
    state = does[word](_path(folder)).to_json()
    if form == "json":
        out.line(line(state))
    else:
        _tell(state)
    if word == "up":
        say(f"pgtui --inventory {state['inventory']} opens it; pgtui demo down ends it")
    return 0


def _path(folder: str | None) -> Path | None:
    return Path(folder) if folder else None


def _tell(state: dict[str, Any]) -> None:
    from tui.tables import plain_table

    say(f"the lab in {state['folder']}")
    rows = [[p["name"], p["kind"], p["status"], p["dsn"]] for p in state["parts"]]
    out.write(plain_table(["Part", "Kind", "Status", "DSN"], rows, out.is_terminal))
