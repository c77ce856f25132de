"""All PostgreSQL servers of a host, whatever made them, and which of them is the target's own.

A server is known by its data folder. Names are VERSION/NAME: postgresql-common's own, else the version and
the data folder's name. Whether one runs is said by `pidfile`, its settings while it is down by its files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import PurePosixPath
from typing import Literal

from backend.cluster import pidfile, units
from backend.cluster.conffile import settings
from backend.cluster.hiding import contained, hidden, is_hidden
from backend.cluster.manager import manager_of
from backend.cluster.naming import Kind, kind_of, name_of, told_apart
from backend.cluster.owning import own_folder
from backend.cluster.pidfile import Clock, State
from backend.cluster.scan import ROOTS, Folder, Scan, look, pairs
from backend.cluster.waiting import waiting
from backend.core.errors import Missing, PgtuiError, Refused, nearest
from backend.core.session import Session

Role = Literal["primary", "standby"]
StartMode = Literal["auto", "manual", "disabled"]


@dataclass(frozen=True, slots=True)
class Cluster:
    """One server of a host; None where something is not known, most often for want of rights.

    `files` are its configuration files by path; `configured` is what they say by name in lower case, with
    ALTER SYSTEM's on top; `waiting` are settings that a restart would change, as far as its files tell. `bin`
    is the folder of its programs. `manager` names an agent such as Patroni that runs it. `since` is when it
    started.
    """

    name: str
    kind: Kind
    data: str
    state: State
    own: bool = False
    major: int | None = None
    installed: str | None = None
    bin: str | None = None
    pid: int | None = None
    since: datetime | None = None
    waiting: tuple[str, ...] = ()
    role: Role | None = None
    port: int | None = None
    sockets: str | None = None
    owner: str | None = None
    uid: int | None = None
    mode: str | None = None
    config_file: str | None = None
    hba_file: str | None = None
    ident_file: str | None = None
    log: str | None = None
    start_mode: StartMode | None = None
    unit: str | None = None
    unit_state: str | None = None
    manager: str | None = None
    system_identifier: str | None = None
    checksums: bool | None = None
    control: Mapping[str, str] = field(default_factory=dict)
    configured: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    wal: str | None = None
    tablespaces: tuple[str, ...] = ()
    pid_file: str | None = None
    unread: tuple[str, ...] = ()
    gone: bool = False

    @property
    def running(self) -> bool | None:
        """Whether a server process lives; None when that cannot be told."""
        return None if self.state == "unknown" else self.state not in ("down", "crashed")

    @property
    def debian(self) -> tuple[str, str] | None:
        """Version and name for postgresql-common's programs; None when it does not know the server."""
        version, _, name = self.name.partition("/")
        return (version, name) if self.kind == "debian" else None

    @property
    def auto_file(self) -> str:
        """The file that ALTER SYSTEM writes."""
        return f"{self.data}/postgresql.auto.conf"


@dataclass(frozen=True, slots=True)
class Found:
    """The servers of a host, sentences on what was not seen of it, and whether systemd runs there."""

    clusters: tuple[Cluster, ...]
    hidden: tuple[str, ...] = ()
    contained: tuple[str, ...] = ()
    systemd: bool = False
    user: str = ""
    processes_known: bool = True

    @property
    def notes(self) -> tuple[str, ...]:
        """What a look at the host did not show, and what would."""
        return self.hidden + self.contained

    @property
    def own(self) -> Cluster | None:
        """The target's own server."""
        return next((c for c in self.clusters if c.own), None)

    def pick(self, word: str | None = None) -> Cluster:
        """The server of that name or data folder, else the target's own; refused when there is none."""
        if word is None:
            if own := self.own:
                return own
            raise self._unknown("which of the host's servers is this target's own cannot be told", "")
        for cluster in self.clusters:
            if word.rstrip("/") in (cluster.name, cluster.name.replace("/", "-", 1), cluster.data):
                return cluster
        raise self._unknown(f"the host has no cluster {word}", nearest(word, [c.name for c in self.clusters]))

    def _unknown(self, what: str, near: str | None) -> PgtuiError:
        """Where servers are hidden from us, what would show them helps more than the names of the others."""
        if self.hidden:
            return Missing(what, hint=self.hidden[0])
        return Refused(what, hint=near or self._names())

    def _names(self) -> str:
        names = ", ".join(c.name for c in self.clusters)
        return f"name one with --cluster: {names}" if names else "the host has no PostgreSQL server"


async def discover(s: Session, roots: Sequence[str] = ROOTS) -> Found:
    """The servers of the session's host, as they are now; one round trip, and a question to the target."""
    scan = await look(s.host, s.target, roots)
    found = understand(scan)
    data = await own_folder(s, found.clusters, [f.values.get("given", "") for f in scan.folders])
    clusters = [replace(c, own=True) if c.data == data else c for c in found.clusters]
    unseen = contained(scan) if data is None else ()
    return replace(
        found, clusters=tuple(clusters), hidden=hidden(scan, s.host.where, clusters), contained=unseen
    )


def understand(scan: Scan) -> Found:
    """What a scan means; nothing more is asked of anybody."""
    clock = Clock(_whole(scan.values.get("ticks")) or 0, _whole(scan.values.get("boot")) or 0)
    folders = [f for f in scan.folders if "absent" not in f.values or f.debian or _lives(f, scan, clock)]
    clusters = [_cluster(f, scan, clock) for f in folders]
    named = told_apart(clusters)
    order = sorted(named, key=lambda c: (-(c.major or 0), c.name))
    return Found(
        tuple(order),
        systemd="systemd" in scan.values,
        user=scan.values.get("user", ""),
        processes_known=clock.known,
    )


def _lives(folder: Folder, scan: Scan, clock: Clock) -> bool:
    return pidfile.standing(folder, scan.processes, clock).process is not None


def _cluster(folder: Folder, scan: Scan, clock: Clock) -> Cluster:
    how = pidfile.standing(folder, scan.processes, clock)
    values = folder.values
    main = values.get("main") or None
    unseen = is_hidden(folder, how)
    configured = settings(folder.files, main or "", f"{folder.path}/postgresql.auto.conf")
    started = _options(how.process.args) if how.process else {}
    told = configured | started
    control = dict(pairs(values.get("control", ""), ":"))
    debian = scan.debian.get(folder.debian, {})
    kind = kind_of(folder)
    unit = units.of(folder, how.process, scan, kind)
    confdir = str(PurePosixPath(main).parent) if main else None
    major = _whole(values.get("major")) or _major(folder)
    return Cluster(
        name=name_of(folder, kind, major),
        kind=kind,
        data=folder.path,
        state=how.state,
        major=major,
        installed=_version(values.get("installed", "")),
        bin=values.get("bin") or None,
        pid=how.process.pid if how.process else None,
        since=_since(how, clock),
        waiting=waiting(how, told, control) if _role(folder, how.state, control) == "primary" else (),
        role=_role(folder, how.state, control),
        port=_port(how.file if how.process else None, told, bool(folder.files)),
        sockets=_sockets(how.file if how.process else None, told),
        owner=values.get("owner") or (how.process and how.process.values.get("owner")) or None,
        uid=_whole(values.get("uid")),
        mode=values.get("mode"),
        config_file=main,
        hba_file=told.get("hba_file") or (f"{confdir}/pg_hba.conf" if confdir else None),
        ident_file=told.get("ident_file") or (f"{confdir}/pg_ident.conf" if confdir else None),
        log=_log(folder, debian, how),
        start_mode=units.start_mode(debian if folder.debian else None, unit),
        unit=unit.name if unit else None,
        unit_state=unit.active if unit else None,
        manager=manager_of(folder, how.process, told.get("shared_preload_libraries", ""), scan),
        system_identifier=control.get("Database system identifier"),
        checksums=_checksums(control),
        control=control,
        configured=configured,
        files=folder.files,
        wal=values.get("wal") or None,
        tablespaces=tuple(t for t in folder.tablespaces if t),
        pid_file=f"{folder.path}/postmaster.pid" if how.file else None,
        unread=(*([folder.path] if unseen else []), *folder.unreadable),
        gone="absent" in values and not unseen,
    )


def _since(how: pidfile.Standing, clock: Clock) -> datetime | None:
    if how.process is None:
        return None
    return (how.file and how.file.started) or clock.began(how.process)


def _options(args: Sequence[str]) -> dict[str, str]:
    """The settings that a server was started with."""
    found: dict[str, str] = {}
    for word, following in zip(args, [*args[1:], ""], strict=True):
        given = following if word == "-c" else word[2:] if word.startswith(("--", "-c")) else ""
        name, equals, value = given.partition("=")
        if equals:
            found[name.replace("-", "_").lower()] = value
        if word in ("-p", "-k"):
            found["port" if word == "-p" else "unix_socket_directories"] = following
    return found


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.strip().isdigit() else None


def _major(folder: Folder) -> int | None:
    return _whole(PurePosixPath(folder.debian).parent.name) if folder.debian else None


def _version(text: str) -> str | None:
    match = re.search(r"\) (\S+)", text)
    return match[1] if match else None


def _role(folder: Folder, state: State, control: Mapping[str, str]) -> Role | None:
    """What it is, or what it would be once it starts."""
    if folder.has & {"standby.signal", "recovery.signal"}:
        return "standby"
    if not folder.readable:
        return None
    running = state in ("up", "starting", "stopping")
    # A server in recovery from an archive that ends by itself has no signal file any more.
    return (
        "standby"
        if running and "archive recovery" in control.get("Database cluster state", "")
        else "primary"
    )


def _port(file: pidfile.PidFile | None, told: Mapping[str, str], files: bool) -> int | None:
    if file and file.port:
        return file.port
    return _whole(told.get("port")) or (5432 if files else None)


def _sockets(file: pidfile.PidFile | None, told: Mapping[str, str]) -> str | None:
    if file and file.socket:
        return file.socket
    return told.get("unix_socket_directories", "").partition(",")[0].strip() or None


def _log(folder: Folder, debian: Mapping[str, str], how: pidfile.Standing) -> str | None:
    """Where it writes now: the collector's file, else where its standard error goes."""
    current = dict(pairs(folder.values.get("current_logfiles", ""), " "))
    if path := current.get("jsonlog") or current.get("csvlog") or current.get("stderr"):
        return path if path.startswith("/") else f"{folder.path}/{path}"
    if how.process and _is_file(to := how.process.values.get("stderr", "")):
        return to
    if debian.get("log"):
        return debian["log"]
    if folder.debian:
        version, name = PurePosixPath(folder.debian).parts[-2:]
        return f"/var/log/postgresql/postgresql-{version}-{name}.log"
    return None


def _is_file(path: str) -> bool:
    devices = ("/dev/null", "/dev/tty", "/dev/pts/", "/dev/console")
    return path.startswith("/") and not path.startswith(devices) and not path.endswith(" (deleted)")


def _checksums(control: Mapping[str, str]) -> bool | None:
    found = control.get("Data page checksum version")
    return None if found is None else found != "0"
