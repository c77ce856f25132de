"""The action that deletes old runs from the log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, LiteralString

from psycopg import sql

from backend.core.declare import Ask, Col, Danger, action
from backend.core.errors import PgtuiError, Usage
from backend.core.facts import Query
from backend.core.plan import Answers, Plan, Repeat, statement
from backend.core.session import Session
from backend.core.show import counted
from backend.core.values import Interval
from backend.jobmon.place import ACTING, ask, schema

BATCH = 5000

# Whatever is still open in a session that lives is not old, however long it has run.
_OLD: LiteralString = """j.start_time <= pg_catalog.now() - {older_than}
       AND NOT (j.end_time IS NULL
           AND EXISTS (SELECT
                         FROM pg_catalog.pg_stat_activity AS a
                        WHERE a.pid = j.pid
                          AND (a.backend_start IS NULL OR a.backend_start <= j.start_time)))"""

_POSITIVE = Query("SELECT %s::pg_catalog.text::pg_catalog.interval > interval '0' AS yes")

_PURGED = Query("""
SELECT j.job_name AS job,
       pg_catalog.count(*) AS runs,
       pg_catalog.min(j.start_time) AS oldest,
       pg_catalog.max(j.start_time) AS newest
  FROM {jobmon}.job_log AS j
 WHERE {old}
 GROUP BY j.job_name
 ORDER BY runs DESC, job
""")

_MORE = Query("""
SELECT (SELECT pg_catalog.count(*)
          FROM {jobmon}.job_log AS j
          JOIN {jobmon}.job_detail AS d
            ON d.job_id = j.job_id
         WHERE {old}) AS steps,
       (SELECT pg_catalog.count(*)
          FROM {jobmon}.job_check_log AS l
         WHERE NOT EXISTS (SELECT
                             FROM {jobmon}.job_log AS j
                            WHERE j.job_id = l.job_id
                              AND NOT ({old}))) AS failures
""")

_DELETE: LiteralString = """\
WITH old AS (
    SELECT j.job_id
      FROM {log} AS j
     WHERE {old}
     ORDER BY j.start_time
     LIMIT {batch}
), gone AS (
    DELETE FROM {log} AS g
     USING old
     WHERE g.job_id = old.job_id
    RETURNING g.job_id
)
SELECT pg_catalog.count(*) AS jobs
  FROM gone"""

_FORGET: LiteralString = """\
DELETE FROM {streaks} AS l
 WHERE NOT EXISTS (SELECT
                     FROM {log} AS j
                    WHERE j.job_id = l.job_id)"""


@dataclass(frozen=True, slots=True)
class Positive:
    """Whether an interval is longer than nothing."""

    yes: bool


@dataclass(frozen=True, slots=True)
class Purged:
    """The runs of one job that go."""

    job: Annotated[str, Col("Job", key=True, text=True)]
    runs: Annotated[int, Col("Runs")]
    oldest: Annotated[datetime, Col("Oldest")]
    newest: Annotated[datetime, Col("Newest")]


@dataclass(frozen=True, slots=True)
class Dependents:
    """What goes with the runs."""

    steps: int
    failures: int


@action("jobmon.purge", danger=Danger.DESTROY, needs=ACTING)
async def purge(
    s: Session, older_than: Annotated[Interval, Ask("Older than", help="Age of the start of a run")]
) -> Plan:
    """Delete old runs with their steps from the log, and failures whose run is no longer logged.

    What is still running stays. It goes in batches, each its own transaction, so it can be cancelled and
    holds no lock for long.
    """
    await _check(s, older_than)
    place, age = schema(s.facts), sql.SQL("interval {}").format(sql.Literal(str(older_than)))
    old = sql.SQL(_OLD).format(older_than=age)
    runs = await ask(s, Purged, _PURGED, old=old)
    more = await _dependents(s, old)
    subject, total = f"{place}.job_log", sum(r.runs for r in runs)
    if not total and not (more and more.failures):
        return Plan(subject, (), notes=(f"nothing in the log is older than {older_than}",))
    log = sql.Identifier(place, "job_log")
    delete = sql.SQL(_DELETE).format(log=log, old=old, batch=sql.Literal(BATCH))
    forget = sql.SQL(_FORGET).format(log=log, streaks=sql.Identifier(place, "job_check_log"))
    return Plan(
        subject,
        (Repeat(delete, until="none is left", total=total, unit="jobs"), statement(forget)),
        notes=(_summary(total, more),),
        rows=tuple(runs),
        result=_result,
    )


async def _check(s: Session, older_than: str) -> None:
    try:
        [positive] = await ask(s, Positive, _POSITIVE, str(older_than))
    except PgtuiError as e:
        if e.sqlstate and e.sqlstate.startswith("22"):
            raise Usage(f"--older-than: {e.message.partition(': ')[2]}") from None
        raise
    if not positive.yes:
        raise Usage("--older-than wants more than no time", hint="write 90d or 6 months")


async def _dependents(s: Session, old: sql.Composable) -> Dependents | None:
    """How many steps and failures go too; None when counting takes too long."""
    try:
        [more] = await ask(s, Dependents, _MORE, old=old)
        return more
    except PgtuiError as e:
        if e.sqlstate == "57014":
            return None
        raise


def _summary(jobs: int, more: Dependents | None) -> str:
    if more is None:
        return f"{counted(jobs, 'job')} with all steps would go"
    return (
        f"{counted(jobs, 'job')} with {counted(more.steps, 'step')}"
        f" and {counted(more.failures, 'counted failure')} would go"
    )


def _result(answers: Answers) -> dict[str, int]:
    return {"jobs": answers[0].count, "failures": answers[1].count}
