"""The tree of blockers on real chains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from backend.core.declare import Health
from backend.core.judge import judge
from backend.core.registry import find_view
from backend.core.session import Session
from tests.rooms.activity.conftest import Crowd, Look, rows, until
from tests.servers import OwnClusters, Server


async def test_nobody_waits_on_a_quiet_server(crowd: Crowd, console: Session) -> None:
    crowd("CREATE TABLE t (i int)", "BEGIN", "LOCK TABLE t")
    assert await rows(console, "activity.locks") == []


async def test_a_select_behind_a_lock_table_behind_an_update(crowd: Crowd, console: Session) -> None:
    root = crowd("CREATE TABLE t (i int)", "INSERT INTO t VALUES (1)", "BEGIN", "UPDATE t SET i = 2")
    locker = crowd("BEGIN").waits("LOCK TABLE t")
    reader = crowd().waits("SELECT * FROM t")
    found = await rows(console, "activity.locks")
    assert [(r.pid, r.depth, r.victims) for r in found] == [
        (root.pid, 0, 2),
        (locker.pid, 1, 1),
        (reader.pid, 2, 0),
    ]
    assert [r.tree for r in found] == [str(root.pid), f"└─ {locker.pid}", f"   └─ {reader.pid}"]
    assert found[0].total_wait == found[1].waiting + found[2].waiting
    assert found[0].state == "idle in transaction"
    assert (found[2].object, found[2].mode) == ("public.t", "AccessShareLock")
    assert found[2].query == "SELECT * FROM t"


async def test_an_idle_root_is_a_finding(crowd: Crowd, console: Session) -> None:
    root = crowd("CREATE TABLE t (i int)", "BEGIN", "LOCK TABLE t")
    crowd().waits("SELECT * FROM t")
    judged = judge(find_view("activity.locks"), await rows(console, "activity.locks"))
    assert judged.overall.health is Health.WARNING
    assert judged.overall.sentence == f"{root.pid}: is idle in transaction and blocks 1 session"


async def test_a_long_wait_is_a_finding(crowd: Crowd, console: Session) -> None:
    crowd("CREATE TABLE t (i int)", "BEGIN", "LOCK TABLE t")
    crowd().waits("SELECT * FROM t")
    waiting = (await rows(console, "activity.locks"))[1]
    view = find_view("activity.locks")
    for minutes, health in ((0.9, Health.OK), (1, Health.WARNING), (5, Health.CRITICAL)):
        aged = replace(waiting, waiting=timedelta(minutes=minutes))
        assert judge(view, [aged]).overall.health is health


async def test_a_victim_of_several_names_them_all_and_stands_once(crowd: Crowd, console: Session) -> None:
    crowd("CREATE TABLE t (i int)")
    readers = [crowd("BEGIN", "LOCK TABLE t IN ACCESS SHARE MODE") for _ in range(3)]
    victim = crowd("BEGIN").waits("LOCK TABLE t")
    found = await rows(console, "activity.locks")
    assert sorted(r.pid for r in found if r.depth == 0) == sorted(p.pid for p in readers)
    assert all(r.victims == 1 for r in found if r.depth == 0)
    [placed] = [r for r in found if r.pid == victim.pid]
    assert sorted(placed.blocked_by) == sorted(str(p.pid) for p in readers)


async def test_many_waiting_for_one_row_stay_flat(crowd: Crowd, console: Session) -> None:
    crowd("CREATE TABLE t (i int)", "INSERT INTO t VALUES (1)")
    root = crowd("BEGIN", "UPDATE t SET i = 2")
    for _ in range(4):
        crowd().waits("UPDATE t SET i = 3")
    found = await rows(console, "activity.locks")
    assert (found[0].pid, found[0].victims) == (root.pid, 4)
    assert max(r.depth for r in found) == 2
    assert "a row of public.t" in found[1].object


async def test_a_prepared_transaction_is_a_root(crowd: Crowd, console: Session) -> None:
    crowd("CREATE TABLE t (i int)", "BEGIN", "LOCK TABLE t", "PREPARE TRANSACTION 'it''s mine'")
    crowd("BEGIN", "CREATE TABLE u (i int)", "PREPARE TRANSACTION 'not in the way'")
    victim = crowd().waits("SELECT * FROM t")
    root, below = await rows(console, "activity.locks")
    assert (root.pid, root.gid, root.depth, root.victims) == (None, "it's mine", 0, 1)
    assert (below.pid, below.blocked_by) == (victim.pid, ["it's mine"])
    judged = judge(find_view("activity.locks"), [root, below])
    assert judged.overall.sentence == "it's mine: is prepared, not committed, and blocks 1 session"


async def test_a_prepared_transaction_is_named_after_a_restart(
    own_cluster: OwnClusters, crowd_on: Callable[[str], Crowd], look: Look
) -> None:
    server = own_cluster()
    crowd_on(server.dsn())("CREATE TABLE t (i int)", "BEGIN", "LOCK TABLE t", "PREPARE TRANSACTION 'old'")
    server.restart()
    crowd_on(server.dsn())().waits("SELECT * FROM t")
    found = await rows(await look(server.dsn()), "activity.locks")
    assert [(r.gid, r.depth) for r in found] == [("old", 0), (None, 1)]


async def test_a_deadlock_ends_in_a_tree_too(
    own_cluster: OwnClusters, crowd_on: Callable[[str], Crowd], look: Look
) -> None:
    server = own_cluster({"deadlock_timeout": "30s"})
    crowd = crowd_on(server.dsn())
    crowd("CREATE TABLE t (i int)", "CREATE TABLE u (i int)")
    one, two = crowd("BEGIN", "LOCK TABLE t"), crowd("BEGIN", "LOCK TABLE u")
    one.waits("LOCK TABLE u")
    two.waits("LOCK TABLE t")
    found = await rows(await look(server.dsn()), "activity.locks")
    assert [(r.pid, r.depth, r.cyclic) for r in found] == [(one.pid, 0, True), (two.pid, 1, False)]
    assert judge(find_view("activity.locks"), found).overall.health is Health.WARNING


async def test_advisory_and_foreign_locks_are_named(
    server: Server, crowd: Crowd, crowd_on: Callable[[str], Crowd], console: Session
) -> None:
    other = crowd_on(server.dsn())
    crowd("SELECT pg_advisory_lock(42)")
    crowd().waits("SELECT pg_advisory_lock(42)")
    other("BEGIN", "CREATE TABLE elsewhere (i int)", "COMMIT", "BEGIN", "LOCK TABLE elsewhere")
    abroad = other().waits("TABLE elsewhere")
    by_pid = {r.pid: r for r in await rows(console, "activity.locks") if r.depth}
    assert by_pid[abroad.pid].object.startswith("oid ")
    assert {r.object for r in by_pid.values()} >= {"key 42"}
    other.leave()
    server.psql("DROP TABLE elsewhere")


async def test_a_role_without_rights_sees_the_tree_without_the_queries(
    few_rights: Server, crowd_on: Callable[[str], Crowd], look: Look
) -> None:
    crowd = crowd_on(few_rights.dsn())
    root = crowd("CREATE TABLE t (i int)", "BEGIN", "LOCK TABLE t")
    victim = crowd().waits("SELECT * FROM t")
    found = await rows(await look(few_rights.dsn(user="app")), "activity.locks")
    assert [(r.pid, r.depth) for r in found] == [(root.pid, 0), (victim.pid, 1)]
    assert found[0].query == "<insufficient privilege>"


async def test_shows_the_locks_of_one_session(crowd: Crowd, console: Session) -> None:
    holder = crowd("CREATE TABLE t (i int PRIMARY KEY)", "BEGIN", "INSERT INTO t VALUES (1)")
    waiter = crowd("BEGIN").waits("LOCK TABLE t IN SHARE MODE")
    held = await rows(console, "activity.session_locks", pid=holder.pid)
    assert ("public.t", "RowExclusiveLock", True) in {(r.object, r.mode, r.granted) for r in held}
    first = (await rows(console, "activity.session_locks", pid=waiter.pid))[0]
    assert (first.object, first.mode, first.granted) == ("public.t", "ShareLock", False)
    until(lambda: waiter.is_so("clock_timestamp() - query_start > interval '10ms'"))
    again = (await rows(console, "activity.session_locks", pid=waiter.pid))[0]
    assert again.waiting > timedelta()
