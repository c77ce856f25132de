"""Setting and removing thresholds, and forgetting failures."""

from __future__ import annotations

from typing import Any

import pytest

from backend.core.declare import Danger
from backend.core.errors import Missing, Refused, Usage
from tests.rooms.jobmon.conftest import Connection, Console, Consoles
from tests.rooms.jobmon.test_views_jobs import NASTY
from tests.servers import Database

SETTINGS = (
    "SELECT job_name, warn_threshold::text, error_threshold::text, active, sensitivity, escalate"
    "  FROM jobmon.job_check_config ORDER BY job_name"
)


async def test_sets_the_thresholds_of_a_new_job_and_watches_it(console: Console, dba: Connection) -> None:
    plan = await console.plan("jobmon.configure", job="nightly", warn="1d", error="26h")
    assert (plan.subject, plan.danger) == ("NIGHTLY", Danger.CHANGE)
    assert plan.notes == ("no job called NIGHTLY is logged so far; until one runs it counts as missing",)
    assert dba.ask(SETTINGS) == []
    assert await console.done("jobmon.configure", job="nightly", warn="1d", error="26h") == {
        "job": "NIGHTLY",
        "warn": "1 day",
        "error": "26:00:00",
        "active": True,
        "sensitivity": 0,
        "escalate": None,
    }
    assert dba.ask(SETTINGS) == [("NIGHTLY", "1 day", "26:00:00", True, 0, None)]


async def test_changes_only_what_is_given(console: Console, dba: Connection) -> None:
    dba.ask("SELECT jobmon.add_job('x')")
    dba.ask("INSERT INTO jobmon.job_check_config VALUES ('X', '1 day', '2 days', false, 3, 5)")
    assert (await console.plan("jobmon.configure", job="x", warn="5min")).notes == ()
    await console.done("jobmon.configure", job="x", warn="5min")
    assert dba.ask(SETTINGS) == [("X", "00:05:00", "2 days", False, 3, 5)]
    await console.done("jobmon.configure", job="X", sensitivity=0, escalate=0, active=True)
    assert dba.ask(SETTINGS) == [("X", "00:05:00", "2 days", True, 0, None)]


async def test_may_watch_nothing_at_first(console: Console, dba: Connection) -> None:
    await console.done("jobmon.configure", job="x", warn="1h", error="2h", active=False, escalate=2)
    assert dba.ask(SETTINGS) == [("X", "01:00:00", "02:00:00", False, 0, 2)]


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"warn": "1h"}, "X has no thresholds so far, so it needs both --warn and --error"),
        ({"warn": "2h", "error": "1h"}, "--warn 02:00:00 is longer than --error 01:00:00"),
        ({"warn": "0 s", "error": "1h"}, "want more than no time"),
        ({"warn": "-1h", "error": "1h"}, "want more than no time"),
        ({"warn": "soon", "error": "1h"}, "--warn and --error: invalid input syntax for type interval"),
        ({"warn": "1 mon", "error": "99999999999 years"}, "--warn and --error: interval"),
        ({"warn": "1h", "error": "2h", "sensitivity": -1}, "--sensitivity wants 0 to 32767, not -1"),
        ({"warn": "1h", "error": "2h", "sensitivity": 99999}, "--sensitivity wants 0 to 32767, not 99999"),
        ({"warn": "1h", "error": "2h", "escalate": 1}, "--escalate wants 2 to"),
        ({"warn": "1h", "error": "2h", "escalate": -2}, "--escalate wants 2 to"),
        ({"job": " ", "warn": "1h", "error": "2h"}, "--job is empty"),
        ({"job": "a\0b", "warn": "1h", "error": "2h"}, "--job holds a zero byte"),
    ],
)
async def test_a_threshold_that_makes_no_sense_is_wrong_usage(
    console: Console, dba: Connection, params: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(Usage, match=sentence):
        await console.plan("jobmon.configure", **{"job": "x", **params})
    assert dba.ask(SETTINGS) == []


async def test_a_threshold_is_compared_with_the_one_that_stays(console: Console, dba: Connection) -> None:
    dba.ask("INSERT INTO jobmon.job_check_config VALUES ('X', '1 day', '2 days')")
    with pytest.raises(Usage, match="--warn 3 days is longer than --error 2 days"):
        await console.plan("jobmon.configure", job="x", warn="3 days")
    with pytest.raises(Usage, match="nothing is to be changed"):
        await console.plan("jobmon.configure", job="x")


async def test_thresholds_removed_meanwhile_are_not_set_silently(console: Console, dba: Connection) -> None:
    dba.ask("INSERT INTO jobmon.job_check_config VALUES ('X', '1 day', '2 days')")
    run = await console.start("jobmon.configure", job="x", warn="1h")
    dba.ask("DELETE FROM jobmon.job_check_config")
    report = await run.execute()
    assert report.error is not None
    assert report.error.message == "the thresholds of X were removed meanwhile; nothing was set"


async def test_a_name_is_upper_case_as_the_server_writes_it(console: Console, dba: Connection) -> None:
    name = f"straße {NASTY}"
    dba.ask("SELECT jobmon.add_job(%s)", [name])
    assert (await console.plan("jobmon.configure", job=name, warn="1h", error="2h")).notes == ()
    await console.done("jobmon.configure", job=name, warn="1h", error="2h")
    assert dba.ask("SELECT count(*) FROM jobmon.job_check_config JOIN jobmon.job_log USING (job_name)") == [
        (1,)
    ]


async def test_removes_the_thresholds_of_one_job(console: Console, dba: Connection) -> None:
    dba.ask("INSERT INTO jobmon.job_check_config VALUES ('X', '1 day', '2 days'), ('Y', '1 day', '2 days')")
    plan = await console.plan("jobmon.unconfigure", job="x")
    assert (plan.subject, plan.danger) == ("X", Danger.DESTROY)
    assert len(dba.ask(SETTINGS)) == 2
    assert (await console.done("jobmon.unconfigure", job="x"))["job"] == "X"
    assert [row[0] for row in dba.ask(SETTINGS)] == ["Y"]


async def test_a_job_without_thresholds_is_refused(console: Console) -> None:
    with pytest.raises(Refused, match="nobody has no thresholds"):
        await console.plan("jobmon.unconfigure", job="nobody")


async def test_forgets_the_failures_shown_and_none_that_comes_meanwhile(
    console: Console, dba: Connection
) -> None:
    dba.ask("SELECT jobmon.fail_job(jobmon.add_job('x')) FROM generate_series(1, 3)")
    dba.ask("SELECT jobmon.fail_job(jobmon.add_job('y'))")
    run = await console.start("jobmon.clear_streak", job="x")
    assert (run.plan.subject, run.plan.danger) == ("X", Danger.DESTROY)
    assert [f.job_id for f in run.plan.rows] == [1, 2, 3]
    dba.ask("SELECT jobmon.fail_job(jobmon.add_job('x'))")
    assert (await run.execute()).result == {"job": "X", "failures": 3}
    assert dba.ask("SELECT job_id FROM jobmon.job_check_log ORDER BY 1") == [(4,), (5,)]
    assert dba.value("SELECT count(*) FROM jobmon.job_log") == 5


async def test_forgets_failures_whose_log_is_purged(console: Console, dba: Connection) -> None:
    dba.ask("SELECT jobmon.fail_job(jobmon.add_job('x')) FROM generate_series(1, 3)")
    dba.ask("DELETE FROM jobmon.job_log")
    [alert] = await console.rows("jobmon.alerts")
    assert await console.done("jobmon.clear_streak", job=alert.job) == {"job": "X", "failures": 3}
    assert await console.rows("jobmon.alerts") == []


async def test_a_job_without_failures_is_refused(console: Console, dba: Connection) -> None:
    dba.ask("SELECT jobmon.close_job(jobmon.add_job('x'))")
    with pytest.raises(Refused, match="no failures are counted against x"):
        await console.plan("jobmon.clear_streak", job="x")


async def test_a_role_that_may_not_write_is_told_so(
    jobmon: Database, plain: Connection, dba: Connection, consoles: Consoles
) -> None:
    dba.ask(f'GRANT SELECT ON ALL TABLES IN SCHEMA jobmon TO "{plain.info.user}"')
    console = await consoles(jobmon.server.dsn(jobmon.name, user=plain.info.user))
    report = await console.run("jobmon.configure", job="x", warn="1h", error="2h")
    assert isinstance(report.error, Missing)
    assert "permission denied for table job_check_config" in report.error.message
