"""How a server is started and stopped: by systemd's unit, by postgresql-common's program, or by pg_ctl.

What those programs answer proves little: `systemctl start` of a server that dies at once ends with 0, and
pg_ctlcluster believes a port. So each is followed by a look at postmaster.pid and its process.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from backend.cluster.discovery import Cluster, Found
from backend.cluster.offline import Programs
from backend.core.errors import Failed, Missing, Refused, Usage
from backend.core.host import script
from backend.core.plan import Command
from backend.core.session import Session

Mode = Literal["smart", "fast", "immediate"]
Tool = Literal["systemctl", "pg_ctlcluster", "pg_ctl"]

# Seconds that a program is given beyond those that it waits itself.
MORE = 15.0

# lives DATA: the process that serves the data folder, whatever its postmaster.pid says; without /proc, that
# file has to do.
LIVES = """\
lives() {
    if [ -r /proc/self/stat ]; then
        for each in /proc/[0-9]*; do
            { read -r comm <"$each/comm"; } 2>/dev/null || continue
            case $comm in postgres | postmaster) ;; *) continue ;; esac
            if [ -d "$1" ]; then [ "$each/cwd" -ef "$1" ] || continue
            else [ "$(readlink "$each/cwd" 2>/dev/null)" = "$1 (deleted)" ] || continue; fi
            echo "${each#/proc/}"; return 0
        done
        return 1
    fi
    read -r pid <"$1/postmaster.pid" && kill -0 "$pid" && echo "$pid"
}
"""

_READY = """\
until=$(($(date +%s) + $2))
while :; do
    pid=$(sed -n 1p "$1/postmaster.pid" 2>/dev/null) state=$(sed -n 8p "$1/postmaster.pid" 2>/dev/null)
    case $state in ready* | standby*) kill -0 "$pid" && { echo "pid $pid"; exit; } ;; esac
    [ "$(date +%s)" -lt $until ] || { echo "no server is ready in $1 after $2 s" >&2; exit 1; }
    sleep 0.1
done
"""

_DOWN = (
    LIVES
    + """\
until=$(($(date +%s) + $2))
while pid=$(lives "$1"); do
    [ "$(date +%s)" -lt $until ] || { echo "server $pid still runs in $1" >&2; exit 1; }
    sleep 0.1
done
"""
)

# When the program fails, what the server wrote meanwhile says why.
_LOGGED = """\
log=$1; shift
at=$(wc -c <"$log" 2>/dev/null || echo 0)
"$@" && exit
code=$?
tail -c +$((at + 1)) "$log" 2>/dev/null | tail -n 5 >&2
exit $code
"""


# In mode smart a server waits for all sessions, also for those that only look for pgtui. They are ended once
# it lets nobody in any more, or they would be back. Who runs it and cannot log in leaves them.
_SMART = """\
bin=$1 data=$2
"$bin/psql" -XqAtw -h "$3" -p "$4" -d postgres <<END || "$bin/pg_ctl" stop -s -D "$data" -m smart -W
\\! "$bin/pg_ctl" stop -s -D "$data" -m smart -W
SELECT pg_catalog.count(pg_catalog.pg_terminate_backend(a.pid)) FROM pg_catalog.pg_stat_activity AS a
 WHERE a.application_name = 'pgtui' AND a.pid <> pg_catalog.pg_backend_pid();
END
"""


@dataclass(frozen=True, slots=True)
class Means:
    """A server, and by what it is operated; `root` when we are root on its host."""

    cluster: Cluster
    tool: Tool
    root: bool
    systemd: bool
    options: tuple[str, ...] = ()

    @property
    def owner(self) -> str | None:
        """The account that the server runs as."""
        return self.cluster.owner

    @property
    def as_root(self) -> str | None:
        """What makes a program run as root: nothing where we are it."""
        return None if self.root else "root"

    def start(self, seconds: int) -> Command:
        """The program that starts it and waits until it takes connections."""
        if self.tool != "pg_ctl":
            return self._tool("start", (), seconds)
        log = self.cluster.log or f"{self.cluster.data}/server.log"
        options = ("-o", shlex.join(self.options)) if self.options else ()
        call = self._pg_ctl("start", "-l", log, *options, seconds=seconds)
        return Command(script(_LOGGED, log, *call), run_as=self.owner, deadline=seconds + MORE)

    def stop(self, mode: Mode, seconds: int) -> Command:
        """The program that stops it; in mode smart the wait is left to `down`."""
        if mode == "smart":
            c = self.cluster
            call = script(_SMART, c.bin or "", c.data, c.sockets or "", str(c.port))
            note = "and ends the sessions that look for pgtui"
            return Command(call, run_as=self.owner, deadline=seconds + MORE, note=note)
        if self.tool != "pg_ctl":
            return self._tool("stop", ("-m", mode), seconds)
        call = self._pg_ctl("stop", "-m", mode, seconds=seconds)
        return Command(call, run_as=self.owner, deadline=seconds + MORE)

    def restart(self, mode: Mode, seconds: int) -> Command:
        """The program that does both; it goes on when pgtui is gone, so that the server comes back."""
        if self.tool != "pg_ctl":
            return self._tool("restart", ("-m", mode), seconds, long=True)
        log = self.cluster.log or f"{self.cluster.data}/server.log"
        # pg_ctl takes the options of the last start from postmaster.opts itself.
        call = self._pg_ctl("restart", "-m", mode, "-l", log, seconds=seconds)
        return Command(script(_LOGGED, log, *call), run_as=self.owner, long=True)

    def down(self, seconds: int) -> Command:
        """The step that sees for itself that no process serves the data folder any more."""
        call = script(_DOWN, self.cluster.data, str(seconds))
        note = "that no process serves its data folder"
        return Command(call, run_as=self.owner, deadline=seconds + MORE, note=note)

    def _pg_ctl(self, verb: str, *words: str, seconds: int) -> tuple[str, ...]:
        program = f"{self.cluster.bin}/pg_ctl"
        return (program, verb, "-D", self.cluster.data, "-w", "-t", str(seconds), *words)

    def _tool(self, verb: str, mode: Sequence[str], seconds: int, *, long: bool = False) -> Command:
        deadline, debian = seconds + MORE, self.cluster.debian
        if self.tool == "systemctl" or debian is None:
            argv: tuple[str, ...] = ("systemctl", verb, self.cluster.unit or "")
            return Command(argv, run_as=self.as_root, deadline=deadline, long=long)
        # Without the option it would hand a server that runs outside its unit to systemd.
        redirect = ("--skip-systemctl-redirect",) if self.systemd else ()
        argv = ("pg_ctlcluster", *redirect, *mode, *debian, verb, "--", "-t", str(seconds))
        return Command(argv, run_as=None if self.root else self.owner, deadline=deadline, long=long)


def ready(data: str, owner: str | None, seconds: int) -> Command:
    """The step that sees for itself, by postmaster.pid, that the server of a data folder is ready."""
    call = script(_READY, data, str(seconds))
    return Command(
        call, run_as=owner, deadline=seconds + MORE, note="that it is ready, by its postmaster.pid"
    )


async def means(s: Session, found: Found, cluster: Cluster) -> Means:
    """By what the server is operated; refused where something else manages it or nothing is known of it."""
    if cluster.manager:
        raise Refused(
            f"{cluster.manager} manages {cluster.name} and would undo what is done behind its back",
            hint=f"do it through {cluster.manager}",
        )
    if cluster.owner and found.user not in ("root", cluster.owner):
        # A rule for some of the programs would be enough to begin, and not to end.
        await s.host.run(script(":"), run_as=cluster.owner)
    if cluster.running is None:
        hint = found.notes[0] if found.notes else "run_as in the inventory names the account that may see it"
        raise Missing(f"whether {cluster.name} runs cannot be seen", hint=hint)
    if cluster.gone:
        raise Refused(f"the data folder of {cluster.name}, {cluster.data}, is not there")
    if cluster.bin is None:
        raise Missing(
            f"the programs of PostgreSQL {cluster.major or '?'} for {cluster.name} are not on {s.host.where}",
            hint=f"the package postgresql-{cluster.major} brings them" if cluster.major else None,
        )
    tool = _tool(found, cluster)
    if tool == "pg_ctlcluster" and cluster.running and not await agreed(s, cluster):
        tool = "pg_ctl"
    root = found.user == "root" and s.target.run_as is None
    options = await _options(s, cluster) if tool == "pg_ctl" else ()
    return Means(cluster, tool, root, found.systemd, options)


def _tool(found: Found, cluster: Cluster) -> Tool:
    """By systemd what it runs or would run; a server that was started beside its unit is not its."""
    ours = not cluster.running or cluster.unit_state in ("active", "activating", "reloading")
    if found.systemd and cluster.unit and ours:
        return "systemctl"
    return "pg_ctlcluster" if cluster.debian else "pg_ctl"


async def agreed(s: Session, cluster: Cluster) -> bool:
    """Whether postgresql-common, which goes by the port in the configuration, believes what is so."""
    if cluster.debian is None:
        return True
    words = (await s.host.run(("pg_lsclusters", "-h", *cluster.debian))).demand().text.split()
    return len(words) > 3 and ("online" in words[3].split(",")) == bool(cluster.running)


def demand_mode(by: Means, mode: Mode) -> None:
    """Refuse a way of stopping that systemd cannot be asked for."""
    if by.tool == "systemctl" and mode != "fast":
        raise Usage(f"systemd runs {by.cluster.name} and stops it in mode fast, not {mode}")


def programs(by: Means) -> Programs:
    """The server's programs and files, for trying its configuration."""
    c = by.cluster
    if c.bin is None or c.config_file is None or c.major is None:
        raise Missing(f"where the configuration of {c.name} is cannot be told")
    return Programs(c.bin, c.data, c.config_file, c.major, c.owner)


async def _options(s: Session, cluster: Cluster) -> tuple[str, ...]:
    """The options of its last start, as pg_ctl's own restart would take them from postmaster.opts."""
    try:
        text = await s.host.read(f"{cluster.data}/postmaster.opts", run_as=cluster.owner)
    except Failed:
        return ()
    words = shlex.split(text.decode("utf-8", "surrogateescape"))[1:]
    return tuple(_without_folder(words))


def _without_folder(words: Sequence[str]) -> list[str]:
    kept: list[str] = []
    skip = False
    for word in words:
        if skip or word.startswith("-D"):
            skip = word == "-D"
            continue
        kept.append(word)
    return kept
