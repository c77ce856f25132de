"""A selection of sessions: which ones fit, and the same condition for the statement that ends them."""

from __future__ import annotations

from dataclasses import dataclass, fields

from psycopg import sql

from backend.activity.victims import Victim
from backend.core.clean import clean
from backend.core.errors import Refused
from backend.core.values import Interval

_COLUMNS = {
    "user": sql.SQL("a.usename"),
    "database": sql.SQL("a.datname"),
    "application": sql.SQL("a.application_name"),
    "state": sql.SQL("a.state"),
}


@dataclass(frozen=True, slots=True)
class Selection:
    """What a session has to be like; what is None is not asked. All of it has to hold."""

    user: str | None = None
    database: str | None = None
    application: str | None = None
    state: str | None = None
    idle_longer_than: Interval | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing is asked, so that everybody would fit."""
        return all(getattr(self, f.name) is None for f in fields(self))

    def fits(self, v: Victim) -> bool:
        """Whether a session was like that when it was looked at."""
        is_now = {
            "user": v.username,
            "database": v.database,
            "application": v.application,
            "state": v.state,
        }
        return all(getattr(self, name) in (None, value) for name, value in is_now.items()) and (
            self.idle_longer_than is None or v.idle_longer
        )

    @property
    def condition(self) -> sql.Composable:
        """The same on a row `a` of pg_stat_activity, when the statement runs."""
        for name in _COLUMNS:
            demand_utf8(getattr(self, name))
        parts: list[sql.Composable] = [
            sql.SQL("{} = {}").format(column, sql.Literal(getattr(self, name)))
            for name, column in _COLUMNS.items()
            if getattr(self, name) is not None
        ]
        if self.idle_longer_than is not None:
            parts.append(
                sql.SQL(
                    "a.state IN ('idle in transaction', 'idle in transaction (aborted)')"
                    " AND pg_catalog.clock_timestamp() - a.state_change >= {}::pg_catalog.interval"
                ).format(sql.Literal(str(self.idle_longer_than)))
            )
        return sql.SQL(" AND ").join(parts) if parts else sql.SQL("true")


def demand_utf8(name: str | None) -> None:
    """Raise when a name cannot be sent to the server as it is: it came from a database without encoding."""
    try:
        (name or "").encode()
    except UnicodeEncodeError:
        raise Refused(
            f"{clean(name or '')} is not valid in UTF-8, so it cannot be named",
            hint="psql with client_encoding SQL_ASCII can send it",
        ) from None
