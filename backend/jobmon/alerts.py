"""What is wrong with which job: the rules of check_job_status, read-only, folded to one row a job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from backend.core.declare import Col, Health, Verdict
from backend.core.facts import Query
from backend.core.show import duration
from backend.jobmon.history import severity

# Codes count together when no single one suffices, or 2, 3, 2 would be three failures in a row that nobody
# hears of. An inactive configuration silences its job. On a standby the pids are the primary's.
ALERTS = Query("""
WITH {recent}, tally AS (
    SELECT l.job_name, l.alert_code,
           pg_catalog.count(*) AS runs,
           pg_catalog.count(j.job_id) AS logged,
           pg_catalog.min(j.start_time) AS since,
           pg_catalog.max(j.job_id) AS job_id,
           pg_catalog.sum(pg_catalog.count(*))
               OVER (PARTITION BY l.job_name ORDER BY l.alert_code DESC) AS runs_or_worse
      FROM {jobmon}.job_check_log AS l
      LEFT JOIN {jobmon}.job_log AS j
        ON j.job_id = l.job_id
     GROUP BY l.job_name, l.alert_code
), streak AS (
    SELECT t.job_name,
           pg_catalog.sum(t.runs)::pg_catalog.int4 AS failures,
           pg_catalog.sum(t.logged)::pg_catalog.int4 AS logged,
           pg_catalog.min(t.since) AS since,
           pg_catalog.max(t.job_id) AS job_id,
           pg_catalog.max(t.alert_code)
               FILTER (WHERE t.runs_or_worse >= coalesce(c.sensitivity + 1, 3)) AS code,
           pg_catalog.string_agg(pg_catalog.concat_ws(' ', t.runs,
                                     coalesce(x.alert_text, 'LEVEL ' || t.alert_code)),
                                 ', ' ORDER BY t.alert_code DESC) AS said
      FROM tally AS t
      LEFT JOIN {jobmon}.job_check_config AS c
        ON c.job_name = t.job_name
      LEFT JOIN {jobmon}.job_status_text AS x
        ON x.alert_code = t.alert_code
     WHERE c.job_name IS NULL
        OR c.active
     GROUP BY t.job_name
), watched AS (
    SELECT c.job_name, c.warn_threshold, c.error_threshold, c.sensitivity,
           coalesce(r.last_start, h.last_start) AS last_start,
           coalesce(r.last_end, h.last_end) AS last_end
      FROM {jobmon}.job_check_config AS c
      LEFT JOIN recent AS r
        ON r.job_name = c.job_name
     CROSS JOIN LATERAL
           (SELECT pg_catalog.max(j.start_time) AS last_start, pg_catalog.max(j.end_time) AS last_end
              FROM {jobmon}.job_log AS j
             WHERE j.job_name = c.job_name
               AND r.last_end IS NULL) AS h
     WHERE c.active
), late AS (
    SELECT w.job_name,
           CASE WHEN w.last_start >= pg_catalog.clock_timestamp() - w.error_threshold THEN 2
                ELSE 3
           END AS code,
           w.last_start + w.warn_threshold AS since
      FROM watched AS w
     WHERE w.last_start IS NULL
        OR w.last_start < pg_catalog.clock_timestamp() - w.warn_threshold
), open_run AS (
    SELECT j.job_name,
           pg_catalog.min(j.start_time) FILTER (WHERE a.pid IS NOT NULL) AS live_since,
           pg_catalog.min(j.job_id) FILTER (WHERE a.pid IS NOT NULL) AS live_job,
           pg_catalog.max(j.job_id) FILTER (WHERE a.pid IS NULL) AS orphan_job,
           pg_catalog.max(j.start_time) FILTER (WHERE a.pid IS NULL) AS orphan_since,
           pg_catalog.max(CASE a.wait_event_type WHEN 'Lock' THEN pg_catalog.pg_blocking_pids(a.pid) END)
               AS blocked_by
      FROM {jobmon}.job_log AS j
      LEFT JOIN pg_catalog.pg_stat_activity AS a
        ON a.pid = j.pid
       AND (a.backend_start IS NULL OR a.backend_start <= j.start_time)
     WHERE j.end_time IS NULL
       AND j.status IS NULL
       AND NOT pg_catalog.pg_is_in_recovery()
     GROUP BY j.job_name
), orphan AS (
    SELECT o.job_name
      FROM open_run AS o
      LEFT JOIN recent AS r
        ON r.job_name = o.job_name
      LEFT JOIN {jobmon}.job_check_config AS c
        ON c.job_name = o.job_name
     WHERE c.active IS DISTINCT FROM false
       AND CASE WHEN r.job_name IS NOT NULL THEN r.last_job = o.orphan_job
                ELSE o.orphan_job IS NOT NULL
                 AND NOT EXISTS (SELECT
                                   FROM {jobmon}.job_log AS j
                                  WHERE j.job_name = o.job_name
                                    AND j.job_id > o.orphan_job)
           END
), trouble AS (
    SELECT n.job_name,
           coalesce(s.code, 0) AS failed_code,
           coalesce(l.code, 0) AS late_code,
           CASE WHEN p.job_name IS NULL THEN 0 ELSE 2 END AS orphan_code,
           l.since AS late_since
      FROM (SELECT job_name FROM streak WHERE code IS NOT NULL
             UNION
            SELECT job_name FROM late
             UNION
            SELECT job_name FROM orphan) AS n
      LEFT JOIN streak AS s
        ON s.job_name = n.job_name
      LEFT JOIN late AS l
        ON l.job_name = n.job_name
      LEFT JOIN orphan AS p
        ON p.job_name = n.job_name
)
SELECT t.job_name AS job,
       t.failed_code,
       t.late_code,
       t.orphan_code,
       t.late_since,
       s.said,
       coalesce(s.failures, 0) AS failures,
       coalesce(s.logged, 0) AS logged,
       s.since AS failing_since,
       s.job_id AS failed_job,
       w.sensitivity,
       w.warn_threshold::pg_catalog.text AS warn,
       w.error_threshold::pg_catalog.text AS error,
       coalesce(w.last_start, r.last_start) AS last_start,
       coalesce(w.last_end, r.last_end) AS last_end,
       coalesce(r.last_ok, h.last_ok) AS last_ok,
       o.live_since,
       o.live_job,
       o.live_since < pg_catalog.clock_timestamp() - least(w.warn_threshold, w.error_threshold) AS overdue,
       o.orphan_job,
       o.orphan_since,
       o.blocked_by,
       pg_catalog.clock_timestamp() AS now
  FROM trouble AS t
  LEFT JOIN streak AS s
    ON s.job_name = t.job_name
  LEFT JOIN watched AS w
    ON w.job_name = t.job_name
  LEFT JOIN recent AS r
    ON r.job_name = t.job_name
  LEFT JOIN open_run AS o
    ON o.job_name = t.job_name
 CROSS JOIN LATERAL
       (SELECT pg_catalog.max(j.end_time) AS last_ok
          FROM {jobmon}.job_log AS j
         WHERE j.job_name = t.job_name
           AND j.status = (SELECT g.alert_text FROM {jobmon}.job_status_text AS g WHERE g.alert_code = 1)
           AND r.last_ok IS NULL) AS h
 ORDER BY greatest(t.failed_code, t.late_code, t.orphan_code) DESC, t.job_name
""")


@dataclass(frozen=True, slots=True)
class Trouble:
    """What the server knows of a job that is not well; a code of 0 says that this rule has no finding."""

    job: str
    failed_code: int
    late_code: int
    orphan_code: int
    late_since: datetime | None
    said: str | None
    failures: int
    logged: int
    failing_since: datetime | None
    failed_job: int | None
    sensitivity: int | None
    warn: str | None
    error: str | None
    last_start: datetime | None
    last_end: datetime | None
    last_ok: datetime | None
    live_since: datetime | None
    live_job: int | None
    overdue: bool | None
    orphan_job: int | None
    orphan_since: datetime | None
    blocked_by: list[int] | None
    now: datetime

    @property
    def code(self) -> int:
        """The worst of its findings."""
        return max(self.failed_code, self.late_code, self.orphan_code)

    @property
    def state(self) -> str:
        """What to look at first: what runs, else what weighs most."""
        if self.blocked_by is not None:
            return "BLOCKED"
        if self.overdue:
            return "RUNNING"
        if self.failed_code == self.code and self.logged:
            return "FAILED_RUN"
        if self.orphan_code and not self.failed_code > self.late_code:
            return "ORPHAN"
        return "MISSING" if self.late_code == self.code else "STALE STREAK"

    def told(self) -> Alert:
        """The row to show."""
        job_id, since = self._run
        return Alert(
            job=self.job,
            state=self.state,
            severity="WARNING" if self.code == 2 else "CRITICAL",
            code=self.code,
            since=since,
            failures=self.failures,
            sensitivity=self.sensitivity,
            last_start=self.last_start,
            last_end=self.last_end,
            last_ok=self.last_ok,
            warn=self.warn,
            error=self.error,
            job_id=job_id,
            blocked_by=self.blocked_by,
            detail="; ".join(self._sentences()),
        )

    @property
    def _run(self) -> tuple[int | None, datetime | None]:
        """The run that the state is about, and since when it is so."""
        match self.state:
            case "BLOCKED" | "RUNNING":
                return self.live_job, self.live_since
            case "ORPHAN":
                return self.orphan_job, self.orphan_since
            case "MISSING":
                return None, self.late_since
            case _:
                return self.failed_job, self.failing_since

    def _sentences(self) -> Iterator[str]:
        if self.blocked_by is not None:
            yield f"the run waits for {_processes(self.blocked_by)}"
        if self.live_since and (self.overdue or self.blocked_by is not None):
            yield f"running for {duration(self.now - self.live_since)}"
        if self.failed_code:
            yield f"failed in a row: {self.said}" + ("" if self.logged else ", of which the log is purged")
        if self.orphan_code:
            yield f"job {self.orphan_job} is open and its session is gone"
        if self.late_code:
            yield self._lateness()

    def _lateness(self) -> str:
        if self.last_start is None:
            return f"no run is logged, expected every {self.warn}"
        ago = duration(self.now - self.last_start)
        return f"last start {ago} ago, expected every {self.warn}"


@dataclass(frozen=True, slots=True)
class Alert:
    """A job that is not well."""

    job: Annotated[str, Col("Job", key=True, priority=1)]
    state: Annotated[
        str,
        Col(
            "State",
            priority=1,
            help=(
                "FAILED_RUN: it failed too often in a row; MISSING: no run began in time; RUNNING, BLOCKED: "
                "what is late runs, or waits for a lock; ORPHAN: its last run's session is gone; "
                "STALE STREAK: the runs that failed are purged from the log"
            ),
        ),
    ]
    severity: Annotated[str, Col("Severity", priority=2, help="WARNING for alert code 2, CRITICAL for more")]
    code: Annotated[int, Col("Code", priority=9, help="The alert code of job_status_text")]
    since: Annotated[datetime | None, Col("Since", priority=3)]
    failures: Annotated[int, Col("Failures", priority=4, help="Runs that failed since the last good one")]
    sensitivity: Annotated[
        int | None, Col("Sensitivity", priority=8, help="How many failures in a row are tolerated")
    ]
    last_start: Annotated[datetime | None, Col("Last start", priority=7)]
    last_end: Annotated[datetime | None, Col("Last end", priority=8)]
    last_ok: Annotated[datetime | None, Col("Last ok", priority=4, help="End of the last good run")]
    warn: Annotated[str | None, Col("Warn after", priority=8, help="Longest time from start to start")]
    error: Annotated[str | None, Col("Error after", priority=9, help="Time from start to start")]
    job_id: Annotated[int | None, Col("Job id", priority=5, help="The run that this is about")]
    blocked_by: Annotated[
        list[int] | None, Col("Blocked by", priority=6, help="Processes that hold the lock it waits for")
    ]
    detail: Annotated[str, Col("Detail", text=True, priority=1)]


def alert_verdict(row: Alert) -> Verdict | None:
    """WARNING for alert code 2, CRITICAL for more."""
    return severity(row.code, f"{row.state}, {row.detail}")


def alerts_overall(rows: Sequence[Alert]) -> Verdict | None:
    """All is well when nothing is wrong."""
    return None if rows else Verdict(Health.OK, ALL_WELL)


ALL_WELL = "all jobs run successfully"


def _processes(pids: Sequence[int]) -> str:
    named = ", ".join(str(pid) for pid in pids if pid)
    return f"a lock that process {named} holds" if named else "a lock"
