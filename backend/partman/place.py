"""Where a database's pg_partman is, in any schema, and which of its two dialects it speaks."""

from __future__ import annotations

from typing import Any, TypeVar

from psycopg import sql

from backend.core.errors import Missing
from backend.core.facts import Facts, Installed, Needs, Query
from backend.core.session import Session

T = TypeVar("T")

OLDEST = (4, 7)
READING = Needs()
MANAGED = Needs(extensions={"pg_partman": OLDEST})
ACTING = Needs(extensions={"pg_partman": OLDEST}, primary=True)
# Partitions can be detached without pg_partman too.
CHANGING = Needs(primary=True)


def find(facts: Facts) -> Installed | None:
    """The pg_partman of the database, where it is new enough to be understood."""
    found = facts.extensions.get("pg_partman")
    return found if found and found.version >= OLDEST else None


def schema(facts: Facts) -> str:
    """The schema of pg_partman; what needs it has demanded before that it is there."""
    return facts.extensions["pg_partman"].schema


def declarative(facts: Facts) -> bool:
    """Whether it is pg_partman 5 or newer, which knows declarative partitioning only."""
    return facts.extensions["pg_partman"].version >= (5,)


async def ask(s: Session, row: type[T], query: Query, *params: Any, **more: str | sql.Composable) -> list[T]:
    """The rows of a query; a missing privilege says which statements grant it."""
    try:
        return await s.fetch(row, query, *params, **more)
    except Missing as e:
        if e.sqlstate != "42501":
            raise
        raise Missing(e.message, hint=_grants(s.facts), sqlstate=e.sqlstate) from None


def _grants(facts: Facts) -> str:
    if find(facts) is None:
        return f"GRANT pg_read_all_data TO {facts.user} lets it read"
    place, role = sql.Identifier(schema(facts)), sql.Identifier(facts.user)
    text = sql.SQL(
        "GRANT USAGE ON SCHEMA {0} TO {1}; GRANT SELECT ON ALL TABLES IN SCHEMA {0} TO {1}"
    ).format(place, role)
    return f"{text.as_string(None)} let it read the configuration"
