"""What is said when a connection cannot be made, and passwords that nobody gets to see."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator

import pytest
from psycopg.conninfo import make_conninfo

from backend.core.errors import Unreachable, Usage
from backend.core.facts import Query
from backend.core.session import Session
from tests.core.conftest import OpenSession, Value
from tests.servers import Database, OwnClusters, Server

SECRET = "hu'sh hush"
ONE = Query("SELECT 1 AS value")


async def test_each_failure_has_its_sentence(
    database: Database, make_session: Callable[..., Session]
) -> None:
    said = {
        make_conninfo(database.dsn, dbname="nope"): 'database "nope" does not exist',
        make_conninfo(database.dsn, user="nobody"): 'role "nobody" does not exist',
        "host=127.0.0.1 port=1": "Connection refused",
        "host=/nowhere": "No such file or directory",
        "host=no-such-host.invalid": "no-such-host.invalid",
    }
    for dsn, words in said.items():
        with pytest.raises(Unreachable) as refused:
            await make_session(make_conninfo(dsn, password=SECRET)).open()
        assert refused.value.message.startswith("t cannot be reached: ")
        assert words in refused.value.message
        assert "hush" not in f"{refused.value} {refused.value.hint}"
        assert not {"\n", "\t"} & set(refused.value.message)


@pytest.mark.parametrize(
    "dsn", ["host=x password='hush", "postgresql://u:hush@h:port/d", "nonsense=1 password=hush"]
)
async def test_a_connection_string_that_cannot_be_read_is_wrong_usage(
    dsn: str, make_session: Callable[..., Session]
) -> None:
    with pytest.raises((Usage, Unreachable)) as refused:
        await make_session(dsn).open()
    assert "hush" not in str(refused.value)


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


async def test_a_server_that_accepts_and_stays_silent_is_given_up(
    silent: int, make_session: Callable[..., Session]
) -> None:
    session = make_session(f"host=127.0.0.1 port={silent} sslmode=disable", timeout=0.5)
    with pytest.raises(Unreachable, match=r"did not answer within 0\.5 s"):
        await asyncio.wait_for(session.open(), 5)
    await session.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture
def scram(own_cluster: OwnClusters) -> Server:
    """A server whose role `u` needs a password."""
    server = own_cluster()
    server.psql("CREATE ROLE u LOGIN PASSWORD 'right'")
    hba = server.cluster.data / "pg_hba.conf"
    hba.write_text("local all u scram-sha-256\n" + hba.read_text())
    server.psql("SELECT pg_reload_conf()")
    return server


async def test_a_missing_password_is_asked_for_once_and_used_for_actions_too(
    scram: Server, make_session: Callable[..., Session]
) -> None:
    asked: list[str] = []

    async def ask(prompt: str) -> str:
        asked.append(prompt)
        return "right"

    session = make_session(scram.dsn(user="u"), ask_password=ask)
    answers = await asyncio.gather(*(session.fetch(Value, ONE) for _ in range(3)))
    assert [a[0].value for a in answers] == [1, 1, 1]
    acting = await session.open_acting(session.target, "test")
    await acting.close()
    assert asked == ["Password for t: "]


async def test_a_wrong_password_is_not_kept_and_asked_again_only_on_request(
    scram: Server, make_session: Callable[..., Session]
) -> None:
    typed = ["wrong", "right"]

    async def ask(prompt: str) -> str:
        return typed.pop(0)

    session = make_session(scram.dsn(user="u"), ask_password=ask)
    for _ in range(2):
        with pytest.raises(Unreachable, match="password"):
            await session.fetch(Value, ONE)
    assert typed == ["right"]
    session.retry_now()
    assert (await session.fetch(Value, ONE))[0].value == 1


async def test_without_anybody_to_ask_it_says_where_passwords_stand(
    scram: Server, open_session: OpenSession
) -> None:
    with pytest.raises(Unreachable) as refused:
        await open_session(scram.dsn(user="u"))
    assert "no password supplied" in refused.value.message
    assert refused.value.hint == "put the password in ~/.pgpass or a service file"
    with pytest.raises(Unreachable) as refused:
        await open_session(scram.dsn(user="u", password="hush hush"))
    assert 'password authentication failed for user "u"' in refused.value.message
    assert "hush" not in str(refused.value)
