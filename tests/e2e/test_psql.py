"""psql in the terminal that the console gives up for as long."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.conftest import Open
from tests.servers import Server

PSQL = """#!/bin/sh
echo "password by environment: $PGPASSWORD"
echo "arguments: $*"
read line
"""
INVENTORY = """
[target.books]
dsn = "{dsn} password=hush options='-c work_mem=5MB'"
guard = "{guard}"
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A psql that tells how it was called comes first in the path."""
    program = tmp_path / "psql"
    program.write_text(PSQL)
    program.chmod(0o755)
    inventory = str(tmp_path / "inventory.toml")
    return {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PGTUI_INVENTORY": inventory}


def test_psql_gets_no_password_by_its_arguments_and_the_console_comes_back(
    server: Server, pgtui: Open, environment: dict[str, str]
) -> None:
    Path(environment["PGTUI_INVENTORY"]).write_text(INVENTORY.format(dsn=server.dsn(), guard=""))
    terminal = pgtui("books", env=environment, columns=160)
    terminal.wait_for("primary")
    terminal.send("!")
    terminal.wait_for("arguments: ")
    assert "password by environment: hush" in terminal.text
    assert "hush" not in terminal.text.partition("arguments: ")[2]
    assert "read_only" not in terminal.text
    terminal.send("\n")
    terminal.wait_for("primary")
    terminal.send("q")
    assert terminal.ended() == 0


def test_psql_under_a_guard_is_asked_for_and_reads_only(
    server: Server, pgtui: Open, environment: dict[str, str]
) -> None:
    Path(environment["PGTUI_INVENTORY"]).write_text(INVENTORY.format(dsn=server.dsn(), guard="read-only"))
    terminal = pgtui("books", env=environment, columns=160)
    terminal.wait_for("primary")
    terminal.send("!")
    terminal.wait_for("Open psql?")
    terminal.wait_for("Enter takes it")
    terminal.send("\x1b[C")
    terminal.wait_for("› Yes, open it ‹")
    terminal.send("\r")
    terminal.wait_for("default_transaction_read_only=on")
    assert "work_mem" in terminal.text
    terminal.send("\n")
    terminal.wait_for("primary")


def test_read_only_opens_no_psql(server: Server, pgtui: Open, environment: dict[str, str]) -> None:
    Path(environment["PGTUI_INVENTORY"]).write_text(INVENTORY.format(dsn=server.dsn(), guard=""))
    terminal = pgtui("--read-only", "books", env=environment, columns=160)
    terminal.wait_for("primary")
    terminal.send("!")
    terminal.wait_for("psql is not opened")
    assert b"arguments: " not in terminal.raw
