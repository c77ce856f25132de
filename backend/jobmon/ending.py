"""Actions that end open jobs: cancel, fail and close."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from psycopg import sql

from backend.core.declare import Ask, Col, Danger, action
from backend.core.errors import Refused, Usage
from backend.core.facts import Query
from backend.core.plan import Answers, Check, Plan, Sql, Step, statement
from backend.core.session import Session
from backend.jobmon.calls import BIGGEST_ID, call, last
from backend.jobmon.place import ACTING, ask, schema

OPEN_VIEWS = ("jobmon.running", "jobmon.alerts", "jobmon.jobs")
OpenJobId = Annotated[int, Ask("Job id", choices="jobmon.running.job_id")]

_JOB = Query("""
SELECT j.job_id,
       j.job_name AS job,
       j.owner,
       j.pid,
       j.start_time AS start,
       j.end_time AS ended,
       j.status,
       a.pid IS NOT NULL AND a.backend_start IS NULL AS hidden,
       a.pid IS NOT NULL AND coalesce(a.backend_start <= j.start_time, true) AS alive
  FROM {jobmon}.job_log AS j
  LEFT JOIN pg_catalog.pg_stat_activity AS a
    ON a.pid = j.pid
 WHERE j.job_id = %s::pg_catalog.int8
""")

_LEVELS = Query("""
SELECT t.alert_code AS code,
       t.alert_text AS said
  FROM {jobmon}.job_status_text AS t
 ORDER BY t.alert_code
""")


@dataclass(frozen=True, slots=True)
class LoggedJob:
    """A job that is to be ended."""

    job_id: Annotated[int, Col("Job id", key=True)]
    job: Annotated[str, Col("Job", text=True)]
    owner: Annotated[str, Col("Owner")]
    pid: Annotated[int, Col("Pid")]
    start: Annotated[datetime, Col("Started")]
    ended: Annotated[datetime | None, Col("Ended", hidden=True)]
    status: Annotated[str | None, Col("Status", hidden=True)]
    hidden: Annotated[bool, Col("Hidden", hidden=True)]
    alive: Annotated[bool, Col("Session alive")]


@dataclass(frozen=True, slots=True)
class Level:
    """An alert code and the text that stands for it."""

    code: int
    said: str


@action("jobmon.cancel", danger=Danger.DISRUPT, needs=ACTING, on=OPEN_VIEWS, exclusive=False)
async def cancel(s: Session, job_id: OpenJobId) -> Plan:
    """Cancel what an open job's session runs, and log the job as failed.

    Only the session that logged the job is touched: it is compared again by process id and start in the
    statement that cancels. The session itself stays connected.
    """
    job = await _open_job(s, job_id)
    if job.hidden:
        raise Refused(
            f"the session of job {job_id} belongs to another role and cannot be told from a younger one",
            hint=f"GRANT pg_monitor TO {s.facts.user} shows it",
        )
    if not job.alive:
        raise Refused(
            f"the session of job {job_id} is gone, so there is nothing to cancel",
            hint=f"jobmon.fail --job-id {job_id} ends it in the log",
        )
    place = schema(s.facts)
    signal = sql.SQL("""\
SELECT {cancel} AS cancelled
  FROM {log} AS j
  JOIN pg_catalog.pg_stat_activity AS a
    ON a.pid = j.pid
   AND a.backend_start <= j.start_time
 WHERE j.job_id = {job_id}
   AND j.end_time IS NULL""").format(
        cancel=call(place, "cancel_job", sql.SQL("j.job_id")),
        log=sql.Identifier(place, "job_log"),
        job_id=sql.Literal(job_id),
    )
    check = Check(
        lambda answers: answers[-1].scalar is True,
        that="its session was cancelled",
        otherwise=f"job {job_id} or its session has ended meanwhile; nothing was cancelled",
    )
    return _plan(place, job, [statement(signal), check])


@action("jobmon.fail", danger=Danger.DISRUPT, needs=ACTING, on=OPEN_VIEWS, exclusive=False)
async def fail(
    s: Session,
    job_id: OpenJobId,
    level: Annotated[int, Ask("Level", help="The alert code: 2 is WARNING, 3 CRITICAL", fill=False)] = 3,
) -> Plan:
    """Log an open job as failed; its session, where it still lives, works on."""
    job = await _open_job(s, job_id)
    status = await _failing(s, level)
    return _end(s, job, "fail_job", status, job_id, level)


@action("jobmon.close", danger=Danger.DISRUPT, needs=ACTING, on=OPEN_VIEWS, exclusive=False)
async def close(s: Session, job_id: OpenJobId) -> Plan:
    """Log an open job as ended well; its session, where it still lives, works on.

    It also forgets the failures of earlier runs of that name, as any good run does.
    """
    job = await _open_job(s, job_id)
    good = [level.said for level in await ask(s, Level, _LEVELS) if level.code == 1]
    if not good:
        raise Refused("job_status_text has no row for alert code 1, so a job cannot end well")
    return _end(s, job, "close_job", good[0], job_id)


async def _open_job(s: Session, job_id: int) -> LoggedJob:
    found = await ask(s, LoggedJob, _JOB, job_id) if 0 < job_id <= BIGGEST_ID else []
    if not found:
        raise Refused(f"there is no job {job_id}", hint="jobmon.running lists the open ones")
    if found[0].ended is not None:
        raise Refused(
            f"job {job_id} ({found[0].job}) has ended as {found[0].status}",
            hint="only open jobs can be ended",
        )
    return found[0]


async def _failing(s: Session, level: int) -> str:
    """The status of a fail level; the extension takes unknown ones and leaves the job without a status."""
    levels = {found.code: found.said for found in await ask(s, Level, _LEVELS) if found.code > 1}
    if level not in levels:
        known = ", ".join(f"{code} {said}" for code, said in levels.items())
        raise Usage(f"--level {level} is no level to fail with", hint=f"known: {known}")
    return levels[level]


def _end(s: Session, job: LoggedJob, function: str, status: str, *arguments: int) -> Plan:
    place = schema(s.facts)
    end = sql.SQL("""\
SELECT j.job_id, {call} AS ended
  FROM {log} AS j
 WHERE j.job_id = {job_id}
   AND j.end_time IS NULL""").format(
        call=call(place, function, sql.SQL("j.job_id"), *arguments[1:]),
        log=sql.Identifier(place, "job_log"),
        job_id=sql.Literal(job.job_id),
    )
    check = Check(
        lambda answers: answers[-1].count == 1,
        that="the job was still open",
        otherwise=f"job {job.job_id} has ended meanwhile; nothing was changed",
    )
    note = f"session {job.pid} still runs it and is not interrupted; jobmon.cancel does that"
    return _plan(place, job, [statement(end), check], expected=status, notes=(note,) if job.alive else ())


def _plan(
    place: str, job: LoggedJob, steps: list[Step], *, expected: str | None = None, notes: tuple[str, ...] = ()
) -> Plan:
    return Plan(
        job.job, (*steps, _look(place, job.job_id), _ended(job.job_id, expected)),
        notes=notes, rows=(job,), result=last,
    )  # fmt: skip


def _look(place: str, job_id: int) -> Sql:
    look = sql.SQL("""\
SELECT j.job_id, j.job_name AS job, j.pid, j.status, j.end_time AS ended
  FROM {log} AS j
 WHERE j.job_id = {job_id}""")
    return statement(look.format(log=sql.Identifier(place, "job_log"), job_id=sql.Literal(job_id)))


def _ended(job_id: int, expected: str | None) -> Check:
    """An escalated failure has a status of its own, so only the end is certain."""

    def so(answers: Answers) -> bool:
        found = answers[-1].first
        return found.get("ended") is not None and found.get("status") in (
            {expected, "ESCALATED"} if expected else {found.get("status")}
        )

    return Check(
        so,
        that=f"the log shows job {job_id} as ended" + (f" with status {expected}" if expected else ""),
        otherwise=lambda answers: (
            f"job {job_id} is still logged as {answers[-1].first.get('status') or 'open'}"
        ),
    )
