"""The servers of a host as rows, and what is wrong with them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from backend.cluster.backups import Stanza, backups
from backend.cluster.configured import Configured, configured
from backend.cluster.discovery import Cluster, Found, Role, StartMode, discover
from backend.cluster.naming import Kind
from backend.cluster.pidfile import State
from backend.cluster.place import asked
from backend.cluster.storage import DATABASES, Sized
from backend.core.declare import Col, Health, Verdict
from backend.core.errors import PgtuiError
from backend.core.facts import Query
from backend.core.host import script
from backend.core.remembered import Remembered
from backend.core.session import Session

Archiving = Literal["off", "on", "failing", "no command", "discarding"]

# Seconds for adding up the files of all data folders.
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class ClusterRow:
    """One server of the host."""

    cluster: Annotated[str, Col("Cluster", key=True, priority=1, help="VERSION/NAME")]
    state: Annotated[
        State,
        Col("State", priority=1, help="By postmaster.pid and its process; crashed left the file behind"),
    ]
    own: Annotated[bool, Col("This", priority=2, help="It is the server of this target")]
    role: Annotated[Role | None, Col("Role", priority=2)]
    version: Annotated[str | None, Col("Version", priority=4, help="Of its programs")]
    port: Annotated[int | None, Col("Port", priority=2)]
    since: Annotated[datetime | None, Col("Started", priority=4)]
    start_mode: Annotated[StartMode | None, Col("Start", priority=3, help="auto: it starts with the machine")]
    archiving: Annotated[Archiving | None, Col("Archiving", priority=3)]
    restart_due: Annotated[int | None, Col("Restart due", priority=3, help="How many settings wait for one")]
    wrong_lines: Annotated[
        int | None,
        Col("Wrong lines", priority=3, help="Of its configuration; of other servers, of pg_hba.conf"),
    ]
    full_backup: Annotated[
        datetime | None, Col("Full backup", priority=4, help="When pgBackRest's last one ended")
    ]
    incremental_backup: Annotated[
        datetime | None, Col("Incremental", priority=4, help="Or a differential one, when the last ended")
    ]
    size: Annotated[
        int | None, Col("Size", unit="bytes", priority=5, help="Of other servers when --sizes asks for it")
    ]
    owner: Annotated[str | None, Col("Owner", priority=5)]
    kind: Annotated[Kind, Col("Made by", priority=7, help="postgresql-common, RPM packages or initdb alone")]
    unit: Annotated[str | None, Col("Unit", priority=6)]
    unit_state: Annotated[str | None, Col("Unit state", priority=6)]
    manager: Annotated[str | None, Col("Manager", priority=6, help="An agent that starts and stops it")]
    data: Annotated[str, Col("Data folder", text=True, priority=2)]
    log: Annotated[str | None, Col("Log", priority=8)]
    config_file: Annotated[str | None, Col("Configuration", priority=8)]
    hba_file: Annotated[str | None, Col("hba file", priority=9)]
    mode: Annotated[str | None, Col("Mode", priority=9)]
    checksums: Annotated[bool | None, Col("Checksums", priority=9)]
    pid: Annotated[int | None, Col("PID", priority=8)]
    system_identifier: Annotated[str | None, Col("System identifier", priority=9)]
    trouble: Annotated[str | None, Col("Trouble", priority=9, help="What else is wrong with its files")]
    hidden: Annotated[str | None, Col("Hidden", priority=9, help="What may not be read, and what shows it")]
    waiting: Annotated[str | None, Col("Waiting", priority=9, help="The settings that wait for a restart")]
    stanza: Annotated[str | None, Col("Stanza", priority=9, help="Of pgBackRest")]
    backup_trouble: Annotated[str | None, Col("Backup trouble", priority=9)]


@dataclass(frozen=True, slots=True)
class Archiver:
    """How the archiver of the target's own server does."""

    mode: str
    command: str
    library: str
    failing: bool


ARCHIVER = Query("""
SELECT pg_catalog.current_setting('archive_mode') AS mode,
       pg_catalog.current_setting('archive_command') AS command,
       coalesce(pg_catalog.current_setting('archive_library', true), '') AS library,
       coalesce(a.last_failed_time > coalesce(a.last_archived_time, '-infinity'), false) AS failing
  FROM pg_catalog.pg_stat_archiver AS a
""")

_NOTHING = re.compile(r"\s*(?:(?:/usr)?/bin/)?(?:true|:)\s*(?:#.*)?|\s*exit\s+0\s*", re.DOTALL)


async def cluster_rows(s: Session, sizes: bool) -> list[ClusterRow]:
    """A row for each server; sizes are added up only when they are wanted."""
    found = await discover(s)
    own = found.own
    archivers = await asked(s, Archiver, ARCHIVER) if own and own.running else []
    bytes_of = await (_sizes(s, found) if sizes else _own_size(s, found))
    told, kept = await asyncio.gather(configured(s, found), backups(s, found))
    rows = []
    for cluster in found.clusters:
        archiver = archivers[0] if archivers and cluster.own else configured_archiver(cluster)
        clash = port_clash(cluster, found)
        hidden = "; ".join(found.notes) if cluster.unread else None
        stanza, bytes_ = kept.of(cluster), bytes_of.get(cluster.data)
        rows.append(_row(cluster, archiving(archiver), told[cluster.data], stanza, bytes_, clash, hidden))
    return rows


def _row(
    c: Cluster,
    archived: Archiving | None,
    told: Configured,
    stanza: Stanza | None,
    size: int | None,
    clash: str | None,
    hidden: str | None,
) -> ClusterRow:
    last = stanza or Stanza("", ())
    due = None if told.waiting is None else len(told.waiting)
    return ClusterRow(
        c.name, c.state, c.own, c.role, c.installed or (str(c.major) if c.major else None), c.port, c.since,
        c.start_mode, archived, due, told.wrong, last.full, last.incremental, size, c.owner, c.kind,
        c.unit, c.unit_state, c.manager, c.data, c.log, c.config_file, c.hba_file, c.mode, c.checksums,
        c.pid, c.system_identifier, trouble(c) or clash, hidden, ", ".join(told.waiting or ()) or None,
        last.name or None, last.trouble,
    )  # fmt: skip


def configured_archiver(cluster: Cluster) -> Archiver | None:
    """What a server's files say of its archiver; None where they cannot be read."""
    files = cluster.configured
    if not files:
        return None
    mode, command = files.get("archive_mode", "off"), files.get("archive_command", "")
    return Archiver(mode, command, files.get("archive_library", ""), False)


def archiving(archiver: Archiver | None) -> Archiving | None:
    """Whether WAL is archived; a command that does nothing reports success and loses it."""
    if archiver is None:
        return None
    if archiver.mode.lower() not in ("on", "always", "true", "yes", "1"):
        return "off"
    if archiver.failing:
        return "failing"
    if archiver.library:
        return "on"
    if _NOTHING.fullmatch(archiver.command):
        return "discarding"
    return "on" if archiver.command.strip() not in ("", "(disabled)") else "no command"


def port_clash(cluster: Cluster, found: Found) -> str | None:
    """Who else is configured for the same port and the same socket folder; only one of them can run."""
    others = [
        c.name
        for c in found.clusters
        if c is not cluster and c.port == cluster.port is not None and c.sockets == cluster.sockets
    ]
    return f"{', '.join(others)} has port {cluster.port} too" if others else None


def trouble(cluster: Cluster) -> str | None:
    """What is wrong with its files, whether it runs or not."""
    if cluster.gone and cluster.running:
        return "its data folder has been deleted while it runs"
    if cluster.gone:
        return "its data folder is not there"
    if cluster.running and cluster.pid_file is None and not cluster.unread:
        return "it runs without its postmaster.pid, so a second server could start on its data"
    if cluster.mode and cluster.mode[4:10] not in ("------", "r-x---"):
        return f"its data folder has mode {cluster.mode[1:10]}: the server will refuse to start"
    if not cluster.running and cluster.config_file and not cluster.configured and not cluster.unread:
        return f"its configuration file {cluster.config_file} is empty or not there"
    return None


# Adding up the files of all databases takes longer the more there are.
_databases = Remembered[list[Sized]](60)


async def _own_size(s: Session, found: Found) -> Mapping[str, int]:
    """What the databases of the target's own server take, as it says itself."""
    own = found.own
    if own is None or not own.running:
        return {}
    told = await _databases.get(s, lambda: asked(s, Sized, DATABASES))
    return {own.data: told[0].bytes} if told and told[0].bytes is not None else {}


async def _sizes(s: Session, found: Found) -> Mapping[str, int]:
    """The bytes below each data folder, its WAL and its tablespaces; what cannot be read is left out."""
    parts = {c.data: (c.data, *([c.wal] if c.wal else []), *c.tablespaces) for c in found.clusters}
    wanted = list(dict.fromkeys(p for of in parts.values() for p in of))
    try:
        done = await s.host.run(
            script('du -sk -- "$@" 2>/dev/null; :', *wanted), timeout=PATIENCE, run_as=s.target.run_as
        )
    except PgtuiError:
        return {}
    lines = [line.partition("\t") for line in done.text.splitlines()]
    measured = {path: int(kilobytes) * 1024 for kilobytes, _, path in lines if kilobytes.isdigit()}
    return {data: sum(measured.get(p, 0) for p in of) for data, of in parts.items() if data in measured}


def cluster_verdict(row: ClusterRow) -> Verdict | None:
    """The worst that is to be said of a server; of what is equally bad, what stands here first."""
    told = [v for v in (_standing(row), _archiving(row), _trouble(row), *_configured(row), _kept(row)) if v]
    return max(told, key=lambda v: v.health.value, default=None)


def _trouble(row: ClusterRow) -> Verdict | None:
    if not row.trouble:
        return None
    health = Health.CRITICAL if row.state not in ("down", "unknown") else Health.WARNING
    return Verdict(health, row.trouble)


def _configured(row: ClusterRow) -> Iterator[Verdict]:
    if row.wrong_lines:
        many = row.wrong_lines > 1
        lines = f"{row.wrong_lines} lines of its files are" if many else "a line of its files is"
        if row.state in ("down", "crashed"):
            yield Verdict(Health.WARNING, f"{lines} wrong: it will not start")
        else:
            yield Verdict(Health.CRITICAL, f"{lines} wrong: it goes without, and may not start again")
    if row.restart_due:
        waits = "waits" if row.restart_due == 1 else "wait"
        yield Verdict(Health.WARNING, f"{row.waiting} {waits} for a restart")


def _kept(row: ClusterRow) -> Verdict | None:
    return Verdict(Health.WARNING, row.backup_trouble) if row.backup_trouble else None


def _standing(row: ClusterRow) -> Verdict | None:
    if row.state == "crashed":
        return Verdict(Health.CRITICAL, "it is down and left its postmaster.pid behind: it was killed")
    if row.state == "down" and row.start_mode == "auto":
        return Verdict(Health.CRITICAL, "it is down although it is to start with the machine")
    if row.state == "down" and row.own:
        return Verdict(Health.CRITICAL, "it is down")
    if row.state in ("starting", "stopping"):
        return Verdict(Health.WARNING, f"it is {row.state}")
    if row.state == "unknown":
        return Verdict(
            Health.UNKNOWN, f"whether it runs cannot be told: {row.hidden or 'the host tells of no process'}"
        )
    if row.unit_state == "failed":
        return Verdict(Health.WARNING, f"it runs, but its unit {row.unit} has failed")
    return None


def _archiving(row: ClusterRow) -> Verdict | None:
    match row.archiving:
        case "failing":
            return Verdict(Health.CRITICAL, "archiving fails, and WAL piles up")
        case "no command":
            return Verdict(Health.WARNING, "archive_mode is on without a command, WAL piles up")
        case "discarding":
            return Verdict(Health.WARNING, "archive_command does nothing, so its WAL is lost to recovery")
    return None
