"""A program on a terminal of its own: what it writes is emulated, what it asks the terminal is answered."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import queue
import re
import select
import signal
import struct
import sys
import termios
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pyte

COLUMNS, LINES = 160, 50
# The reader must get the time of each chunk right while the emulator works on the one before.
sys.setswitchinterval(0.0002)

SEQUENCE = re.compile(
    r"\x1b(?:\](?P<osc>[^\x07\x1b]*)(?:\x07|\x1b\\)"
    r"|[P_^X](?P<dcs>(?:[^\x1b]|\x1b(?!\\))*)\x1b\\"
    r"|\[(?P<params>[0-?]*)(?P<between>[ -/]*)(?P<final>[@-~]))"
)
UNFINISHED = re.compile(r"\x1b(?:[\]P_^X](?:[^\x07\x1b]|\x1b(?!\\))*\x1b?|\[[0-?]*[ -/]*|[ -/]*)?\Z")


class _Screen(pyte.Screen):
    """An emulated screen that begins empty when the program asks for the alternate one."""

    def set_mode(self, *modes: int, **kwargs: Any) -> None:
        if kwargs.get("private") and 1049 in modes:
            self.erase_in_display(2)
        super().set_mode(*modes, **kwargs)

    def report_device_status(self, *modes: int, **kwargs: Any) -> None:
        """Answered by `Program`."""

    def report_device_attributes(self, *modes: int, **kwargs: Any) -> None:
        """Answered by `Program`."""


class Program:
    """A running program; `chunk()` takes the next piece of its output into the emulated screen."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.screen = _Screen(COLUMNS, LINES)
        self.bytes = 0
        self._stream = pyte.Stream(self.screen)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = ""
        self._chunks: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
        self._ended = False
        self.pid, self._fd = _spawn(command, environment)
        self.started = time.perf_counter()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._fd, 65536)
            except OSError:
                data = b""
            self._chunks.put((time.perf_counter(), data))
            if not data:
                return

    def chunk(self, seconds: float) -> float | None:
        """When the next output came; None after so many seconds without any, or at its end."""
        if self._ended:
            return None
        try:
            at, data = self._chunks.get(timeout=max(seconds, 0))
        except queue.Empty:
            return None
        self._ended = not data
        self.bytes += len(data)
        self._feed(data)
        return at if data else None

    def watch(self, seconds: float) -> None:
        """Take all output of so many seconds."""
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0 and not self._ended:
            self.chunk(left)

    def shows(self, pattern: str, seconds: float = 30) -> float:
        """Seconds from the start until the pattern was on the screen."""
        end = time.perf_counter() + seconds
        while time.perf_counter() < end and not self._ended:
            at = self.chunk(0.5)
            if at is not None and re.search(pattern, self.text(), re.MULTILINE):
                return at - self.started
        raise RuntimeError(f"never showed {pattern!r}:\n{self.text()}")

    def text(self) -> str:
        """What is on the screen."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    def press(self, keys: str) -> float:
        """Send keys; when."""
        at = time.perf_counter()
        os.write(self._fd, keys.encode())
        return at

    def snapshot(self) -> list[tuple[Any, ...]]:
        """The screen's cells, to compare with later."""
        self.screen.dirty.clear()
        return [self._row(y) for y in range(LINES)]

    def changed(self, before: list[tuple[Any, ...]]) -> bool:
        """Whether a cell differs from the snapshot, which is brought up to date."""
        found = False
        for y in self.screen.dirty:
            if y < LINES and (row := self._row(y)) != before[y]:
                before[y], found = row, True
        self.screen.dirty.clear()
        return found

    def end(self, keys: str) -> float:
        """Quit by these keys; seconds until the process had ended."""
        began = self.press(keys)
        while (status := os.waitpid(self.pid, os.WNOHANG)) == (0, 0):
            if time.perf_counter() - began > 10:
                os.kill(self.pid, signal.SIGKILL)
            self.chunk(0.001)
        seconds = time.perf_counter() - began
        os.close(self._fd)
        if os.waitstatus_to_exitcode(status[1]) < 0:
            raise RuntimeError("the program had to be killed")
        return seconds

    def _row(self, y: int) -> tuple[Any, ...]:
        line = self.screen.buffer[y]
        return tuple(line[x] for x in range(COLUMNS))

    def _feed(self, data: bytes) -> None:
        text = self._pending + self._decoder.decode(data)
        self._pending = ""
        if found := UNFINISHED.search(text):
            self._pending, text = text[found.start() :], text[: found.start()]
        self._stream.feed(SEQUENCE.sub(self._filtered, text))

    def _filtered(self, found: re.Match[str]) -> str:
        """The sequence, unless it is a question or nothing that the emulator understands."""
        if found["final"] is None:
            self._answer_string(found["osc"] or "", found["dcs"] or "")
            return ""
        params, between, final = found["params"], found["between"], found["final"]
        if answer := _answer(params, between, final):
            os.write(self._fd, answer.encode())
            return ""
        known = not between and params[:1] not in ("<", "=", ">") and ":" not in params
        return found[0] if known and final not in "ntuc" else ""

    def _answer_string(self, osc: str, dcs: str) -> None:
        if asked := re.fullmatch(r"(10|11);\?", osc):
            shade = "ffff/ffff/ffff" if asked[1] == "10" else "0000/0000/0000"
            os.write(self._fd, f"\x1b]{asked[1]};rgb:{shade}\x1b\\".encode())
        elif dcs.startswith("+q"):
            os.write(self._fd, f"\x1bP0+r{dcs[2:]}\x1b\\".encode())


def _answer(params: str, between: str, final: str) -> str:
    """What a terminal answers to a question; programs wait for it, some up to their time-out."""
    if final == "p" and between == "$":
        state = {"2026": 2, "2004": 2, "1006": 2}.get(params.lstrip("?"), 0)
        return f"\x1b[{params};{state}$y"
    if final == "q" and params.startswith(">"):
        return "\x1bP>|XTerm(377)\x1b\\"
    if final == "t" and params.startswith("18"):
        return f"\x1b[8;{LINES};{COLUMNS}t"
    return {
        ("", "c"): "\x1b[?62;1;6;22c",
        ("0", "c"): "\x1b[?62;1;6;22c",
        (">", "c"): "\x1b[>41;377;0c",
        ("5", "n"): "\x1b[0n",
        ("6", "n"): "\x1b[1;1R",
    }.get((params, final), "")


def _spawn(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, int]:
    """Start the program on a new terminal; its process, and the terminal's other end."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    running, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
            for fd in (0, 1, 2):
                os.dup2(slave, fd)
            os.closerange(3, told)
            # The pipe closes by itself at exec: that is when the clock starts.
            os.execvpe(command[0], list(command), dict(environment))
        finally:
            os._exit(127)
    os.close(slave)
    os.close(told)
    select.select([running], [], [], 5)
    os.close(running)
    return pid, master
