"""Databases and the server as a whole."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from backend.core.declare import Health
from backend.core.judge import judge
from backend.core.registry import find_view
from backend.core.session import Session
from tests.rooms.activity.conftest import Crowd, Look, row, rows
from tests.servers import Database, OwnClusters, Server


async def test_counts_connections_against_the_servers_limit(
    crowd: Crowd, console: Session, database: Database
) -> None:
    crowd()
    crowd()
    found = await row(console, "activity.databases", database=database.name)
    assert found.connections >= 3
    assert found.connection_limit == 97
    assert found.connections_percent == 100 * found.connections / 97


async def test_a_databases_own_limit_is_the_one_that_counts(console: Session, database: Database) -> None:
    database.execute(f"ALTER DATABASE {database.name} CONNECTION LIMIT 5")
    found = await row(console, "activity.databases", database=database.name)
    assert found.connection_limit == 5
    judged = judge(find_view("activity.databases"), [replace(found, connections_percent=90.0)])
    assert judged.overall.health is Health.CRITICAL


async def test_commits_and_rollbacks_are_counted(crowd: Crowd, console: Session, database: Database) -> None:
    before = await row(console, "activity.databases", database=database.name)
    person = crowd("BEGIN", "SELECT 1", "ROLLBACK", "SELECT 1")
    person.connection.close()
    after = before
    deadline = time.monotonic() + 20
    while after.rollbacks == before.rollbacks and time.monotonic() < deadline:
        after = await row(console, "activity.databases", database=database.name)
    assert after.rollbacks == before.rollbacks + 1
    assert after.commits > before.commits


async def test_templates_that_allow_no_connection_age_too(console: Session) -> None:
    found = await row(console, "activity.databases", database="template0")
    assert not found.allows_connections
    assert 0 < found.wraparound < 1
    assert 0 < found.freeze < 1


async def test_limits_of_a_database(console: Session, database: Database) -> None:
    found = await row(console, "activity.databases", database=database.name)
    view = find_view("activity.databases")
    assert judge(view, [found]).overall.health is Health.OK
    for changed, health in (
        (replace(found, wraparound=40.0), Health.WARNING),
        (replace(found, wraparound=60.0), Health.CRITICAL),
        (replace(found, freeze=110.0), Health.WARNING),
        (replace(found, checksum_failures=1), Health.CRITICAL),
        (replace(found, cache_hits=1.0), Health.OK),
    ):
        assert judge(view, [changed]).overall.health is health


async def test_a_failed_checksum_of_the_shared_catalogs_is_not_lost(console: Session) -> None:
    found = await row(console, "activity.server")
    assert found.checksum_failures in (0, None)


async def test_the_server_counts_clients_only(
    own_cluster: OwnClusters, look: Look, crowd_on: Callable[[str], Crowd]
) -> None:
    server = own_cluster({"cluster_name": "main", "superuser_reserved_connections": "7"})
    crowd_on(server.dsn())()
    console = await look(server.dsn())
    [found] = await rows(console, "activity.server")
    assert (found.server, found.connections, found.connection_limit) == ("main", 2, 93)
    assert found.commits >= 0


async def test_a_plain_role_counts_the_same_connections(
    few_rights: Server, look: Look, crowd_on: Callable[[str], Crowd]
) -> None:
    crowd_on(few_rights.dsn())()
    [found] = await rows(await look(few_rights.dsn(user="app")), "activity.server")
    assert found.connections == 2
