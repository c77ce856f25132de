"""Sessions as the view shows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest

from backend.core.declare import Health
from backend.core.judge import judge
from backend.core.registry import find_view
from backend.core.session import Session
from tests.rooms.activity.conftest import Crowd, Look, row, rows, until
from tests.servers import Database, OwnClusters, Server


async def test_shows_who_is_connected_and_what_they_run(crowd: Crowd, console: Session) -> None:
    person = crowd(application_name="shop").starts("SELECT pg_sleep(60)")
    found = await row(console, "activity.sessions", pid=person.pid)
    assert found.application == "shop"
    assert found.client == "local"
    assert found.backend_type == "client backend"
    assert found.state == "active"
    assert found.wait == "Timeout:PgSleep"
    assert found.query == "SELECT pg_sleep(60)"
    assert timedelta() < found.duration < timedelta(seconds=20)


async def test_leaves_out_its_own_looking_connection(console: Session, database: Database) -> None:
    shown = {r.pid for r in await rows(console, "activity.sessions")}
    assert not shown & set(console.own_pids)


async def test_an_idle_session_waits_for_nothing(crowd: Crowd, console: Session) -> None:
    found = await row(console, "activity.sessions", pid=crowd("SELECT 1").pid)
    assert (found.state, found.wait, found.idle_in_transaction) == ("idle", None, None)


async def test_tells_how_long_a_transaction_has_been_left_open(crowd: Crowd, console: Session) -> None:
    found = await row(console, "activity.sessions", pid=crowd("BEGIN", "SELECT 1").pid)
    assert found.state == "idle in transaction"
    assert timedelta() < found.idle_in_transaction <= found.transaction_age


async def test_an_aborted_transaction_counts_as_idle_in_transaction(crowd: Crowd, console: Session) -> None:
    person = crowd("BEGIN")
    with pytest.raises(psycopg.errors.DivisionByZero):
        person.does("SELECT 1/0")
    found = await row(console, "activity.sessions", pid=person.pid)
    assert found.state == "idle in transaction (aborted)"
    assert found.idle_in_transaction is not None


async def test_names_the_blockers_of_a_waiting_session(crowd: Crowd, console: Session) -> None:
    holder = crowd("CREATE TABLE t (i int)", "BEGIN", "LOCK TABLE t")
    waiter = crowd().waits("SELECT * FROM t")
    assert (await row(console, "activity.sessions", pid=waiter.pid)).blocked_by == [holder.pid]
    assert (await row(console, "activity.sessions", pid=holder.pid)).blocked_by is None


async def test_says_that_a_role_without_the_right_cannot_see_the_others(
    few_rights: Server, look: Look, crowd_on: Callable[[str], Crowd]
) -> None:
    person = crowd_on(few_rights.dsn())("BEGIN")
    plain = await look(few_rights.dsn(user="app"))
    found = await rows(plain, "activity.sessions")
    [hidden] = [r for r in found if r.pid == person.pid]
    assert hidden.state is None
    assert hidden.query == "<insufficient privilege>"
    judged = judge(find_view("activity.sessions"), found)
    assert judged.overall.health is Health.UNKNOWN
    assert "GRANT pg_monitor" in judged.overall.sentence


async def test_a_monitoring_role_sees_them_all(
    few_rights: Server, look: Look, crowd_on: Callable[[str], Crowd]
) -> None:
    person = crowd_on(few_rights.dsn())("BEGIN")
    found = await row(await look(few_rights.dsn(user="mon")), "activity.sessions", pid=person.pid)
    assert found.state == "idle in transaction"


async def test_a_long_idle_transaction_is_a_finding(crowd: Crowd, console: Session) -> None:
    found = await row(console, "activity.sessions", pid=crowd("BEGIN").pid)
    view = find_view("activity.sessions")
    for minutes, health in ((4, Health.OK), (5, Health.WARNING), (15, Health.CRITICAL)):
        aged = replace(found, idle_in_transaction=timedelta(minutes=minutes))
        assert judge(view, [aged]).overall.health is health


async def test_counts_the_client_sessions_by_state(crowd: Crowd, console: Session) -> None:
    crowd("BEGIN")
    judged = judge(find_view("activity.sessions"), await rows(console, "activity.sessions"))
    assert "1 idle in transaction" in judged.overall.sentence


async def test_works_on_a_standby(own_cluster: OwnClusters, look: Look) -> None:
    primary = own_cluster()
    second = own_cluster.standby(primary)
    until(lambda: second.psql("SELECT count(*) FROM pg_stat_wal_receiver") == [(1,)])
    standby = await look(second.dsn())
    assert any(r.backend_type == "walreceiver" for r in await rows(standby, "activity.sessions"))
    for view in ("locks", "horizon", "progress", "databases", "server", "prepared"):
        await rows(standby, f"activity.{view}")
