"""Who holds back vacuum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from backend.activity.horizon import DeadRows, Holder, ranked
from backend.core.declare import Health
from backend.core.judge import judge
from backend.core.registry import find_view
from backend.core.session import Session
from tests.rooms.activity.conftest import Crowd, Look, row, rows, until
from tests.servers import Database, OwnClusters, Server

SNAPSHOT = ("BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT 1")


def holder(kind: str, name: str, age: int | None, database: str | None, holds: str | None) -> Holder:
    return Holder(kind, name, None, database, holds, age, None, None, None, None, None)


async def test_a_snapshot_holds_back_its_database(crowd: Crowd, console: Session, database: Database) -> None:
    database.execute("CREATE TABLE t AS SELECT generate_series(1, 100) AS i")
    person = crowd(*SNAPSHOT)
    database.execute("DELETE FROM t")
    database.execute("VACUUM t")

    async def found() -> bool:
        shown = await row(console, "activity.horizon", pid=person.pid)
        assert (shown.kind, shown.holds, shown.database) == ("session", "its database", database.name)
        assert shown.xid_age >= 1
        return bool(shown.oldest and (shown.dead_rows or 0) >= 100)

    for _ in range(200):
        if await found():
            return
    raise AssertionError("its dead rows were never counted")


async def test_a_prepared_transaction_holds_it_back(crowd: Crowd, console: Session) -> None:
    crowd("BEGIN", "CREATE TABLE t (i int)", "PREPARE TRANSACTION 'g'")
    found = await row(console, "activity.horizon", kind="prepared")
    assert (found.name, found.holds) == ("g", "its database")
    assert found.held_for > timedelta()


async def test_a_logical_slot_holds_back_the_catalogs(crowd: Crowd, console: Session) -> None:
    crowd("SELECT pg_create_logical_replication_slot('held', 'test_decoding')")
    found = await row(console, "activity.horizon", kind="slot")
    assert (found.name, found.holds, found.state, found.dead_rows) == ("held", "catalogs", "inactive", None)
    assert found.detail == "logical slot"


async def test_a_standby_with_feedback_holds_back_everything(
    own_cluster: OwnClusters, look: Look, crowd_on: Callable[[str], Crowd]
) -> None:
    primary = own_cluster()
    feedback = {"hot_standby_feedback": "on", "wal_receiver_status_interval": "1s"}
    standby = own_cluster.standby(primary, feedback)
    crowd_on(standby.dsn())(*SNAPSHOT)
    until(lambda: primary.psql("SELECT backend_xmin IS NOT NULL FROM pg_stat_replication") == [(True,)])
    found = await row(await look(primary.dsn()), "activity.horizon", kind="standby")
    assert (found.name, found.holds, found.database) == ("walreceiver", "all databases", None)


async def test_a_vacuum_holds_nothing_back(crowd: Crowd, console: Session, database: Database) -> None:
    database.execute("CREATE TABLE t AS SELECT generate_series(1, 100000) AS i")
    vacuum = crowd("SET vacuum_cost_delay = 100", "SET vacuum_cost_limit = 1").starts("VACUUM t")
    until(lambda: bool(database.execute("SELECT 1 FROM pg_stat_progress_vacuum")))
    assert vacuum.pid not in {r.pid for r in await rows(console, "activity.horizon")}


async def test_a_role_without_the_right_is_told_that_it_sees_too_little(
    few_rights: Server, look: Look
) -> None:
    found = await rows(await look(few_rights.dsn(user="app")), "activity.horizon")
    judged = judge(find_view("activity.horizon"), found)
    assert judged.overall.health is Health.UNKNOWN
    assert "GRANT pg_monitor" in judged.overall.sentence


def test_the_oldest_comes_first_and_costs_are_told_where_they_are_known() -> None:
    holders = [
        holder("session", "1", 5, "here", "its database"),
        holder("slot", "s", 70, None, "catalogs"),
        holder("session", "2", 90, "elsewhere", "its database"),
        holder("standby", "w", 40, None, "all databases"),
        holder("hidden", "3 sessions", None, None, None),
    ]
    found = ranked(holders, DeadRows("here", 1000))
    assert [(r.name, r.oldest, r.dead_rows) for r in found] == [
        ("2", True, None),
        ("s", False, None),
        ("w", False, 1000),
        ("1", False, None),
        ("3 sessions", False, None),
    ]


def test_age_in_transactions_and_in_time_are_findings() -> None:
    [found] = ranked([holder("session", "1", 5, "here", "its database")], DeadRows("here", 0))
    view = find_view("activity.horizon")
    assert judge(view, [found]).overall.health is Health.OK
    assert judge(view, [replace(found, xid_age=10_000_000)]).overall.health is Health.WARNING
    assert judge(view, [replace(found, xid_age=100_000_000)]).overall.health is Health.CRITICAL
    assert judge(view, [replace(found, held_for=timedelta(hours=4))]).overall.health is Health.WARNING
