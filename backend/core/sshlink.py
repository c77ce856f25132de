"""One authenticated connection to a host, shared by everything that pgtui does there.

The connection is a control master of the user's own OpenSSH client, so their configuration, agent, jump
hosts and known hosts hold. It is private to one `SshHost`: its socket lies in a folder of its own, and it
ends with pgtui, however pgtui ends, because it runs nothing but a `cat` that waits for the end of an
input which pgtui holds open. (A master that two processes share would be closed by the first to leave;
one that persists by itself would outlive a pgtui that was killed, together with its forwards.)

Commands then go through the master only: their client reads no configuration and cannot connect by
itself, so none ever falls back to a second, unnoticed connection when the master is gone or takes no more
sessions.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shlex
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from backend.core.child import Child, spawn
from backend.core.clean import mask
from backend.core.errors import Failed, PgtuiError, Refused, Unreachable
from backend.core.folders import private, runtime_folder
from backend.core.host import OUTPUT_LIMIT, absent, script

KEEPALIVE = 5
ALIVE_COUNT = 3
CONTROL_LIMIT = 10

# A socket's path is at most 107 bytes (103 on BSD); ssh makes the control socket under a name 17 longer.
_LONGEST_FOLDER = 64

# The path of the control socket is enough for these: no configuration, and no way to connect without it.
_THROUGH_MASTER = ("ssh", "-F", "none", "-T", "-o", "BatchMode=yes", "-o", "ProxyCommand=false")

# Room for the marks, and for what login files print before them.
_LIMIT = OUTPUT_LIMIT + (64 << 10)

_READY = script('echo "$1"; exec cat >/dev/null')


class Link:
    """An open control master."""

    def __init__(self, host: str, config: Path | None, folder: Path, connect_timeout: float) -> None:
        self._host = host
        self._config = config
        self._folder = folder
        self._connect_timeout = connect_timeout
        self._socket = folder / "m"
        self._master: Child | None = None
        self._lifeline: int | None = None

    @property
    def alive(self) -> bool:
        """Whether the master runs."""
        return self._master is not None and self._master.running

    async def open(self) -> None:
        """Connect; `Unreachable` with a sentence for what is in the way."""
        token = f"pgtui-{secrets.token_hex(8)}"
        try:
            self._master = await self._start(token)
        except FileNotFoundError:
            raise absent("ssh", "this machine") from None
        try:
            # ssh's own ConnectTimeout ends with the greeting; keys and agents may hang after it.
            async with asyncio.timeout(2 * self._connect_timeout):
                await self._master.over
        except TimeoutError:
            await self.close()
            raise _silent(self._host, 2 * self._connect_timeout) from None
        except BaseException:
            await self.close()
            raise
        if not self._master.running:
            await self._master.end()
            said = self._master.err.whole.decode("utf-8", "replace")
            await self.close()
            raise refusal(self._host, said)

    async def session(self, argv: Sequence[str], *, stdin: bytes | None, mark: bytes) -> Child:
        """Start a program there, in a session of its own; its arguments are quoted here and nowhere else."""
        command = [*_THROUGH_MASTER, "-S", str(self._socket)]
        if stdin is None:
            command.append("-n")
        try:
            return await spawn(
                [*command, "pgtui", shlex.join(argv)], stdin=stdin, limit=_LIMIT, mark=(2, mark)
            )
        except OSError as e:
            raise Failed(f"{argv[0]} cannot be started on host {self._host}: {e.strerror}") from None

    async def control(self, word: str, *options: str) -> tuple[int, str]:
        """Give the master an order: its exit status and words."""
        command = [*_THROUGH_MASTER, "-S", str(self._socket), "-O", word, *options, "pgtui"]
        child = await spawn(command)
        try:
            async with asyncio.timeout(CONTROL_LIMIT):
                await child.end()
        except TimeoutError:
            return 255, "the control connection does not answer"
        finally:
            child.close()
        return child.code, child.err.whole.decode("utf-8", "replace").strip()

    def refused_channel(self) -> str:
        """In brackets, why the far side last refused to open a way; empty when it has not."""
        said = self._master.err.whole.decode("utf-8", "replace") if self._master else ""
        reasons = re.findall(r"channel \d+: open failed: (.+)", said)
        return f" ({mask(reasons[-1].strip())})" if reasons else ""

    async def answers(self) -> bool:
        """Whether the master is there and serves its socket."""
        return self.alive and (await self.control("check"))[0] == 0

    async def close(self) -> None:
        """End the connection with everything that goes through it."""
        master, self._master = self._master, None
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None
        if master is not None:
            try:
                await master.stop()
            finally:
                master.close()
        self._socket.unlink(missing_ok=True)

    async def _start(self, token: str) -> Child:
        given = [] if self._config is None else ["-F", str(self._config)]
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": str(max(1, round(self._connect_timeout))),
            "ServerAliveInterval": str(KEEPALIVE),
            "ServerAliveCountMax": str(ALIVE_COUNT),
            "ControlMaster": "yes",
            "ControlPath": str(self._socket).replace("%", "%%"),
            "ControlPersist": "no",
            "ClearAllForwardings": "yes",
            "ForwardAgent": "no",
            "ForwardX11": "no",
            "PermitLocalCommand": "no",
            "RemoteCommand": "none",
            # Silenced, ssh would not say what is in the way.
            "LogLevel": "INFO",
        }
        words = ["ssh", *given, "-T", *(f"-o{name}={value}" for name, value in options.items())]
        ours, self._lifeline = os.pipe()
        try:
            command = [*words, "--", self._host, shlex.join([*_READY, token])]
            return await spawn(command, stdin=ours, mark=(1, token.encode()))
        except BaseException:
            os.close(self._lifeline)
            self._lifeline = None
            raise
        finally:
            os.close(ours)


def private_folder() -> Path:
    """A new folder for the sockets of one host; those that dead processes left are removed."""
    usual = runtime_folder()
    base = usual if len(os.fsencode(usual)) < _LONGEST_FOLDER else Path(f"/tmp/pgtui-{os.getuid()}")  # noqa: S108
    private(base)
    about = base.lstat()
    if about.st_uid != os.getuid() or about.st_mode & 0o077 or base.is_symlink():
        raise Refused(
            f"sockets cannot be kept in {base}: the folder is open to other users",
            hint=f"set XDG_RUNTIME_DIR to a folder of your own, or: chmod 700 {base}",
        )
    for left in base.glob("*-*"):
        pid = left.name.partition("-")[0]
        if pid.isdigit() and not _lives(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=base))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _silent(host: str, seconds: float) -> Unreachable:
    return Unreachable(
        f"host {host} does not answer: no login within {seconds:g} s",
        hint=f"try it by hand: ssh {host}",
    )


# The first that matches decides: a changed key also says that the verification failed.
_REFUSALS = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|REVOKED HOST KEY",
        "the key of host {host} is not the one it had before: it was set up anew, or somebody is in between",
        "ask who runs it; if the new key is right, ssh {host} says how to forget the old one",
    ),
    (
        r"Host key verification failed",
        "the key of host {host} is not known here, so nothing was sent to it",
        "once by hand, to compare and accept the key: ssh {host}",
    ),
    (
        r"Permission denied|Too many authentication failures|No more authentication methods",
        "host {host} does not let us in: it accepts none of our keys",
        "ssh {host} has to work without password: load the key (ssh-add) or install it (ssh-copy-id {host})",
    ),
    (
        r"Could not resolve hostname",
        "the name of host {host} cannot be resolved",
        "compare it with the inventory's ssh = and with the Host lines of the SSH configuration",
    ),
    (
        r"Connection refused",
        "host {host} refuses the connection: nothing listens on its SSH port",
        "see that sshd runs there, and on which port: ssh {host}",
    ),
    (
        r"timed out|No route to host|Network is unreachable|Host is down",
        "host {host} does not answer: it is down, or the network in between is",
        "try it by hand: ssh {host}",
    ),
    (
        r"Bad configuration option|bad configuration options|[Nn]o such file.*config|unsupported option",
        "the SSH configuration for host {host} cannot be read",
        "ssh -G {host} shows what is wrong with it",
    ),
)


def refusal(host: str, said: str) -> PgtuiError:
    """The sentence for what kept ssh from connecting, with ssh's own last words."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    words = mask(lines[-1]) if lines else "it said nothing"
    for pattern, sentence, hint in _REFUSALS:
        if re.search(pattern, said):
            return Unreachable(f"{sentence.format(host=host)} ({words})", hint=hint.format(host=host))
    return Unreachable(
        f"the connection to host {host} ended before a program could run there ({words})",
        hint=f"this has to work: ssh {host} true",
    )
