"""Where a server keeps what, how full those file systems are, and how long they will last."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Annotated
from weakref import WeakKeyDictionary

from backend.cluster.backups import backups
from backend.cluster.discovery import Cluster, Found, discover
from backend.cluster.place import asked
from backend.core.declare import Col, Health, Verdict
from backend.core.errors import PgtuiError
from backend.core.facts import Query
from backend.core.host import script
from backend.core.session import Session
from backend.core.show import duration
from backend.core.values import hours

# Growth is told once it has been watched for so long; before, one checkpoint would decide it.
LONG_ENOUGH = 30.0
WATCHED = 3600.0
SECONDS = 8


@dataclass(frozen=True, slots=True)
class StorageRow:
    """One place, and the file system that it is on."""

    place: Annotated[str, Col("Place", key=True, priority=1)]
    size: Annotated[int | None, Col("Size", unit="bytes", priority=1)]
    used_percent: Annotated[
        float | None, Col("Used", unit="percent", warn=80.0, crit=90.0, priority=1, help="Of its file system")
    ]
    free: Annotated[int | None, Col("Free", unit="bytes", priority=1)]
    total: Annotated[int | None, Col("Total", unit="bytes", priority=5)]
    inodes_percent: Annotated[
        float | None, Col("Inodes", unit="percent", warn=80.0, crit=90.0, priority=4, help="Used ones")
    ]
    inodes_free: Annotated[int | None, Col("Free inodes", priority=7)]
    growth: Annotated[
        float | None, Col("Growth", unit="bytes", priority=3, help="Of the file system, bytes per hour")
    ]
    full_in: Annotated[timedelta | None, Col("Full in", priority=2, help="At this growth")]
    mount: Annotated[str | None, Col("Mounted on", priority=6)]
    path: Annotated[str | None, Col("Path", text=True, priority=3)]


@dataclass(frozen=True, slots=True)
class Sized:
    """What the server itself says of a place."""

    place: str
    bytes: int | None


DATABASES = Query("""
SELECT 'data' AS place,
       pg_catalog.sum(pg_catalog.pg_database_size(d.oid))::pg_catalog.int8 AS bytes
  FROM pg_catalog.pg_database AS d
 WHERE pg_catalog.has_database_privilege(d.oid, 'CONNECT')
    OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')
""")
_WAL = Query("""
SELECT 'wal' AS place,
       pg_catalog.sum(w.size)::pg_catalog.int8 AS bytes
  FROM pg_catalog.pg_ls_waldir() AS w
""")
# Without the collector there is no such folder, and asking for it would fill the server's log.
_LOGS = Query("""
SELECT 'log' AS place,
       pg_catalog.sum(l.size)::pg_catalog.int8 AS bytes
  FROM (SELECT WHERE pg_catalog.current_setting('logging_collector') = 'on') AS collected,
       LATERAL pg_catalog.pg_ls_logdir() AS l
""")
_TEMPORARY = Query("""
SELECT 'temporary files' AS place,
       coalesce(pg_catalog.sum(f.size), 0)::pg_catalog.int8 AS bytes
  FROM pg_catalog.pg_tablespace AS t,
       pg_catalog.pg_ls_tmpdir(t.oid) AS f
 WHERE t.spcname <> 'pg_global'
""")
_TABLESPACES = Query("""
SELECT 'tablespace ' || t.spcname AS place,
       CASE
           WHEN pg_catalog.has_tablespace_privilege(t.oid, 'CREATE')
             OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')
           THEN pg_catalog.pg_tablespace_size(t.oid)
       END AS bytes,
       pg_catalog.pg_tablespace_location(t.oid) AS path
  FROM pg_catalog.pg_tablespace AS t
 WHERE t.spcname NOT IN ('pg_default', 'pg_global')
""")


@dataclass(frozen=True, slots=True)
class _Tablespace:
    place: str
    bytes: int | None
    path: str


@dataclass(frozen=True, slots=True)
class FileSystem:
    """What `df` says of a path: bytes and inodes; a file system without inodes has none."""

    mount: str
    total: int
    used: int
    free: int
    inodes: int | None = None
    inodes_used: int | None = None

    @property
    def used_percent(self) -> float | None:
        """Of what can be used; what is reserved for root counts as neither."""
        usable = self.used + self.free
        return round(100 * self.used / usable, 1) if usable else None

    @property
    def inodes_percent(self) -> float | None:
        """Of the inodes that there are."""
        if not self.inodes or self.inodes_used is None:
            return None
        return round(100 * self.inodes_used / self.inodes, 1)


_DF = """\
for path; do
    printf '%s\\0' "$path"
    df -Pk -- "$path" 2>/dev/null | sed 1d | tr -d '\\0'; printf '\\0'
    df -Pi -- "$path" 2>/dev/null | sed 1d | tr -d '\\0'; printf '\\0'
done
"""
_DU = 'timeout "$1" du -sk -- "$2" 2>/dev/null | cut -f 1; :'


async def storage_rows(s: Session, cluster: str | None) -> list[StorageRow]:
    """Each place of a server, by default of the target's own."""
    picked, found = await _picked(s, cluster)
    sizes, tablespaces = await _told(s) if picked is None or (picked.own and picked.running) else ({}, [])
    if picked is None and not sizes:
        picked = (await discover(s)).pick(cluster)
    places = _places(picked, sizes, tablespaces)
    if picked and found and (kept := await backups(s, found)).of(picked):
        places |= {r.place: r.path for r in kept.repositories}
        sizes = {**sizes, **{r.place: r.bytes for r in kept.repositories}}
    systems = await file_systems(s, [p for p in places.values() if p]) if picked else {}
    if picked and "data" not in sizes:
        sizes = {**sizes, "data": await _measured(s, picked.data)}
    sizes = {**sizes, **{t.place: t.bytes for t in tablespaces}}
    growth = _growth(s, {f.mount: f.used for f in systems.values()})
    return [
        _row(name, path, sizes.get(name), systems.get(path or ""), growth) for name, path in places.items()
    ]


async def _picked(s: Session, cluster: str | None) -> tuple[Cluster | None, Found | None]:
    try:
        found = await discover(s)
    except PgtuiError:
        return None, None
    return found.pick(cluster) if cluster else found.own, found


async def _told(s: Session) -> tuple[dict[str, int | None], list[_Tablespace]]:
    """What the server says, as far as the role may ask."""
    queries = (DATABASES, _WAL, _LOGS, _TEMPORARY)
    sized, tablespaces = await asyncio.gather(
        asyncio.gather(*(asked(s, Sized, q) for q in queries)), asked(s, _Tablespace, _TABLESPACES)
    )
    return {row.place: row.bytes for rows in sized for row in rows}, tablespaces


def _places(
    cluster: Cluster | None, sizes: Mapping[str, int | None], tablespaces: Sequence[_Tablespace]
) -> dict[str, str | None]:
    """The path of each place, where it is known."""
    named: dict[str, str | None] = {"data": cluster.data if cluster else None}
    named["wal"] = (cluster.wal or f"{cluster.data}/pg_wal") if cluster else None
    named |= {t.place: t.path for t in tablespaces}
    if cluster and not tablespaces:
        named |= {f"tablespace {PurePosixPath(t).name}": t for t in cluster.tablespaces}
    if cluster and cluster.log:
        named["log"] = str(PurePosixPath(cluster.log).parent)
    elif "log" in sizes:
        named["log"] = None
    if "temporary files" in sizes:
        named["temporary files"] = f"{cluster.data}/base/pgsql_tmp" if cluster else None
    return named


async def file_systems(s: Session, paths: Sequence[str]) -> dict[str, FileSystem]:
    """What the host's `df` says of these paths; a folder that is not there yet counts as its parent."""
    wanted = {p: p.removesuffix("/base/pgsql_tmp") for p in paths}
    try:
        done = await s.host.run(script(_DF, *dict.fromkeys(wanted.values())), run_as=s.target.run_as)
    except PgtuiError:
        return {}
    systems = parsed(done.text)
    return {p: systems[q] for p, q in wanted.items() if q in systems}


def parsed(text: str) -> dict[str, FileSystem]:
    """The file systems by path, from what `df -Pk` and `df -Pi` print, each ended by a zero byte."""
    words = text.split("\0")
    found: dict[str, FileSystem] = {}
    for path, blocks, inodes in zip(words[0::3], words[1::3], words[2::3], strict=False):
        space, nodes = blocks.split(None, 5), inodes.split(None, 5)
        if len(space) < 6 or not all(n.isdigit() for n in space[1:4]):
            continue
        total, used, free = (int(n) * 1024 for n in space[1:4])
        there = len(nodes) == 6 and nodes[1].isdigit() and nodes[2].isdigit() and int(nodes[1]) > 0
        found[path] = FileSystem(
            space[5].strip(), total, used, free,
            int(nodes[1]) if there else None, int(nodes[2]) if there else None,
        )  # fmt: skip
    return found


async def _measured(s: Session, path: str) -> int | None:
    """The bytes below a folder; None where that takes too long or is not allowed."""
    try:
        done = await s.host.run(script(_DU, str(SECONDS), path), timeout=SECONDS + 5, run_as=s.target.run_as)
    except PgtuiError:
        return None
    return int(done.text) * 1024 if done.text.strip().isdigit() else None


_Samples = dict[str, list[tuple[float, int]]]
_seen: WeakKeyDictionary[Session, _Samples] = WeakKeyDictionary()


def _growth(s: Session, used: Mapping[str, int]) -> Mapping[str, float]:
    """Bytes per second by file system, over the last hour of this session at most."""
    now, samples = time.monotonic(), _seen.setdefault(s, {})
    for mount, amount in used.items():
        recent = [(at, was) for at, was in samples.get(mount, []) if now - at <= WATCHED]
        samples[mount] = [*recent, (now, amount)]
    return {mount: rate for mount in used if (rate := rate_of(samples[mount])) is not None}


def rate_of(samples: Sequence[tuple[float, int]]) -> float | None:
    """The growth between the first and the last sample, in bytes per second; None when they are too close."""
    (began, first), (ended, last) = samples[0], samples[-1]
    return (last - first) / (ended - began) if ended - began >= LONG_ENOUGH else None


def _row(
    name: str, path: str | None, size: int | None, system: FileSystem | None, growth: Mapping[str, float]
) -> StorageRow:
    if system is None:
        return StorageRow(name, size, None, None, None, None, None, None, None, None, path)
    rate = growth.get(system.mount)
    free_nodes = None
    if system.inodes is not None and system.inodes_used is not None:
        free_nodes = system.inodes - system.inodes_used
    return StorageRow(
        name, size, system.used_percent, system.free, system.total, system.inodes_percent, free_nodes,
        None if rate is None else rate * 3600, until_full(system.free, rate), system.mount, path,
    )  # fmt: skip


def until_full(free: int, rate: float | None) -> timedelta | None:
    """How long the free bytes last; None when nothing grows, or hardly anything."""
    if rate is None or rate <= 0 or free / rate > 365 * 86400:
        return None
    return timedelta(seconds=round(free / rate))


def storage_verdict(row: StorageRow) -> Verdict | None:
    """A file system that will be full soon; the shares that are used have limits of their own."""
    if row.full_in is None or row.full_in > hours(4):
        return None
    health = Health.CRITICAL if row.full_in <= hours(1) else Health.WARNING
    return Verdict(health, f"{row.mount} will be full in {duration(row.full_in)}")
