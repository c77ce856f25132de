"""Completion, what is imported when, and packages that shadow ours."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import TREE

pytestmark = pytest.mark.usefixtures("inventory")


def completed(line: str) -> list[str]:
    words = line.split(" ")
    env = {"_PGTUI_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    program = [sys.executable, "-m", "tui"]
    done = subprocess.run(program, capture_output=True, text=True, env=os.environ | env, cwd=TREE, timeout=30)
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("pgtui sh", ["show"]),
        ("pgtui show activity.sessi", ["activity.session_locks", "activity.sessions"]),
        ("pgtui -o json run-action activity.terminate_", ["activity.terminate_idle"]),
        ("pgtui run-action activity.cancel --p", ["--pid"]),
        ("pgtui check activity.lo", ["activity.locks"]),
        ("pgtui show activity.sessions -t ", ["a", "b", "c"]),
        ("pgtui b", ["b"]),
        ("pgtui targets te", ["test"]),
    ],
)
def test_names_are_completed(line: str, offered: list[str]) -> None:
    assert sorted(completed(line)) == offered


def test_the_completion_script_for_bash_is_valid(state_home: Path) -> None:
    env = {"_PGTUI_COMPLETE": "source_bash"}
    program = [sys.executable, "-m", "tui"]
    script = subprocess.run(program, capture_output=True, text=True, env=os.environ | env, cwd=TREE).stdout
    checked = subprocess.run(["bash", "-n"], input=script, text=True)
    assert "complete" in script and checked.returncode == 0


LOADED = """
import sys
from tui.cli import main
main(sys.argv[1:])
print(sorted(sys.modules), file=sys.stderr)
"""


def python(code: str, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    options: dict[str, Any] = {"cwd": TREE} | more
    command = [sys.executable, "-P", "-c", code, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, **options)


def modules(*words: str) -> list[str]:
    path = f"import sys; sys.path.insert(0, {str(TREE)!r})"
    names: list[str] = ast.literal_eval(python(path + LOADED, *words).stderr.splitlines()[-1])
    return names


def loaded(*words: str) -> set[str]:
    return {name.partition(".")[0] for name in modules(*words)}


@pytest.mark.parametrize(
    "words",
    [
        ["run-action", "activity.cancel", "--pid", "1"],
        ["run-action", "activity.terminate", "--application", "nobody", "--yes", "-o", "json"],
        ["show", "activity.sessions", "-o", "json"],
        ["show", "activity.sessions", "-o", "csv"],
        ["check", "activity.locks", "-o", "nagios"],
        ["check", "-o", "openmetrics"],
    ],
)
def test_headless_commands_import_neither_textual_nor_rich_nor_pydantic(words: list[str]) -> None:
    assert "psycopg" in loaded(*words)
    assert not {"textual", "rich", "pydantic", "humanize"} & loaded(*words)


@pytest.mark.parametrize("words", [["--help"], ["show", "--help"], ["run-action", "--help"], ["targets"]])
def test_help_and_small_commands_import_no_driver(words: list[str]) -> None:
    assert not {"psycopg", "textual", "pydantic", "asyncio"} & loaded(*words)


def test_only_the_room_named_is_imported() -> None:
    names = modules("show", "activity.sessions", "-o", "json")
    assert "backend.activity.views" in names and "backend.jobmon.views" not in names


def test_packages_that_shadow_ours_are_noticed(state_home: Path) -> None:
    other = state_home / "other" / "backend"
    other.mkdir(parents=True)
    (other / "__init__.py").touch()
    code = f"import sys; sys.path.insert(0, {str(other.parent)!r}); sys.path.append({str(TREE)!r})\n"
    code += "from tui.cli import main; sys.exit(main(['views']))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, cwd=state_home, timeout=30
    )
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "install pgtui in an environment of its own" in done.stderr
