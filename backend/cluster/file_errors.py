"""Lines of the configuration files that the server cannot take: a reload ignores them, a restart may fail."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from backend.cluster.discovery import Cluster
from backend.cluster.hba import HbaRow, hba_rules
from backend.cluster.neighbour import Asked, find_server
from backend.cluster.offline import obstacle
from backend.cluster.own import Own
from backend.cluster.secrets import hidden
from backend.core.declare import Col, Health, Verdict
from backend.core.errors import Missing
from backend.core.facts import Facts, Query
from backend.core.session import Session


@dataclass(frozen=True, slots=True)
class FileError:
    """One line that is wrong."""

    file: Annotated[str, Col("File", key=True, priority=2)]
    line: Annotated[int, Col("Line", key=True, priority=1)]
    kind: Annotated[Literal["settings", "hba", "ident"], Col("Kind", priority=3)]
    name: Annotated[str | None, Col("Setting", priority=2)]
    value: Annotated[str | None, Col("Value", priority=4)]
    error: Annotated[str, Col("Error", text=True, priority=1)]


@dataclass(frozen=True, slots=True)
class _Wrong:
    file: str
    line: int
    name: str | None
    value: str | None
    error: str


# A setting that waits for a restart cannot be applied either, and is no error.
_SETTINGS = Query("""
SELECT coalesce(f.sourcefile, '') AS file,
       coalesce(f.sourceline, 0) AS line,
       f.name,
       f.setting AS value,
       f.error
  FROM pg_catalog.pg_file_settings AS f
  LEFT JOIN pg_catalog.pg_settings AS p ON pg_catalog.lower(p.name) = pg_catalog.lower(f.name)
 WHERE f.error IS NOT NULL
   AND NOT coalesce(p.context = 'postmaster' AND p.pending_restart, false)
 ORDER BY f.seqno
""")


async def file_error_rows(s: Session, cluster: str | None) -> list[FileError]:
    """Every line of the configuration files that the server's own parser refuses."""
    server = await find_server(s, cluster)
    wrong = await (_in_the_way(s, server) if isinstance(server, Cluster) else _in_settings(server))
    return wrong + [_of_hba(r) for r in await hba_rules(s, server) if r.error]


async def _in_settings(server: Asked) -> list[FileError]:
    try:
        return [_of_settings(w) for w in await server.fetch(_Wrong, _SETTINGS)]
    except Missing as e:
        if e.sqlstate is None:  # the host's word, which has its own hint
            raise
        raise Missing(e.message, hint=_grants(server.facts), sqlstate=e.sqlstate) from None


_PLACE = re.compile(r'"(?P<file>/[^"]*)" line (?P<line>\d+)')


async def _in_the_way(s: Session, c: Cluster) -> list[FileError]:
    """What keeps a server that is down from starting: the first such line, as its own program says it."""
    programs = Own(c).programs
    said = await obstacle(s.host, programs) if programs else ""
    if not said:
        return []
    at = _PLACE.search(said)
    file, line = (at["file"], int(at["line"])) if at else (c.config_file or "", 0)
    return [FileError(file, line, "settings", None, None, said)]


def _of_settings(w: _Wrong) -> FileError:
    value = hidden(w.name or "", w.value) if w.value is not None else None
    return FileError(w.file, w.line, "settings", w.name, value, w.error)


def _of_hba(r: HbaRow) -> FileError:
    return FileError(r.file, r.line, "hba", None, None, r.error or "")


def _grants(facts: Facts) -> str:
    from psycopg import sql

    role = sql.Identifier(facts.user)
    text = sql.SQL(
        "GRANT SELECT ON pg_catalog.pg_file_settings TO {0};"
        " GRANT EXECUTE ON FUNCTION pg_catalog.pg_show_all_file_settings() TO {0}"
    ).format(role)
    return f"{text.as_string(None)} let it read them"


def error_verdict(row: FileError) -> Verdict:
    """What the line does at the next reload or restart."""
    what = f"{row.name}: " if row.name else ""
    return Verdict(Health.CRITICAL, f"{what}{row.error}")
