"""Opening connections: where they go, as whom, with which settings, and what is said when they fail.

A looking connection is read-only with time limits, as a net; an acting one belongs to one run and is named
after its action. Nothing is SET before it is certain that no pooler sits between, because a pooler would
hand the setting on to other clients.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

import psycopg
from psycopg import pq
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.datetime import TimestampLoader, TimestamptzLoader

from backend.core.clean import mask
from backend.core.errors import Failed, Missing, PgtuiError, Refused, Unreachable, Usage
from backend.core.host import Host
from backend.core.passwords import lookup, service
from backend.core.target import Target
from backend.core.values import INFINITY, MINUS_INFINITY

Connection = psycopg.AsyncConnection[tuple[Any, ...]]
AskPassword = Callable[[str], Awaitable[str | None]]
T = TypeVar("T")

# Dates, intervals and encodings as the loaders below expect them, whatever the role's own settings are;
# jit never pays for a catalog query, and search_path must not lead to somebody's own pg_stat_activity.
_COMMON = {
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "search_path": "pg_catalog",
    "jit": "off",
    "bytea_output": "hex",
    "extra_float_digits": "1",
}
LOOKING = _COMMON | {
    "default_transaction_read_only": "on",
    "lock_timeout": "500ms",
    "idle_in_transaction_session_timeout": "10s",
}
# The search_path stays the role's own here, since an action may run the user's SQL.
ACTING = {k: v for k, v in _COMMON.items() if k != "search_path"} | {
    "statement_timeout": "0",
    "client_connection_check_interval": "5s",
    "idle_in_transaction_session_timeout": "60s",
}
_KEEPALIVES = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15000,
}
_LOOPBACK = ("", "localhost", "127.0.0.1", "::1")


class TextLoader(Loader):
    """Text whose bytes need not be UTF-8: one odd query text must not blind a view."""

    def load(self, data: Buffer) -> str:
        """The text, with undecodable bytes kept as surrogates."""
        return bytes(data).decode("utf-8", "surrogateescape")


class _Unbounded:
    @staticmethod
    def named(data: Buffer) -> datetime | None:
        text = bytes(data)
        if text == b"infinity" or re.match(rb"\d{5,}-", text):
            return INFINITY
        return MINUS_INFINITY if text == b"-infinity" or text.endswith(b" BC") else None


class BoundlessTimestamptzLoader(TimestamptzLoader):
    """Times with zone; infinity and years that Python does not know become the named values."""

    def load(self, data: Buffer) -> datetime:
        """The time, never an error."""
        return _Unbounded.named(data) or super().load(data)


class BoundlessTimestampLoader(TimestampLoader):
    """Times without zone; infinity and years that Python does not know become the named values."""

    def load(self, data: Buffer) -> datetime:
        """The time, never an error."""
        return _Unbounded.named(data) or super().load(data)


def adapt(connection: Connection) -> None:
    """Give the connection loaders that no row can make fail."""
    for name in ("text", "varchar", "bpchar", "name", '"char"', "unknown"):
        with contextlib.suppress(KeyError):
            connection.adapters.register_loader(connection.adapters.types[name].oid, TextLoader)
    connection.adapters.register_loader("timestamptz", BoundlessTimestamptzLoader)
    connection.adapters.register_loader("timestamp", BoundlessTimestampLoader)


async def guarded(task: Awaitable[T], limit: float, connection: Connection | None, what: str) -> T:
    """The task's result, or `Unreachable` after `limit` seconds.

    A plain asyncio time-out waits for a frozen server to acknowledge the cancel and comes back late;
    closing the socket under it comes back at once.
    """
    running = asyncio.ensure_future(task)
    try:
        done, _ = await asyncio.wait({running}, timeout=limit)
    except asyncio.CancelledError:
        _drop(connection)
        running.cancel()
        raise
    if done:
        return running.result()
    _drop(connection)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError, psycopg.Error, asyncio.TimeoutError):
        await asyncio.wait({running}, timeout=0.1)
    raise Unreachable(f"{what} did not answer within {limit:g} s", hint="it may be frozen, or the network is")


def _drop(connection: Connection | None) -> None:
    if connection is not None:
        connection.pgconn.finish()


async def resolve(target: Target, host: Host, dsn: str) -> dict[str, Any]:
    """The connection parameters: those of the DSN, sent through the host's forward where that is needed."""
    try:
        given: dict[str, Any] = dict(conninfo_to_dict(dsn))
    except psycopg.ProgrammingError as e:
        said = mask(str(e)).strip()
        raise Usage(f"the connection string of {target.name} cannot be read: {said}") from None
    if target.dbname:
        given["dbname"] = target.dbname
    if not target.ssh:
        return given
    effective = service(given) | given
    address, port = str(effective.get("host") or ""), int(effective.get("port") or 5432)
    if address not in _LOOPBACK and not address.startswith("/"):
        return given
    if "password" not in effective and (secret := lookup(effective, address or "localhost", port)):
        given["password"] = secret
    way = await host.forward(address or "/var/run/postgresql", port)
    return given | {"service": None, **{k: v for k, v in effective.items() if k != "host"}, **way.conninfo}


async def connect(
    target: Target,
    host: Host,
    *,
    name: str,
    dsn: str | None = None,
    limit: float = 10,
    password: str | None = None,
) -> Connection:
    """A plain connection in autocommit, named `name`, with nothing set yet; `Unreachable` when it fails."""
    given = await resolve(target, host, target.dsn if dsn is None else dsn)
    given |= {"application_name": name, "client_encoding": "UTF8"}
    given.setdefault("connect_timeout", max(2, int(limit)))
    given = _KEEPALIVES | {k: v for k, v in given.items() if v is not None}
    if password is not None:
        given["password"] = password
    opening = psycopg.AsyncConnection.connect("", autocommit=True, prepare_threshold=1, **given)
    try:
        connection = await guarded(opening, limit, None, target.label)
    except psycopg.Error as e:
        raise unreachable(target, e) from None
    adapt(connection)
    return connection


def unreachable(target: Target, error: psycopg.Error) -> Unreachable:
    """The sentence for a connection that failed, in the server's own words."""
    said = mask(str(error)).strip()
    said = re.sub(r"^connection failed: |^connection is bad: ", "", said).replace("\n", " ").strip()
    said = re.sub(r"^.*?failed: (FATAL|ERROR):\s+", "", said)
    return Unreachable(f"{target.label} cannot be reached: {said}", hint=_connect_hint(said))


_HINTS = (
    ("no password supplied", "put the password in ~/.pgpass or a service file"),
    ("password authentication failed", "the password stands in ~/.pgpass or a service file"),
    ("Connection refused", "is the server running there, and listening on that address?"),
    ("No such file or directory", "is the server running, and is this its socket folder?"),
    ("no pg_hba.conf entry", "the server's pg_hba.conf has to let this user and address in"),
    ("Peer authentication failed", "the operating system's user has to be the role, or pg_ident.conf map it"),
    ("too many clients", "the server has no free connection slot left"),
    ("remaining connection slots", "only superusers still get a connection"),
    ("starting up", "the server is starting; it will answer when recovery is done"),
    ("shutting down", "the server is being stopped"),
    ("does not exist", None),
)


def _connect_hint(said: str) -> str | None:
    return next((hint for words, hint in _HINTS if words in said), None)


def behind_pooler(connection: Connection, backend_pid: int) -> bool:
    """Whether another process than the one that greeted us answers: a pooler sits between."""
    return connection.pgconn.backend_pid != backend_pid


async def settle(connection: Connection, settings: Mapping[str, str]) -> None:
    """Set what the session needs, in one statement; all of these settings exist since PostgreSQL 14."""
    await connection.execute(
        b"SELECT pg_catalog.set_config(w.name, w.value, false)"
        b"  FROM ROWS FROM (pg_catalog.unnest(%s::pg_catalog.text[]),"
        b"                  pg_catalog.unnest(%s::pg_catalog.text[])) AS w(name, value)",
        [list(settings), list(settings.values())],
        prepare=False,
    )


POOLER = "this DSN is a pooler; give the server itself"


async def acting(
    target: Target,
    host: Host,
    *,
    action: str,
    lock_wait: str = "5s",
    password: str | None = None,
    limit: float = 10,
) -> Connection:
    """A connection for one run, named after its action; refused behind a pooler."""
    dsn = target.act or target.dsn
    connection = await connect(
        target, host, name=f"pgtui: {action}"[:63], dsn=dsn, limit=limit, password=password
    )
    try:
        answer = await guarded(_backend_pid(connection), limit, connection, target.label)
        if behind_pooler(connection, answer):
            raise Refused(
                POOLER, hint="settings and locks of an action would leak to the pooler's other clients"
            )
        await guarded(
            settle(connection, ACTING | {"lock_timeout": lock_wait}), limit, connection, target.label
        )
    except BaseException:
        await close(connection)
        raise
    return connection


async def _backend_pid(connection: Connection) -> int:
    cursor = await connection.execute(b"SELECT pg_catalog.pg_backend_pid()", prepare=False)
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def close(connection: Connection | None) -> None:
    """Close without waiting for a server that may be frozen."""
    if connection is None or connection.closed:
        return
    if connection.pgconn.transaction_status == pq.TransactionStatus.ACTIVE:
        connection.pgconn.finish()
    with contextlib.suppress(psycopg.Error, OSError):
        await connection.close()


def explain(error: psycopg.Error, what: str) -> PgtuiError:
    """A server's error as a sentence of ours with the server's words, its hint and SQLSTATE."""
    diag = error.diag
    words = mask((diag.message_primary or str(error)).strip())
    hint = mask(diag.message_hint or diag.message_detail or "") or None
    if error.sqlstate == "42501":
        return Missing(
            f"{what}: {words}", hint=hint or "the role lacks this privilege", sqlstate=error.sqlstate
        )
    if error.sqlstate == "55P03":
        return Failed(
            f"{what}: {words}", hint=hint or "another session holds the lock", sqlstate=error.sqlstate
        )
    return Failed(f"{what}: {words}", hint=hint, sqlstate=error.sqlstate)


def not_a_server(target: Target, error: psycopg.Error) -> Unreachable:
    """The sentence for something that answers, but not as a PostgreSQL server does."""
    said = mask(str(error).strip().partition("\n")[0])
    if "SHOW HELP" in str(error):
        return Unreachable(f"{target.label} is PgBouncer's own console", hint="give the server's DSN instead")
    return Unreachable(f"{target.label} answers, but does not say what it is: {said}")
