"""Behind a real PgBouncer: nothing leaks to its other clients."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from backend.core.declare import Action, Danger
from backend.core.errors import Refused, Unreachable
from backend.core.facts import Needs, Query
from backend.core.local import LocalHost
from backend.core.plan import Plan, statement
from backend.core.run import Run, make_plan
from backend.core.session import Session
from backend.core.target import Target
from tests.core.conftest import OpenSession, Value
from tests.ports import free_port
from tests.servers import Database, Workspace

PROGRAM = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")


@pytest.fixture(params=["transaction", "session"])
def pooled(request: pytest.FixtureRequest, database: Database, workspace: Workspace) -> Iterator[str]:
    """How to reach the test's database through a pooler that has one server connection."""
    if PROGRAM is None:
        assert not os.environ.get("CI"), "pgbouncer is not installed"
        pytest.skip("pgbouncer is not installed")
    folder = workspace.new_folder("bouncer")
    workspace.account.make_folder(folder)
    port = free_port()
    server = database.server
    user = conninfo_to_dict(database.dsn)["user"]
    (folder / "ini").write_text(
        f"[databases]\n* = host={server.socket_dir} port={server.port} user={user}\n[pgbouncer]\n"
        f"listen_addr =\nlisten_port = {port}\nunix_socket_dir = {folder}\nauth_type = any\n"
        f"pool_mode = {request.param}\ndefault_pool_size = 1\nadmin_users = {user}\n"
        f"logfile = {folder}/log\nserver_reset_query = \nmin_pool_size = 0\n"
    )
    workspace.account.own(folder / "ini")
    with process(folder, workspace) as _:
        yield make_conninfo(dbname=database.name, host=str(folder), port=port, user=str(user))


class process:
    """A PgBouncer that runs inside the block."""

    def __init__(self, folder: Path, workspace: Workspace) -> None:
        account = workspace.account
        more: dict[str, Any] = {"user": account.uid, "group": account.gid, "extra_groups": []}
        self.running = subprocess.Popen(
            [PROGRAM or "", "-q", str(folder / "ini")], cwd="/", **(more if account.dropped else {})
        )
        deadline = time.monotonic() + 20
        while not list(folder.glob(".s.PGSQL.*")):
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.02)

    def __enter__(self) -> process:
        return self

    def __exit__(self, *_: object) -> None:
        self.running.terminate()
        self.running.wait()


SETTING = Query("SELECT pg_catalog.current_setting(%s) AS value")
ONE = Query("SELECT 1 AS value")


async def other_client(dsn: str, statement: str) -> Any:
    async with await psycopg.AsyncConnection.connect(
        dsn, autocommit=True, prepare_threshold=None
    ) as connection:
        row = await (await connection.execute(statement.encode())).fetchone()
        return row[0] if row else None


async def test_a_pooler_is_noticed_and_left_as_it_was(pooled: str, open_session: OpenSession) -> None:
    before = {name: await other_client(pooled, f"SHOW {name}") for name in NAMES}
    session = await open_session(pooled, timeout=5)
    assert session.facts.pooler
    for _ in range(3):
        assert [r.value for r in await session.fetch(Value, ONE)] == [1]
    inside = {n: (await session.fetch(Value, SETTING, n))[0].value for n in NAMES}
    assert inside["transaction_read_only"] == "on"
    assert inside["search_path"] == "pg_catalog"
    assert (inside["statement_timeout"], inside["lock_timeout"]) == ("5s", "500ms")
    with pytest.raises(Exception, match="division by zero"):
        await session.fetch(Value, Query("SELECT 1/0 AS value"))
    assert [r.value for r in await session.fetch(Value, ONE)] == [1]
    await session.close()
    assert {name: await other_client(pooled, f"SHOW {name}") for name in NAMES} == before
    assert await other_client(pooled, "SELECT count(*) FROM pg_prepared_statements") == 0


NAMES = ("transaction_read_only", "statement_timeout", "lock_timeout", "search_path", "jit", "DateStyle")


async def nothing(session: Session) -> Plan:
    """Do nothing."""
    return Plan("x", (statement("SELECT 1"),))


async def test_actions_are_refused_behind_a_pooler(pooled: str, open_session: OpenSession) -> None:
    session = await open_session(pooled)
    action = Action("test.act", nothing, Danger.CHANGE, Needs(), (), True)
    with pytest.raises(Refused, match="this DSN is a pooler; give the server itself"):
        await make_plan(session, action, {})
    report = await Run(session, action, {}, Plan("x", (statement("SELECT 1"),))).execute()
    assert isinstance(report.error, Refused)
    assert report.exit_code == 4


async def test_actions_go_to_the_server_itself_where_the_inventory_says_so(
    pooled: str, database: Database
) -> None:
    session = await Session(Target("t", pooled, act=database.dsn), LocalHost()).open()
    action = Action("test.act", nothing, Danger.CHANGE, Needs(), (), True)
    report = await Run(session, action, {}, await make_plan(session, action, {})).execute()
    await session.close()
    assert report.error is None


async def test_the_poolers_own_console_is_recognised(pooled: str, open_session: OpenSession) -> None:
    with pytest.raises(Unreachable) as refused:
        await open_session(make_conninfo(pooled, dbname="pgbouncer"))
    assert refused.value.message == "t is PgBouncer's own console"
