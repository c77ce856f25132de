"""The console as a user has it: one flow from start to end, and how it ends."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from tests.e2e.conftest import Open
from tests.e2e.sessions import sleeper
from tests.e2e.terminal import LONG, Terminal
from tests.servers import Server, until

ENTER, ESC = "\r", "\x1b"
ALTERNATE_ON, ALTERNATE_OFF = b"\x1b[?1049h", b"\x1b[?1049l"


def is_active(server: Server, pid: int) -> bool:
    rows = server.psql("SELECT state FROM pg_stat_activity WHERE pid = %s", params=[pid])
    return rows == [("active",)]


def test_the_first_screen_at_80_by_24_shows_pid_state_duration_and_query(server: Server, pgtui: Open) -> None:
    with sleeper(server) as pid:
        terminal = pgtui(server.dsn())
        terminal.wait_for(str(pid))
        terminal.wait_for(re.compile(rf"{pid} .*active .*\d(ms|s) +SELECT pg_sleep\(600\)"))
        terminal.until(lambda: "primary" in terminal.screen.display[0])


def test_from_the_palette_to_a_statement_that_is_cancelled(server: Server, pgtui: Open) -> None:
    with sleeper(server) as pid:
        terminal = pgtui(server.dsn())
        terminal.wait_for(str(pid))
        terminal.send(":")
        terminal.wait_for("Go to, or do")
        terminal.send("activity.cancel")
        terminal.wait_for(re.compile(r"› +activity\.cancel"))
        terminal.send(ENTER)
        terminal.wait_for("Process id")
        terminal.send(str(pid))
        terminal.wait_for(re.compile(rf"^│ .*{pid}", re.M))
        terminal.send(ENTER)
        terminal.wait_for("Enter runs it")
        assert "pg_cancel_backend" in terminal.text or "SELECT" in terminal.text
        assert is_active(server, pid)
        terminal.send(ENTER)
        terminal.wait_for("done in")
        until(lambda: not is_active(server, pid))
        terminal.send(ESC)
        terminal.wait_until_gone("done in")
        terminal.send("R")
        terminal.wait_for("Runs")
        terminal.wait_for("type to narrow down")
        terminal.send(ESC)
        terminal.wait_until_gone("Runs")
        terminal.send("q")
        assert terminal.ended() == 0


def test_two_enters_in_one_write_run_nothing(server: Server, pgtui: Open) -> None:
    with sleeper(server, "twice") as pid:
        terminal = pgtui(server.dsn())
        terminal.wait_for(str(pid))
        terminal.send("/")
        terminal.wait_for("keep the filter")
        terminal.send(f"pid={pid}")
        terminal.wait_for(f"filter: pid={pid}")
        terminal.send(ENTER)
        terminal.wait_until_gone("keep the filter")
        terminal.send("a")
        terminal.wait_for(f"Actions on {pid}")
        terminal.send(ENTER + ENTER + ENTER)
        terminal.wait_for("Enter runs it")
        terminal.send(ENTER + ENTER)
        terminal.wait_for("Enter came twice")
        assert is_active(server, pid)
        terminal.send(ESC)
        terminal.wait_until_gone("Enter came twice")
        assert is_active(server, pid)


def test_a_disruptive_action_has_no_in_focus(server: Server, pgtui: Open) -> None:
    with sleeper(server, "kept") as pid:
        terminal = pgtui(server.dsn())
        terminal.wait_for(str(pid))
        terminal.send("/")
        terminal.wait_for("keep the filter")
        terminal.send(f"pid={pid}" + ENTER)
        terminal.wait_until_gone("keep the filter")
        terminal.send("a")
        terminal.wait_for(f"Actions on {pid}")
        terminal.send("terminate")
        terminal.wait_for(re.compile(r"› +activity\.terminate "))
        terminal.send(ENTER)
        terminal.wait_for("› No, leave it ‹")
        terminal.until(lambda: "Enter takes it" in terminal.text)
        terminal.send(ENTER)
        terminal.wait_until_gone("No, leave it")
        assert is_active(server, pid)


def test_it_fits_into_40_by_10_and_back(server: Server, pgtui: Open) -> None:
    with sleeper(server) as pid:
        terminal = pgtui(server.dsn())
        terminal.wait_for(str(pid))
        terminal.resize(40, 10)
        terminal.until(lambda: str(pid) in terminal.text and "every 2 s" not in terminal.text)
        terminal.until(lambda: re.search(r"\d\d:\d\d:\d\d", terminal.screen.display[0]))
        terminal.resize(80, 24)
        terminal.until(lambda: terminal.screen.display[-1].strip() and str(pid) in terminal.text)


@pytest.mark.parametrize("environment", [{"TERM": "xterm"}, {"NO_COLOR": "1"}, {"TERM": "linux"}], ids=str)
def test_it_works_without_many_colours(server: Server, pgtui: Open, environment: dict[str, str]) -> None:
    with sleeper(server) as pid:
        terminal = pgtui(server.dsn(), env=environment)
        terminal.wait_for(str(pid))
        assert b"\x1b[38;2;" not in terminal.raw
        terminal.send("?")
        terminal.wait_for("open the first ten rooms")


def _quits(terminal: Terminal, by: str) -> int:
    terminal.send(by)
    return terminal.ended()


@pytest.mark.parametrize("key", ["q", "\x03"], ids=["q", "ctrl+c"])
def test_quitting_restores_the_terminal(server: Server, pgtui: Open, key: str) -> None:
    terminal = pgtui(server.dsn())
    terminal.wait_for("primary")
    assert _quits(terminal, key) == 0
    assert terminal.attributes == terminal.settings
    assert terminal.raw.rindex(ALTERNATE_OFF) > terminal.raw.rindex(ALTERNATE_ON)


def test_sigterm_restores_the_terminal(server: Server, pgtui: Open) -> None:
    terminal = pgtui(server.dsn())
    terminal.wait_for("primary")
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.ended() == 143
    assert terminal.attributes == terminal.settings
    assert terminal.raw.rindex(ALTERNATE_OFF) > terminal.raw.rindex(ALTERNATE_ON)


@pytest.mark.parametrize("deaf", [False, True], ids=["hangup", "hangup ignored"])
def test_a_terminal_that_vanishes_ends_it(server: Server, pgtui: Open, deaf: bool) -> None:
    def ignore_hangup() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    terminal = pgtui(server.dsn(), before=ignore_hangup if deaf else lambda: None)
    terminal.wait_for("primary")
    terminal.vanish()
    terminal.process.wait(LONG)


def test_it_is_suspended_and_goes_on(server: Server, pgtui: Open) -> None:
    with sleeper(server) as pid:
        terminal = pgtui(server.dsn())
        terminal.wait_for(str(pid))
        terminal.send("\x1a")
        terminal.until(lambda: ALTERNATE_OFF in terminal.raw)
        until(lambda: _state(terminal.process.pid) == "T")
        terminal.raw.clear()
        os.kill(terminal.process.pid, signal.SIGCONT)
        terminal.until(lambda: ALTERNATE_ON in terminal.raw)
        terminal.wait_for(str(pid))
        terminal.send("?")
        terminal.wait_for("open the first ten rooms")


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_server_that_cannot_be_reached_is_said_and_the_keys_work(pgtui: Open) -> None:
    terminal = pgtui("host=127.0.0.1 port=1 dbname=postgres")
    terminal.wait_for(re.compile("refused|no answer|cannot"))
    terminal.send("?")
    terminal.wait_for("open the first ten rooms")
    terminal.send(ESC)
    terminal.wait_until_gone("open the first ten rooms")
    terminal.send("q")
    assert terminal.ended() == 0
