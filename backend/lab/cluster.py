"""A PostgreSQL cluster of one's own, reached through a socket folder that nobody else can enter."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from psycopg.conninfo import make_conninfo

from backend.core.errors import Failed
from backend.lab.account import Account, server_account
from backend.lab.servers import Installation

SUPERUSER = "dba"

# sun_path holds 108 bytes on Linux and 104 elsewhere, with the closing zero.
SOCKET_LIMIT = 103


@dataclass(frozen=True, slots=True)
class PrivateCluster:
    """A server with its data in `folder`, trusting whoever can enter its socket folder."""

    folder: Path
    installation: Installation
    port: int
    socket_dir: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    initdb_options: tuple[str, ...] = ()
    account: Account = field(default_factory=server_account)

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """The server's log file."""
        return self.folder / "log" / "postgresql.log"

    def dsn(self, dbname: str = "postgres") -> str:
        """How the superuser connects."""
        return make_conninfo(host=str(self.socket_dir), port=self.port, user=SUPERUSER, dbname=dbname)

    def create(self) -> None:
        """Make the data folder; one that an interrupted attempt left is no obstacle."""
        self.account.make_folder(self.folder)
        partial = self.folder / "data.partial"
        shutil.rmtree(partial, ignore_errors=True)
        self.account.run([
            self.installation.program("initdb"), "--pgdata", partial, "--username", SUPERUSER,
            "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions",
            *self.initdb_options,
        ])  # fmt: skip
        partial.rename(self.data)

    def configure(self) -> None:
        """Write the settings that this object stands for; the next start obeys them."""
        values = {
            "port": str(self.port),
            "unix_socket_directories": str(self.socket_dir),
            "unix_socket_permissions": "0700",
            "listen_addresses": "",
        } | dict(self.settings)
        lines = [f"{name} = '{_quoted(value)}'\n" for name, value in values.items()]
        own = self.data / "pgtui.conf"
        own.write_text("".join(lines))
        self.account.own(own)
        with (self.data / "postgresql.conf").open("r+") as main:
            if "pgtui.conf" not in main.read():
                main.write("include 'pgtui.conf'\n")

    def start(self, *, seconds: int = 60) -> None:
        """Start the server and return when it answers; one that runs already is left alone."""
        if self.running():
            return
        self.configure()
        for folder in (self.socket_dir, self.log.parent):
            self.account.make_folder(folder)
        self._forget_strangers()
        deadline = time.monotonic() + seconds
        while True:
            try:
                self._pg_ctl("start", "--log", str(self.log), "--timeout", str(seconds))
            except Failed as failure:
                # After the postmaster was killed its processes hold the shared memory for a moment.
                if "still in use" not in self.last_words() or time.monotonic() > deadline:
                    raise Failed(f"the server did not start: {self.last_words() or failure}") from failure
                time.sleep(0.2)
            else:
                return

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Stop the server; one that does not run is left alone."""
        if self.running():
            self._pg_ctl("stop", "--mode", mode)

    def end(self) -> None:
        """Stop the server even when it is frozen or its programs are gone."""
        for number, seconds in ((signal.SIGINT, 20.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 5.0)):
            pid = self.pid()
            if pid is None:
                return
            os.kill(pid, signal.SIGCONT)
            os.kill(pid, number)
            self._wait_for_end(seconds)

    def reload(self) -> None:
        """Make the running server read its settings again."""
        self.configure()
        self._pg_ctl("reload")

    def promote(self) -> None:
        """Make a standby a primary."""
        self._pg_ctl("promote")

    def pid(self) -> int | None:
        """The postmaster's process, None when the server does not run."""
        recorded = self._recorded_pid()
        return recorded if recorded is not None and _is_postmaster(recorded, self.data) else None

    def running(self) -> bool:
        """Whether the server's postmaster is alive, whatever its pid file says."""
        return self.pid() is not None

    def last_words(self) -> str:
        """The last complaint in the server's log."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()[-20:]
        except FileNotFoundError:
            return ""
        complaints = [line for line in lines if "FATAL" in line or "PANIC" in line]
        return complaints[-1] if complaints else ""

    def _pg_ctl(self, *words: str) -> None:
        self.account.run([self.installation.program("pg_ctl"), "--pgdata", self.data, "--wait", *words])

    def _wait_for_end(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self.running() and time.monotonic() < deadline:
            time.sleep(0.05)

    def _recorded_pid(self) -> int | None:
        try:
            return int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return None

    def _forget_strangers(self) -> None:
        """Remove pid files naming a process that lives but is not the server: PostgreSQL would not start."""
        recorded = self._recorded_pid()
        if recorded is not None and _alive(recorded):
            (self.data / "postmaster.pid").unlink()
            (self.socket_dir / f".s.PGSQL.{self.port}.lock").unlink(missing_ok=True)


def free_port() -> int:
    """A TCP port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fits_a_socket(folder: Path) -> bool:
    """Whether a server's socket in `folder` stays within the operating system's limit."""
    return len(os.fsencode(folder / ".s.PGSQL.65535")) <= SOCKET_LIMIT


def _quoted(value: str) -> str:
    return value.replace("'", "''")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_postmaster(pid: int, data: Path) -> bool:
    if not Path("/proc/self/cmdline").exists():
        return _alive(pid)
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return os.fsencode(data) in words
