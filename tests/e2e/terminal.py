"""A real terminal for a program: keys go in, bytes come out, and a screen is made of them."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyte

LONG = 30.0


class Terminal:
    """A pseudo-terminal with a program in it; `raw` is every byte that the program has sent."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        columns: int = 80,
        lines: int = 24,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        before: Callable[[], object] = lambda: None,
    ) -> None:
        self.screen = pyte.Screen(columns, lines)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = bytearray()
        self.master, slave = pty.openpty()
        self._size(columns, lines)
        self.settings = termios.tcgetattr(slave)

        def own_terminal() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            before()

        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, cwd=cwd, close_fds=True,
            env={**os.environ, "TERM": "xterm-256color", **(env or {})}, preexec_fn=own_terminal,
        )  # fmt: skip
        self._slave = slave

    @property
    def text(self) -> str:
        """What is on the screen."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    def line_of(self, words: str) -> str:
        """The first line of the screen that has these words."""
        return next((line for line in self.screen.display if words in line), "")

    def send(self, keys: str | bytes) -> None:
        """Press keys, all in one write."""
        os.write(self.master, keys.encode() if isinstance(keys, str) else keys)

    def read(self, seconds: float = 0.05) -> bool:
        """Take what comes within that time; False when nothing did."""
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self.master, 1 << 16)
        except OSError:
            return False
        self.raw += data
        self.stream.feed(data)
        return bool(data)

    def until(self, holds: Callable[[], object], seconds: float = LONG) -> None:
        """Read until the condition holds; fail with the screen when it does not for long."""
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, self.text
            self.read()

    def wait_for(self, words: str | re.Pattern[str]) -> None:
        """Read until these words are on the screen."""
        if isinstance(words, str):
            self.until(lambda: words in self.text)
        else:
            self.until(lambda: words.search(self.text))

    def wait_until_gone(self, words: str) -> None:
        """Read until these words are no longer on the screen, and nothing more is painted just now."""
        self.until(lambda: words not in self.text and not self.read(0.2) and words not in self.text)

    def resize(self, columns: int, lines: int) -> None:
        """Change the size of the window."""
        self.screen.resize(lines, columns)
        self._size(columns, lines)
        self.process.send_signal(signal.SIGWINCH)

    def ended(self) -> int:
        """The exit code, once the program has ended; what it still says is read meanwhile."""
        end = time.monotonic() + LONG
        while self.process.poll() is None:
            assert time.monotonic() < end, self.text
            self.read()
        while self.read(0.01):
            pass
        return self.process.returncode

    def vanish(self) -> None:
        """Take the terminal away, as a lost connection does."""
        os.close(self._slave)
        os.close(self.master)
        self._slave = self.master = -1

    @property
    def attributes(self) -> list[object]:
        """How the terminal is set."""
        return list(termios.tcgetattr(self._slave))

    def close(self) -> None:
        """End the program and the terminal."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for descriptor in (self._slave, self.master):
            if descriptor >= 0:
                os.close(descriptor)

    def _size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
