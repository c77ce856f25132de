"""Running pgtui: in this process where that tells the same, else as a program of its own."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from backend.core.declare import ACTIONS
from tests.cli.samples import by_name
from tests.servers import Server
from tui.cli import main

PROGRAM = [sys.executable, "-m", "tui"]
TREE = Path(__file__).resolve().parents[2]

# Everything that a name may do to a terminal, a quoting rule or a markup language.
AWKWARD = "a \"b\" 'c' [/x] [red]\n\x1b[31m\x1b]0;title\x07 \u202eevil \x9b2J é 名"


@dataclass(frozen=True)
class Ended:
    """What a command line answered."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """Standard output as JSON, one object a line."""
        assert self.out.isascii()
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def object(self) -> dict[str, Any]:
        """The only object."""
        [only] = self.objects
        return only


Pgtui = Callable[..., Ended]


@pytest.fixture
def pgtui(capsysbinary: pytest.CaptureFixture[bytes]) -> Pgtui:
    """Runs a command line in this process: `pgtui("show", "activity.sessions", "-o", "json")`."""

    def run(*words: str) -> Ended:
        capsysbinary.readouterr()
        code = main(words)
        out, err = capsysbinary.readouterr()
        return Ended(code, out.decode("utf-8", "surrogateescape"), err.decode("utf-8", "surrogateescape"))

    return run


@pytest.fixture
def sample(pgtui: Pgtui, monkeypatch: pytest.MonkeyPatch) -> Pgtui:
    """The same, with the sample actions."""
    for name, action in by_name().items():
        monkeypatch.setitem(ACTIONS, name, action)
    return pgtui


@pytest.fixture
def program() -> Pgtui:
    """Runs a command line as a program: `program("show", …, stdin="", env={…})`."""

    def run(*words: str, stdin: str = "", env: dict[str, str] | None = None) -> Ended:
        done = subprocess.run(
            [*PROGRAM, *words],
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            env=os.environ | (env or {}),
            cwd=TREE,
            timeout=60,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    return run


class Terminal:
    """pgtui on a terminal of its own: what it writes is read as bytes."""

    def __init__(self, *words: str) -> None:
        self.seen = b""
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [*PROGRAM, *words],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=TREE,
            env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"},
            start_new_session=True,
        )
        os.close(slave)

    def wait_for(self, text: str, seconds: float = 20) -> bytes:
        """Everything written so far, once the text is part of it."""
        deadline = time.monotonic() + seconds
        while text.encode() not in self.seen:
            assert time.monotonic() < deadline and self._read(), f"no {text!r} in {self.seen!r}"
        return self.seen

    def send(self, text: str) -> None:
        """Type something."""
        os.write(self._master, text.encode())

    def end(self) -> int:
        """The exit code, after everything has been read."""
        while self._read():
            pass
        return self.process.wait(20)

    def close(self) -> None:
        """End it if need be."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._master], [], [], 20)
        try:
            chunk = os.read(self._master, 65536) if ready else b""
        except OSError:  # the other side has closed
            chunk = b""
        self.seen += chunk
        return bool(chunk)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    """Starts pgtui on a terminal."""
    opened: list[Terminal] = []

    def start(*words: str) -> Terminal:
        opened.append(Terminal(*words))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


@pytest.fixture
def inventory(server: Server, state_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An inventory of the server as targets a and b, and c, where nothing listens."""
    path = state_home / "inventory.toml"
    path.write_text(
        f'default = "a"\n'
        f'[target.a]\ndsn = "{server.dsn()}"\ntags = ["live"]\n'
        f'[target.b]\ndsn = "{server.dsn("template1")}"\ntags = ["live"]\n'
        f'[target.c]\ndsn = "host={state_home} dbname=x user=x"\ntags = ["dead"]\n'
    )
    monkeypatch.setenv("PGTUI_INVENTORY", str(path))
    return path


@pytest.fixture
def bystander(server: Server) -> Iterator[psycopg.Connection]:
    """A session that tests look at, and end."""
    with psycopg.connect(server.dsn(), autocommit=True, application_name="bystander") as connection:
        yield connection


@pytest.fixture
def prepared(server: Server) -> Iterator[Callable[[str], str]]:
    """Prepares a transaction under a name; what is left of it is rolled back."""
    names: list[str] = []

    def prepare(name: str) -> str:
        with psycopg.connect(server.dsn()) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS pg_temp.nothing ()")
            connection.rollback()
            connection.execute("SELECT pg_catalog.txid_current()")
            connection.execute(sql.SQL("PREPARE TRANSACTION {}").format(sql.Literal(name)))
        names.append(name)
        return name

    yield prepare
    for (gid,) in server.psql("SELECT gid FROM pg_prepared_xacts"):
        if gid in names:
            server.psql(sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(gid)))
