"""Actions that start, stop and restart a server."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from psycopg import sql

from backend.cluster.admission import demand_rules
from backend.cluster.discovery import Cluster, Found, discover
from backend.cluster.means import Means, Mode, demand_mode, means, programs, ready
from backend.cluster.obstacles import in_use
from backend.cluster.offline import check_step, demand_startable
from backend.cluster.place import HOST, ClusterName, asked
from backend.core.clean import clean
from backend.core.declare import Danger, action
from backend.core.errors import Refused, Usage
from backend.core.facts import Query
from backend.core.params import Ask
from backend.core.plan import Answers, Plan, Step, Wait
from backend.core.session import Session
from backend.core.values import Interval

ON = "cluster.clusters"
HowLong = Annotated[Interval, Ask("Wait", help="How long it may take, such as 60s", fill=False)]
StopMode = Annotated[
    Mode,
    Ask("Mode", help="smart waits for sessions, fast ends them, immediate leaves a crash to recover from"),
]
# One that waits for sessions might be left down by whoever waits for it.
RestartMode = Annotated[
    Literal["fast", "immediate"],
    Ask("Mode", help="fast ends sessions, immediate leaves a crash to recover from"),
]

SECONDS = Interval("60s")

# A server that is not down answers within this, once it takes connections.
ANSWERS_WITHIN = 15.0


@action("cluster.start", danger=Danger.CHANGE, needs=HOST, on=ON)
async def start(s: Session, cluster: ClusterName = None, wait: HowLong = SECONDS) -> Plan:
    """Start a server that is down, once its configuration has been tried and its port is free.

    By systemd where that runs the server, else by pg_ctlcluster or pg_ctl; then postmaster.pid and a
    connection have to prove it.
    """
    seconds = whole(wait)
    found = await discover(s)
    chosen = found.pick(cluster)
    if chosen.running:
        raise Refused(f"{chosen.name} runs already, as pid {chosen.pid}")
    by = await means(s, found, chosen)
    await demand_can_start(s, found, by)
    return Plan(
        chosen.name,
        (check_step(programs(by)), by.start(seconds), *proofs(s, by, seconds)),
        notes=_after_a_crash(chosen),
        result=lambda answers: _told(chosen, "started", answers),
    )


@action("cluster.stop", danger=Danger.DISRUPT, needs=HOST, on=ON)
async def stop(
    s: Session, cluster: ClusterName = None, mode: StopMode = "fast", wait: HowLong = SECONDS
) -> Plan:
    """Stop a server, and see that no process serves its data folder any more."""
    seconds = whole(wait)
    found = await discover(s)
    by = await _running(s, found, cluster, mode)
    return Plan(
        by.cluster.name,
        (by.stop(mode, seconds), by.down(seconds)),
        notes=await victims(s, by.cluster, mode),
        result=lambda answers: _told(by.cluster, "stopped", answers),
    )


@action("cluster.restart", danger=Danger.DISRUPT, needs=HOST, on=ON)
async def restart(
    s: Session, cluster: ClusterName = None, mode: RestartMode = "fast", wait: HowLong = SECONDS
) -> Plan:
    """Stop a server and start it again, once it is sure that it would start.

    Its configuration and its pg_hba.conf are tried before anything is stopped. The program that does both
    goes on when pgtui is gone, so that the server comes back.
    """
    seconds = whole(wait)
    found = await discover(s)
    by = await _running(s, found, cluster, mode)
    await demand_can_start(s, found, by)
    return Plan(
        by.cluster.name,
        (check_step(programs(by)), by.restart(mode, seconds), *proofs(s, by, seconds)),
        notes=await victims(s, by.cluster, mode),
        result=lambda answers: _told(by.cluster, "restarted", answers),
    )


def whole(wait: Interval) -> int:
    """The seconds to wait, as the programs want them."""
    seconds = int(wait.approximate.total_seconds())
    if not 1 <= seconds <= 86400:
        raise Usage(f"--wait {wait} is not between a second and a day")
    return seconds


async def _running(s: Session, found: Found, cluster: str | None, mode: Mode) -> Means:
    chosen = found.pick(cluster)
    if chosen.running is False:
        raise Refused(f"{chosen.name} does not run")
    by = await means(s, found, chosen)
    demand_mode(by, mode)
    return by


async def demand_can_start(s: Session, found: Found, by: Means) -> None:
    """Refuse what would keep the server from coming up: start mode, folder, port, configuration or rules."""
    cluster = by.cluster
    if cluster.start_mode == "disabled":
        raise Refused(
            f"{cluster.name} is disabled",
            hint=f"cluster.start_mode --cluster {cluster.name} --mode manual allows it",
        )
    if cluster.mode and not _private(cluster.mode):
        raise Refused(
            f"others may enter {cluster.data} ({cluster.mode}), and such a data folder the server refuses",
            hint=f"chmod 700 {cluster.data}",
        )
    _demand_fitting(cluster)
    if not cluster.running:
        await _demand_port(s, found, cluster)
    await demand_startable(s.host, programs(by), None, wanted="its configuration")
    await demand_rules(s, cluster)


def _demand_fitting(cluster: Cluster) -> None:
    """Refuse programs of another major version, and a data folder that came without its configuration."""
    if cluster.installed and cluster.major and _major(cluster.installed) != cluster.major:
        raise Refused(
            f"the programs in {cluster.bin} are PostgreSQL {cluster.installed}, and the data folder of"
            f" {cluster.name} is of {cluster.major}",
            hint="bin in the inventory names the folder of the right ones",
        )
    if cluster.config_file and cluster.config_file not in (*cluster.files, *cluster.unread):
        raise Refused(
            f"the configuration of {cluster.name}, {cluster.config_file}, is not there",
            hint="a data folder of Debian's packages has it elsewhere: cluster.create makes another, then"
            " this data folder takes the place of the new one's",
        )


def _major(version: str) -> int:
    """The first number of a version such as 15.9 or 18beta1."""
    found = re.match(r"\d+", version)
    return int(found[0]) if found else 0


def _private(mode: str) -> bool:
    """Whether the mode, as `ls` writes it, is one that PostgreSQL takes: 0700 or 0750."""
    return mode[5:6] != "w" and mode[7:10] == "---"


async def _demand_port(s: Session, found: Found, cluster: Cluster) -> None:
    """Refuse a port that another server or program has."""
    if cluster.port is None:
        return
    others = [c for c in found.clusters if c.running and c.port == cluster.port and c.data != cluster.data]
    if others:
        raise Refused(
            f"{cluster.name} wants port {cluster.port}, which {others[0].name} has",
            hint=f"stop that one, or give {cluster.name} another port in {clean(cluster.config_file or '')}",
        )
    if await in_use(s.host, cluster.port):
        raise Refused(f"{cluster.name} wants port {cluster.port}, on which another program listens")


def proofs(s: Session, by: Means, seconds: int) -> list[Step]:
    """The steps that prove a server up: its postmaster.pid, and for the target's own a connection."""
    steps: list[Step] = [ready(by.cluster.data, by.owner, seconds)]
    if by.cluster.own:
        steps.append(
            Wait(sql.SQL("SELECT true"), until=f"{s.target.name} answers", deadline=ANSWERS_WITHIN, every=0.2)
        )
    return steps


def _after_a_crash(cluster: Cluster) -> tuple[str, ...]:
    if cluster.state != "crashed":
        return ()
    return ("it was not stopped but killed, so it recovers from its WAL first, which can take a while",)


# -- whom a stop hits ----------------------------------------------------------------------------

_VICTIMS = Query("""
SELECT pg_catalog.count(*) FILTER (WHERE a.backend_type = 'client backend'
                                     AND a.application_name NOT LIKE 'pgtui%%')
           AS sessions,
       pg_catalog.count(*) FILTER (WHERE a.backend_type = 'client backend'
                                     AND a.application_name NOT LIKE 'pgtui%%'
                                     AND a.state = 'active')
           AS active,
       (SELECT pg_catalog.count(*)
          FROM pg_catalog.pg_stat_replication AS r
         WHERE r.state <> 'backup')
           AS standbys,
       (SELECT pg_catalog.count(*)
          FROM pg_catalog.pg_stat_progress_basebackup)
           AS backups,
       (SELECT pg_catalog.count(*)
          FROM pg_catalog.pg_prepared_xacts)
           AS prepared
  FROM pg_catalog.pg_stat_activity AS a
""")


@dataclass(frozen=True, slots=True)
class Victims:
    """Who is connected and what is under way."""

    sessions: int
    active: int
    standbys: int
    backups: int
    prepared: int


async def victims(s: Session, cluster: Cluster, mode: Mode = "fast") -> tuple[str, ...]:
    """What a stop would end, as sentences; the server is asked when it is the target's own and answers."""
    found = await asked(s, Victims, _VICTIMS) if cluster.own else []
    if not found:
        return (f"who is connected to {cluster.name} could not be asked",)
    [now] = found
    verb = "waits for" if mode == "smart" else "ends"
    notes = [f"it {verb} {now.sessions} sessions, {now.active} of them active"]
    if now.backups:
        notes.append(f"{now.backups} base backups are running and would fail")
    if now.standbys:
        notes.append(f"{now.standbys} standbys or receivers are attached and have to reconnect")
    if now.prepared:
        notes.append(f"{now.prepared} prepared transactions stay, and keep their locks afterwards")
    if mode == "smart":
        notes.append("nobody new gets in from then on, also when the wait is over before the last one left")
    if mode == "immediate":
        notes.append("immediate is a crash: the next start recovers from the WAL")
    return tuple(notes)


def _told(cluster: Cluster, done: str, answers: Answers) -> dict[str, Any]:
    proof = next((a.text.strip() for a in reversed(answers) if a.text.startswith("pid ")), "")
    pid = int(proof.removeprefix("pid ")) if proof else None
    return {"cluster": cluster.name, "data": cluster.data, "done": done, "pid": pid}
