"""Whatever a name or a query holds comes through as it is."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import sql

from tests.rooms.activity.conftest import Crowd, Look, row, rows
from tests.servers import Server

NAME = 'it\'s [/x] "q" %s {k} \u202e\x1b[2J\n'
QUERIES = [
    "SELECT '[/x] [bold]', '\x1b]0;owned\x07', '\u202egnp.exe', pg_sleep(600)",
    "SELECT 'line\nbreak\ttab', '%s {keys} \"', pg_sleep(600)",
    f"SELECT '{'x' * 10000}', pg_sleep(600)",
]


@pytest.mark.parametrize("query", QUERIES)
async def test_a_query_comes_through_exactly(crowd: Crowd, look: Look, query: str) -> None:
    person = crowd().starts(query)
    shown = (await row(await look(crowd.dsn), "activity.sessions", pid=person.pid)).query
    assert query.startswith(shown)
    assert len(shown) == min(len(query), 1023)


@pytest.fixture
def odd_role(server: Server) -> Iterator[str]:
    server.psql(sql.SQL("CREATE ROLE {} SUPERUSER LOGIN").format(sql.Identifier(NAME)))
    yield NAME
    server.psql(sql.SQL("DROP ROLE {}").format(sql.Identifier(NAME)))


async def test_role_database_and_table_come_through_exactly(
    server: Server, odd_role: str, crowd_on: Callable[[str], Crowd], look: Look
) -> None:
    server.psql(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(NAME)))
    dsn = server.dsn(NAME, user=odd_role)
    crowd = crowd_on(dsn)
    quoted = '"' + NAME.replace('"', '""') + '"'
    holder = crowd(f"CREATE TABLE {quoted} (i int)", "BEGIN", f"LOCK TABLE {quoted}")
    victim = crowd().waits(f"TABLE {quoted}")
    console = await look(dsn)
    found = await row(console, "activity.sessions", pid=holder.pid)
    assert (found.username, found.database) == (NAME, NAME)
    below = (await rows(console, "activity.locks"))[1]
    assert (below.pid, below.object) == (victim.pid, f"public.{quoted}")
    assert (await row(console, "activity.databases", database=NAME)).connections >= 2
    await console.close()
    crowd.leave()
    server.psql(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(NAME)))


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "EUC_JP"])
async def test_a_session_of_another_encoding_does_not_blind_the_views(
    server: Server, crowd_on: Callable[[str], Crowd], look: Look, encoding: str
) -> None:
    name = f"enc_{encoding.lower()}"
    server.psql(
        sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING {} LC_COLLATE 'C' LC_CTYPE 'C'").format(
            sql.Identifier(name), sql.Literal(encoding)
        )
    )
    raw = crowd_on(server.dsn(name, client_encoding="SQL_ASCII"))
    person = raw()
    statement = (
        b"SELECT 'caf\xe9', pg_sleep(600)" if encoding != "EUC_JP" else b"SELECT '\xa4\xa2', pg_sleep(600)"
    )
    person.thread = threading.Thread(
        target=lambda: swallow(person.connection.execute, statement), daemon=True
    )
    person.thread.start()
    person.until("state = 'active'")
    for dsn in (server.dsn(), server.dsn(name)):
        console = await look(dsn)
        found = await row(console, "activity.sessions", pid=person.pid)
        assert "pg_sleep" in found.query
        await console.close()
    raw.leave()
    server.psql(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def swallow(function: Callable[[bytes], object], argument: bytes) -> None:
    with contextlib.suppress(psycopg.Error):
        function(argument)
