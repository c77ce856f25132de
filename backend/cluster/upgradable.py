"""What pg_upgradecluster and pg_upgrade find wrong only once the server is down, looked for before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from backend.cluster.creating import LEAST_FREE
from backend.cluster.discovery import Cluster
from backend.cluster.place import asked
from backend.core.errors import Missing, Refused, Usage
from backend.core.facts import Query
from backend.core.host import script
from backend.core.plan import Command
from backend.core.session import Session
from backend.core.show import size

Method = Literal["upgrade", "clone", "link", "dump"]

_PROGRAMS = """\
bin=/usr/lib/postgresql/$1/bin; shift
for each; do [ -x "$bin/$each" ] || echo "$each"; done
"""

_LACKING = """\
version=$1; shift
for each; do
    name=${each#*:}
    case $each in
    extension:*) file=/usr/share/postgresql/$version/extension/$name.control ;;
    library:/*) file=$name ;;
    *) file=/usr/lib/postgresql/$version/lib/$name ;;
    esac
    [ -e "$file" ] || [ -e "$file.so" ] || echo "${each%%:*} $name"
done
"""

# What pg_upgradecluster of Debian 13 compares: for each package of the old version one of the new.
_PACKAGES = """\
old=$1 new=$2
grep -qs -e --force-packages "$(command -v pg_upgradecluster)" || exit 0
installed() {
    dpkg-query -W -f '${db:Status-Status} ${Package}\\n' "postgresql*-$1*" 2>/dev/null |
        sed -n 's/^installed //p'
}
has=$(installed "$new")
for each in $(installed "$old" | sed -e '/-dbgsym/d' -e '/-doc/d' -e '/-contrib-/d'); do
    wanted=$(echo "$each" | sed "s/-$old/-$new/")
    echo "$has" | grep -qxF "$wanted" || echo "$wanted"
done
"""

_NEAREST = """\
data=$1 to=$2; shift 2
while [ "$to" ] && [ ! -d "$to" ]; do to=${to%/*}; done
to=${to:-/}
"""

_DISKS = (
    _NEAREST
    + """\
du -skc -- "$data" "$@" 2>/dev/null | awk 'END { print $1 }'
df -Pk "$to" | awk 'NR == 2 { print $4 }'
df -Pk "$data" "$to" | awk 'NR > 1 { print $1 }'
stat -f -c %T "$data"
"""
)

# Some of a kind can clone and some cannot, so it is tried; where that may not be, pg_upgrade will tell.
_CLONES = (
    _NEAREST
    + """\
[ -w "$to" ] || exit 0
tried=$to/.pgtui-clone-$$
trap 'rm -f "$tried"' EXIT
cp --reflink=always "$data/global/pg_control" "$tried" 2>/dev/null && exit
echo "the file system of $to cannot clone files; --method upgrade copies them" >&2
exit 1
"""
)

# File systems that cannot clone, as `stat` calls them and as people do.
_NO_CLONES = {"ext2/ext3": "ext4", "tmpfs": "tmpfs", "ramfs": "ramfs", "jfs": "jfs", "reiserfs": "reiserfs"}

_NO_JOBS = 'grep -qs "cannot use --jobs with" "$(command -v pg_upgradecluster)"'
_HANDLED = 'grep -qs -e "^[^#]*--no-data-checksums" "$(command -v pg_upgradecluster)" "$@"'
_CREATING = "/etc/postgresql-common/createcluster.conf"

_PRELOADED = ("shared_preload_libraries", "session_preload_libraries")

_STATE = Query("""
SELECT (SELECT pg_catalog.count(*)
          FROM pg_catalog.pg_prepared_xacts) AS prepared,
       (SELECT pg_catalog.count(*)
          FROM pg_catalog.pg_replication_slots
         WHERE NOT temporary) AS slots,
       pg_catalog.pg_is_in_recovery() AS standby,
       ARRAY(SELECT datname::pg_catalog.text
               FROM pg_catalog.pg_database
              WHERE datallowconn
              ORDER BY datname) AS databases,
       ARRAY(SELECT datname::pg_catalog.text
               FROM pg_catalog.pg_database
              WHERE NOT datallowconn
                AND datname <> 'template0'
              ORDER BY datname) AS closed
""")

# What initdb makes has object identifiers below 16384, and comes with the new version.
_USED = Query("""
SELECT 'extension' AS kind,
       extname::pg_catalog.text AS name
  FROM pg_catalog.pg_extension
 UNION
SELECT 'library' AS kind,
       p.probin AS name
  FROM pg_catalog.pg_proc p
  JOIN pg_catalog.pg_language l ON l.oid = p.prolang
 WHERE l.lanname = 'c'
   AND p.oid >= 16384
   AND p.probin IS NOT NULL
""")


@dataclass(frozen=True, slots=True)
class State:
    """What an upgrade would stumble over or lose, and the databases that can be looked into."""

    prepared: int
    slots: int
    standby: bool
    databases: list[str]
    closed: list[str]


@dataclass(frozen=True, slots=True)
class Used:
    """An extension, or a library that functions are in."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Upgrade:
    """A server and where it is to go: to which version and into which data folder."""

    cluster: Cluster
    to: int
    method: Method
    data: str

    @property
    def shares(self) -> bool:
        """Whether the files of both are the same on disk."""
        return self.method in ("link", "clone")


async def demand_programs(s: Session, upgrade: Upgrade) -> None:
    """Refuse a version that is not installed."""
    worker = "pg_dump" if upgrade.method == "dump" else "pg_upgrade"
    call = script(_PROGRAMS, str(upgrade.to), "initdb", "postgres", worker)
    if lacking := (await s.host.run(call)).demand().text.split():
        raise Missing(
            f"PostgreSQL {upgrade.to} is not installed on {s.host.where}: it has no"
            f" {' and no '.join(lacking)}",
            hint=f"the package postgresql-{upgrade.to} brings it",
        )


@dataclass(frozen=True, slots=True)
class Known:
    """What is no obstacle and has to be told.

    `packages` are those that pg_upgradecluster would miss although the server uses nothing of them; `state`
    is None when the server could not be asked.
    """

    packages: list[str]
    state: State | None


async def demand_jobs(s: Session, upgrade: Upgrade) -> None:
    """Refuse several jobs for a dump where pg_upgradecluster does."""
    if upgrade.method == "dump" and not (await s.host.run(script(_NO_JOBS))).code:
        raise Usage(f"pg_upgradecluster on {s.host.where} takes no --jobs for --method dump")


async def demand_ready(s: Session, upgrade: Upgrade) -> Known:
    """Refuse what would end an upgrade half-way, as far as it can be known before."""
    cluster = upgrade.cluster
    await _demand_disk(s, upgrade)
    state = next(iter(await asked(s, State, _STATE)), None) if cluster.own else None
    if (state and state.standby) or cluster.role == "standby":
        raise Refused(f"{cluster.name} is a standby", hint="upgrade its primary, then make the standby anew")
    if state and upgrade.method != "dump":
        _demand_movable(cluster, state)
    used = await _used(s, state.databases) if state else set[str]()
    await _demand_files(s, upgrade, sorted(used | _preloaded(cluster)))
    await _demand_checksums(s, upgrade)
    packages = await _packages(s, upgrade)
    if packages and not state:
        raise Missing(
            f"pg_upgradecluster wants {', '.join(packages)}, and whether {cluster.name} uses what they bring"
            " cannot be seen without a connection to it",
            hint="install them, or start it and make it the target's own server",
        )
    return Known(packages, state)


def _demand_movable(cluster: Cluster, state: State) -> None:
    """Refuse what pg_upgrade does, which takes the files and not the rows."""
    if state.prepared:
        raise Refused(
            f"{cluster.name} has {state.prepared} prepared transactions, which an upgrade cannot keep",
            hint="activity.prepared lists them; commit or roll them back first",
        )
    if state.closed:
        raise Refused(
            f"{cluster.name} has databases that allow no connections: {', '.join(state.closed)}",
            hint="ALTER DATABASE … ALLOW_CONNECTIONS true lets pg_upgrade in; or --method dump",
        )


async def _demand_disk(s: Session, upgrade: Upgrade) -> None:
    cluster = upgrade.cluster
    call = script(
        _DISKS, cluster.data, upgrade.data, *([cluster.wal] if cluster.wal else []), *cluster.tablespaces
    )
    words = (await s.host.run(call, run_as=cluster.owner, timeout=60)).demand().text.split()
    if len(words) != 5:
        return
    used, free = (int(word) * 1024 for word in words[:2])
    if upgrade.shares:
        _demand_sharing(upgrade, *words[2:])
    wanted = LEAST_FREE if upgrade.shares else used + LEAST_FREE
    if free < wanted:
        raise Refused(
            f"an upgrade of {cluster.name} takes {size(wanted)}, and the disk of {upgrade.data} has"
            f" {size(free)} free",
            hint=None if upgrade.shares else "--method link needs no copy, and no way back",
        )


def _demand_sharing(upgrade: Upgrade, here: str, there: str, kind: str) -> None:
    """Refuse file systems whose files a new server cannot share."""
    data = upgrade.cluster.data
    if here != there:
        raise Refused(
            f"{data} and {upgrade.data} are on two file systems, which cannot share files",
            hint="--method upgrade copies them",
        )
    if upgrade.method == "clone" and kind in _NO_CLONES:
        raise Refused(
            f"the file system of {data}, {_NO_CLONES[kind]}, cannot clone files",
            hint="xfs and btrfs can; --method upgrade copies them",
        )


def clones(upgrade: Upgrade) -> Command:
    """The step that tries whether files of the old server can be cloned where the new one's will be."""
    cluster = upgrade.cluster
    return Command(
        script(_CLONES, cluster.data, upgrade.data), run_as=cluster.owner, note="that files can be cloned"
    )


async def _used(s: Session, databases: Sequence[str]) -> set[str]:
    """The extensions and libraries of all databases, as `kind:name`."""
    found: set[str] = set()
    for database in databases:
        async with s.beside(database) as session:
            rows = await session.fetch(Used, _USED)
        found |= {f"{row.kind}:{row.name.removeprefix('$libdir/')}" for row in rows}
    return found


def _preloaded(cluster: Cluster) -> set[str]:
    words = ",".join(cluster.configured.get(name, "") for name in _PRELOADED).replace('"', "").split(",")
    return {f"library:{word.strip().removeprefix('$libdir/')}" for word in words if word.strip()}


async def _demand_files(s: Session, upgrade: Upgrade, used: Sequence[str]) -> None:
    call = script(_LACKING, str(upgrade.to), *used)
    if lacking := (await s.host.run(call)).demand().text.splitlines():
        raise Missing(
            f"PostgreSQL {upgrade.to} on {s.host.where} lacks what {upgrade.cluster.name} uses:"
            f" {', '.join(lacking)}",
            hint=f"packages named postgresql-{upgrade.to}-… bring extensions; or drop them first",
        )


async def _demand_checksums(s: Session, upgrade: Upgrade) -> None:
    """Refuse what pg_upgrade refuses only once the server is down: from 18 on initdb makes checksums."""
    cluster, to = upgrade.cluster, upgrade.to
    if cluster.checksums is not False or to < 18 or upgrade.method == "dump":
        return
    if (await s.host.run(script(_HANDLED, _CREATING))).code:
        raise Refused(
            f"{cluster.name} has no checksums of data pages, and a new server of {to} would have them",
            hint=f"pg_checksums --enable -D {cluster.data}, while it is down, makes them; or --method dump",
        )


async def _packages(s: Session, upgrade: Upgrade) -> list[str]:
    """The packages without which pg_upgradecluster, where it compares them, wants to be told to go on."""
    old = upgrade.cluster.name.partition("/")[0]
    return (await s.host.run(script(_PACKAGES, old, str(upgrade.to)))).demand().text.split()
