"""What runs now: open jobs, what their sessions do, and how long against what was expected."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from backend.core.declare import Col, Health, Verdict
from backend.core.facts import Query
from backend.jobmon.history import severity

# Without the extension's index on status nothing but a whole scan finds open jobs there. On a standby the
# pids are the primary's. pg_blocking_pids() takes the lock manager's locks, so only waiting ones are asked.
RUNNING = Query("""
WITH open_job AS MATERIALIZED (
    SELECT j.job_id, j.job_name, j.owner, j.start_time, a.pid AS live_pid, j.pid,
           a.state AS backend_state,
           CASE WHEN a.state LIKE 'idle%%' THEN NULL
                ELSE a.wait_event_type || ':' || a.wait_event
           END AS wait,
           CASE a.wait_event_type WHEN 'Lock' THEN pg_catalog.pg_blocking_pids(a.pid) END AS blocked_by,
           CASE WHEN pg_catalog.pg_is_in_recovery() THEN 'OPEN'
                WHEN a.pid IS NULL OR a.backend_start > j.start_time THEN 'ORPHAN'
                WHEN a.wait_event_type = 'Lock' THEN 'BLOCKED'
                ELSE 'RUNNING'
           END AS state,
           a.backend_start IS NOT NULL AS visible
      FROM {jobmon}.job_log AS j
      LEFT JOIN pg_catalog.pg_stat_activity AS a
        ON a.pid = j.pid
       AND NOT pg_catalog.pg_is_in_recovery()
     WHERE j.end_time IS NULL
       AND j.status IS NULL
     ORDER BY a.pid IS NULL OR a.backend_start > j.start_time, j.start_time
     LIMIT %s
)
SELECT j.job_id,
       j.job_name AS job,
       j.owner,
       j.pid,
       j.state,
       j.start_time AS start,
       t.elapsed,
       c.warn_threshold::pg_catalog.text AS warn,
       c.error_threshold::pg_catalog.text AS error,
       j.backend_state,
       j.wait,
       j.blocked_by,
       d.action AS step,
       CASE WHEN d.end_time IS NULL THEN pg_catalog.clock_timestamp() - d.start_time END AS step_elapsed,
       d.message,
       CASE WHEN t.elapsed > c.error_threshold THEN 3
            WHEN t.elapsed > c.warn_threshold THEN 2
            ELSE 1
       END AS code,
       j.visible OR j.state IN ('OPEN', 'ORPHAN') AS visible
  FROM open_job AS j
 CROSS JOIN LATERAL (SELECT pg_catalog.clock_timestamp() - j.start_time AS elapsed) AS t
  LEFT JOIN {jobmon}.job_check_config AS c
    ON c.job_name = j.job_name
   AND c.active
  LEFT JOIN LATERAL
       (SELECT s.action, s.start_time, s.end_time, s.message
          FROM {jobmon}.job_detail AS s
         WHERE s.job_id = j.job_id
         ORDER BY s.step_id DESC
         LIMIT 1) AS d
    ON true
 ORDER BY j.state = 'ORPHAN', j.start_time, j.job_id
""")


@dataclass(frozen=True, slots=True)
class RunningJob:
    """One open job."""

    job_id: Annotated[int, Col("Job id", key=True, priority=2)]
    job: Annotated[str, Col("Job", priority=1)]
    owner: Annotated[str, Col("Owner", priority=7, help="The role that logged it")]
    pid: Annotated[int, Col("Pid", priority=3, help="The backend that logged it")]
    state: Annotated[
        str,
        Col(
            "State",
            priority=1,
            help="RUNNING; BLOCKED by a lock; ORPHAN when its session is gone; OPEN on a standby",
        ),
    ]
    start: Annotated[datetime, Col("Started", priority=6)]
    elapsed: Annotated[timedelta, Col("Elapsed", priority=1)]
    warn: Annotated[str | None, Col("Warn after", priority=5, help="Its threshold, where one is active")]
    error: Annotated[str | None, Col("Error after", priority=5, help="Its threshold, where one is active")]
    backend_state: Annotated[str | None, Col("Backend", priority=6, help="What its session does")]
    wait: Annotated[str | None, Col("Wait", priority=4, help="What its session waits for")]
    blocked_by: Annotated[
        list[int] | None, Col("Blocked by", priority=3, help="Processes that hold the lock it waits for")
    ]
    step: Annotated[str | None, Col("Step", priority=2, text=True, help="Its last step")]
    step_elapsed: Annotated[timedelta | None, Col("In step", priority=4, help="Age of its last step")]
    message: Annotated[str | None, Col("Message", priority=5, help="What its last step said so far")]
    code: Annotated[int, Col("Code", hidden=True, help="2 beyond the first threshold, 3 beyond the second")]
    visible: Annotated[bool, Col("Visible", hidden=True, help="Whether its session can be seen")]


def running_verdict(row: RunningJob) -> Verdict | None:
    """What is wrong with an open job."""
    if row.state == "ORPHAN":
        return Verdict(Health.WARNING, f"its session is gone; jobmon.fail --job-id {row.job_id} ends it")
    if late := severity(row.code, f"runs longer than {row.error if row.code > 2 else row.warn}"):
        return late
    if row.state == "BLOCKED":
        return Verdict(Health.WARNING, f"waits for {_blockers(row.blocked_by)}")
    if not row.visible:
        return Verdict(
            Health.UNKNOWN, "its session is not visible; GRANT pg_monitor to pgtui's role shows it"
        )
    return None


def _blockers(pids: list[int] | None) -> str:
    named = [str(pid) for pid in pids or [] if pid]
    return f"process {', '.join(named)}" if named else "a lock"
