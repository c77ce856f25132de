"""Where a database's job log is: the pg_jobmon extension or pgtui's own implementation, in any schema."""

from __future__ import annotations

from typing import Any, LiteralString, TypeVar

from psycopg import sql
from psycopg.abc import AdaptContext

from backend.core.errors import Missing
from backend.core.facts import Facts, Installed, Needs, Query
from backend.core.session import Session

T = TypeVar("T")

OLDEST = (1, 4)
# Without the password in dblink_mapping_jobmon, which a reader has no business with.
READ_TABLES = ("job_log", "job_detail", "job_check_config", "job_check_log", "job_status_text")

# The newest runs tell the last start of every job that runs often, in one short scan of the primary key;
# the index on the name then answers for the rare ones, of which there are few rows.
_RECENT: LiteralString = """recent AS MATERIALIZED (
    SELECT n.job_name,
           pg_catalog.max(n.job_id) AS last_job,
           pg_catalog.max(n.start_time) AS last_start,
           pg_catalog.max(n.end_time) AS last_end,
           pg_catalog.max(n.end_time) FILTER (WHERE n.status = g.alert_text) AS last_ok
      FROM (SELECT j.job_id, j.job_name, j.start_time, j.end_time, j.status
              FROM {jobmon}.job_log AS j
             ORDER BY j.job_id DESC
             LIMIT 5000) AS n
      LEFT JOIN {jobmon}.job_status_text AS g
        ON g.alert_code = 1
     GROUP BY n.job_name
)"""


def find(facts: Facts) -> Installed | None:
    """The job log of the database; the extension goes before pgtui's own implementation."""
    own = facts.extensions.get("jobmon")
    return facts.extensions.get("pg_jobmon") or (own if own and own.own else None)


def installed(facts: Facts) -> Installed:
    """The job log of the database; `Missing` where there is none."""
    found = find(facts)
    if found is None:
        raise Missing(_absent(facts))
    return found


def schema(facts: Facts) -> str:
    """The schema of the job log; `Missing` where there is none."""
    return installed(facts).schema


def _absent(facts: Facts) -> str:
    found = find(facts)
    if found is None:
        return f"database {facts.database} has no jobmon; jobmon.install creates it"
    if not found.own and found.version < OLDEST:
        return f"extension pg_jobmon is {found.version_text} here; 1.4 or newer is needed"
    return ""


def _not_own(facts: Facts) -> str:
    found = find(facts)
    if found is not None and not found.own:
        return f"jobmon is the extension pg_jobmon here; DROP EXTENSION {found.name} removes it"
    return _absent(facts)


READING = Needs(also=_absent)
ACTING = Needs(also=_absent, primary=True)
OWN = Needs(also=_not_own, primary=True)


async def ask(s: Session, row: type[T], query: Query, *params: Any, **more: sql.Composable) -> list[T]:
    """The rows of a query on the job log; a missing privilege says which statements grant it."""
    place = schema(s.facts)
    name = _BesidesParameters(place) if params else sql.Identifier(place)
    try:
        return await s.fetch(row, query, *params, jobmon=name, **more)
    except Missing as e:
        if e.sqlstate != "42501":
            raise
        raise Missing(e.message, hint=grants(place, s.facts.user), sqlstate=e.sqlstate) from None


class _BesidesParameters(sql.Identifier):
    """A name in a statement with parameters, where a percent sign begins a placeholder."""

    def as_bytes(self, context: AdaptContext | None = None) -> bytes:
        return super().as_bytes(context).replace(b"%", b"%%")


def recent(facts: Facts) -> sql.Composable:
    """The part of a query that sums up the newest runs by name."""
    return sql.SQL(_RECENT).format(jobmon=sql.Identifier(schema(facts)))


def grants(place: str, role: str) -> str:
    """The statements that let a role read the job log."""
    tables = sql.SQL(", ").join(sql.Identifier(place, table) for table in READ_TABLES)
    text = sql.SQL("GRANT USAGE ON SCHEMA {} TO {}; GRANT SELECT ON {} TO {}").format(
        sql.Identifier(place), sql.Identifier(role), tables, sql.Identifier(role)
    )
    return f"{text.as_string(None)} let it read the job log"
