"""What the room's actions share: calls of the API, and names as they are logged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg import sql

from backend.core.errors import Usage
from backend.core.facts import Query
from backend.core.plan import Answers
from backend.core.session import Session
from backend.jobmon.place import ask

BIGGEST_ID = 2**63 - 1

# Jobs are logged under upper(name) as the server understands it, which is not what Python does to every ß.
_LOGGED_NAME = Query("""
SELECT pg_catalog.upper(%s::pg_catalog.text) AS job,
       EXISTS (SELECT
                 FROM {jobmon}.job_log AS j
                WHERE j.job_name = pg_catalog.upper(%s::pg_catalog.text)) AS logged
""")


@dataclass(frozen=True, slots=True)
class LoggedName:
    """A job's name as it is logged, and whether it ever was."""

    job: str
    logged: bool


async def logged_name(s: Session, job: str) -> LoggedName:
    """The name of a job as it is logged."""
    text(job, "--job")
    [found] = await ask(s, LoggedName, _LOGGED_NAME, job, job)
    return found


def text(value: str, option: str) -> str:
    """The value, or a usage error when no server could take it."""
    if not value.strip():
        raise Usage(f"{option} is empty")
    if "\0" in value:
        raise Usage(f"{option} holds a zero byte, which PostgreSQL cannot store")
    return value


def identifier(value: str, option: str) -> str:
    """The value as a name that the server keeps as it is, or a usage error."""
    if len(text(value, option).encode("utf-8", "surrogateescape")) > 63:
        raise Usage(f"{option} is longer than 63 bytes, the longest name that PostgreSQL keeps")
    return value


def call(place: str, function: str, *arguments: Any) -> sql.Composed:
    """A call of a function of the API; arguments are values or pieces of SQL."""
    given = [a if isinstance(a, sql.Composable) else sql.Literal(a) for a in arguments]
    return sql.SQL("{}({})").format(sql.Identifier(place, function), sql.SQL(", ").join(given))


def last(answers: Answers) -> dict[str, Any]:
    """The first row of the last answer, as a result that scripts read."""
    return dict(answers[-1].first)
