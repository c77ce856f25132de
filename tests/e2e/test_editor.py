"""`$EDITOR` on pg_hba.conf, from the command line on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.terminal import Terminal
from tests.servers import OwnClusters, Server


@pytest.fixture
def editing(own_cluster: OwnClusters, tmp_path: Path) -> Callable[..., tuple[Server, Terminal]]:
    """Runs edit_hba with an editor that does something to the file `$1`."""

    def make(what: str, *words: str) -> tuple[Server, Terminal]:
        server = own_cluster()
        script = tmp_path / "editor"
        script.write_text(f"#!/bin/sh\n{what}\n")
        script.chmod(0o755)
        command = [sys.executable, "-m", "tui", *words, "run-action", "cluster.edit_hba", "-t", server.dsn()]
        return server, Terminal(command, columns=200, env={"EDITOR": str(script)})

    return make


def test_what_the_editor_leaves_is_loaded(editing: Callable[..., tuple[Server, Terminal]]) -> None:
    server, terminal = editing('sed -i "s/^local  *all .*/local all all trust # edited/" "$1"')
    assert terminal.ended() == 0, terminal.text
    terminal.close()
    assert "local all all trust # edited\n" in (server.data / "pg_hba.conf").read_text()
    assert server.psql("SELECT 1") == [(1,)]


@pytest.mark.parametrize(
    ("what", "words", "code", "said"),
    [
        ('echo x >"$1"; kill -KILL $$', (), 4, "the editor was killed by signal 9; nothing was changed"),
        ("true", (), 0, "is as it was"),
        ('echo "local all all reject" >"$1"', (), 4, "line 1 would lock us out"),
        ('echo x >"$1"', ("--read-only",), 2, "edit_hba wants --text"),
    ],
)
def test_what_is_not_to_be_changes_nothing(
    editing: Callable[..., tuple[Server, Terminal]], what: str, words: tuple[str, ...], code: int, said: str
) -> None:
    server, terminal = editing(what, *words)
    assert terminal.ended() == code, terminal.text
    assert said in terminal.text
    terminal.close()
    assert not (server.data / "pg_hba.conf.pgtui~").exists()
    assert server.psql("SELECT 1") == [(1,)]
