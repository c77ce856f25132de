"""Asking servers: round trips, failures of one among several, and servers that freeze or go away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from backend.core.errors import Failed, Missing, Unreachable
from backend.core.facts import Query
from backend.core.session import Session
from backend.core.target import Target
from tests.core.conftest import OpenSession, Value, Word, ask, eventually
from tests.servers import Database, OwnClusters, Server

ONE = Query("SELECT 1 AS value")
TWO = Query("SELECT 2 AS value")
THREE = Query("SELECT 3 AS value")
PID = Query("SELECT pg_catalog.pg_backend_pid() AS value")
BROKEN = Query("SELECT 1/0 AS value")
ABSENT = Query("SELECT value FROM public.not_there")
SLOW = Query("SELECT 0 AS value FROM pg_catalog.pg_sleep(0.3)")
ENDLESS = Query("SELECT 0 AS value FROM pg_catalog.pg_sleep(3600)")
EPOCH = Query("SELECT pg_catalog.count(*) AS value FROM public.shape")


async def value(session: Session, query: Query, *params: Any, **names: Any) -> Any:
    [row] = await session.fetch(Value, query, *params, **names)
    return row.value


async def several(session: Session, *queries: Query) -> list[Any]:
    answers = await asyncio.gather(*(value(session, q) for q in queries), return_exceptions=True)
    return list(answers)


def others(server: Server) -> int:
    """How many connections of pgtui there are."""
    [(n,)] = server.psql("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pgtui%'")
    return int(n)


class Wire:
    """Counts how often a relay between client and server hands over bytes from the client."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.sent: list[bytes] = []

    async def __aenter__(self) -> Wire:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self.path)
        answers = asyncio.create_task(self._pump(there, writer, None))
        await self._pump(reader, back, self.sent)
        back.close()
        await answers

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, seen: list[bytes] | None
    ) -> None:
        while data := await source.read(1 << 16):
            if seen is not None:
                seen.append(data)
            sink.write(data)
        sink.close()


@pytest.fixture
def trusting(own_cluster: OwnClusters) -> Server:
    """A server of one's own."""
    return own_cluster()


async def test_what_is_asked_in_the_same_tick_is_sent_at_once(
    database: Database, make_session: Callable[..., Session]
) -> None:
    socket = f"{database.server.socket_dir}/.s.PGSQL.{database.server.port}"
    async with Wire(socket) as wire:
        dsn = make_conninfo(
            database.dsn, host="127.0.0.1", hostaddr="127.0.0.1", port=wire.port, sslmode="disable"
        )
        session = await make_session(dsn, timeout=5).open()
        for _ in range(3):
            wire.sent.clear()
            assert await several(session, ONE, TWO, THREE) == [1, 2, 3]
        assert len(wire.sent) == 1
        await session.close()


async def test_statements_stay_prepared(database: Database, open_session: OpenSession) -> None:
    session = await open_session(database.dsn)
    names = Query("SELECT pg_catalog.count(*) AS value FROM pg_catalog.pg_prepared_statements")
    for _ in range(3):
        await several(session, ONE, TWO, names)
    assert await value(session, names) == 3


async def test_a_looking_session_cannot_write_and_is_not_led_astray(
    database: Database, open_session: OpenSession
) -> None:
    database.execute("CREATE TABLE public.pg_class (value int)")
    database.execute(
        sql.SQL("ALTER ROLE CURRENT_USER IN DATABASE {} SET search_path = public, pg_catalog").format(
            sql.Identifier(database.name)
        )
    )
    session = await open_session(database.dsn)
    assert await value(session, Query("SELECT pg_catalog.count(*) > 0 AS value FROM pg_class")) is True
    with pytest.raises(Failed, match="read-only transaction"):
        await session.fetch(Value, Query("CREATE TABLE x AS SELECT 1 AS value"))


async def test_one_failing_statement_leaves_the_others_answered(
    database: Database, open_session: OpenSession
) -> None:
    session = await open_session(database.dsn)
    for _ in range(3):
        one, broken, absent, three = await several(session, ONE, BROKEN, ABSENT, THREE)
        assert (one, three) == (1, 3)
        assert isinstance(broken, Failed)
        assert "division by zero" in broken.message
        assert broken.sqlstate == "22012"
        assert isinstance(absent, Failed)
        assert absent.sqlstate == "42P01"


async def test_what_failed_no_longer_costs_the_others_their_connection(
    database: Database, open_session: OpenSession
) -> None:
    session = await open_session(database.dsn)
    await several(session, ONE, BROKEN, TWO)
    before = await value(session, PID)
    await several(session, ONE, BROKEN, TWO)
    assert await value(session, PID) == before


async def test_a_slow_statement_goes_apart_and_comes_back_when_the_user_asks(
    database: Database, open_session: OpenSession
) -> None:
    session = await open_session(database.dsn)
    pid_and_wait = Query("SELECT pg_catalog.pg_backend_pid() AS value FROM pg_catalog.pg_sleep(0.3)")
    main = await value(session, PID)
    await several(session, ONE, pid_and_wait)
    await several(session, ONE, pid_and_wait)
    assert await value(session, pid_and_wait) != main
    session.retry_now()
    assert await value(session, pid_and_wait) == main


async def test_a_slow_statement_apart_holds_up_nobody(database: Database, open_session: OpenSession) -> None:
    session = await open_session(database.dsn)
    await value(session, SLOW)
    slow = asyncio.create_task(value(session, SLOW))
    for _ in range(3):
        assert await value(session, ONE) == 1
    assert not slow.done()
    assert await slow == 0


async def test_a_statement_that_takes_too_long_is_ended_by_the_server_and_the_rest_answered(
    database: Database, open_session: OpenSession
) -> None:
    session = await open_session(database.dsn, timeout=1)
    one, endless, two = await several(session, ONE, ENDLESS, TWO)
    assert (one, two) == (1, 2)
    assert isinstance(endless, Failed)
    assert endless.sqlstate == "57014"
    assert others(database.server) <= 2


async def test_a_changed_table_under_a_prepared_statement_is_not_noticed(
    database: Database, open_session: OpenSession
) -> None:
    database.execute("CREATE TABLE public.shape (value int)")
    database.execute("INSERT INTO public.shape VALUES (7)")
    session = await open_session(database.dsn)
    shape = Query("SELECT * FROM public.shape")
    for _ in range(3):
        assert await several(session, ONE, shape) == [1, 7]
    database.execute("ALTER TABLE public.shape ALTER value TYPE text")
    assert await several(session, ONE, shape) == [1, "7"]
    database.execute("ALTER TABLE public.shape ALTER value TYPE int USING value::int")
    assert await value(session, shape) == 7
    main = await value(session, PID)
    assert await several(session, ONE, PID) == [1, main], "it bears no mark"


async def test_statements_that_the_server_forgot_are_prepared_again(
    database: Database, open_session: OpenSession
) -> None:
    session = await open_session(database.dsn)
    for _ in range(3):
        await several(session, ONE, TWO)
    assert session._main.connection is not None
    await session._main.connection.execute(b"SELECT 1", prepare=False)
    session._main.connection.pgconn.exec_(b"DEALLOCATE ALL")
    assert await value(session, ONE) == 1
    assert await several(session, ONE, TWO) == [1, 2]


async def test_a_terminated_backend_is_replaced_unseen(database: Database, open_session: OpenSession) -> None:
    session = await open_session(database.dsn)
    for together in ((ONE,), (ONE, TWO)):
        await ask(database.dsn, f"SELECT pg_terminate_backend({session.own_pids[0]}, 5000)")
        assert await several(session, *together) == [1, 2][: len(together)]


async def test_idle_sessions_are_not_ended_by_the_roles_settings(
    own_cluster: OwnClusters, open_session: OpenSession
) -> None:
    server = own_cluster({"idle_session_timeout": "1s", "statement_timeout": "5s"})
    session = await open_session(server.dsn())
    assert (
        await value(session, Query("SELECT pg_catalog.current_setting('idle_session_timeout') AS value"))
        == "0"
    )
    assert (
        await value(session, Query("SELECT pg_catalog.current_setting('statement_timeout') AS value"))
        == "10s"
    )


async def test_many_who_ask_first_share_one_connection(
    database: Database, make_session: Callable[..., Session]
) -> None:
    session = make_session(database.dsn)
    assert await several(session, ONE, TWO, THREE) == [1, 2, 3]
    assert others(database.server) == 1


async def test_two_sessions_on_two_databases_do_not_meet(
    database: Database, make_session: Callable[..., Session]
) -> None:
    first = make_session(database.dsn)
    second = make_session(target=Target("t", database.dsn, dbname="postgres"))
    name = Query("SELECT pg_catalog.current_database()::text AS value")
    answers = await asyncio.gather(*(value(s, name) for s in (first, second) * 3))
    assert list(answers) == [database.name, "postgres"] * 3
    assert second.facts.database == "postgres"


async def test_a_frozen_server_is_given_up_in_time_and_blocks_nothing(
    trusting: Server, open_session: OpenSession
) -> None:
    session = await open_session(trusting.dsn(), timeout=1)
    await several(session, ONE, TWO)
    trusting.freeze()
    longest, last, ticking = 0.0, time.monotonic(), True

    async def tick() -> None:
        nonlocal longest, last
        while ticking:
            await asyncio.sleep(0.01)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()

    ticker = asyncio.create_task(tick())
    answers = await asyncio.wait_for(several(session, ONE, TWO), 10)
    ticking = False
    await ticker
    assert all(isinstance(a, Unreachable) for a in answers)
    assert "did not answer within 1.5 s" in str(answers[0])
    assert longest < 0.9, "the event loop was held up"
    with pytest.raises(Unreachable):
        await value(session, ONE)
    trusting.thaw()

    async def recovered() -> bool:
        return (await several(session, ONE, TWO)) == [1, 2]

    await eventually(recovered)


async def test_closing_while_the_server_is_frozen_does_not_wait(
    trusting: Server, open_session: OpenSession
) -> None:
    session = await open_session(trusting.dsn(), timeout=60)
    await several(session, ONE, TWO)
    trusting.freeze()
    asked = asyncio.create_task(several(session, ONE, SLOW))
    await asyncio.sleep(0)
    await asyncio.sleep(0.05)
    await asyncio.wait_for(session.close(), 5)
    await asyncio.wait_for(asyncio.gather(asked, return_exceptions=True), 5)
    trusting.thaw()
    await eventually(lambda: gone(trusting))


async def gone(server: Server) -> bool:
    return others(server) == 0


async def test_a_restarted_server_is_found_again(trusting: Server, open_session: OpenSession) -> None:
    session = await open_session(trusting.dsn(), timeout=5)
    await several(session, ONE, TWO)
    trusting.stop()
    one, two = await several(session, ONE, TWO)
    assert isinstance(one, Unreachable)
    assert isinstance(two, Unreachable)
    trusting.start()

    async def recovered() -> bool:
        return (await several(session, ONE, TWO)) == [1, 2]

    await eventually(recovered)
    assert others(trusting) == 1


async def test_attempts_to_reconnect_become_rarer_until_the_user_asks(
    trusting: Server, open_session: OpenSession
) -> None:
    session = await open_session(trusting.dsn(), timeout=5)
    trusting.stop()
    first = (await several(session, ONE))[0]
    trusting.start()
    second = (await several(session, ONE))[0]
    assert isinstance(first, Unreachable)
    assert second is first or second == 1
    session.retry_now()
    assert await value(session, ONE) == 1


async def test_closing_leaves_nothing_behind(database: Database, open_session: OpenSession) -> None:
    session = await open_session(database.dsn)
    await several(session, ONE, SLOW)
    await several(session, ONE, SLOW)
    asked = asyncio.create_task(several(session, ONE, ENDLESS))
    await asyncio.sleep(0.05)
    await session.close()
    await asyncio.gather(asked, return_exceptions=True)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await eventually(lambda: gone(database.server))
    with pytest.raises(Unreachable, match="has been closed"):
        await value(session, ONE)


async def test_a_question_whose_asker_went_away_is_not_asked(
    database: Database, open_session: OpenSession
) -> None:
    session = await open_session(database.dsn)
    asker = asyncio.create_task(value(session, ENDLESS))
    await asyncio.sleep(0)
    asker.cancel()
    assert await value(session, ONE) == 1


async def test_texts_that_are_no_utf8_can_be_asked_for(database: Database, open_session: OpenSession) -> None:
    session = await open_session(database.dsn)
    echo = Query("SELECT %s::text AS value")
    assert await value(session, echo, "naïve ‮ 'quoted' %s") == "naïve ‮ 'quoted' %s"
    answers = await asyncio.gather(
        value(session, echo, "a\udcffb"),
        value(session, echo, "a\0b"),
        value(session, echo, "\ud800"),
        value(session, ONE),
        return_exceptions=True,
    )
    assert answers[3] == 1
    assert all(isinstance(a, Failed) for a in answers[:3])


async def test_a_role_without_rights_gets_facts(database: Database, open_session: OpenSession) -> None:
    database.execute("CREATE ROLE nobody_much LOGIN")
    try:
        session = await open_session(make_conninfo(database.dsn, user="nobody_much"))
        assert session.facts.user == "nobody_much"
        assert not session.facts.superuser
        with pytest.raises(Missing) as refused:
            await session.fetch(Word, Query("SELECT rolname::text AS word FROM pg_catalog.pg_authid"))
        assert refused.value.sqlstate == "42501"
        await session.close()
    finally:
        database.execute("DROP ROLE nobody_much")


async def test_a_promotion_changes_the_facts(own_cluster: OwnClusters, open_session: OpenSession) -> None:
    primary = own_cluster()
    standby = own_cluster.standby(primary)
    session = await open_session(standby.dsn())
    assert session.facts.role == "standby"
    standby.promote()
    assert (await session.refresh_facts()).role == "primary"


async def test_beside_it_is_another_database_of_the_server_for_a_block(
    database: Database, open_session: OpenSession
) -> None:
    session = await open_session(database.dsn)
    async with session.beside("postgres") as other:
        assert (other.facts.database, session.facts.database) == ("postgres", database.name)
        only = Query("SELECT pg_catalog.current_setting('transaction_read_only') AS value")
        assert await value(other, only) == "on"
        pids = other.own_pids
    gone = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY (%s)"

    async def left() -> bool:
        return database.execute(gone, [pids]) == [(0,)]

    await eventually(left)
    assert await value(session, ONE) == 1
