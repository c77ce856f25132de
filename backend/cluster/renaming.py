"""Actions on what is around a server: its name, whether it starts with the machine, its log."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated

from psycopg import sql

from backend.cluster.creating import NAME
from backend.cluster.discovery import Cluster, Found, StartMode, discover
from backend.cluster.life import ON, demand_can_start, victims
from backend.cluster.means import Means, agreed, means, programs, ready
from backend.cluster.offline import check_step
from backend.cluster.place import HOST, ClusterName, asked
from backend.core.declare import Danger, action
from backend.core.errors import Missing, Refused, Usage
from backend.core.facts import Query
from backend.core.params import Ask
from backend.core.plan import Check, Command, File, Plan, Step, statement
from backend.core.session import Session

SECONDS = 60


@action("cluster.rename", danger=Danger.DISRUPT, needs=HOST, on=ON)
async def rename(
    s: Session, to: Annotated[str, Ask("New name", fill=False)], cluster: ClusterName = None
) -> Plan:
    """Give a server of postgresql-common another name; one that runs is stopped and started again."""
    found = await discover(s)
    chosen = found.pick(cluster)
    by = await common(s, found, chosen)
    major, name = chosen.debian or ("", "")
    if not NAME.fullmatch(to):
        raise Usage(f"{to!r} is no name for a cluster", hint="use letters, digits, _ and .")
    if (major, to) in [c.debian for c in found.clusters]:
        raise Refused(f"the host has a cluster {major}/{to} already")
    # It would rename a server that runs under the feet of one that it believes to be down.
    if not await agreed(s, chosen):
        raise misled(chosen)
    steps: list[Step] = []
    if chosen.running:
        await demand_can_start(s, found, by)
        steps.append(check_step(programs(by)))
    steps.append(Command(("pg_renamecluster", major, name, to), run_as=by.as_root, long=True))
    if chosen.running:
        steps.append(ready(_renamed(chosen.data, name, to), chosen.owner, SECONDS))
    return Plan(
        chosen.name,
        tuple(steps),
        notes=await victims(s, chosen) if chosen.running else (),
        result=lambda _: {"cluster": f"{major}/{to}", "data": _renamed(chosen.data, name, to)},
    )


def _renamed(data: str, name: str, to: str) -> str:
    """Its data folder afterwards: one that is named after the cluster is renamed with it."""
    path = PurePosixPath(data)
    return str(path.with_name(to)) if path.name == name else data


async def common(s: Session, found: Found, cluster: Cluster) -> Means:
    """By what a server of postgresql-common is operated; refused for any other."""
    if cluster.debian is None:
        raise Refused(f"{cluster.name} was not made by postgresql-common, whose programs do this")
    return await means(s, found, cluster)


def misled(cluster: Cluster) -> Refused:
    """What keeps us from using postgresql-common's programs that stop a server themselves."""
    so = f"runs as pid {cluster.pid}" if cluster.running else "does not run"
    return Refused(
        f"postgresql-common, which goes by the port in the configuration, is mistaken about {cluster.name}:"
        f" it {so}",
        hint="correct the port there, or stop the other server that has it",
    )


# -- starting with the machine -------------------------------------------------------------------


@action("cluster.start_mode", danger=Danger.CHANGE, needs=HOST, on=ON)
async def start_mode(
    s: Session,
    mode: Annotated[StartMode, Ask("Mode", help="auto: with the machine; disabled: not by hand either")],
    cluster: ClusterName = None,
) -> Plan:
    """Say whether a server starts with the machine; one that runs goes on."""
    found = await discover(s)
    chosen = found.pick(cluster)
    by = await means(s, found, chosen)
    if chosen.start_mode == mode:
        raise Refused(f"the start mode of {chosen.name} is {mode} already")
    return Plan(chosen.name, await _start_mode(s, by, mode))


async def _start_mode(s: Session, by: Means, mode: StartMode) -> tuple[Step, ...]:
    cluster = by.cluster
    if cluster.debian and cluster.config_file:
        path = PurePosixPath(cluster.config_file).with_name("start.conf")
        run_as = None if by.root else cluster.owner
        before = (await s.host.read(str(path), run_as=run_as)).decode("utf-8", "surrogateescape")
        steps: list[Step] = [File(path, before, _with_mode(before, mode), run_as=run_as)]
        if by.systemd:  # it makes its units from these files
            steps.append(Command(("systemctl", "daemon-reload"), run_as=by.as_root))
        return tuple(steps)
    if by.systemd and cluster.unit:
        verbs = {"auto": "enable", "manual": "disable", "disabled": "mask"}
        freed = ("unmask",) if cluster.start_mode == "disabled" else ()
        return tuple(
            Command(("systemctl", verb, cluster.unit), run_as=by.as_root) for verb in (*freed, verbs[mode])
        )
    raise Missing(
        f"nothing starts {cluster.name} with the machine",
        hint="a systemd unit, or a cluster of postgresql-common, would",
    )


def _with_mode(text: str, mode: StartMode) -> str:
    """The file with another mode and its comments as they are."""
    lines = text.splitlines()
    kept = [line for line in lines if not line.partition("#")[0].strip()]
    return "".join(f"{line}\n" for line in [*kept, mode])


# -- the log -------------------------------------------------------------------------------------

_LOGGING = Query("""
SELECT pg_catalog.current_setting('logging_collector') = 'on' AS collected,
       pg_catalog.has_function_privilege('pg_catalog.pg_rotate_logfile()', 'EXECUTE') AS allowed
""")


@dataclass(frozen=True, slots=True)
class Logging:
    """Whether the server writes its log files itself, and this role may have it begin a new one."""

    collected: bool
    allowed: bool


@action("cluster.rotate_log", danger=Danger.CHANGE, needs=HOST, on=ON)
async def rotate_log(s: Session, cluster: ClusterName = None) -> Plan:
    """Have a server begin a new log file: over SQL where it is the target's own, else by pg_ctl."""
    if cluster is None and (told := await asked(s, Logging, _LOGGING)):
        if not told[0].collected:
            raise _not_collected(s.target.name)
        if told[0].allowed:
            return Plan(s.target.name, _over_sql())
    found = await discover(s)
    chosen = found.pick(cluster)
    if not chosen.running:
        raise Refused(f"{chosen.name} does not run")
    by = await means(s, found, chosen)
    if chosen.configured.get("logging_collector", "off").lower() not in ("on", "true", "yes", "1"):
        raise _not_collected(chosen.name)
    call = (f"{chosen.bin}/pg_ctl", "logrotate", "-D", chosen.data)
    return Plan(chosen.name, (Command(call, run_as=by.owner),))


def _over_sql() -> tuple[Step, ...]:
    told = statement(sql.SQL("SELECT pg_catalog.pg_rotate_logfile() AS told"))
    return (
        told,
        Check(
            lambda answers: answers[-1].scalar is True,
            that="the server was told",
            otherwise="the server could not be told to begin a new log file",
        ),
    )


def _not_collected(name: str) -> Refused:
    return Refused(
        f"{name} does not write its log files itself (logging_collector is off)",
        hint="what does, such as the system's logrotate, begins new ones",
    )
