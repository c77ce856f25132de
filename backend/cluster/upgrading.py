"""The action that takes a server to another major version, and all that is checked before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Annotated, Literal

from backend.cluster.admission import demand_rules
from backend.cluster.creating import LEAST_FREE
from backend.cluster.discovery import Cluster, discover
from backend.cluster.life import ON, ClusterName, victims
from backend.cluster.means import LIVES, Means, agreed, programs, ready
from backend.cluster.offline import check_step
from backend.cluster.place import HOST, asked
from backend.cluster.renaming import common, misled
from backend.core.declare import Danger, action
from backend.core.errors import Missing, Refused, Usage
from backend.core.facts import Query
from backend.core.host import script
from backend.core.params import Ask
from backend.core.plan import Command, Plan, Step
from backend.core.session import Session
from backend.core.show import size

Method = Literal["upgrade", "clone", "link", "dump"]
SECONDS = 60

_PROGRAMS = """\
bin=/usr/lib/postgresql/$1/bin; shift
for each; do [ -x "$bin/$each" ] || echo "$each"; done
"""

_LACKING = """\
version=$1; shift
for each; do
    case $each in
    */*) ;;
    *.so) [ -e "/usr/lib/postgresql/$version/lib/$each" ] || echo "library ${each%.so}" ;;
    *) [ -e "/usr/share/postgresql/$version/extension/$each.control" ] || echo "extension $each" ;;
    esac
done
"""

_SPACE = """\
data=$1; shift
du -skc -- "$data" "$@" 2>/dev/null | awk 'END { print $1 }'
df -Pk "$data" | awk 'NR == 2 { print $4 }'
"""

_HANDLED = 'grep -qs -e "^[^#]*--no-data-checksums" "$(command -v pg_upgradecluster)" "$@"'
_CREATING = "/etc/postgresql-common/createcluster.conf"

# pg_upgradecluster stops the old server, and when it fails leaves it so. Where it has succeeded the old one's
# start.conf says so, and it is not to be started any more.
_BACK = (
    LIVES
    + """\
data=$1 mode=$2; shift 2
grep -qs 'upgraded to a newer major version' "$mode" && exit
lives "$data" >/dev/null || exec "$@"
"""
)

_STATE = Query("""
SELECT (SELECT pg_catalog.count(*)
          FROM pg_catalog.pg_prepared_xacts) AS prepared,
       (SELECT pg_catalog.count(*)
          FROM pg_catalog.pg_replication_slots
         WHERE NOT temporary) AS slots,
       pg_catalog.pg_is_in_recovery() AS standby
""")


@dataclass(frozen=True, slots=True)
class State:
    """What an upgrade would stumble over or lose."""

    prepared: int
    slots: int
    standby: bool


@action("cluster.upgrade", danger=Danger.DISRUPT, needs=HOST, on=ON)
async def upgrade(
    s: Session,
    to: Annotated[int, Ask("To version", help="A major version that is installed, such as 17", fill=False)],
    cluster: ClusterName = None,
    method: Annotated[
        Method,
        Ask(
            "Method",
            help="upgrade copies the files, clone and link share them, dump writes and reads all rows",
        ),
    ] = "upgrade",
    jobs: Annotated[int, Ask("Jobs", help="Processes that work at once")] = 1,
) -> Plan:
    """Take a server of postgresql-common to another major version, under the same name and port.

    pg_upgradecluster stops the server before it looks at what it needs; so everything that it would miss is
    looked for first: rules, programs, a free name, space, extensions and libraries. The old cluster stays,
    stopped and on another port. With link its files are the new one's too, so it can never be started again:
    that is `destroy`.
    """
    found = await discover(s)
    chosen = found.pick(cluster)
    by = await common(s, found, chosen)
    major, name = chosen.debian or ("", "")
    if not jobs > 0:
        raise Usage("--jobs wants a number above 0")
    if to <= int(major):
        raise Refused(f"{chosen.name} is PostgreSQL {major} already, and {to} is not newer")
    if f"{to}/{name}" in [c.name for c in found.clusters]:
        raise Refused(f"the host has a cluster {to}/{name} already", hint="drop or rename that one first")
    await demand_rules(s, chosen)
    await _demand_programs(s, to, method)
    if not await agreed(s, chosen):
        raise misled(chosen)
    await _demand_ready(s, by, to, method)
    await _demand_checksums(s, chosen, to, method)
    options = ("-j", str(jobs)) if jobs > 1 else ()
    call = ("pg_upgradecluster", "-v", str(to), "-m", method, *options, major, name)
    work = Command(call, run_as=by.as_root, long=True)
    check = check_step(programs(by))
    steps: tuple[Step, ...] = (check, work)
    if chosen.running:
        proof = ready(f"/var/lib/postgresql/{to}/{name}", chosen.owner, SECONDS)
        steps = (replace(check, undo=_back(by)), work, proof)
    return Plan(
        chosen.name,
        steps,
        danger=Danger.DESTROY if method == "link" else Danger.DISRUPT,
        notes=await _remarks(s, chosen, to, method),
        result=lambda _: {"cluster": f"{to}/{name}", "old": chosen.name},
    )


def _back(by: Means) -> Command:
    """The step that starts the old server again when the upgrade has failed."""
    start = by.start(SECONDS)
    mode = PurePosixPath(by.cluster.config_file or "").with_name("start.conf")
    call = script(_BACK, by.cluster.data, str(mode), *start.argv)
    return replace(start, argv=call, run_as=by.as_root, note="unless the upgrade is done")


async def _demand_programs(s: Session, to: int, method: Method) -> None:
    wanted = ("initdb", "postgres", "pg_dump") if method == "dump" else ("initdb", "postgres", "pg_upgrade")
    if lacking := (await s.host.run(script(_PROGRAMS, str(to), *wanted))).demand().text.split():
        raise Missing(
            f"PostgreSQL {to} is not installed on {s.host.where}: it has no {' and no '.join(lacking)}",
            hint=f"the package postgresql-{to} brings it",
        )


async def _demand_ready(s: Session, by: Means, to: int, method: Method) -> None:
    """Refuse what would end an upgrade half-way, as far as it can be known before."""
    cluster = by.cluster
    if method != "link":
        await _demand_space(s, cluster)
    state = await asked(s, State, _STATE) if cluster.own else []
    if (state and state[0].standby) or cluster.role == "standby":
        raise Refused(f"{cluster.name} is a standby", hint="upgrade its primary, then make the standby anew")
    if state and state[0].prepared and method != "dump":
        raise Refused(
            f"{cluster.name} has {state[0].prepared} prepared transactions, which an upgrade cannot keep",
            hint="activity.prepared lists them; commit or roll them back first",
        )
    preloaded = cluster.configured.get("shared_preload_libraries", "").replace('"', "").split(",")
    libraries = [f"{each.strip().removesuffix('.so')}.so" for each in preloaded if each.strip()]
    wanted = [*libraries, *(await _extensions(s) if state else [])]
    lacking = (await s.host.run(script(_LACKING, str(to), *wanted))).demand().text.splitlines()
    if lacking:
        raise Missing(
            f"PostgreSQL {to} on {s.host.where} lacks what {cluster.name} uses: {', '.join(lacking)}",
            hint=f"packages named postgresql-{to}-… bring extensions; or drop them first",
        )


async def _demand_checksums(s: Session, cluster: Cluster, to: int, method: Method) -> None:
    """Refuse what pg_upgrade refuses only once the server is down: from 18 on initdb makes checksums."""
    if cluster.checksums is not False or to < 18 or method == "dump":
        return
    if (await s.host.run(script(_HANDLED, _CREATING))).code:
        raise Refused(
            f"{cluster.name} has no checksums of data pages, and a new server of {to} would have them",
            hint=f"pg_checksums --enable -D {cluster.data}, while it is down, makes them; or --method dump",
        )


async def _extensions(s: Session) -> list[str]:
    """The extensions of all databases of the target's own server."""
    names: set[str] = set()
    for database in s.facts.databases:
        async with s.beside(database) as session:
            names |= set(session.facts.extensions)
    return sorted(names)


async def _demand_space(s: Session, cluster: Cluster) -> None:
    call = script(_SPACE, cluster.data, *([cluster.wal] if cluster.wal else []), *cluster.tablespaces)
    words = (await s.host.run(call, run_as=cluster.owner, timeout=60)).demand().text.split()
    if len(words) != 2:
        return
    used, free = (int(word) * 1024 for word in words)
    if free < used + LEAST_FREE:
        raise Refused(
            f"{cluster.name} has {size(used)}, and its disk has {size(free)} free, too little for a copy",
            hint="--method link needs no copy, and no way back",
        )


async def _remarks(s: Session, cluster: Cluster, to: int, method: Method) -> tuple[str, ...]:
    notes = list(await victims(s, cluster)) if cluster.running else []
    if not cluster.running:
        notes.append("it is down, so its extensions and transactions could not be looked at")
    notes.append(f"the old cluster stays as {cluster.name}, stopped, on another port")
    if method == "link":
        notes.append(f"once {to} has started, {cluster.name} can never be started again")
    if method != "dump" and to < 18:
        notes.append("ANALYZE all databases afterwards: their statistics are not taken along")
    if cluster.checksums is False and to < 18:
        notes.append("data pages have no checksums, and will have none")
    return tuple(notes)
