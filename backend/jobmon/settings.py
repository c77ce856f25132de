"""What is expected of each job: thresholds, and when the next run is due."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from backend.core.declare import Col, Health, Verdict
from backend.core.facts import Query

# A purge logs itself under a new name each time; nobody sets thresholds for those.
SETTINGS = Query("""
WITH {recent}
SELECT coalesce(c.job_name, r.job_name) AS job,
       c.active,
       c.warn_threshold::pg_catalog.text AS warn,
       c.error_threshold::pg_catalog.text AS error,
       c.sensitivity::pg_catalog.int4 AS sensitivity,
       c.escalate,
       l.last_start AS last_run,
       CASE WHEN c.active THEN l.last_start + c.warn_threshold END AS next_due,
       (SELECT pg_catalog.count(*)::pg_catalog.int4
          FROM {jobmon}.job_check_log AS k
         WHERE k.job_name = coalesce(c.job_name, r.job_name)) AS failures,
       c.job_name <> pg_catalog.upper(c.job_name) AS misspelt,
       c.warn_threshold > c.error_threshold AS inverted
  FROM recent AS r
  FULL JOIN {jobmon}.job_check_config AS c
    ON c.job_name = r.job_name
 CROSS JOIN LATERAL
       (SELECT pg_catalog.max(j.start_time) AS last_start
          FROM (SELECT m.start_time + interval '0' AS start_time
                  FROM {jobmon}.job_log AS m
                 WHERE m.job_name = c.job_name
                   AND r.job_name IS NULL) AS j) AS h
 CROSS JOIN LATERAL (SELECT coalesce(r.last_start, h.last_start) AS last_start) AS l
 WHERE c.job_name IS NOT NULL
    OR r.job_name NOT LIKE 'PURGING PG\\_JOBMON JOB LOGS OLDER THAN %'
 ORDER BY c.job_name IS NULL, c.active DESC, job
""")


@dataclass(frozen=True, slots=True)
class Setting:
    """One job with its thresholds; a job without any is shown too, so that it can be given some."""

    job: Annotated[str, Col("Job", key=True, text=True, priority=1)]
    active: Annotated[
        bool | None,
        Col("Active", priority=1, help="no silences the job; empty where nothing is configured for it"),
    ]
    warn: Annotated[str | None, Col("Warn after", priority=1, help="Longest time from start to start")]
    error: Annotated[str | None, Col("Error after", priority=1, help="Time from start to start")]
    sensitivity: Annotated[
        int | None, Col("Sensitivity", priority=4, help="How many failures in a row are tolerated")
    ]
    escalate: Annotated[
        int | None, Col("Escalate", priority=5, help="Failures in a row that raise the alert by one level")
    ]
    last_run: Annotated[datetime | None, Col("Last run", priority=2)]
    next_due: Annotated[datetime | None, Col("Next due", priority=2, help="Last start plus the threshold")]
    failures: Annotated[int, Col("Failures", priority=3, help="Runs that failed since the last good one")]
    misspelt: Annotated[bool | None, Col("Misspelt", hidden=True, help="Not in upper case, as jobs are")]
    inverted: Annotated[bool | None, Col("Inverted", hidden=True, help="Warn is longer than error")]


def setting_verdict(row: Setting) -> Verdict | None:
    """What is wrong with a configuration itself."""
    if row.misspelt:
        return Verdict(Health.WARNING, "jobs are logged in upper case, so this never matches one")
    if row.inverted:
        return Verdict(Health.WARNING, f"warns after {row.warn}, later than the error after {row.error}")
    return None
