"""Views of the room `jobmon`."""

from __future__ import annotations

from typing import Annotated, Any

from psycopg import sql

from backend.core.declare import Ask, view
from backend.core.errors import PgtuiError, Usage
from backend.core.session import Session
from backend.core.values import Interval
from backend.jobmon import alerts as wrong
from backend.jobmon import history as past
from backend.jobmon import running as now
from backend.jobmon import settings as expected
from backend.jobmon.calls import text
from backend.jobmon.place import READING, ask, recent

MOST_JOBS = 100_000
MOST_OPEN = 1000
BIGGEST = 2**63 - 1

_BAD_VALUES = {"2201B": "--name", "22007": "--since", "22008": "--since", "22015": "--since"}


@view("jobmon.alerts", every=5, needs=READING, verdict=wrong.alert_verdict, overall=wrong.alerts_overall,
      empty=wrong.ALL_WELL)  # fmt: skip
async def alerts(s: Session) -> list[wrong.Alert]:
    """Jobs that failed too often, did not run in time, hang, or lost their session."""
    return [t.told() for t in await ask(s, wrong.Trouble, wrong.ALERTS, recent=recent(s.facts))]


@view("jobmon.running", every=2, needs=READING, verdict=now.running_verdict, checked=False,
      empty="no job is open")  # fmt: skip
async def running(s: Session) -> list[now.RunningJob]:
    """Open jobs: what their sessions do, and how long against the thresholds."""
    return await ask(s, now.RunningJob, now.RUNNING, MOST_OPEN)


@view("jobmon.jobs", every=5, needs=READING, verdict=past.job_verdict, checked=False,
      empty="no such job is logged")  # fmt: skip
async def jobs(
    s: Session,
    name: Annotated[str | None, Ask("Name", help="A regular expression, in any case")] = None,
    status: Annotated[str | None, Ask("Status", help="OK, WARNING, CRITICAL, … or OPEN")] = None,
    since: Annotated[Interval | None, Ask("Not older than")] = None,
    limit: Annotated[int, Ask("How many at most")] = 100,
) -> list[past.Job]:
    """Recent runs, the newest first."""
    if not 1 <= limit <= MOST_JOBS:
        raise Usage(f"--limit wants 1 to {MOST_JOBS}, not {limit}")
    try:
        given = [await _named(s, name), *_filters(status, since)]
        filters = sql.SQL(" AND ").join(f for f, _ in given)
        values = [v for _, each in given for v in each]
        return await ask(s, past.Job, past.JOBS, *values, limit, filters=filters)
    except PgtuiError as e:
        if option := _BAD_VALUES.get(e.sqlstate or ""):
            raise Usage(f"{option}: {e.message.partition(': ')[2]}") from None
        raise


_Filter = tuple[sql.Composable, list[Any]]


async def _named(s: Session, name: str | None) -> _Filter:
    if not name:
        return past.NO_FILTER, []
    [found] = await ask(s, past.Names, past.NAMES, past.MOST_NAMES, text(name, "--name"))
    listed = past.name_filter(found)
    return (listed, []) if listed else (past.NAME_FILTER, [name])


def _filters(status: str | None, since: str | None) -> list[_Filter]:
    given: list[_Filter] = []
    if status and status.upper() in past.OPEN_STATES:
        given.append((past.OPEN_FILTER, []))
    elif status:
        given.append((past.STATUS_FILTER, [text(status, "--status")]))
    if since:
        given.append((past.SINCE_FILTER, [since]))
    return given


@view("jobmon.steps", every=2, needs=READING, verdict=past.step_verdict,
      empty="no steps of such a job are logged")  # fmt: skip
async def steps(
    s: Session, job_id: Annotated[int, Ask("Job id", choices="jobmon.jobs.job_id")]
) -> list[past.JobStep]:
    """The steps of one job, with all that they said."""
    return await ask(s, past.JobStep, past.STEPS, job_id) if 0 < job_id <= BIGGEST else []


@view("jobmon.settings", every=10, needs=READING, verdict=expected.setting_verdict, checked=False,
      empty="no job is logged or configured; jobmon.configure sets thresholds")  # fmt: skip
async def settings(s: Session) -> list[expected.Setting]:
    """What is expected of each job: thresholds, and when the next run is due."""
    return await ask(s, expected.Setting, expected.SETTINGS, recent=recent(s.facts))
