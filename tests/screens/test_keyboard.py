"""What only a real terminal proves: keys that arrive in one read."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyte
import pytest

ROOT = Path(__file__).parents[2]


class Terminal:
    """The little console on a pseudo-terminal."""

    def __init__(self) -> None:
        self.screen = pyte.Screen(80, 24)
        self.stream = pyte.ByteStream(self.screen)
        self.master, slave = pty.openpty()
        environ = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.screens.keyboard_app"],
            stdin=slave, stdout=slave, stderr=slave, cwd=ROOT, env=environ, close_fds=True,
        )  # fmt: skip
        os.close(slave)

    def read(self, seconds: float) -> None:
        """Take what comes for a while."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([self.master], [], [], left)[0]:
                self.stream.feed(os.read(self.master, 65536))

    def wait_for(self, words: str) -> None:
        end = time.monotonic() + 20
        while words not in self.text:
            assert time.monotonic() < end, self.text
            self.read(0.05)

    @property
    def text(self) -> str:
        return "\n".join(self.screen.display)

    def send(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    opened = Terminal()
    yield opened
    opened.close()


def test_a_burst_of_enters_opens_the_preview_and_runs_nothing(terminal: Terminal) -> None:
    terminal.wait_for("1000")
    terminal.send(b"\r\r\r")
    terminal.wait_for("Enter runs it")
    terminal.read(0.6)
    assert "answered" not in terminal.text and "sample.act" in terminal.text
    terminal.send(b"\r")
    terminal.wait_for("answered True")


def test_enters_in_sight_of_the_preview_count_once_and_alone(terminal: Terminal) -> None:
    terminal.wait_for("1000")
    terminal.send(b"\r")
    terminal.wait_for("Enter runs it")
    terminal.send(b"\r\r")
    terminal.wait_for("Enter came twice")
    terminal.read(0.6)
    assert "answered" not in terminal.text
