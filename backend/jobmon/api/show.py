"""What people call to read the log."""

from backend.jobmon.api.routine import Routine

SHOW_JOB = Routine(
    "show_job",
    types="text, integer",
    arguments="p_name text, integer DEFAULT 10",
    returns="SETOF {schema}.job_log",
    language="sql",
    volatility="STABLE",
    body="""
SELECT j.*
  FROM {schema}.job_log AS j
 WHERE j.job_name = upper($1)
 ORDER BY j.job_id DESC
 LIMIT $2
""",
)

SHOW_JOB_LIKE = Routine(
    "show_job_like",
    types="text, integer",
    arguments="p_name text, integer DEFAULT 10",
    returns="SETOF {schema}.job_log",
    language="sql",
    volatility="STABLE",
    # Not upper($1): that would turn \d into \D.
    body="""
SELECT j.*
  FROM {schema}.job_log AS j
 WHERE j.job_name ~* $1
 ORDER BY j.job_id DESC
 LIMIT $2
""",
)

SHOW_JOB_STATUS = Routine(
    "show_job_status",
    types="text, integer",
    arguments="p_status text, integer DEFAULT 10",
    returns="SETOF {schema}.job_log",
    language="sql",
    volatility="STABLE",
    body="""
SELECT j.*
  FROM {schema}.job_log AS j
 WHERE j.status = $1
 ORDER BY j.job_id DESC
 LIMIT $2
""",
)

SHOW_JOB_NAME_STATUS = Routine(
    "show_job_status",
    types="text, text, integer",
    arguments="p_name text, p_status text, integer DEFAULT 10",
    returns="SETOF {schema}.job_log",
    language="sql",
    volatility="STABLE",
    body="""
SELECT j.*
  FROM {schema}.job_log AS j
 WHERE j.job_name = upper($1)
   AND j.status = $2
 ORDER BY j.job_id DESC
 LIMIT $3
""",
)

SHOW_DETAIL = Routine(
    "show_detail",
    types="bigint",
    arguments="p_id bigint",
    returns="SETOF {schema}.job_detail",
    language="sql",
    volatility="STABLE",
    body="""
SELECT d.*
  FROM {schema}.job_detail AS d
 WHERE d.job_id = $1
 ORDER BY d.step_id
""",
)

SHOW_DETAIL_NAME = Routine(
    "show_detail",
    types="text, integer",
    arguments="p_name text, integer DEFAULT 1",
    returns="SETOF {schema}.job_detail",
    language="sql",
    volatility="STABLE",
    body="""
SELECT d.*
  FROM {schema}.show_job($1, $2) AS j
  JOIN {schema}.job_detail AS d
    ON d.job_id = j.job_id
 ORDER BY d.job_id DESC, d.step_id
""",
)

SHOW_RUNNING = Routine(
    "show_running",
    types="integer",
    arguments="integer DEFAULT 10",
    returns="SETOF {schema}.job_log",
    language="sql",
    volatility="STABLE",
    # Without the right to see another role's sessions their state is null, which is not idle.
    body="""
SELECT j.*
  FROM {schema}.job_log AS j
  JOIN pg_stat_activity AS a
    ON a.pid = j.pid
 WHERE j.status IS NULL
   AND j.end_time IS NULL
   AND a.state IS DISTINCT FROM 'idle'
   AND (a.backend_start IS NULL OR a.backend_start <= j.start_time)
 ORDER BY j.job_id DESC
 LIMIT $1
""",
)

SHOW_ROUTINES = (
    SHOW_JOB,
    SHOW_JOB_LIKE,
    SHOW_JOB_STATUS,
    SHOW_JOB_NAME_STATUS,
    SHOW_DETAIL,
    SHOW_DETAIL_NAME,
    SHOW_RUNNING,
)
