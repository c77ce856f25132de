"""Actions on what is expected of a job: thresholds, and the failures counted against it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from psycopg import sql

from backend.core.declare import Ask, Col, Danger, action
from backend.core.errors import PgtuiError, Refused, Usage
from backend.core.facts import Query
from backend.core.plan import Answers, Check, Plan, over, statement
from backend.core.session import Session
from backend.core.values import Interval
from backend.jobmon.calls import last, logged_name, text
from backend.jobmon.place import ACTING, ask, schema

_BAD_INTERVAL = ("22007", "22008", "22015")
_MOST_SENSITIVE = 2**15 - 1
_MOST_ESCALATE = 2**31 - 1

# Both thresholds as they would be: what is not given stays.
_WANTED = Query("""
SELECT c.job_name IS NOT NULL AS configured,
       n.warn::pg_catalog.text AS warn,
       n.error::pg_catalog.text AS error,
       n.warn <= n.error AS ordered,
       least(n.warn, n.error) > interval '0' AS positive
  FROM (SELECT 1) AS always
  LEFT JOIN {jobmon}.job_check_config AS c
    ON c.job_name = %s
 CROSS JOIN LATERAL
       (SELECT coalesce(%s::pg_catalog.text::pg_catalog.interval, c.warn_threshold) AS warn,
               coalesce(%s::pg_catalog.text::pg_catalog.interval, c.error_threshold) AS error) AS n
""")

# A name that the extension was given in lower case is a row of its own, so the exact spelling goes first.
_CONFIGURED = Query("""
SELECT c.job_name AS job,
       c.warn_threshold::pg_catalog.text AS warn,
       c.error_threshold::pg_catalog.text AS error,
       c.active
  FROM {jobmon}.job_check_config AS c
 WHERE c.job_name IN (%s, pg_catalog.upper(%s::pg_catalog.text))
 ORDER BY c.job_name = %s DESC
 LIMIT 1
""")

_STREAK = Query("""
SELECT l.job_name AS job,
       l.job_id,
       pg_catalog.max(l.alert_code) AS code,
       pg_catalog.count(*)::pg_catalog.int4 AS failures
  FROM {jobmon}.job_check_log AS l
 WHERE l.job_name = (SELECT k.job_name
                       FROM {jobmon}.job_check_log AS k
                      WHERE k.job_name IN (%s, pg_catalog.upper(%s::pg_catalog.text))
                      ORDER BY k.job_name = %s DESC
                      LIMIT 1)
 GROUP BY l.job_name, l.job_id
 ORDER BY l.job_id
""")


@dataclass(frozen=True, slots=True)
class Wanted:
    """The thresholds that a job would have."""

    configured: bool
    warn: str | None
    error: str | None
    ordered: bool | None
    positive: bool | None


@dataclass(frozen=True, slots=True)
class Configured:
    """The thresholds that a job has."""

    job: Annotated[str, Col("Job", key=True, text=True)]
    warn: Annotated[str, Col("Warn after")]
    error: Annotated[str, Col("Error after")]
    active: Annotated[bool, Col("Active")]


@dataclass(frozen=True, slots=True)
class Failure:
    """A run that counts as a failure of its job."""

    job: Annotated[str, Col("Job", text=True)]
    job_id: Annotated[int, Col("Job id", key=True)]
    code: Annotated[int, Col("Code")]
    failures: Annotated[int, Col("Counted", help="The extension may count one run more than once")]


@action("jobmon.configure", danger=Danger.CHANGE, needs=ACTING, on=("jobmon.settings", "jobmon.alerts"))
async def configure(
    s: Session,
    job: Annotated[str, Ask("Job", help="In any case; jobs are logged in upper case")],
    warn: Annotated[Interval | None, Ask("Warn after", help="Longest time from start to start")] = None,
    error: Annotated[Interval | None, Ask("Error after", help="Not shorter than the other one")] = None,
    sensitivity: Annotated[
        int | None, Ask("Sensitivity", help="Failures in a row that are tolerated")
    ] = None,
    escalate: Annotated[
        int | None, Ask("Escalate", help="Failures in a row that raise the level; 0 switches it off")
    ] = None,
    active: Annotated[bool | None, Ask("Active", help="no silences the job")] = None,
) -> Plan:
    """Set how late a job may be, and how often it may fail.

    What is not given stays as it is. A job without thresholds needs --warn and --error, and is watched from
    then on unless --no-active is given.
    """
    _in_range("--sensitivity", sensitivity, 0, _MOST_SENSITIVE)
    if escalate:
        _in_range("--escalate", escalate, 2, _MOST_ESCALATE)
    name = await logged_name(s, job)
    wanted = await _wanted(s, name.job, warn, error)
    values: dict[str, Any] = {
        "warn_threshold": warn,
        "error_threshold": error,
        "sensitivity": sensitivity,
        "escalate": escalate,
        "active": True if active is None and not wanted.configured else active,
    }
    given = {column: value for column, value in values.items() if value is not None}
    if not given:
        raise Usage("nothing is to be changed", hint="give --warn, --error or another option")
    note = f"no job called {name.job} is logged so far; until one runs it counts as missing"
    return _set(schema(s.facts), name.job, given, wanted.configured, () if name.logged else (note,))


async def _wanted(s: Session, job: str, warn: str | None, error: str | None) -> Wanted:
    try:
        [wanted] = await ask(s, Wanted, _WANTED, job, warn, error)
    except PgtuiError as e:
        if e.sqlstate in _BAD_INTERVAL:
            raise Usage(f"--warn and --error: {e.message.partition(': ')[2]}") from None
        raise
    if wanted.warn is None or wanted.error is None:
        raise Usage(f"{job} has no thresholds so far, so it needs both --warn and --error")
    if not wanted.positive:
        raise Usage("--warn and --error want more than no time")
    if not wanted.ordered:
        raise Usage(f"--warn {wanted.warn} is longer than --error {wanted.error}")
    return wanted


def _in_range(option: str, value: int | None, least: int, most: int) -> None:
    if value is not None and not least <= value <= most:
        raise Usage(f"{option} wants {least} to {most}, not {value}")


_AS_GIVEN = sql.SQL("""\
RETURNING c.job_name AS job, c.warn_threshold::pg_catalog.text AS warn,
          c.error_threshold::pg_catalog.text AS error, c.active, c.sensitivity, c.escalate""")


def _set(place: str, job: str, given: dict[str, Any], configured: bool, notes: tuple[str, ...]) -> Plan:
    change = (_update if configured else _insert)(place, job, given)
    check = Check(
        lambda answers: answers[-1].count == 1,
        that="the thresholds were set",
        otherwise=f"the thresholds of {job} were removed meanwhile; nothing was set",
    )
    return Plan(job, (statement(change), check), notes=notes, result=last)


def _update(place: str, job: str, given: dict[str, Any]) -> sql.Composed:
    changes = [sql.SQL("{} = {}").format(sql.Identifier(c), _value(c, v)) for c, v in given.items()]
    return sql.SQL("UPDATE {table} AS c\n   SET {changes}\n WHERE c.job_name = {job}\n{returning}").format(
        table=sql.Identifier(place, "job_check_config"),
        changes=sql.SQL(", ").join(changes),
        job=sql.Literal(job),
        returning=_AS_GIVEN,
    )


def _insert(place: str, job: str, given: dict[str, Any]) -> sql.Composed:
    columns = sql.SQL(", ").join(sql.Identifier(c) for c in ("job_name", *given))
    values = sql.SQL(", ").join((sql.Literal(job), *(_value(c, v) for c, v in given.items())))
    return sql.SQL("INSERT INTO {table} AS c ({columns})\nVALUES ({values})\n{returning}").format(
        table=sql.Identifier(place, "job_check_config"), columns=columns, values=values, returning=_AS_GIVEN
    )


def _value(column: str, value: Any) -> sql.Composable:
    if column == "escalate" and value == 0:
        return sql.SQL("NULL")
    if column.endswith("_threshold"):
        return sql.SQL("{}::interval").format(sql.Literal(str(value)))
    return sql.Literal(value)


@action("jobmon.unconfigure", danger=Danger.DESTROY, needs=ACTING, on="jobmon.settings")
async def unconfigure(s: Session, job: Annotated[str, Ask("Job", choices="jobmon.settings.job")]) -> Plan:
    """Remove a job's thresholds; three failures in a row still alert."""
    text(job, "--job")
    found = await ask(s, Configured, _CONFIGURED, job, job, job)
    if not found:
        raise Refused(f"{job} has no thresholds", hint="jobmon.settings lists what has")
    name = found[0].job
    delete = sql.SQL("DELETE FROM {table} AS c\n WHERE c.job_name = {job}\n{returning}").format(
        table=sql.Identifier(schema(s.facts), "job_check_config"), job=sql.Literal(name), returning=_AS_GIVEN
    )
    check = Check(
        lambda answers: answers[-1].count == 1,
        that="the thresholds were there",
        otherwise=f"the thresholds of {name} were removed meanwhile",
    )
    return Plan(name, (statement(delete), check), rows=tuple(found), result=last)


@action("jobmon.clear_streak", danger=Danger.DESTROY, needs=ACTING, on="jobmon.alerts")
async def clear_streak(s: Session, job: Annotated[str, Ask("Job", choices="jobmon.alerts.job")]) -> Plan:
    """Forget the failures that are counted against a job, which ends its alert.

    Only the failures shown are forgotten, not one that comes meanwhile. The failed runs themselves stay in
    the log, except those that were purged: of them nothing is left.
    """
    text(job, "--job")
    found = await ask(s, Failure, _STREAK, job, job, job)
    if not found:
        raise Refused(f"no failures are counted against {job}", hint="jobmon.alerts shows whose are")
    place, name = schema(s.facts), found[0].job
    delete = over(
        "DELETE FROM {table} AS l\n WHERE l.job_name = {job}\n   AND l.job_id IN ({keys})",
        [(f.job_id,) for f in found],
        [str(f.job_id) for f in found],
        {"table": sql.Identifier(place, "job_check_log"), "job": sql.Literal(name)},
    )
    return Plan(name, (delete,), rows=tuple(found), result=lambda answers: _cleared(name, answers))


def _cleared(name: str, answers: Answers) -> dict[str, Any]:
    return {"job": name, "failures": answers[-1].count}
