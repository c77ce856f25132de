"""The action that takes a server to another major version."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath
from typing import Annotated

from backend.cluster.admission import demand_rules
from backend.cluster.createcluster import usual_data
from backend.cluster.discovery import Cluster, Found, discover
from backend.cluster.life import ON, victims
from backend.cluster.means import LIVES, Means, agreed, programs, ready
from backend.cluster.offline import check_step
from backend.cluster.place import HOST, ClusterName
from backend.cluster.renaming import common, misled
from backend.cluster.upgradable import (
    Known,
    Method,
    Upgrade,
    clones,
    demand_jobs,
    demand_programs,
    demand_ready,
)
from backend.core.declare import Danger, action
from backend.core.errors import Refused, Usage
from backend.core.host import script
from backend.core.params import Ask
from backend.core.plan import Command, Plan, Step
from backend.core.session import Session

SECONDS = 60

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
    _demand_newer(found, chosen, to)
    if not jobs > 0:
        raise Usage("--jobs wants a number above 0")
    if by.as_root:  # without that right nothing would start the old server again either
        await s.host.run(script(":"), run_as=by.as_root)
    await demand_rules(s, chosen)
    wanted = Upgrade(chosen, to, method, await usual_data(s, to, name))
    if jobs > 1:
        await demand_jobs(s, wanted)
    await demand_programs(s, wanted)
    if not await agreed(s, chosen):
        raise misled(chosen)
    known = await demand_ready(s, wanted)
    forced = ("--force-packages",) if known.packages else ()
    options = (*forced, *(("-j", str(jobs)) if jobs > 1 else ()))
    call = ("pg_upgradecluster", "-v", str(to), "-m", method, *options, major, name)
    work = Command(call, run_as=by.as_root, long=True)
    check = check_step(programs(by))
    tried = [clones(wanted)] if method == "clone" else []
    steps: tuple[Step, ...] = (*tried, check, work)
    if chosen.running:
        proof = ready(wanted.data, chosen.owner, SECONDS)
        steps = (*tried, replace(check, undo=_back(by)), work, proof)
    return Plan(
        chosen.name,
        steps,
        danger=Danger.DESTROY if method == "link" else Danger.DISRUPT,
        notes=await _remarks(s, wanted, known),
        result=lambda _: {"cluster": f"{to}/{name}", "old": chosen.name},
    )


def _demand_newer(found: Found, cluster: Cluster, to: int) -> None:
    """Refuse a version that is none to go to, or where the name is taken."""
    major, name = cluster.debian or ("", "")
    if to <= int(major):
        raise Refused(f"{cluster.name} is PostgreSQL {major} already, and {to} is not newer")
    if (str(to), name) in [c.debian for c in found.clusters]:
        raise Refused(f"the host has a cluster {to}/{name} already", hint="drop or rename that one first")


def _back(by: Means) -> Command:
    """The step that starts the old server again when the upgrade has failed."""
    start = by.start(SECONDS)
    mode = PurePosixPath(by.cluster.config_file or "").with_name("start.conf")
    call = script(_BACK, by.cluster.data, str(mode), *start.argv)
    return replace(start, argv=call, run_as=by.as_root, note="unless the upgrade is done")


async def _remarks(s: Session, upgrade: Upgrade, known: Known) -> tuple[str, ...]:
    cluster, to, packages = upgrade.cluster, upgrade.to, known.packages
    notes = list(await victims(s, cluster)) if cluster.running else []
    if known.state is None:
        notes.append(
            "it could not be asked, so its extensions, functions and transactions were not looked at"
        )
    if packages:
        notes.append(
            f"--force-packages: {', '.join(packages)} {'are' if len(packages) > 1 else 'is'} not installed,"
            f" but {to} has every extension and library that {cluster.name} uses"
        )
    if known.state and known.state.slots:
        notes.append(
            f"its {known.state.slots} replication slots stay behind, but for logical ones from 17 on"
        )
    notes.append(f"the old cluster stays as {cluster.name}, stopped, on another port")
    if upgrade.method == "link":
        notes.append(f"once {to} has started, {cluster.name} can never be started again")
    if upgrade.method != "dump" and to < 18:
        notes.append("ANALYZE all databases afterwards: their statistics are not taken along")
    if cluster.checksums is False and to < 18:
        notes.append("data pages have no checksums, and will have none")
    return tuple(notes)
