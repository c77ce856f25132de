"""A real sshd on loopback, with keys and configuration of its own, and clients that know it.

    async def test_something(sshd: Sshd) -> None:
        host = SshHost(sshd.host, config=sshd.ssh_config)

It logs in whoever runs the tests. Nothing of the user's own SSH configuration is read or written.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.servers import Workspace

__all__ = ["Sshd", "own_sshd", "sshd"]

PROGRAM = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin:/usr/bin")
SECONDS = 30

Options = Mapping[str, str]


class Sshd:
    """An SSH server for this user, and the configuration of clients that reach it as host `db1`."""

    host = "db1"

    def __init__(self, folder: Path, options: Options | None = None) -> None:
        # Other accounts of this machine can log in too.
        folder.mkdir(mode=0o711)
        self.folder = folder
        self.port = free_port()
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self._process: subprocess.Popen[bytes] | None = None
        for key in ("host_key", "other_host_key", "user_key", "other_user_key"):
            self._keygen(key)
        shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
        self.known_hosts = self._known("known_hosts", "host_key")
        self.changed_hosts = self._known("changed_hosts", "other_host_key")
        self._configure(options or {})
        self.ssh_config = self.client("ssh_config")

    @property
    def state(self) -> Path:
        """The state folder of whoever logs in."""
        return self.folder / "state"

    def client(self, name: str, options: Options | None = None) -> Path:
        """A client's configuration; options replace its usual ones."""
        chosen = {
            "HostName": "127.0.0.1",
            "Port": str(self.port),
            "User": self.user,
            "IdentityFile": str(self.folder / "user_key"),
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "UserKnownHostsFile": str(self.known_hosts),
            "GlobalKnownHostsFile": "/dev/null",
        } | dict(options or {})
        path = self.folder / name
        path.write_text(f"Host {self.host}\n" + "".join(f"  {k} {v}\n" for k, v in chosen.items()))
        return path

    def start(self) -> None:
        """Listen, and return when clients are greeted."""
        assert PROGRAM is not None
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        with (self.folder / "sshd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAM, "-D", "-e", "-f", self.folder / "sshd_config"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True,
            )  # fmt: skip
        wait_until(self._greets, "sshd greets its clients")

    def stop(self) -> None:
        """Listen no more; connections that stand go on."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(SECONDS)
            self._process = None

    def drop_connections(self) -> None:
        """Cut every connection, without a farewell; programs that run are left alone."""
        for pid in self.connections():
            with contextlib.suppress(ProcessLookupError):  # it may have ended by itself
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not self.connections(), "the connections are gone")

    def connections(self) -> list[int]:
        """The processes that serve clients."""
        assert self._process is not None
        return [pid for pid in descendants(self._process.pid) if command(pid).startswith("sshd")]

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """It accepts clients but does not greet them."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def log(self) -> str:
        """What it says of itself."""
        return (self.folder / "sshd.log").read_text(errors="replace")

    def _configure(self, options: Options) -> None:
        chosen = {
            "Port": str(self.port),
            "ListenAddress": "127.0.0.1",
            "HostKey": str(self.folder / "host_key"),
            "AuthorizedKeysFile": str(self.folder / "authorized_keys"),
            # The watchdog of the test run ends what is named in such a file.
            "PidFile": str(self.folder / "sshd.pid"),
            # Where the test runs as root, its account may be locked, which only PAM lets pass.
            "UsePAM": "yes" if os.getuid() == 0 else "no",
            "PermitRootLogin": "yes",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "StrictModes": "no",
            "PrintMotd": "no",
            "PrintLastLog": "no",
            "MaxStartups": "100",
            "SetEnv": f"XDG_STATE_HOME={self.state}",
        } | dict(options)
        (self.folder / "sshd_config").write_text("".join(f"{k} {v}\n" for k, v in chosen.items()))

    def _keygen(self, name: str) -> None:
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "tests", "-f", self.folder / name],
            check=True,
        )

    def _known(self, name: str, key: str) -> Path:
        path = self.folder / name
        kind, material, *_ = (self.folder / f"{key}.pub").read_text().split()
        path.write_text(f"[127.0.0.1]:{self.port} {kind} {material}\n")
        return path

    def _greets(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log()
        probe = subprocess.run(
            ["ssh-keyscan", "-p", str(self.port), "127.0.0.1"], capture_output=True, check=False
        )
        return bool(probe.stdout)


@pytest.fixture(scope="session")
def sshd(workspace: Workspace) -> Iterator[Sshd]:
    """An SSH server that tests share; one that stops it starts it again."""
    yield from _serve(workspace, {})


@pytest.fixture
def own_sshd(workspace: Workspace) -> Iterator[Callable[[Options], Sshd]]:
    """Makes an SSH server with options of its own for this test alone."""
    made: list[Iterator[Sshd]] = []

    def make(options: Options) -> Sshd:
        made.append(_serve(workspace, options))
        return next(made[-1])

    yield make
    for each in made:
        list(each)


def _serve(workspace: Workspace, options: Options) -> Iterator[Sshd]:
    if PROGRAM is None:
        pytest.skip("sshd is not installed")
    server = Sshd(workspace.new_folder("sshd"), options)
    server.start()
    yield server
    server.drop_connections()
    server.stop()
    shutil.rmtree(server.folder)


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Return when it holds; fail when that takes too long."""
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.01)


def descendants(pid: int) -> list[int]:
    """The processes below a process."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
    parents = {int(child): int(parent) for child, parent in map(str.split, listed.stdout.splitlines())}
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found[1:]


def command(pid: int) -> str:
    """A process's command; empty when it is gone or a zombie."""
    shown = subprocess.run(["ps", "-o", "stat=,args=", "-p", str(pid)], capture_output=True, text=True)
    state, _, args = shown.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else args.strip()


def running(words: str) -> list[int]:
    """The processes whose arguments hold these words."""
    return [pid for pid, args in _processes() if words in args]


def running_exactly(args: str) -> list[int]:
    """The processes with these arguments, without the shells and clients that were told to start them."""
    return [pid for pid, found in _processes() if found == args]


def _processes() -> list[tuple[int, str]]:
    listed = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,stat=,args="], capture_output=True, text=True, check=True
    )
    rows = [line.split(None, 2) for line in listed.stdout.splitlines()]
    return [(int(row[0]), row[2]) for row in rows if len(row) == 3 and row[1][0] != "Z"]


async def until(holds: Callable[[], bool], what: str) -> None:
    """Like `wait_until`, while the event loop goes on."""
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        await asyncio.sleep(0.01)
