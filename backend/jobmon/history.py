"""What ran: recent jobs and the steps of one, with what they said."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from psycopg import sql
from psycopg.abc import AdaptContext

from backend.core.declare import Col, Health, Verdict
from backend.core.facts import Query

# Steps say OK, WARNING and CRITICAL whatever the texts in job_status_text are: the extension hard-codes them.
# A list needs the beginning of a message; its steps have it in full.
JOBS = Query("""
WITH texts AS (
    SELECT pg_catalog.array_cat(ARRAY['OK'], pg_catalog.array_agg(t.alert_text)
               FILTER (WHERE t.alert_code = 1)) AS good,
           pg_catalog.array_cat(ARRAY['WARNING', 'CRITICAL'], pg_catalog.array_agg(t.alert_text)
               FILTER (WHERE t.alert_code > 1)) AS bad
      FROM {jobmon}.job_status_text AS t
), recent AS MATERIALIZED (
    SELECT j.job_id, j.job_name, j.owner, j.start_time, j.end_time, j.status, j.pid
      FROM {jobmon}.job_log AS j
     WHERE {filters}
     ORDER BY j.job_id DESC
     LIMIT %s
)
SELECT j.job_id,
       j.job_name AS job,
       j.owner,
       j.start_time AS start,
       CASE WHEN j.end_time IS NOT NULL THEN j.end_time - j.start_time
            WHEN o.state <> 'ORPHAN' THEN pg_catalog.clock_timestamp() - j.start_time
       END AS duration,
       coalesce(j.status, o.state) AS status,
       d.steps,
       d.ok,
       d.bad,
       j.pid,
       pg_catalog.left(d.message, 1000) AS message,
       CASE j.status
            WHEN 'ESCALATED' THEN 3
            ELSE (SELECT pg_catalog.max(t.alert_code)
                    FROM {jobmon}.job_status_text AS t
                   WHERE t.alert_text = j.status)
       END AS code
  FROM recent AS j
 CROSS JOIN texts AS x
  LEFT JOIN pg_catalog.pg_stat_activity AS a
    ON a.pid = j.pid
   AND j.end_time IS NULL
 CROSS JOIN LATERAL
       (SELECT CASE WHEN j.end_time IS NOT NULL THEN NULL
                    WHEN pg_catalog.pg_is_in_recovery() THEN 'OPEN'
                    WHEN a.pid IS NULL OR a.backend_start > j.start_time THEN 'ORPHAN'
                    ELSE 'RUNNING'
               END AS state) AS o
 CROSS JOIN LATERAL
       (SELECT pg_catalog.count(*)::pg_catalog.int4 AS steps,
               (pg_catalog.count(*) FILTER (WHERE s.status = ANY (x.good)))::pg_catalog.int4 AS ok,
               (pg_catalog.count(*) FILTER (WHERE s.status = ANY (x.bad)))::pg_catalog.int4 AS bad,
               (pg_catalog.array_agg(s.message ORDER BY s.status = ANY (x.bad) DESC NULLS LAST,
                                                        s.step_id DESC))[1] AS message
          FROM {jobmon}.job_detail AS s
         WHERE s.job_id = j.job_id) AS d
 ORDER BY j.job_id DESC
""")

# A log has few names and many runs: hopping through the index on the name finds those that a regular
# expression fits in 2 ms, where comparing a million runs with it takes 400.
NAMES = Query("""
WITH RECURSIVE hop AS (
    SELECT pg_catalog.min(j.job_name) AS job, 1 AS nth
      FROM {jobmon}.job_log AS j
     UNION ALL
    SELECT (SELECT pg_catalog.min(j.job_name)
              FROM {jobmon}.job_log AS j
             WHERE j.job_name > h.job), h.nth + 1
      FROM hop AS h
     WHERE h.job IS NOT NULL
       AND h.nth < %s
)
SELECT pg_catalog.count(h.job) AS known,
       pg_catalog.array_agg(h.job) FILTER (WHERE h.job ~* %s) AS fitting
  FROM hop AS h
""")
MOST_NAMES = 2000
MOST_LISTED = 100


@dataclass(frozen=True, slots=True)
class Names:
    """How many names were looked at, and which of them fit."""

    known: int
    fitting: list[str] | None


def name_filter(found: Names) -> sql.Composable | None:
    """The filter on the names that fit, as literals so that the planner knows how frequent they are.

    None where there are too many to list; the newest runs then hold enough of them.
    """
    names = found.fitting or []
    if found.known >= MOST_NAMES or len(names) > MOST_LISTED:
        return None
    if not names:
        return sql.SQL("false")
    return sql.SQL("j.job_name IN ({})").format(sql.SQL(", ").join(BesidesParameters(n) for n in names))


class BesidesParameters(sql.Literal):
    """A literal in a statement with parameters, where a percent sign begins a placeholder."""

    def as_bytes(self, context: AdaptContext | None = None) -> bytes:
        """The literal with percent signs doubled."""
        return super().as_bytes(context).replace(b"%", b"%%")


NO_FILTER = sql.SQL("true")
NAME_FILTER = sql.SQL("j.job_name ~* %s")
STATUS_FILTER = sql.SQL("j.status = %s")
OPEN_FILTER = sql.SQL("j.end_time IS NULL AND j.status IS NULL")
SINCE_FILTER = sql.SQL(
    "j.start_time > pg_catalog.clock_timestamp() - %s::pg_catalog.text::pg_catalog.interval"
)
OPEN_STATES = ("OPEN", "ORPHAN", "RUNNING")


@dataclass(frozen=True, slots=True)
class Job:
    """One run of a job."""

    job_id: Annotated[int, Col("Job id", key=True, priority=2)]
    job: Annotated[str, Col("Job", priority=1)]
    owner: Annotated[str, Col("Owner", priority=7, help="The role that logged it")]
    start: Annotated[datetime, Col("Started", priority=2)]
    duration: Annotated[
        timedelta | None, Col("Duration", priority=3, help="So far, for a job that is running")
    ]
    status: Annotated[
        str | None,
        Col(
            "Status",
            priority=1,
            help="As logged; RUNNING while it is open, ORPHAN when its session is gone, OPEN on a standby",
        ),
    ]
    steps: Annotated[int, Col("Steps", priority=6)]
    ok: Annotated[int, Col("Steps ok", priority=8)]
    bad: Annotated[int, Col("Steps bad", priority=5)]
    pid: Annotated[int, Col("Pid", priority=8, help="The backend that logged it")]
    message: Annotated[
        str | None,
        Col("Message", text=True, priority=3, help="What its last bad step said, otherwise its last step"),
    ]
    code: Annotated[int | None, Col("Code", hidden=True, help="The alert code of the status")]


def job_verdict(row: Job) -> Verdict | None:
    """How a run ended, for its colour."""
    if row.status == "ORPHAN":
        return Verdict(Health.WARNING, "its session is gone")
    return severity(row.code, f"ended {row.status}")


def severity(code: int | None, sentence: str) -> Verdict | None:
    """The verdict that an alert code stands for; 1 is well."""
    if code is None or code <= 1:
        return None
    return Verdict(Health.WARNING if code == 2 else Health.CRITICAL, sentence)


STEPS = Query("""
SELECT d.step_id,
       d.action,
       d.start_time AS start,
       CASE WHEN d.end_time IS NOT NULL THEN d.end_time - d.start_time
            WHEN j.end_time IS NULL
             AND (a.backend_start <= j.start_time
                  OR a.backend_start IS NULL AND a.pid IS NOT NULL
                  OR pg_catalog.pg_is_in_recovery())
            THEN pg_catalog.clock_timestamp() - d.start_time
       END AS elapsed,
       d.status,
       d.message,
       CASE d.status
            WHEN 'ESCALATE' THEN 3
            ELSE coalesce((SELECT pg_catalog.max(t.alert_code)
                             FROM {jobmon}.job_status_text AS t
                            WHERE t.alert_text = d.status),
                          CASE d.status WHEN 'OK' THEN 1 WHEN 'WARNING' THEN 2 WHEN 'CRITICAL' THEN 3 END)
       END AS code
  FROM {jobmon}.job_detail AS d
  JOIN {jobmon}.job_log AS j
    ON j.job_id = d.job_id
  LEFT JOIN pg_catalog.pg_stat_activity AS a
    ON a.pid = j.pid
 WHERE d.job_id = %s::pg_catalog.int8
 ORDER BY d.step_id
""")


@dataclass(frozen=True, slots=True)
class JobStep:
    """One step of a job."""

    step_id: Annotated[int, Col("Step", key=True, priority=4)]
    action: Annotated[str, Col("Action", priority=1)]
    start: Annotated[datetime, Col("Started", priority=5)]
    elapsed: Annotated[timedelta | None, Col("Elapsed", priority=1, help="So far, for a step that is open")]
    status: Annotated[str | None, Col("Status", priority=1)]
    message: Annotated[str | None, Col("Message", text=True, priority=1)]
    code: Annotated[int | None, Col("Code", hidden=True, help="The alert code of the status")]


def step_verdict(row: JobStep) -> Verdict | None:
    """How a step ended."""
    return severity(row.code, f"{row.action}: {row.status}")
