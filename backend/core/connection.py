"""Opening connections: where they go, as whom, with which settings, and what is said when they fail.

A looking connection is read-only with time limits, as a net; an acting one belongs to one run and is named
after its action. Nothing is SET before it is certain that no pooler sits between, because a pooler would
hand the setting on to other clients.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from typing import Any, TypeVar

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from backend.core.clean import mask
from backend.core.errors import Failed, Missing, PgtuiError, Refused, Unreachable, Usage
from backend.core.host import Host
from backend.core.loaders import adapt
from backend.core.passwords import lookup, service
from backend.core.target import Target

Connection = psycopg.AsyncConnection[tuple[Any, ...]]
AskPassword = Callable[[str], Awaitable[str | None]]
Dial = Callable[[str | None], Awaitable[Connection]]
T = TypeVar("T")

# What psycopg warns of (a time zone that Python does not know) would be written across the screen.
logging.getLogger("psycopg").addHandler(logging.NullHandler())

# Dates, intervals and encodings as the loaders below expect them, whatever the role's own settings are;
# jit never pays for a catalog query, and search_path must not lead to somebody's own pg_stat_activity.
_COMMON = {
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "search_path": "pg_catalog",
    "jit": "off",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
}
LOOKING = _COMMON | {
    "default_transaction_read_only": "on",
    "lock_timeout": "500ms",
    "idle_in_transaction_session_timeout": "10s",
    # A long question ends with the pgtui that asked it, not by its time limit.
    "client_connection_check_interval": "1s",
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


class PasswordWanted(Unreachable):
    """The server wants a password, and there is none or a wrong one."""


async def guarded(task: Awaitable[T], limit: float, connection: Connection | None, what: str) -> T:
    """The task's result, or `Unreachable` after `limit` seconds.

    A plain asyncio time-out waits for a frozen server to acknowledge the cancel and comes back late;
    closing the socket under it comes back at once.
    """
    running = asyncio.ensure_future(task)
    try:
        done, _ = await asyncio.wait({running}, timeout=limit)
    except asyncio.CancelledError:
        await _abandon(running, connection)
        raise
    if done:
        return running.result()
    await _abandon(running, connection)
    raise Unreachable(f"{what} did not answer within {limit:g} s", hint="it may be frozen, or the network is")


async def _abandon(running: asyncio.Future[Any], connection: Connection | None) -> None:
    if connection is not None:
        connection.pgconn.finish()
    running.cancel()
    running.add_done_callback(_heard)
    await asyncio.wait({running}, timeout=0.1)


def _heard(task: asyncio.Future[Any]) -> None:
    """Take note of how an abandoned task ended, so that asyncio does not report it as forgotten."""
    if task.cancelled() or task.exception() is not None:
        return
    if isinstance(opened := task.result(), psycopg.AsyncConnection):
        opened.pgconn.finish()


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
    way = await host.forward(address, port)
    return given | {"service": None, **{k: v for k, v in effective.items() if k != "host"}, **way.conninfo}


# Databases of these encodings cannot convert what pg_stat_activity shows of sessions in databases of yet
# another encoding, and one such statement would fail the whole view: they are read without conversion.
UNCONVERTED = (b"EUC_JP", b"EUC_CN", b"EUC_KR", b"EUC_JIS_2004")


async def connect(
    target: Target,
    host: Host,
    *,
    name: str,
    dsn: str | None = None,
    limit: float = 10,
    password: str | None = None,
    looking: bool = True,
) -> Connection:
    """A plain connection in autocommit, named `name`, with nothing set yet; `Unreachable` when it fails.

    One for `looking` takes text as it lies in the database; plans are written in UTF-8.
    """
    given = await resolve(target, host, target.dsn if dsn is None else dsn)
    given |= {"application_name": name, "client_encoding": "UTF8"}
    given.setdefault("connect_timeout", max(2, int(limit)))
    given = _KEEPALIVES | {k: v for k, v in given.items() if v is not None}
    if password is not None:
        given["password"] = password
    opening = psycopg.AsyncConnection.connect(
        make_conninfo("", **given), autocommit=True, prepare_threshold=1
    )
    try:
        connection = await guarded(opening, limit, None, target.label)
        adapt(connection)
        encoding = connection.pgconn.parameter_status(b"server_encoding") or b""
        if encoding == b"SQL_ASCII" or (looking and encoding in UNCONVERTED):
            raw = connection.execute(b"SET client_encoding = " + encoding, prepare=False)
            await guarded(raw, limit, connection, target.label)
    except psycopg.Error as e:
        raise unreachable(target, e) from None
    return connection


def unreachable(target: Target, error: psycopg.Error) -> Unreachable:
    """The sentence for a connection that failed, in the server's own words."""
    said = " ".join(mask(str(error)).split())
    said = re.sub(r"^connection failed: |^connection is bad: ", "", said)
    said = re.sub(r"^.*?failed: (FATAL|ERROR):\s+", "", said)
    said = re.sub(r" Is the server running [^?]*\?", "", said)  # our own hint asks that
    kind = PasswordWanted if _wants_password(error) else Unreachable
    return kind(f"{target.label} cannot be reached: {said}", hint=_connect_hint(said))


def _wants_password(error: psycopg.Error) -> bool:
    # libpq tells both cases itself; the first is its own text, the second a function of libpq 16 and newer.
    pgconn = error.pgconn
    if pgconn is not None and (pgconn.needs_password or pgconn.used_password):
        return "no password supplied" in str(error) or "authentication failed" in str(error)
    return "no password supplied" in str(error)


def is_lost(error: psycopg.Error) -> bool:
    """Whether the connection itself has gone, not only the statement failed."""
    if not isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
        return False
    if error.diag.severity_nonlocalized == "ERROR":
        return False  # class 08 is about another connection then, such as dblink's
    return error.sqlstate is None or error.sqlstate.startswith("08") or error.sqlstate in _HUNG_UP


# Shut down by the administrator, after a crash, not up yet, database dropped, idle for too long.
_HUNG_UP = ("57P01", "57P02", "57P03", "57P04", "57P05")


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


def demand_server(target: Target, connection: Connection) -> None:
    """Raise `Unreachable` for PgBouncer's own console, which calls its version `1.18.0/bouncer`."""
    if (connection.pgconn.parameter_status(b"server_version") or b"").endswith(b"/bouncer"):
        raise Unreachable(f"{target.label} is PgBouncer's own console", hint="give the server's DSN instead")


def behind_pooler(connection: Connection, backend_pid: int) -> bool:
    """Whether another process than the one that greeted us answers: a pooler sits between."""
    return connection.pgconn.backend_pid != backend_pid


async def settle(connection: Connection, settings: Mapping[str, str]) -> None:
    """Set what the session needs, in one statement; what this version does not know is left out."""
    await connection.execute(
        b"SELECT pg_catalog.set_config(w.name, w.value, false)"
        b"  FROM ROWS FROM (pg_catalog.unnest(%s::pg_catalog.text[]),"
        b"                  pg_catalog.unnest(%s::pg_catalog.text[])) AS w(name, value)"
        b" WHERE pg_catalog.current_setting(w.name, true) IS NOT NULL",
        [list(settings), list(settings.values())],
        prepare=False,
    )


@cache
def pooled_begin(timeout: float) -> bytes:
    """What begins a transaction behind a pooler: read-only, with settings that end together with it."""
    settings = _COMMON | {"statement_timeout": f"{int(timeout * 1000)}ms", "lock_timeout": "500ms"}
    local = [f"SET LOCAL {k} = '{v}'" for k, v in settings.items() if k != "transaction_timeout"]
    return "; ".join(["BEGIN READ ONLY", *local]).encode()


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
        target, host, name=f"pgtui: {action}"[:63], dsn=dsn, limit=limit, password=password, looking=False
    )
    try:
        demand_server(target, connection)
        answer = await guarded(_backend_pid(connection), limit, connection, target.label)
        if behind_pooler(connection, answer):
            raise refused_behind_pooler()
        await guarded(
            settle(connection, ACTING | {"lock_timeout": lock_wait}), limit, connection, target.label
        )
    except psycopg.Error as e:
        await close(connection)
        raise not_a_server(target, e) from None
    except BaseException:
        await close(connection)
        raise
    return connection


def refused_behind_pooler() -> Refused:
    """The refusal of an action whose connection would be shared with others."""
    return Refused(POOLER, hint="settings and locks of an action would leak to the pooler's other clients")


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
    # pg_partman and mimeo raise an error again with its context, detail and hint in the message itself.
    said, _, glued = (diag.message_primary or str(error)).partition("\nCONTEXT: ")
    words = mask(said.strip())
    if (error.sqlstate or "").startswith("08") and diag.message_detail:
        # The reason why dblink could not connect; the sentence alone names none.
        words += f" ({' '.join(mask(diag.message_detail).split())})"
    hint = mask(diag.message_hint or diag.message_detail or _unglued(glued)) or None
    if error.sqlstate == "42501":
        return Missing(
            f"{what}: {words}", hint=hint or "the role lacks this privilege", sqlstate=error.sqlstate
        )
    if error.sqlstate == "55P03":
        return Failed(
            f"{what}: {words}", hint=hint or "another session holds the lock", sqlstate=error.sqlstate
        )
    return Failed(f"{what}: {words}", hint=hint, sqlstate=error.sqlstate)


def _unglued(rest: str) -> str:
    """The hint, or else the detail, that stands behind the context of an error raised again."""
    found = re.search(r"\nDETAIL: (.*?)\nHINT: (.*?)(?=\nCONTEXT: |\Z)", rest, re.DOTALL)
    return (found[2].strip() or found[1].strip()) if found else ""


def not_a_server(target: Target, error: psycopg.Error) -> Unreachable:
    """The sentence for something that answers, but not as a PostgreSQL server does."""
    if is_lost(error):
        return unreachable(target, error)
    said = mask(str(error).strip().partition("\n")[0])
    return Unreachable(f"{target.label} answers, but does not say what it is: {said}")
