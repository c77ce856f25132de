"""Whom a question about a server goes to: the target itself, or another server of its host.

Another one lets in the account that it belongs to, and so is asked by its own psql that runs as that account.
Of one that is down only its files can tell.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from weakref import WeakKeyDictionary

from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from backend.cluster.discovery import Cluster, discover
from backend.core.errors import AwaitsPassword, Failed, PgtuiError, Unreachable
from backend.core.facts import Facts, Query
from backend.core.host import Done, script
from backend.core.rendering import inlined
from backend.core.session import Session

T = TypeVar("T")

# Seconds for a program that connects and asks one question; the server ends the question earlier. Two roles
# that a frozen server keeps waiting are told of before a view's own time is over.
PATIENCE = 8.0

_ASK = """\
PGAPPNAME=pgtui PGCLIENTENCODING=UTF8 PGCONNECT_TIMEOUT=3
export PGAPPNAME PGCLIENTENCODING PGCONNECT_TIMEOUT
exec "$1/psql" -XwAtq -v ON_ERROR_STOP=1 -h "$2" -p "$3" -U "$4" -d postgres \
    -c 'SET default_transaction_read_only = on' -c 'SET statement_timeout = 5000' \
    -c 'SET lock_timeout = 1000' -c "$5"
"""
_NO_CONNECTION = 2  # psql's exit status

# As whom each server, by its data folder, let us in: one that has no such role writes that into its log.
_let_in: WeakKeyDictionary[Session, dict[str, str]] = WeakKeyDictionary()


class Asked(Protocol):
    """A server that answers questions."""

    @property
    def facts(self) -> Facts:
        """What is known of it."""
        ...

    async def fetch(self, row: type[T], query: Query, *params: Any) -> list[T]:
        """The query's rows as `row`s, named columns to fields."""
        ...


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A running server of the host that is not the target's own."""

    session: Session
    cluster: Cluster

    @property
    def facts(self) -> Facts:
        """As much as its files tell."""
        c = self.cluster
        return Facts(
            version_num=(c.major or 0) * 10000, version=c.installed or "", role=c.role or "primary",
            database="postgres", user=c.owner or "", superuser=False, member_of=frozenset(), extensions={},
            databases=(), system_identifier=c.system_identifier, encoding="UTF8",
        )  # fmt: skip

    async def fetch(self, row: type[T], query: Query, *params: Any) -> list[T]:
        """The query's rows; `Missing` where we may not act as its account, `Unreachable` where it may not."""
        question = _question(query.pick(self.facts), params)
        done = await self._ask(question)
        if done.code:
            raise Failed(f"{self.cluster.name} says: {done.complaint}")
        return [row(**json.loads(line)) for line in done.demand().text.splitlines()]

    async def _ask(self, question: str) -> Done:
        """The answer to the first role that is let in: the account's own, else the one we are elsewhere."""
        c, known = self.cluster, _let_in.setdefault(self.session, {})
        where = (c.bin or "", c.sockets or "localhost", str(c.port or 5432))
        roles = [known[c.data]] if c.data in known else self._roles()
        refused: list[str] = []
        for role in roles:
            words = script(_ASK, *where, role, question)
            done = await self.session.host.run(words, timeout=PATIENCE, run_as=c.owner)
            if done.code != _NO_CONNECTION:
                known[c.data] = role
                return done
            refused.append(done.complaint)
        known.pop(c.data, None)
        raise Unreachable(
            f"{c.name} does not answer {c.owner}: {refused[0]}",
            hint=f"connect to it: pgtui -t 'host={where[1]} port={where[2]} dbname=postgres user=…'",
        )

    def _roles(self) -> list[str]:
        ours = conninfo_to_dict(self.session.target.dsn).get("user")
        return [str(role) for role in dict.fromkeys((self.cluster.owner, ours)) if role]


def _question(text: str, params: tuple[Any, ...]) -> str:
    """The query with its values in it, that answers each row as one line of JSON."""
    filled = sql.SQL(text.strip().replace("%s", "{}")).format(*map(sql.Literal, params))  # pyright: ignore
    whole = sql.SQL("SELECT pg_catalog.to_json(q) FROM ({}) AS q").format(filled)
    return inlined(whole).decode("utf-8", "surrogateescape")


async def find_server(s: Session, name: str | None) -> Asked | Cluster:
    """The server of that name, else the target's own; one that is down as a `Cluster`."""
    if name is None:
        try:
            await s.ready()
            return s
        except AwaitsPassword:
            raise
        except Unreachable as e:
            return await _own_that_is_down(s, e)
    chosen = (await discover(s)).pick(name)
    if chosen.running is False:
        return chosen
    return s if chosen.own else Neighbour(s, chosen)


async def _own_that_is_down(s: Session, why: Unreachable) -> Cluster:
    try:
        own = (await discover(s)).own
    except PgtuiError:
        own = None
    if own is None or own.running is not False:
        raise why
    return own
