"""The tail of a server's log, from the file on the host or over SQL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from psycopg import sql

from backend.cluster.discovery import Cluster, discover
from backend.cluster.logformat import Entry, entries, folded, format_of
from backend.core.clean import mask
from backend.core.declare import Col, Health, Verdict
from backend.core.errors import Failed, Missing, PgtuiError, Refused, Usage
from backend.core.facts import Facts, Query, Since
from backend.core.host import script
from backend.core.session import Session

Severity = Literal["debug", "log", "info", "notice", "warning", "error", "fatal", "panic"]
_ORDER = ("DEBUG", "LOG", "INFO", "NOTICE", "WARNING", "ERROR", "FATAL", "PANIC")

# Bytes read from the end: enough for the lines wanted, and more where a filter passes few of them.
LINE, LEAST, MOST = 300, 1 << 16, 1 << 22


@dataclass(frozen=True, slots=True)
class LogRow:
    """One message; equal ones are one row, where the last of them stands."""

    offset: Annotated[int, Col("Offset", key=True, hidden=True)]
    at: Annotated[datetime | None, Col("Time", priority=1)]
    severity: Annotated[str, Col("Severity", priority=1)]
    times: Annotated[int, Col("Times", priority=2, help="Equal messages")]
    first: Annotated[datetime | None, Col("First", priority=7)]
    pid: Annotated[int | None, Col("PID", priority=4)]
    user: Annotated[str | None, Col("User", priority=4)]
    database: Annotated[str | None, Col("Database", priority=4)]
    sqlstate: Annotated[str | None, Col("SQLSTATE", priority=6)]
    message: Annotated[str, Col("Message", text=True, priority=1)]
    # So wide that they come only where the message keeps its room; Enter shows them whole.
    detail: Annotated[str | None, Col("Detail", priority=8, width=60)]
    statement: Annotated[str | None, Col("Statement", priority=8, width=60)]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of the log is wanted; `grep` is a regular expression, whatever the case."""

    severity: Severity | None
    grep: str | None
    lines: int
    fold: bool

    @property
    def size(self) -> int:
        """The bytes to read from the end."""
        many = 16 if self.severity or self.grep else 1
        return min(MOST, max(LEAST, self.lines * LINE) * many)

    def passes(self, entry: Entry, pattern: re.Pattern[str] | None) -> bool:
        """Whether the entry is wanted."""
        least = _ORDER.index(self.severity.upper()) if self.severity else 0
        rank = _ORDER.index(entry.severity) if entry.severity in _ORDER else len(_ORDER)
        if rank < least:
            return False
        return pattern is None or any(pattern.search(text) for text in _texts(entry))


def _texts(entry: Entry) -> list[str]:
    return [entry.message, *entry.added, *([entry.statement] if entry.statement else [])]


@dataclass(frozen=True, slots=True)
class _Part:
    path: str
    size: int
    data: bytes | None


_TAIL = Query(
    Since(15, """
SELECT f.path,
       f.size,
       pg_catalog.pg_read_binary_file(f.path, greatest(f.size - %s, 0), %s, true) AS data
  FROM (SELECT g.path, (pg_catalog.pg_stat_file(g.path)).size
          FROM (SELECT coalesce(pg_catalog.pg_current_logfile('jsonlog'),
                                pg_catalog.pg_current_logfile('csvlog'),
                                pg_catalog.pg_current_logfile('stderr')) AS path) AS g
         WHERE g.path IS NOT NULL) AS f
"""),
    Since(14, """
SELECT f.path,
       f.size,
       pg_catalog.pg_read_binary_file(f.path, greatest(f.size - %s, 0), %s, true) AS data
  FROM (SELECT g.path, (pg_catalog.pg_stat_file(g.path)).size
          FROM (SELECT coalesce(pg_catalog.pg_current_logfile('csvlog'),
                                pg_catalog.pg_current_logfile('stderr')) AS path) AS g
         WHERE g.path IS NOT NULL) AS f
"""),
)  # fmt: skip

_READ = 'size=$(wc -c <"$1") || exit 1; size=$((size)); echo "$size"; tail -c "$2" -- "$1" | head -c "$2"'


async def log_rows(s: Session, cluster: str | None, wanted: Wanted) -> list[LogRow]:
    """The last messages that are wanted, the newest at the end."""
    pattern = _pattern(wanted.grep)
    if wanted.lines < 1:
        raise Usage("--lines wants at least 1")
    picked, part = await _read(s, cluster, wanted.size)
    zone = _zone(picked)
    begin = part.size - len(part.data or b"")
    read = entries(part.data or b"", max(begin, 0), format_of(part.path), zone)
    passing = [e for e in read if wanted.passes(e, pattern)]
    told = folded(passing) if wanted.fold else [(e, 1, e.at) for e in passing]
    return [_row(*each) for each in told[-wanted.lines :]]


def _pattern(text: str | None) -> re.Pattern[str] | None:
    try:
        return re.compile(text, re.IGNORECASE) if text else None
    except re.error as e:
        raise Usage(f"--grep wants a regular expression, and {text!r} is none: {e}") from None


async def _read(s: Session, cluster: str | None, size: int) -> tuple[Cluster | None, _Part]:
    """The end of the log: the file where the host lets us, else what the server itself reads."""
    found = await discover(s)
    picked = found.pick(cluster) if cluster or found.own else None
    try:
        return picked, await _from_host(s, picked, size)
    except PgtuiError as e:
        if picked is not None and not (picked.own and picked.running):
            raise
        return picked, await _from_server(s, size, e)


async def _from_host(s: Session, cluster: Cluster | None, size: int) -> _Part:
    if cluster is None:
        raise Missing("the server's host is not known", hint="the inventory's ssh names it")
    if cluster.log is None:
        raise Missing(
            f"where {cluster.name} writes its log is not known while it is down",
            hint="it was started by hand; its log is where that was told to write",
        )
    done = await s.host.run(script(_READ, cluster.log, str(size)), timeout=10, run_as=s.target.run_as)
    head, newline, data = done.out.partition(b"\n")
    if done.code or not newline:
        reason = done.complaint.rsplit(": ", 1)[-1]
        hint = (
            f'run_as = "{cluster.owner}" in the inventory reads it as that account' if cluster.owner else None
        )
        raise Failed(f"the log {cluster.log} cannot be read: {reason}", hint=hint)
    return _Part(cluster.log, int(head), data)


async def _from_server(s: Session, size: int, before: PgtuiError) -> _Part:
    try:
        parts = await s.fetch(_Part, _TAIL, size, size)
    except Missing as e:
        raise Missing(f"{before.message}; {e.message}", hint=_grants(s.facts), sqlstate=e.sqlstate) from None
    if not parts:
        raise Refused(
            f"{before.message}; over SQL there is no log, since logging_collector is off", hint=before.hint
        )
    return parts[0]


def _zone(cluster: Cluster | None) -> tzinfo:
    name = cluster.configured.get("log_timezone", "UTC") if cluster else "UTC"
    try:
        return ZoneInfo(name)
    except (OSError, ValueError):
        return UTC


def _row(entry: Entry, times: int, first: datetime | None) -> LogRow:
    return LogRow(
        entry.offset, entry.at, entry.severity, times, first, entry.pid, entry.user, entry.database,
        entry.sqlstate, mask(entry.message), mask("\n".join(entry.added)) or None,
        mask(entry.statement) if entry.statement else None,
    )  # fmt: skip


def _grants(facts: Facts) -> str:
    role = sql.Identifier(facts.user)
    text = sql.SQL(
        "GRANT EXECUTE ON FUNCTION pg_catalog.pg_current_logfile(text), pg_catalog.pg_stat_file(text),"
        " pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean) TO {0}"
    ).format(role)
    return f"{text.as_string(None)} lets it read the log"


def log_verdict(row: LogRow) -> Verdict | None:
    """Colours by severity; a log is no alarm by itself."""
    if row.severity == "PANIC":
        return Verdict(Health.CRITICAL, row.message)
    return Verdict(Health.WARNING, row.message) if row.severity in ("FATAL", "ERROR") else None
