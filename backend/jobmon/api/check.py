"""The verdict over all jobs, computed without writing, so on a standby too."""

from backend.jobmon.api.routine import Routine

CHECK = Routine(
    "check_job_status",
    types="interval",
    arguments=(
        "p_history interval, "
        "OUT alert_code integer, OUT alert_status text, OUT job_name text, OUT alert_text text"
    ),
    returns="SETOF record",
    volatility="STABLE",
    # A code alerts alone when enough runs ended with it. The worst code that enough runs reached or
    # exceeded alerts too, or 2, 3, 2 would be three failures in a row that nobody hears of.
    body="""
#variable_conflict use_column
DECLARE
    v_now     timestamptz := clock_timestamp();
    v_longest interval;
BEGIN
    SELECT max(greatest(c.warn_threshold, c.error_threshold))
      INTO v_longest
      FROM {schema}.job_check_config AS c
     WHERE c.active;
    IF p_history < v_longest THEN
        RAISE EXCEPTION 'Input argument must be greater than or equal to the longest threshold'
                        ' in job_check_config table';
    END IF;

    RETURN QUERY
    WITH tally AS (
        SELECT l.job_name, l.alert_code, count(*) AS runs,
               sum(count(*)) OVER (PARTITION BY l.job_name ORDER BY l.alert_code DESC) AS runs_or_worse
          FROM {schema}.job_check_log AS l
         GROUP BY l.job_name, l.alert_code
    ), counted AS (
        SELECT t.job_name, t.alert_code, t.runs, t.runs_or_worse,
               c.job_name IS NOT NULL AS configured,
               coalesce(c.sensitivity + 1, 3) AS needed
          FROM tally AS t
          LEFT JOIN {schema}.job_check_config AS c
            ON c.job_name = t.job_name
         WHERE c.job_name IS NULL
            OR c.active
    ), reached AS (
        SELECT n.job_name, n.alert_code, n.runs, n.runs_or_worse, n.configured, n.needed,
               row_number() OVER (PARTITION BY n.job_name ORDER BY n.alert_code DESC) AS place
          FROM counted AS n
         WHERE n.runs_or_worse >= n.needed
    ), failed AS (
        SELECT r.job_name, r.alert_code, 'FAILED_RUN' AS alert_status,
               CASE WHEN r.configured
                    THEN format('%s %s run(s)',
                                CASE WHEN r.runs >= r.needed THEN r.runs ELSE r.runs_or_worse END,
                                {schema}._status_text(r.alert_code))
                    ELSE format('3 consecutive %s runs', {schema}._status_text(r.alert_code))
               END AS alert_text
          FROM reached AS r
         WHERE r.runs >= r.needed
            OR r.place = 1
    ), last_run AS (
        SELECT c.job_name, c.warn_threshold, c.error_threshold, h.last_start, h.last_end
          FROM {schema}.job_check_config AS c
         CROSS JOIN LATERAL
               (SELECT max(j.start_time) AS last_start, max(j.end_time) AS last_end
                  FROM {schema}.job_log AS j
                 WHERE j.job_name = c.job_name
                   AND j.start_time > v_now - p_history) AS h
         WHERE c.active
    ), missing AS (
        SELECT r.job_name,
               CASE WHEN r.last_start >= v_now - r.error_threshold THEN 2 ELSE 3 END AS alert_code,
               'MISSING' AS alert_status,
               coalesce('Last completed run: ' || r.last_end,
                        'Has not completed a run since highest configured monitoring time period')
                   AS alert_text
          FROM last_run AS r
         WHERE r.last_start IS NULL
            OR r.last_start < v_now - r.warn_threshold
    ), open_run AS (
        SELECT j.job_name, min(j.start_time) AS began,
               bool_or(cardinality(pg_blocking_pids(j.pid)) > 0) AS blocked
          FROM {schema}.job_log AS j
          JOIN pg_stat_activity AS a
            ON a.pid = j.pid
           AND (a.backend_start IS NULL OR a.backend_start <= j.start_time)
         WHERE j.end_time IS NULL
         GROUP BY j.job_name
    ), alert AS (
        SELECT f.job_name, f.alert_code, f.alert_status, f.alert_text FROM failed AS f
        UNION ALL
        SELECT m.job_name, m.alert_code, m.alert_status, m.alert_text FROM missing AS m
    ), labelled AS (
        SELECT a.alert_code,
               CASE WHEN o.blocked THEN 'BLOCKED'
                    WHEN o.began < v_now - least(r.warn_threshold, r.error_threshold) THEN 'RUNNING'
                    ELSE a.alert_status
               END AS alert_status,
               a.job_name,
               CASE WHEN o.blocked
                    THEN 'The run waits for a lock that another transaction holds'
                    WHEN o.began < v_now - least(r.warn_threshold, r.error_threshold)
                    THEN 'Currently running. '
                         || coalesce('Last completed run: ' || r.last_end,
                                     'No run has completed within the configured monitoring time period.')
                    ELSE a.alert_text
               END AS alert_text
          FROM alert AS a
          LEFT JOIN open_run AS o
            ON o.job_name = a.job_name
          LEFT JOIN last_run AS r
            ON r.job_name = a.job_name
    )
    SELECT b.alert_code, b.alert_status, b.job_name, b.alert_text
      FROM labelled AS b
     ORDER BY b.alert_code DESC, b.job_name, b.alert_status;

    IF NOT FOUND THEN
        RETURN QUERY SELECT 1, {schema}._status_text(1), NULL::text, 'All jobs run successfully'::text;
    END IF;
END
""",
)

CHECK_WINDOW = Routine(
    "check_job_status",
    types="",
    arguments="OUT alert_code integer, OUT alert_status text, OUT job_name text, OUT alert_text text",
    returns="SETOF record",
    language="sql",
    volatility="STABLE",
    body="""
SELECT k.alert_code, k.alert_status, k.job_name, k.alert_text
  FROM {schema}.check_job_status(
           (SELECT coalesce(max(greatest(c.warn_threshold, c.error_threshold)), interval '1 week')
              FROM {schema}.job_check_config AS c
             WHERE c.active)) AS k
""",
)

CHECK_ROUTINES = (CHECK, CHECK_WINDOW)
