"""Cancelling and terminating: what the server did, not what was hoped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from backend.activity import signals
from backend.core.declare import Danger
from backend.core.errors import Missing, Refused, Usage
from backend.core.session import Session
from backend.core.values import Interval
from tests.rooms.activity.conftest import Crowd, Look, carry_out, plan, rows, run, until
from tests.servers import Database, OwnClusters, Server

SLEEP = "SELECT pg_sleep(600)"


def outcomes(report: Any) -> dict[int, str]:
    return {r["pid"]: r["outcome"] for r in report.result}


async def test_cancel_ends_the_statement_and_leaves_the_session(crowd: Crowd, console: Session) -> None:
    person = crowd().starts(SLEEP)
    report = await run(console, "activity.cancel", pid=person.pid)
    assert report.result == [{"pid": person.pid, "cancelled": True, "outcome": "cancel sent"}]
    assert person.finished() == "57014"
    assert person.alive


async def test_a_plan_shows_the_victim_and_does_nothing(crowd: Crowd, console: Session) -> None:
    person = crowd(application_name="shop").starts(SLEEP)
    for action, danger in (("activity.cancel", Danger.CHANGE), ("activity.terminate", Danger.DISRUPT)):
        pid: Any = person.pid if action == "activity.cancel" else [person.pid]
        made = await plan(console, action, pid=pid)
        assert (made.subject, made.danger) == (str(person.pid), danger)
        [victim] = made.rows
        assert (victim.pid, victim.application, victim.query) == (person.pid, "shop", SLEEP)
        assert str(person.pid) in made.steps[0].text
    assert person.is_so("state = 'active'")


async def test_cancel_on_an_idle_transaction_says_that_terminate_is_meant(
    crowd: Crowd, console: Session
) -> None:
    person = crowd("BEGIN")
    made = await plan(console, "activity.cancel", pid=person.pid)
    assert made.steps == ()
    assert f"activity.terminate --pid {person.pid} ends it" in made.notes[0]
    assert (await run(console, "activity.cancel", pid=person.pid)).status == "ok"
    assert person.is_so("state = 'idle in transaction'")


async def test_cancel_leaves_a_later_statement_alone(crowd: Crowd, console: Session) -> None:
    person = crowd().starts("SELECT pg_sleep(600) AS first")
    made = await plan(console, "activity.cancel", pid=person.pid)
    person.connection.cancel()
    person.finished()
    person.starts("SELECT pg_sleep(600) AS second")
    report = await carry_out(console, "activity.cancel", made, pid=person.pid)
    assert outcomes(report) == {person.pid: "that statement has ended already"}
    assert person.is_so("state = 'active'")


async def test_cancel_that_is_ignored_is_not_called_done(crowd: Crowd, console: Session) -> None:
    person = crowd().starts(
        "DO $$ BEGIN LOOP BEGIN PERFORM pg_sleep(600);"
        " EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$"
    )
    report = await run(console, "activity.cancel", pid=person.pid)
    assert report.status == "failed"
    assert report.error is not None
    assert "still not so that the statement has ended" in report.error.message


async def test_terminate_ends_the_session(crowd: Crowd, console: Session) -> None:
    person, bystander = crowd("BEGIN"), crowd("BEGIN")
    report = await run(console, "activity.terminate", pid=[person.pid])
    assert report.result == [{"pid": person.pid, "terminated": True, "outcome": "terminated"}]
    assert not person.alive
    assert bystander.alive


async def test_terminate_takes_several_pids(crowd: Crowd, console: Session) -> None:
    people = [crowd(), crowd()]
    report = await run(console, "activity.terminate", pid=[p.pid for p in people])
    assert report.subject == "t"
    assert outcomes(report) == {p.pid: "terminated" for p in people}


async def test_terminate_without_a_selection_is_wrong_usage(console: Session) -> None:
    with pytest.raises(Usage, match="nothing without a selection"):
        await plan(console, "activity.terminate")


async def test_all_filters_have_to_hold(crowd: Crowd, console: Session, database: Database) -> None:
    both = crowd("BEGIN", application_name="batch")
    idle = crowd(application_name="batch")
    other = crowd("BEGIN", application_name="shop")
    chosen = {"application": "batch", "state": "idle in transaction", "database": database.name}
    report = await run(console, "activity.terminate", **chosen)
    assert outcomes(report) == {both.pid: "terminated"}
    assert idle.alive
    assert other.alive


async def test_nobody_matching_is_no_failure(console: Session) -> None:
    report = await run(console, "activity.terminate", user="nobody at all")
    assert (report.status, report.steps) == ("ok", [])
    assert "nothing to do" in report.notices[-1]


async def test_who_left_the_state_is_not_touched_and_a_new_one_neither(
    crowd: Crowd, console: Session, database: Database
) -> None:
    stays, leaves = crowd("BEGIN"), crowd("BEGIN")
    chosen = {"database": database.name, "state": "idle in transaction"}
    made = await plan(console, "activity.terminate", **chosen)
    leaves.does("COMMIT")
    comes = crowd("BEGIN")
    report = await carry_out(console, "activity.terminate", made, **chosen)
    assert outcomes(report) == {stays.pid: "terminated", leaves.pid: "no longer so, left alone"}
    assert leaves.alive
    assert comes.alive


async def test_a_shrunken_selection_keeps_the_plans_shape(
    crowd: Crowd, console: Session, database: Database
) -> None:
    crowd("BEGIN")
    leaves = crowd("BEGIN")
    chosen = {"database": database.name, "state": "idle in transaction"}
    before = await plan(console, "activity.terminate", **chosen)
    leaves.does("COMMIT")
    after = await plan(console, "activity.terminate", **chosen)
    assert before.fingerprint != after.fingerprint
    assert before.shape == after.shape


async def test_a_pid_that_another_session_has_now_is_not_touched(crowd: Crowd, console: Session) -> None:
    person = crowd("BEGIN")
    made = await plan(console, "activity.terminate", pid=[person.pid])
    [victim] = made.rows
    earlier = replace(victim, backend_start=victim.backend_start - timedelta(microseconds=1))
    reused = replace(made, steps=signals.terminate([earlier]))
    report = await carry_out(console, "activity.terminate", reused, pid=[person.pid])
    assert outcomes(report) == {person.pid: "gone already"}
    assert person.alive


async def test_a_pid_that_does_not_exist_is_refused(console: Session) -> None:
    for action, pid in (("activity.cancel", 2), ("activity.terminate", [2])):
        with pytest.raises(Refused, match="there is no server process 2"):
            await plan(console, action, pid=pid)


async def test_of_several_pids_one_that_is_gone_is_told(crowd: Crowd, console: Session) -> None:
    person = crowd()
    made = await plan(console, "activity.terminate", pid=[person.pid, 2])
    assert made.notes == ("not there, or ended already: 2",)
    assert [v.pid for v in made.rows] == [person.pid]


async def test_its_own_connection_is_refused(console: Session) -> None:
    [own] = console.own_pids
    with pytest.raises(Refused, match="pgtui's own"):
        await plan(console, "activity.terminate", pid=[own])


async def test_a_process_that_takes_no_signal_is_refused(console: Session) -> None:
    [pid] = [r.pid for r in await rows(console, "activity.sessions") if r.backend_type == "checkpointer"]
    with pytest.raises(Refused, match="is the server's checkpointer"):
        await plan(console, "activity.terminate", pid=[pid])


async def test_selections_leave_out_backups_and_pgtui_unless_they_are_named(
    crowd: Crowd, console: Session, database: Database
) -> None:
    dump = crowd("BEGIN", application_name="pg_dump")
    own = crowd("BEGIN", application_name="pgtui: jobmon.run_sql")
    client = crowd("BEGIN")
    made = await plan(console, "activity.terminate", database=database.name)
    assert [v.pid for v in made.rows] == [client.pid]
    assert str(dump.pid) in made.notes[0]
    assert str(own.pid) in made.notes[0]
    made = await plan(console, "activity.terminate", database=database.name, application="pg_dump")
    assert [v.pid for v in made.rows] == [dump.pid]


async def test_terminate_idle_takes_only_those_idle_in_a_transaction_for_long(
    crowd: Crowd, console: Session, database: Database
) -> None:
    old = crowd("BEGIN")
    aborted = crowd("BEGIN")
    with pytest.raises(Exception, match="division"):
        aborted.does("SELECT 1/0")
    until(lambda: old.is_so("clock_timestamp() - state_change > interval '1s'"))
    until(lambda: aborted.is_so("clock_timestamp() - state_change > interval '1s'"))
    young, idle, busy = crowd("BEGIN"), crowd(), crowd("BEGIN").starts(SLEEP)
    report = await run(
        console, "activity.terminate_idle", longer_than=Interval("900ms"), database=database.name
    )
    assert outcomes(report) == {old.pid: "terminated", aborted.pid: "terminated"}
    assert young.alive
    assert idle.alive
    assert busy.alive


async def test_terminate_idle_leaves_one_that_has_gone_on(
    crowd: Crowd, console: Session, database: Database
) -> None:
    person = crowd("BEGIN")
    chosen = {"longer_than": Interval("0s"), "database": database.name}
    made = await plan(console, "activity.terminate_idle", **chosen)
    person.does("COMMIT", "BEGIN").starts(SLEEP)
    report = await carry_out(console, "activity.terminate_idle", made, **chosen)
    assert outcomes(report) == {person.pid: "no longer so, left alone"}
    assert person.alive


@pytest.mark.parametrize("text", ["-5min", "5min 3 parrots"])
async def test_a_duration_that_is_none_is_wrong_usage(console: Session, text: str) -> None:
    with pytest.raises(Usage):
        await plan(console, "activity.terminate_idle", longer_than=Interval(text))


async def test_names_with_odd_characters_can_be_selected(crowd: Crowd, console: Session) -> None:
    person = crowd(application_name="o'hara {keys} %s [/x]")
    report = await run(console, "activity.terminate", application="o'hara {keys} %s [/x]")
    assert outcomes(report) == {person.pid: "terminated"}
    report = await run(console, "activity.terminate", user='a "b"; DROP', database="\x1b]0;x\x07'%(a)s{}\n")
    assert report.status == "ok"


async def test_a_name_that_no_server_can_read_is_refused(crowd: Crowd, console: Session) -> None:
    with pytest.raises(Refused, match="not valid in UTF-8"):
        await plan(console, "activity.terminate", application="caf\udce9")


async def test_a_walsender_goes_only_by_its_pid(own_cluster: OwnClusters, look: Look) -> None:
    primary = own_cluster()
    own_cluster.standby(primary)
    until(
        lambda: primary.psql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == [(1,)]
    )
    console = await look(primary.dsn())

    async def walsenders() -> list[int]:
        return [r.pid for r in await rows(console, "activity.sessions") if r.backend_type == "walsender"]

    [pid] = await walsenders()
    made = await plan(console, "activity.terminate", user="dba")
    assert pid not in [v.pid for v in made.rows]
    made = await plan(console, "activity.terminate", pid=[pid])
    assert made.notes == (f"process {pid} is no client's session but a walsender",)
    report = await carry_out(console, "activity.terminate", made, pid=[pid])
    assert outcomes(report) == {pid: "terminated"}


class TestRights:
    async def test_a_role_that_only_looks_is_told_what_to_grant(
        self, few_rights: Server, look: Look, crowd_on: Callable[[str], Crowd]
    ) -> None:
        person = crowd_on(few_rights.dsn(user="app"))("BEGIN")
        with pytest.raises(Missing) as caught:
            await plan(await look(few_rights.dsn(user="mon")), "activity.terminate", pid=[person.pid])
        assert "GRANT pg_signal_backend" in (caught.value.hint or "")
        with pytest.raises(Missing, match="not visible to other") as caught:
            await plan(await look(few_rights.dsn(user="other")), "activity.terminate", pid=[person.pid])
        assert "GRANT pg_read_all_stats TO other" in (caught.value.hint or "")

    async def test_only_a_superuser_may_end_a_superusers_session(
        self, few_rights: Server, look: Look, crowd_on: Callable[[str], Crowd]
    ) -> None:
        person = crowd_on(few_rights.dsn())("BEGIN")
        with pytest.raises(Missing) as caught:
            await plan(await look(few_rights.dsn(user="signaller")), "activity.terminate", pid=[person.pid])
        assert caught.value.hint == "only a superuser may signal a superuser's session"

    async def test_a_role_may_end_its_own_sessions(
        self, few_rights: Server, look: Look, crowd_on: Callable[[str], Crowd]
    ) -> None:
        person = crowd_on(few_rights.dsn(user="app"))("BEGIN")
        report = await run(await look(few_rights.dsn(user="app")), "activity.terminate", pid=[person.pid])
        assert outcomes(report) == {person.pid: "terminated"}

    async def test_one_that_is_not_permitted_does_not_hide_the_others(
        self, few_rights: Server, look: Look, crowd_on: Callable[[str], Crowd]
    ) -> None:
        mine = crowd_on(few_rights.dsn(user="app"))("BEGIN")
        theirs = crowd_on(few_rights.dsn())("BEGIN")
        console = await look(few_rights.dsn(user="signaller"))
        report = await run(console, "activity.terminate", state="idle in transaction")
        assert outcomes(report) == {mine.pid: "terminated"}
        assert f"not permitted: {theirs.pid}" in report.notices[0]
        assert theirs.alive

    async def test_the_role_that_acts_decides_when_another_looks(
        self, few_rights: Server, look: Look, crowd_on: Callable[[str], Crowd]
    ) -> None:
        mine = crowd_on(few_rights.dsn(user="app"))("BEGIN")
        theirs = crowd_on(few_rights.dsn())("BEGIN")
        console = await look(few_rights.dsn(user="mon"), act=few_rights.dsn(user="signaller"))
        report = await run(console, "activity.terminate", state="idle in transaction")
        assert report.status == "failed"
        assert report.error is not None
        assert f"terminated: {mine.pid}" in report.error.message
        assert f"not permitted: {theirs.pid}" in report.error.message
        assert not mine.alive
        assert theirs.alive
