"""Actions that make a server and remove one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated

from backend.cluster.createcluster import usual_data
from backend.cluster.discovery import Cluster, Found, discover
from backend.cluster.life import ON
from backend.cluster.means import LIVES, means, ready
from backend.cluster.obstacles import in_use
from backend.cluster.place import HOST, ClusterName
from backend.core.declare import Danger, action
from backend.core.errors import Missing, Refused, Usage
from backend.core.host import script
from backend.core.params import Ask
from backend.core.plan import Command, Plan, Step
from backend.core.session import Session
from backend.core.show import size

# What postgresql-common takes; a dash would part VERSION-NAME in the wrong place in its units.
NAME = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.]*")
PORTS = range(1024, 65536)
FIRST_PORT = 5432
SECONDS = 60

# A new data folder takes some 40 MB, and its first WAL 16 MB more.
LEAST_FREE = 128 << 20

_INSTALLED = """\
for each in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin "$@"; do
    [ -x "$each/initdb" ] && "$each/initdb" --version | sed "s|^|$each |"
done
:
"""

# The nearest folder above that exists is where the space has to be.
_GROUND = """\
if [ -e "$1" ] && [ ! -d "$1" ]; then echo file
elif [ -n "$(ls -A "$1" 2>/dev/null)" ]; then echo full
else echo free; fi
at=$1
until [ -d "$at" ]; do at=$(dirname "$at"); done
df -Pk "$at" | awk 'NR == 2 { print $4 }'
"""

_INITDB = """\
data=$1 port=$2; shift 2
"$@" -D "$data" || exit
printf '\\nport = %s\\n' "$port" >>"$data/postgresql.conf"
"""


@dataclass(frozen=True, slots=True)
class Making:
    """A server that is to be: by postgresql-common, or by initdb alone in a folder of its own."""

    version: int
    name: str
    port: int
    data: str
    bin: str
    owner: str
    common: bool
    root: bool
    usual: bool

    @property
    def subject(self) -> str:
        """VERSION/NAME."""
        return f"{self.version}/{self.name}"

    def create(self, locale: str | None, checksums: bool) -> Command:
        """The program that makes it; it cleans up itself when it fails."""
        options = ["--data-checksums"] if checksums else []
        if self.common:
            place = [] if self.usual else ["--datadir", self.data]
            argv = [
                "pg_createcluster", "--user", self.owner, "--port", str(self.port), *place,
                *(["--locale", locale] if locale else []), str(self.version), self.name,
                *(["--", *options] if options else []),
            ]  # fmt: skip
            return Command(tuple(argv), run_as=None if self.root else "root", long=True)
        options += ["--auth-local", "peer", "--auth-host", "scram-sha-256"]
        options += ["--locale", locale] if locale else []
        call = script(_INITDB, self.data, str(self.port), f"{self.bin}/initdb", *options)
        return Command(call, run_as=self.owner, long=True)

    def start(self) -> Command:
        """The program that starts it for the first time."""
        if self.common:
            common = ("pg_ctlcluster", str(self.version), self.name, "start")
            return Command(common, run_as=None if self.root else "root", deadline=SECONDS)
        log = f"{self.data}/server.log"
        argv = (f"{self.bin}/pg_ctl", "start", "-D", self.data, "-w", "-t", str(SECONDS), "-l", log)
        return Command(argv, run_as=self.owner, deadline=SECONDS)


@action("cluster.create", danger=Danger.CHANGE, needs=HOST)
async def create(
    s: Session,
    version: Annotated[int, Ask("Version", help="A major version that is installed, such as 17")],
    name: Annotated[str, Ask("Name", help="Letters, digits, _ and .")],
    port: Annotated[int | None, Ask("Port", help="Else the first free one from 5432 on", fill=False)] = None,
    data: Annotated[str | None, Ask("Data folder", help="Else where the packages put it", fill=False)] = None,
    locale: Annotated[str | None, Ask("Locale", fill=False)] = None,
    checksums: Annotated[
        bool, Ask("Checksums", help="Of data pages; cheap, and they tell of bad disks")
    ] = True,
    start: Annotated[bool, Ask("Start", help="Once it is made")] = True,
) -> Plan:
    """Make a server: by pg_createcluster where postgresql-common is installed, else by initdb.

    Local users log in by their system account (peer), others by password (scram-sha-256).
    """
    if not NAME.fullmatch(name):
        raise Usage(f"{name!r} is no name for a cluster", hint="use letters, digits, _ and .")
    found = await discover(s)
    making = await _making(s, found, version, name, port, data)
    # What has that name by its path alone is called by more of it once there is one of postgresql-common.
    if making.common and (str(version), name) in [c.debian for c in found.clusters]:
        raise Refused(f"the host has a cluster {making.subject} already")
    await _demand_folder(s, making)
    steps: list[Step] = [making.create(locale, checksums)]
    if start:
        steps += [making.start(), ready(making.data, making.owner, SECONDS)]
    return Plan(
        making.subject,
        tuple(steps),
        notes=(f"its data will be in {making.data}, its port is {making.port}",),
        result=lambda _: {"cluster": making.subject, "port": making.port, "data": making.data},
    )


async def _making(
    s: Session, found: Found, version: int, name: str, port: int | None, data: str | None
) -> Making:
    bins = await _installed(s)
    if version not in bins:
        known = ", ".join(str(v) for v in sorted(bins)) or "none"
        raise Missing(
            f"PostgreSQL {version} is not on {s.host.where}; installed: {known}",
            hint=f"the package postgresql-{version} brings it",
        )
    folder = bins[version]
    common = folder.startswith("/usr/lib/postgresql/") and bool(await s.host.which("pg_createcluster"))
    if data is None and not common and not folder.startswith("/usr/pgsql-"):
        raise Usage("--data is wanted: nothing on the host says where data folders belong")
    usual = await usual_data(s, version, name) if common else f"/var/lib/pgsql/{version}/data"
    data = usual if data is None else data.rstrip("/")
    if not PurePosixPath(data).is_absolute():
        raise Usage(f"--data {data} is not an absolute path")
    root = found.user == "root" and s.target.run_as is None
    owner = s.target.run_as or ("postgres" if common or root else found.user)
    free = await _port(s, found, port)
    return Making(version, name, free, data, folder, owner, common, root, data == usual)


async def _installed(s: Session) -> dict[int, str]:
    """The folders of programs by major version."""
    own = [s.target.cluster["bin"]] if "bin" in s.target.cluster else []
    said = (await s.host.run(script(_INSTALLED, *own))).demand().text
    lines = re.findall(r"^(\S+) initdb \(PostgreSQL\) (\d+)", said, re.MULTILINE)
    return {int(major): folder for folder, major in lines}


async def _port(s: Session, found: Found, wanted: int | None) -> int:
    """The port, which no server of the host has in its configuration and nothing listens on."""
    by_port = {c.port: c.name for c in found.clusters}
    if wanted is None:
        for port in range(FIRST_PORT, FIRST_PORT + 1000):
            if port not in by_port and not await in_use(s.host, port):
                return port
    if wanted is None or wanted not in PORTS:
        raise Usage(f"--port {wanted} is not between {PORTS.start} and {PORTS.stop - 1}")
    if wanted in by_port:
        raise Refused(f"port {wanted} belongs to {by_port[wanted]}")
    if await in_use(s.host, wanted):
        raise Refused(f"something listens on port {wanted} already")
    return wanted


async def _demand_folder(s: Session, making: Making) -> None:
    run_as = None if making.root else making.owner
    state, free = (await s.host.run(script(_GROUND, making.data), run_as=run_as)).demand().text.split()
    if state == "file":
        raise Refused(f"{making.data} is a file")
    if state == "full":
        raise Refused(f"the folder {making.data} is not empty", hint="empty it, or name another with --data")
    if int(free) * 1024 < LEAST_FREE:
        raise Refused(f"on the disk of {making.data} are only {int(free) // 1024} MB free")


# -- removing ------------------------------------------------------------------------------------

_DROPPING = (
    LIVES
    + """\
data=$1; shift
if pid=$(lives "$data"); then echo "server $pid runs in $data" >&2; exit 1; fi
exec "$@"
"""
)

# What goes: a version's own folders of the tablespaces, the WAL where it lies elsewhere, the data folder.
_REMOVING = (
    LIVES
    + """\
data=$1 major=$2 wal=$3; shift 3
if pid=$(lives "$data"); then echo "server $pid runs in $data" >&2; exit 1; fi
[ "$(cat "$data/PG_VERSION")" = "$major" ] || { echo "$data is not of PostgreSQL $major" >&2; exit 1; }
for each; do rm -r -- "$each/PG_${major}_"* || exit; done
[ -z "$wal" ] || rm -r -- "$wal" || exit
exec rm -r -- "$data"
"""
)


@action("cluster.drop", danger=Danger.DESTROY, needs=HOST, on=ON)
async def drop(s: Session, cluster: ClusterName = None) -> Plan:
    """Remove a server that is down, with all its data.

    Whether it is down is decided by the processes of the host, when planned and again in the same program
    that removes it: postgresql-common's own answer goes by a port, and has removed running servers.
    """
    found = await discover(s)
    chosen = found.pick(cluster)
    if chosen.running:
        raise Refused(
            f"{chosen.name} runs, as pid {chosen.pid}",
            hint=f"cluster.stop --cluster {chosen.name} stops it, when nobody needs it any more",
        )
    by = await means(s, found, chosen)
    amount = await _size(s, chosen)
    return Plan(chosen.name, (_removal(chosen, by.root),), notes=(amount, *_what_goes(chosen)))


def _removal(cluster: Cluster, root: bool) -> Command:
    if cluster.debian:
        call = script(_DROPPING, cluster.data, "pg_dropcluster", *cluster.debian)
        return Command(call, run_as=None if root else "root", long=True)
    call = script(_REMOVING, cluster.data, str(cluster.major), cluster.wal or "", *cluster.tablespaces)
    return Command(call, run_as=cluster.owner, long=True)


def _what_goes(cluster: Cluster) -> list[str]:
    notes = [f"its state is: {state}" for state in [cluster.control.get("Database cluster state")] if state]
    notes += [f"its WAL in {cluster.wal} goes too"] if cluster.wal else []
    notes += [f"its part of the tablespace in {each} goes too" for each in cluster.tablespaces]
    notes += ["its configuration and its logs go too"] if cluster.debian else []
    if cluster.kind == "rpm" and cluster.unit:
        notes.append(f"the unit {cluster.unit} stays; systemctl disable keeps it from being started")
    return notes


async def _size(s: Session, cluster: Cluster) -> str:
    folders = (cluster.data, *([cluster.wal] if cluster.wal else []), *cluster.tablespaces)
    call = script('du -skc -- "$@" 2>/dev/null | tail -n 1', *folders)
    said = (await s.host.run(call, run_as=cluster.owner, timeout=30)).text.split()
    amount = f"{size(int(said[0]) * 1024)} of data" if said and said[0].isdigit() else "the data"
    return f"{amount} in {cluster.data}"
