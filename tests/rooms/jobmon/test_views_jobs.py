"""What ran, what runs and what is expected, as views."""

from __future__ import annotations

from datetime import timedelta

import pytest

from backend.core.declare import Health
from backend.core.errors import Missing, Usage
from backend.core.registry import views
from tests.rooms.jobmon.conftest import Connection, Console, Consoles, Sessions
from tests.rooms.jobmon.test_views_alerts import lose, ran, watch
from tests.servers import Database

NASTY = "[/x]\x1b]0;t\x07 \u202e %s {y} it's\nnew line"


def logged(dba: Connection, name: str, *steps: tuple[str, str, str]) -> int:
    """An open job with steps of action, status and message; a status of '' leaves the step open."""
    job_id: int = dba.value("SELECT jobmon.add_job(%s)", [name])
    for action, status, message in steps:
        step = dba.value("SELECT jobmon.add_step(%s, %s)", [job_id, action])
        if status:
            dba.ask("SELECT jobmon.update_step(%s, %s, %s)", [step, status, message])
    return job_id


async def test_without_a_job_log_a_sentence_says_what_creates_it(bare: Database, consoles: Consoles) -> None:
    console = await consoles(bare.dsn)
    for view in views("jobmon"):
        assert view.needs.missing(console.session.facts) == (
            f"database {bare.name} has no jobmon; jobmon.install creates it"
        )
    with pytest.raises(Missing, match=r"jobmon\.install creates it"):
        await console.rows("jobmon.jobs")


async def test_every_view_is_empty_on_an_empty_log(console: Console) -> None:
    for view in ("jobmon.alerts", "jobmon.running", "jobmon.jobs", "jobmon.settings"):
        assert await console.rows(view) == []
    assert await console.rows("jobmon.steps", job_id=1) == []


async def test_jobs_are_listed_newest_first_with_what_their_steps_said(
    console: Console, dba: Connection
) -> None:
    good = logged(dba, "good", ("a", "OK", "fine"), ("b", "OK", "done"))
    dba.ask("SELECT jobmon.close_job(%s)", [good])
    bad = logged(dba, "bad", ("a", "OK", "fine"), ("b", "CRITICAL", "ERROR: no"), ("c", "OK", "cleaned up"))
    dba.ask("SELECT jobmon.fail_job(%s)", [bad])
    later, earlier = await console.rows("jobmon.jobs")
    assert (later.job_id, later.job, later.status) == (bad, "BAD", "CRITICAL")
    assert (later.steps, later.ok, later.bad, later.message) == (3, 2, 1, "ERROR: no")
    assert (earlier.job, earlier.status, earlier.message) == ("GOOD", "OK", "done")
    assert earlier.duration > timedelta()
    assert earlier.owner == dba.info.user


async def test_open_jobs_say_whether_their_session_lives(
    console: Console, sessions: Sessions, dba: Connection
) -> None:
    logged(dba, "alive")
    lose(sessions, dba, "gone")
    gone, alive = await console.rows("jobmon.jobs")
    assert (alive.status, gone.status) == ("RUNNING", "ORPHAN")
    assert alive.duration is not None
    assert gone.duration is None


async def test_jobs_are_filtered_by_name_status_age_and_number(console: Console, dba: Connection) -> None:
    ran(dba, "load one", "2 days")
    ran(dba, "load two", "1 hour")
    dba.ask("SELECT jobmon.fail_job(jobmon.add_job('mail'))")
    logged(dba, "open")

    async def names(**params: object) -> list[str]:
        return [j.job for j in await console.rows("jobmon.jobs", **params)]

    assert await names(name="^load") == ["LOAD TWO", "LOAD ONE"]
    assert await names(name=r"load\s\w+o$") == ["LOAD TWO"]
    assert await names(status="CRITICAL") == ["MAIL"]
    assert await names(status="open") == ["OPEN"]
    assert await names(since="1 day", status="OK") == ["LOAD TWO"]
    assert await names(limit=1) == ["OPEN"]


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"name": "NIGHT["}, r"--name: invalid regular expression: brackets \[\] not balanced"),
        ({"since": "soon"}, "--since: invalid input syntax for type interval"),
        ({"limit": 0}, "--limit wants 1 to 100000, not 0"),
    ],
)
async def test_a_filter_that_makes_no_sense_is_wrong_usage(
    console: Console, dba: Connection, params: dict[str, object], sentence: str
) -> None:
    logged(dba, "x")
    with pytest.raises(Usage, match=sentence):
        await console.rows("jobmon.jobs", **params)


@pytest.mark.parametrize("names", [1, 150, 2100])
async def test_names_are_found_however_many_there_are(console: Console, dba: Connection, names: int) -> None:
    dba.ask(
        "INSERT INTO jobmon.job_log (owner, job_name, start_time, pid)"
        " SELECT 'o', 'IT''S 5%% {' || g, now(), 1 FROM generate_series(1, %s) AS g",
        [names],
    )
    found = await console.rows("jobmon.jobs", name="it's 5% .*1", limit=10_000)
    assert len(found) == sum("1" in str(n) for n in range(1, names + 1))
    assert [j.job for j in await console.rows("jobmon.jobs", name=r"\{1$")] == ["IT'S 5% {1"]
    assert await console.rows("jobmon.jobs", name="nothing") == []


async def test_steps_come_in_order_with_their_messages_in_full(console: Console, dba: Connection) -> None:
    long = "x" * 10_000
    job_id = logged(dba, "x", ("first", "OK", long), ("second", "CRITICAL", NASTY), ("third", "", ""))
    first, second, third = await console.rows("jobmon.steps", job_id=job_id)
    assert (first.action, first.status, first.message) == ("first", "OK", long)
    assert second.message == NASTY
    assert (third.status, third.message) == (None, None)
    assert third.elapsed > timedelta()
    judged = await console.judged("jobmon.steps", job_id=job_id)
    assert list(judged.findings) == [(second.step_id,)]


@pytest.mark.parametrize("job_id", [0, -1, 999_999, 2**63, 10**30])
async def test_a_job_that_is_not_there_has_no_steps(console: Console, job_id: int) -> None:
    assert await console.rows("jobmon.steps", job_id=job_id) == []


async def test_a_step_of_a_lost_session_has_no_age(
    console: Console, sessions: Sessions, dba: Connection
) -> None:
    job_id = lose(sessions, dba, "x")
    dba.ask("SELECT jobmon.add_step(%s, 'half')", [job_id])
    [step] = await console.rows("jobmon.steps", job_id=job_id)
    assert step.elapsed is None


async def test_running_shows_the_step_the_session_and_the_thresholds(
    console: Console, sessions: Sessions, dba: Connection
) -> None:
    watch(dba, "x", "1 hour", "2 hours")
    worker = sessions()
    job_id = logged(worker, "x", ("first", "OK", "done"), ("second", "", ""))
    [found] = await console.rows("jobmon.running")
    assert (found.job_id, found.job, found.state, found.pid) == (
        job_id,
        "X",
        "RUNNING",
        worker.info.backend_pid,
    )
    assert (found.step, found.warn, found.error, found.backend_state) == (
        "second",
        "01:00:00",
        "02:00:00",
        "idle",
    )
    assert found.step_elapsed is not None
    assert (await console.judged("jobmon.running")).findings == {}


@pytest.mark.parametrize(
    ("warn", "error", "health"), [("0", "1 hour", Health.WARNING), ("0", "0", Health.CRITICAL)]
)
async def test_running_longer_than_a_threshold_is_told(
    console: Console, sessions: Sessions, dba: Connection, warn: str, error: str, health: Health
) -> None:
    watch(dba, "x", warn, error)
    job_id = logged(sessions(), "x")
    judged = await console.judged("jobmon.running")
    assert judged.of((job_id,)).health is health
    assert judged.of((job_id,)).sentence == "runs longer than 00:00:00"


async def test_an_open_job_of_a_lost_session_is_an_orphan_and_comes_last(
    console: Console, sessions: Sessions, dba: Connection
) -> None:
    lost = lose(sessions, dba, "lost")
    alive = logged(sessions(), "alive")
    assert [(j.job_id, j.state) for j in await console.rows("jobmon.running")] == [
        (alive, "RUNNING"),
        (lost, "ORPHAN"),
    ]
    judged = await console.judged("jobmon.running")
    assert judged.of((lost,)).sentence == f"its session is gone; jobmon.fail --job-id {lost} ends it"


async def test_a_pid_that_a_younger_session_has_is_an_orphan(
    console: Console, sessions: Sessions, dba: Connection
) -> None:
    logged(sessions(), "x")
    dba.ask("UPDATE jobmon.job_log SET start_time = start_time - interval '1 hour'")
    [found] = await console.rows("jobmon.running")
    assert found.state == "ORPHAN"


async def test_settings_list_thresholds_and_jobs_that_have_none(console: Console, dba: Connection) -> None:
    watch(dba, "watched", "1 day", "1 mon 2 days", sensitivity=2)
    watch(dba, "quiet", active=False)
    ran(dba, "watched", "1 hour")
    dba.ask("SELECT jobmon.fail_job(jobmon.add_job('free'))")
    dba.ask("SELECT jobmon.job_log_clear('1 year')")
    watched, quiet, free = await console.rows("jobmon.settings")
    assert (watched.job, watched.active, watched.warn, watched.error) == (
        "WATCHED",
        True,
        "1 day",
        "1 mon 2 days",
    )
    assert watched.sensitivity == 2
    assert watched.next_due - watched.last_run == timedelta(days=1)
    assert (quiet.job, quiet.active, quiet.last_run, quiet.next_due) == ("QUIET", False, None, None)
    assert (free.job, free.active, free.warn, free.failures) == ("FREE", None, None, 1)


async def test_settings_point_out_what_makes_no_sense(console: Console, dba: Connection) -> None:
    watch(dba, "x", "2 hours", "1 hour")
    judged = await console.judged("jobmon.settings")
    assert judged.of(("X",)).sentence == "warns after 02:00:00, later than the error after 01:00:00"


async def test_no_name_disturbs_a_view(console: Console, dba: Connection) -> None:
    name = NASTY * 200
    logged(dba, name, (NASTY, "OK", NASTY))
    watch(dba, name)
    dba.ask("UPDATE jobmon.job_log SET owner = %s", [NASTY])
    for view in ("jobmon.running", "jobmon.jobs", "jobmon.settings"):
        [found] = await console.rows(view)
        assert found.job == name.upper()


async def test_what_is_history_is_no_alarm() -> None:
    assert [view.name for view in views("jobmon") if view.judged] == ["jobmon.alerts", "jobmon.steps"]
