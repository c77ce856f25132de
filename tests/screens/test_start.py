"""What the console imports before its first frame: each module more is time until the first rows."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

TREE = Path(__file__).parents[2]
FIRST_FRAME = """
import asyncio, sys
import tui.cli, tui.console
from backend.core.target import Inventory
from tui.app import Options, PgtuiApp

async def main():
    async with PgtuiApp(Inventory().get("host=/nowhere"), Options()).run_test(size=(160, 50)) as pilot:
        await pilot.pause()
        print(sorted(sys.modules))

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> frozenset[str]:
    """The modules that are there when the first frame is painted."""
    home = str(tmp_path_factory.mktemp("home"))
    env = {k: v for k, v in os.environ.items() if not k.startswith("XDG_")} | {"HOME": home}
    command = [sys.executable, "-c", FIRST_FRAME]
    done = subprocess.run(command, capture_output=True, text=True, cwd=TREE, env=env, check=True, timeout=60)
    return frozenset(ast.literal_eval(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("package", ["typer", "pydantic", "humanize"])
def test_the_console_starts_without_what_only_commands_need(imported: frozenset[str], package: str) -> None:
    assert "textual" in imported and package not in imported


def test_dialogs_are_imported_when_one_is_wanted(imported: frozenset[str]) -> None:
    assert "screens.console" in imported
    assert not {name for name in imported if name.startswith(("screens.modals.", "screens.dialogs"))}


def test_rooms_that_nobody_looks_at_are_imported_later(imported: frozenset[str]) -> None:
    assert "screens.activity" in imported and "screens.jobmon" not in imported
