"""What the console imports before its first frame: each module more is time until the first rows."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from textual.app import App

from tui.app import PgtuiApp
from tui.lean import STAND_INS

TREE = Path(__file__).parents[2]
FIRST_FRAME = """
import asyncio, sys
import tui.cli, tui.console, tui.lean
tui.lean.leave_out()
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


def test_the_filter_line_is_imported_when_a_filter_is_written(imported: frozenset[str]) -> None:
    assert "screens.room" in imported
    assert not {"screens.filtering", "textual.widgets._input", "textual.widgets._select"} & imported


def test_versions_of_packages_are_not_looked_up(imported: frozenset[str]) -> None:
    assert "psycopg" in imported and "importlib.metadata" not in imported


@pytest.mark.parametrize("module", STAND_INS)
def test_a_stand_in_has_names_of_the_module_that_it_replaces(module: str) -> None:
    assert STAND_INS[module].keys() <= vars(importlib.import_module(module)).keys()


def test_the_palette_that_a_stand_in_replaces_is_switched_off() -> None:
    assert PgtuiApp.ENABLE_COMMAND_PALETTE is False
    assert not set(PgtuiApp.COMMANDS) - set(App.COMMANDS)
