"""Secrets and passwords: asked for, read, sent, and shown nowhere."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import TREE, Pgtui, Terminal
from tests.servers import Server

pytestmark = pytest.mark.usefixtures("inventory")


SECRET = "hunter2 'quoted'"


def state_files(home: Path) -> str:
    return "".join(p.read_text("utf-8") for p in (home / ".local").rglob("*") if p.is_file())


def test_a_secret_comes_from_a_file_and_shows_nowhere(sample: Pgtui, state_home: Path) -> None:
    file = state_home / "secret"
    file.write_text(SECRET + "\n")
    for form in ("json", "table"):
        ended = sample("run-action", "activity.rekey", "--secret-file", str(file), "-o", form)
        assert ended.code == 0
        assert "hunter2" not in ended.out + ended.err and "****" in ended.out
    assert sample("run-action", "activity.rekey", "--secret-file", str(file), "-o", "json").object[
        "result"
    ] == len(SECRET)
    assert "rekey" in state_files(state_home) and "hunter2" not in state_files(state_home)


def test_a_secret_comes_from_standard_input(state_home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.cli.samples", "run-action", "activity.rekey", "-o", "json"],
        input=SECRET,
        capture_output=True,
        text=True,
        cwd=TREE,
        timeout=30,
    )
    assert json.loads(done.stdout)["result"] == len(SECRET)


def test_a_secret_is_no_option_value(sample: Pgtui) -> None:
    for words in (["--secret", "hunter2"], ["--secret=hunter2"]):
        ended = sample("run-action", "activity.rekey", *words)
        assert ended.code == 2 and "--secret-file" in ended.err
        assert "hunter2" not in ended.err


def test_a_secret_in_a_servers_error_is_masked(sample: Pgtui, state_home: Path) -> None:
    file = state_home / "secret"
    file.write_text("hunter2")
    ended = sample("run-action", "activity.boast", "--secret-file", str(file), "-o", "json", "--debug")
    assert ended.code == 1
    assert "hunter2" not in ended.out + ended.err + state_files(state_home)


def test_a_secret_file_that_is_not_there_is_a_usage_error(sample: Pgtui) -> None:
    ended = sample("run-action", "activity.rekey", "--secret-file", "/nowhere/x")
    assert ended.code == 2 and "/nowhere/x cannot be read: No such file or directory" in ended.err


@pytest.fixture
def locked(own_cluster: Callable[..., Server]) -> Server:
    """A server whose role `locked` has a password."""
    server = own_cluster()
    server.psql("CREATE ROLE locked LOGIN SUPERUSER PASSWORD 'open sesame'")
    hba = server.data / "pg_hba.conf"
    hba.write_text("local all locked scram-sha-256\n" + hba.read_text())
    server.psql("SELECT pg_reload_conf()")
    return server


def as_locked(server: Server, **more: str) -> str:
    return server.dsn("postgres", **({"user": "locked"} | more))


def test_a_missing_or_wrong_password_exits_3_and_is_shown_nowhere(pgtui: Pgtui, locked: Server) -> None:
    missing = pgtui("show", "activity.server", "-t", as_locked(locked), "-o", "json")
    assert missing.code == 3 and "password" in missing.err
    wrong = pgtui(
        "show", "activity.server", "-t", as_locked(locked, password="hunter2"), "-o", "json", "--debug"
    )
    assert wrong.code == 3 and "password authentication failed" in wrong.object["error"]["message"]
    assert "hunter2" not in wrong.out + wrong.err


def test_a_password_in_a_dsn_is_in_no_output_and_no_file(
    pgtui: Pgtui, locked: Server, state_home: Path
) -> None:
    dsn = as_locked(locked, password="open sesame")
    pid = "1"
    for words in (
        ["show", "activity.sessions"],
        ["check", "activity.locks"],
        ["run-action", "activity.cancel", "--pid", pid],
        ["targets", "test"],
    ):
        for form in ("table", "json"):
            ended = pgtui(*words, "-t", dsn, "-o", form, "--debug")
            assert "sesame" not in ended.out + ended.err
    assert "sesame" not in state_files(state_home)


def test_a_missing_password_is_asked_for_once_on_a_terminal(
    locked: Server, terminal: Callable[..., Terminal]
) -> None:
    shown = terminal("show", "activity.server", "-t", as_locked(locked), "-d", "all")
    shown.wait_for("Password for ")
    shown.send("open sesame\n")
    assert shown.end() == 0
    assert shown.seen.count(b"Password for") == 1 and b"sesame" not in shown.seen


def test_an_interrupt_while_asked_for_a_password_ends_it(
    locked: Server, terminal: Callable[..., Terminal]
) -> None:
    shown = terminal("show", "activity.server", "-t", as_locked(locked))
    shown.wait_for("Password for ")
    shown.process.send_signal(2)
    assert shown.end() == 130
