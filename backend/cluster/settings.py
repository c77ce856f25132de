"""The settings of a server: where they come from, what waits for a restart, how two servers differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from backend.cluster.conffile import Line, lines
from backend.cluster.discovery import Cluster
from backend.cluster.neighbour import Asked, find_server
from backend.cluster.secrets import hidden
from backend.core.declare import Col, Health, Verdict
from backend.core.errors import Missing, PgtuiError
from backend.core.facts import Query
from backend.core.host import Host
from backend.core.hosts import host_for
from backend.core.session import Session

Taking = Literal["restart", "reload", "new sessions", "session", "fixed"]

_TAKING: Mapping[str, Taking] = {
    "internal": "fixed",
    "postmaster": "restart",
    "sighup": "reload",
    "superuser-backend": "new sessions",
    "backend": "new sessions",
    "superuser": "session",
    "user": "session",
}


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One setting, as a new session gets it."""

    name: Annotated[str, Col("Setting", key=True, priority=1)]
    value: Annotated[str, Col("Value", priority=1, help="What a new session gets")]
    other: Annotated[str | None, Col("Other", priority=2, help="The value on the target compared with")]
    pending_restart: Annotated[bool, Col("Restart due", priority=1, help="The files say otherwise")]
    pending: Annotated[str | None, Col("After restart", priority=3)]
    default: Annotated[str | None, Col("Default", priority=4, help="Built in")]
    changed: Annotated[bool, Col("Changed", priority=5, help="It differs from the built-in value")]
    takes: Annotated[Taking | None, Col("Takes", priority=4, help="What makes a new value count")]
    source: Annotated[str, Col("Source", priority=3)]
    file: Annotated[str | None, Col("File", priority=5)]
    line: Annotated[int | None, Col("Line", priority=5)]
    unit: Annotated[str | None, Col("Unit", priority=8)]
    category: Annotated[str, Col("Category", priority=8)]
    description: Annotated[str, Col("Description", text=True, priority=6)]
    cluster: Annotated[str | None, Col("Cluster", hidden=True, help="Where another one was asked for")] = None


@dataclass(frozen=True, slots=True)
class _Setting:
    name: str
    value: str | None
    unit: str | None
    context: str
    vartype: str
    source: str
    sourcefile: str | None
    sourceline: int | None
    boot_val: str | None
    pending_restart: bool
    category: str
    description: str


@dataclass(frozen=True, slots=True)
class _InFile:
    name: str
    setting: str | None


# A looking session sets some for itself, whose source is then hidden; what others get is not, except for the
# name that it connects with.
_SETTINGS = Query("""
SELECT p.name,
       CASE WHEN p.name = 'application_name' THEN '' ELSE p.reset_val END AS value,
       p.unit,
       p.context,
       p.vartype,
       CASE
           WHEN p.name = 'application_name' THEN 'default'
           WHEN p.source <> 'session' THEN p.source
           WHEN p.reset_val IS NOT DISTINCT FROM p.boot_val THEN 'default'
           ELSE 'configured'
       END AS source,
       p.sourcefile,
       p.sourceline,
       p.boot_val,
       p.pending_restart,
       p.category,
       p.short_desc AS description
  FROM pg_catalog.pg_settings AS p
 ORDER BY p.name
""")

_IN_FILES = Query("""
SELECT DISTINCT ON (f.name)
       f.name,
       f.setting
  FROM pg_catalog.pg_file_settings AS f
 WHERE f.name = ANY (%s)
 ORDER BY f.name, f.seqno DESC
""")


async def setting_rows(
    s: Session, changed: bool, pending: bool, against: str | None, cluster: str | None
) -> list[SettingRow]:
    """The settings; only those that are changed, wait for a restart, or differ, where that is wanted."""
    server = await find_server(s, cluster)
    rows = await (_in_files(s.host, server) if isinstance(server, Cluster) else _in_force(server))
    if against is not None:
        others = await _of(s, against)
        if isinstance(server, Cluster):  # what its files leave out is not known to be another value
            others = {r.name: others[r.name] for r in rows if r.name in others}
        rows = _differing(rows, others)
    return [
        replace(r, cluster=cluster)
        for r in rows
        if (r.changed or r.pending_restart or not changed) and (r.pending_restart or not pending)
    ]


async def _in_force(server: Asked) -> list[SettingRow]:
    settings = await server.fetch(_Setting, _SETTINGS)
    waiting = await _after_restart(server, [x.name for x in settings if x.pending_restart])
    return [_row(x, waiting.get(x.name)) for x in settings]


# -- of a server that is down --------------------------------------------------------------------


async def _in_files(host: Host, c: Cluster) -> list[SettingRow]:
    """What the files of a server that is down set; the values are as they are written there."""
    if c.unread and not c.files:
        raise Missing(
            f"{c.name} is down, and its configuration files may not be read",
            hint=f'run_as = "{c.owner}" in the inventory lets pgtui read them as that account',
        )
    described = await _described(host, c)
    last = {x.name: x for path in (c.config_file, c.auto_file) if path for x in lines(c.files, path)}
    return [_of_line(x, described.get(x.name.lower())) for _, x in sorted(last.items())]


@dataclass(frozen=True, slots=True)
class _Described:
    """What the server's program says of a setting."""

    name: str
    context: str
    category: str
    vartype: str
    description: str


async def _described(host: Host, c: Cluster) -> Mapping[str, _Described]:
    """By name in lower case; nothing where the program cannot be run as the server's account."""
    if c.bin is None:
        return {}
    try:
        done = await host.run((f"{c.bin}/postgres", "--describe-config"), run_as=c.owner)
        rows = [line.split("\t") for line in done.demand().text.splitlines()]
    except PgtuiError:
        return {}
    # name, context, group, type, default, least, most, description, more of it
    return {r[0].lower(): _Described(r[0], r[1], r[2], r[3], r[7]) for r in rows if len(r) > 7}


def _of_line(x: Line, of: _Described | None) -> SettingRow:
    text = of is None or of.vartype == "STRING"
    takes = _TAKING.get(of.context) if of else None
    return SettingRow(
        of.name if of else x.name, hidden(x.name, x.value, text=text), None, False, None, None, True, takes,
        "configuration file", x.file, x.number, None, of.category if of else "",
        of.description if of else "",
    )  # fmt: skip


# -- of a server that answers --------------------------------------------------------------------


def _row(x: _Setting, waiting: str | None) -> SettingRow:
    def told(value: str | None) -> str | None:
        if value is None:
            return None
        if x.name in _MODES and value.isdigit():
            return f"{int(value):04o}"
        return hidden(x.name, shown(value, x.unit), text=x.vartype == "string")

    changed = x.value != x.boot_val and x.context != "internal" and x.source not in ("override", "client")
    return SettingRow(
        x.name, told(x.value) or "", None, x.pending_restart, told(waiting), told(x.boot_val), changed,
        _TAKING[x.context], x.source, x.sourcefile, x.sourceline, x.unit, x.category, x.description,
    )  # fmt: skip


async def _after_restart(server: Asked, names: list[str]) -> Mapping[str, str | None]:
    """What the files say of these; nothing for a role that may not read them."""
    if not names:
        return {}
    try:
        return {f.name: f.setting for f in await server.fetch(_InFile, _IN_FILES, names)}
    except Missing:
        return {}


async def _of(s: Session, target: str) -> Mapping[str, SettingRow]:
    """The settings of another target."""
    of = s.other(target)
    other = Session(of, host_for(of), timeout=s.timeout)
    try:
        await other.open()
        return {x.name: _row(x, None) for x in await other.fetch(_Setting, _SETTINGS)}
    finally:
        await other.close()


def _differing(rows: list[SettingRow], others: Mapping[str, SettingRow]) -> list[SettingRow]:
    """The settings that differ; one that the other server does not know counts as differing."""
    compared = [replace(r, other=others[r.name].value if r.name in others else None) for r in rows]
    absent = [
        replace(r, value="", other=r.value, file=None, line=None, pending_restart=False)
        for name, r in others.items()
        if name not in {r.name for r in rows}
    ]
    return sorted([*(r for r in compared if r.other != r.value), *absent], key=lambda r: r.name)


# Written in octal digits, as `chmod` has them; pg_settings has the default and what a reset gives in decimal.
_MODES = ("data_directory_mode", "log_file_mode", "unix_socket_permissions")
_UNITS = {
    "B": (("TB", 1 << 40), ("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10), ("B", 1)),
    "ms": (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000), ("ms", 1)),
}
_BASE = {
    "B": ("B", 1), "kB": ("B", 1 << 10), "MB": ("B", 1 << 20),
    "ms": ("ms", 1), "s": ("ms", 1000), "min": ("ms", 60_000),
}  # fmt: skip


def shown(value: str, unit: str | None) -> str:
    """The value as SHOW writes it: a whole number in the largest unit that loses nothing."""
    if not unit or not value.lstrip("-").isdigit() or int(value) <= 0:
        return value
    count, word = (int(unit[: -len(unit.lstrip("0123456789"))] or 1), unit.lstrip("0123456789"))
    if word not in _BASE:
        return f"{value}{unit}"
    base, factor = _BASE[word]
    amount = int(value) * count * factor
    name, size = next((n, size) for n, size in _UNITS[base] if amount % size == 0)
    return f"{amount // size}{name}"


def setting_verdict(row: SettingRow) -> Verdict | None:
    """A restart that is due is a surprise for whoever restarts next."""
    if not row.pending_restart:
        return None
    will = f" and will be {row.pending}" if row.pending is not None else ""
    return Verdict(Health.WARNING, f"it is {row.value or 'empty'}{will} after a restart")
