"""Hosts: where a target's programs and files are.

`Host` is the seam. Behind it is this machine (`backend.core.local`) or another one, reached through the
user's own OpenSSH client (`backend.core.ssh`); `backend.core.hosts.host_for` chooses. What both share is
here: what a program that ended looks like, how a program becomes another user's, and the sentences for
what is missing.

A program is an argument list. No shell ever reads the arguments, so nothing needs quoting; across SSH
they are quoted once, at that boundary. Where a job needs several small programs in a row (replace a file,
start something that outlives us) it is a short POSIX `sh` script, handed over whole as one argument, with
its data behind it as further arguments: never pasted into the script's text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Protocol

from backend.core.clean import mask
from backend.core.errors import Failed, Missing, PgtuiError, Usage
from backend.core.record import record

# Debian keeps pgbouncer and other servers in /usr/sbin, which is not on everybody's search path.
SEARCH = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin:/opt/homebrew/bin"

OUTPUT_LIMIT = 16 << 20
CUT = "it wrote more than pgtui reads, and only the beginning was kept"

NOT_FOUND = 127

_PACKAGES = {
    "barman": "barman",
    "journalctl": "systemd",
    "pgbackrest": "pgbackrest",
    "pgbadger": "pgbadger",
    "pgbouncer": "pgbouncer",
    "pgqd": "pgqd",
    "ssh": "openssh-client",
    "sudo": "sudo",
    "systemctl": "systemd",
} | {
    program: package
    for package, programs in {
        "postgresql-client": "psql pg_basebackup pg_dump pg_dumpall pg_isready pg_receivewal pg_restore",
        "postgresql-common": "pg_lsclusters pg_ctlcluster pg_createcluster pg_dropcluster pg_conftool",
        "postgresql": "initdb pg_controldata pg_ctl pg_rewind pg_upgrade pg_waldump postgres",
    }.items()
    for program in programs.split()
}


@record
class Done:
    """A program that has ended: exit status (128 and the signal's number when killed) and what it wrote."""

    argv: tuple[str, ...]
    code: int
    out: bytes
    err: bytes
    cut: bool = False

    @property
    def text(self) -> str:
        """Standard output as text; bytes that are no UTF-8 stay as surrogates."""
        return self.out.decode("utf-8", "surrogateescape")

    @property
    def complaint(self) -> str:
        """What it said of its failure: the last lines of standard error, else of standard output."""
        said = (self.err.strip() or self.out.strip()).decode("utf-8", "surrogateescape")
        return mask("\n".join(said.splitlines()[-5:]))

    def demand(self, *ok: int) -> Done:
        """Itself, or a failure quoting the program when the status is unexpected or the output was cut."""
        if self.code not in (ok or (0,)):
            raise Failed(
                f"{basename(self.argv)} ended with status {self.code}: {self.complaint or 'it said nothing'}"
            )
        if self.cut:
            raise Failed(f"the output of {basename(self.argv)} cannot be used: {CUT}")
        return self


@record
class Forward:
    """What libpq is given to reach a server that listens on a host.

    `host` is a socket's folder, or the server's name as certificates and pgpass know it; then `hostaddr` is
    where the bytes really go.
    """

    host: str
    port: int
    hostaddr: str | None = None

    @property
    def conninfo(self) -> dict[str, str]:
        """The libpq parameters that replace a connection string's own `host`, `hostaddr` and `port`."""
        found = {"host": self.host, "port": str(self.port)}
        return found | ({"hostaddr": self.hostaddr} if self.hostaddr else {})


class Program(Protocol):
    """A program that outlives the connection: started under a wrapper, followed by its record.

    `reference` names its record folder on the host and is enough to find it again with `Host.attach`.
    """

    @property
    def reference(self) -> str:
        """Its record folder on the host."""
        ...

    async def follow(self, since: int = 0) -> tuple[bytes, int]:
        """What it wrote after byte `since` (8 MB at most), and where that ends."""
        ...

    async def status(self) -> int | None:
        """Its exit status, or None while it runs; `Failed` when it vanished without one."""
        ...

    async def cancel(self, grace: float = 5) -> None:
        """End its process group: TERM, then KILL after the grace period; nothing when it has ended."""
        ...

    async def forget(self) -> None:
        """Remove its record once it has ended; refused while it runs."""
        ...


class Host(Protocol):
    """A machine on which programs run and files are read and written."""

    @property
    def name(self) -> str:
        """What the user calls it."""
        ...

    @property
    def where(self) -> str:
        """The same inside a sentence: `this machine`, `host db1`."""
        ...

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | None = None,
        timeout: float = 10,
        run_as: str | None = None,
    ) -> Done:
        """Run a program to its end; its exit status is data, not an error.

        Raises `Missing` when the program is not there, `Failed` when the time is up (the program is then
        ended), `Unreachable` when the host does not answer, and `Missing` with the sudoers line when `run_as`
        is not allowed. Cancelling ends the program.
        """
        ...

    async def start(
        self, argv: Sequence[str], *, stdin: bytes | None = None, run_as: str | None = None
    ) -> Program:
        """Start a program that outlives this connection and this process."""
        ...

    async def attach(self, reference: str) -> Program:
        """Find a program started earlier again; `Failed` when there is no such record."""
        ...

    async def which(self, *programs: str) -> frozenset[str]:
        """Those of the programs that are on the host's search path (or in its usual server folders)."""
        ...

    async def read(self, path: str, *, run_as: str | None = None, limit: int = 1 << 20) -> bytes:
        """A file's first bytes, at most `limit`; `Failed` with the system's words."""
        ...

    async def write(self, path: str, data: bytes, *, run_as: str | None = None) -> None:
        """Replace a file atomically, keeping mode and owner; `NAME.pgtui~` keeps the old bytes."""
        ...

    async def forward(self, address: str, port: int) -> Forward:
        """Where libpq reaches a server that listens there.

        `address` is a host as that machine sees it, a socket's folder, or '' for the usual folder. Ask again
        before every connect: it costs little while the forward stands, and lays it anew when the connection
        to the host has broken in between.
        """
        ...

    async def close(self) -> None:
        """End what it holds open; programs started with `start` go on."""
        ...


# Chosen on the host itself, where it is known who we are there and whether sudo is installed: no round trip.
_BECOME = """\
owner=$1; shift
if [ "$(id -un)" = "$owner" ]; then exec "$@"; fi
if command -v sudo >/dev/null 2>&1; then exec sudo -n -u "$owner" -- "$@"; fi
if [ "$(id -u)" != 0 ]; then echo "sudo: not installed" >&2; exit 1; fi
group=$(id -g "$owner") || exit 1
exec setpriv --reuid="$owner" --regid="$group" --init-groups --reset-env env LC_ALL=C PATH="$PATH" "$@"
"""

_REFUSED = re.compile(
    r"^sudo: .*(password is required|terminal is required|not allowed)"
    r"|^Sorry, user .* (not allowed|may not)"
    r"|is not in the sudoers file|is not allowed to run sudo|may not run sudo",
    re.MULTILINE,
)


def become(argv: Sequence[str], run_as: str | None) -> tuple[str, ...]:
    """The argument list as it runs for another user; that user, and root without sudo, need no rule."""
    return script(_BECOME, run_as, *argv) if run_as else tuple(argv)


def script(text: str, *arguments: str) -> tuple[str, ...]:
    """The argument list that runs a POSIX shell script; its arguments are data."""
    return ("sh", "-c", text, "sh", *arguments)


def checked(argv: Sequence[str], run_as: str | None) -> tuple[str, ...]:
    """The argument list, or a usage error for what no system can run."""
    words = tuple(argv)
    if not words or not words[0] or words[0].startswith("-"):
        raise Usage(f"{words[0] if words else 'an empty list'} is not the name of a program")
    if run_as is not None and (not run_as or run_as.startswith("-")):
        raise Usage(f"{run_as or 'the empty name'} is not the name of an account")
    for word in words:
        if "\0" in word:
            raise Usage(f"an argument for {basename(words)} holds a zero byte, which no program can be given")
    return words


def basename(argv: Sequence[str]) -> str:
    """The program's name without its folder."""
    return PurePosixPath(argv[0]).name


def absent(program: str, where: str) -> Missing:
    """The sentence for a program that is not installed."""
    name = PurePosixPath(program).name
    package = _PACKAGES.get(name)
    hint = f"it comes with the package {package}" if package else None
    return Missing(f"program {program} is not on {where}", hint=hint)


def overdue(argv: Sequence[str], where: str, timeout: float) -> Failed:
    """The sentence for a program that was ended because its time was up."""
    return Failed(f"{basename(argv)} on {where} was ended: it took longer than {timeout:g} s")


async def judged(host: Host, done: Done, run_as: str | None) -> Done:
    """Itself, unless the program never ran: not there, or not ours to run as that user."""
    program = done.argv[0]
    if done.code == NOT_FOUND and not await host.which(program):
        raise absent(program, host.where)
    refusal = await refused(host, done, run_as) if run_as and done.code == 1 else None
    if refusal:
        raise refusal
    return done


async def refused(host: Host, done: Done, run_as: str) -> PgtuiError | None:
    """The sentence for what kept sudo from running the program, if that is what happened."""
    said = done.err.decode("utf-8", "surrogateescape")
    program = done.argv[0]
    if said.startswith("sudo: not installed"):
        return absent("sudo", host.where)
    if "sudo: unknown user" in said or f"id: '{run_as}': no such user" in said.replace("\u2018", "'"):
        return Failed(f"there is no account {run_as} on {host.where}")
    if f"sudo: {program}: command not found" in said:
        return absent(program, host.where)
    return await _no_rule(host, done.argv, run_as) if _REFUSED.search(said) else None


async def _no_rule(host: Host, argv: Sequence[str], run_as: str) -> Missing:
    """The sentence for a missing sudo rule, with the sudoers line that would allow it."""
    found = (await host.run(script('id -un; command -v "$1"', argv[0]))).text.splitlines()
    user, path = [*found, "", ""][:2]
    program = basename(argv)
    # Whoever may run a shell may run all, and a line that said less would have to be added to.
    allowed = "ALL" if program == "sh" else path or argv[0]
    return Missing(
        f"{user} may not run {program} as {run_as} on {host.where}",
        hint=f"a sudoers line that allows it: {user} ALL=({run_as}) NOPASSWD: {allowed}",
    )
