"""The far side of logging: what the connection that a job opens to its own database calls.

Each function answers with the rows it touched or the id it made. They run with the rights of the
role in dblink_mapping_jobmon.
"""

from backend.jobmon.api.routine import Routine

ADD_JOB = Routine(
    "_autonomous_add_job",
    types="text, text, integer",
    arguments="p_owner text, p_job_name text, p_pid integer",
    returns="bigint",
    body="""
DECLARE
    v_job_id bigint;
BEGIN
    INSERT INTO {schema}.job_log (owner, job_name, start_time, pid)
    VALUES (p_owner, upper(p_job_name), clock_timestamp(), p_pid)
    RETURNING job_id INTO v_job_id;
    RETURN v_job_id;
END
""",
)

ADD_STEP = Routine(
    "_autonomous_add_step",
    types="bigint, text",
    arguments="p_job_id bigint, p_action text",
    returns="bigint",
    body="""
DECLARE
    v_step_id bigint;
BEGIN
    INSERT INTO {schema}.job_detail (job_id, action, start_time)
    VALUES (p_job_id, p_action, clock_timestamp())
    RETURNING step_id INTO v_step_id;
    RETURN v_step_id;
END
""",
)

UPDATE_STEP = Routine(
    "_autonomous_update_step",
    types="bigint, text, text",
    arguments="p_step_id bigint, p_status text, p_message text",
    returns="integer",
    body="""
DECLARE
    v_now  timestamptz := clock_timestamp();
    v_rows integer;
BEGIN
    UPDATE {schema}.job_detail AS d
       SET end_time = v_now,
           elapsed_time = extract(epoch FROM v_now - d.start_time),
           status = p_status,
           message = p_message
     WHERE d.step_id = p_step_id;
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    RETURN v_rows;
END
""",
)

CLOSE_JOB = Routine(
    "_autonomous_close_job",
    types="bigint",
    arguments="p_job_id bigint",
    returns="integer",
    body="""
DECLARE
    v_rows integer;
BEGIN
    UPDATE {schema}.job_log AS j
       SET end_time = clock_timestamp(),
           status = {schema}._status_text(1)
     WHERE j.job_id = p_job_id;
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    RETURN v_rows;
END
""",
)

FAIL_JOB = Routine(
    "_autonomous_fail_job",
    types="bigint, integer",
    arguments="p_job_id bigint, p_fail_level integer",
    returns="integer",
    body="""
DECLARE
    v_known text;
    v_rows  integer;
BEGIN
    IF p_fail_level IS NULL OR NOT EXISTS
       (SELECT FROM {schema}.job_status_text AS t WHERE t.alert_code = p_fail_level) THEN
        SELECT string_agg(t.alert_code::text, ', ' ORDER BY t.alert_code)
          INTO v_known
          FROM {schema}.job_status_text AS t;
        RAISE EXCEPTION 'fail level % is not in job_status_text, which has %; the job is left as it was',
                        p_fail_level, v_known
        USING ERRCODE = 'invalid_parameter_value';
    END IF;

    UPDATE {schema}.job_log AS j
       SET end_time = clock_timestamp(),
           status = {schema}._status_text(p_fail_level)
     WHERE j.job_id = p_job_id;
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    RETURN v_rows;
END
""",
)

CANCEL_JOB = Routine(
    "_autonomous_cancel_job",
    types="bigint, text",
    arguments="p_job_id bigint, p_message text",
    returns="integer",
    # A job that ended by itself while it was being cancelled keeps the status it ended with.
    body="""
DECLARE
    v_now  timestamptz := clock_timestamp();
    v_rows integer;
BEGIN
    UPDATE {schema}.job_log AS j
       SET end_time = v_now,
           status = {schema}._status_text(3)
     WHERE j.job_id = p_job_id
       AND j.end_time IS NULL;
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    IF v_rows > 0 THEN
        UPDATE {schema}.job_detail AS d
           SET end_time = v_now,
               elapsed_time = extract(epoch FROM v_now - d.start_time),
               status = {schema}._status_text(3),
               message = p_message
         WHERE d.step_id = (SELECT max(l.step_id)
                              FROM {schema}.job_detail AS l
                             WHERE l.job_id = p_job_id);
    END IF;
    RETURN v_rows;
END
""",
)

OPEN_JOB = Routine(
    "_autonomous_open_job",
    types="bigint",
    arguments="p_job_id bigint",
    returns="text",
    body="""
BEGIN
    RETURN (SELECT json_build_object('pid', j.pid, 'start_time', j.start_time)
              FROM {schema}.job_log AS j
             WHERE j.job_id = p_job_id
               AND j.end_time IS NULL);
END
""",
)

STATUS_TEXT = Routine(
    "_status_text",
    types="integer",
    arguments="p_alert_code integer",
    returns="text",
    volatility="STABLE",
    definer=True,
    body="""
BEGIN
    RETURN coalesce(
        (SELECT t.alert_text FROM {schema}.job_status_text AS t WHERE t.alert_code = p_alert_code),
        CASE p_alert_code
             WHEN 1 THEN 'OK'
             WHEN 2 THEN 'WARNING'
             WHEN 3 THEN 'CRITICAL'
             ELSE 'LEVEL ' || p_alert_code
        END);
END
""",
)

REMOTE_ROUTINES = (
    STATUS_TEXT,
    ADD_JOB,
    ADD_STEP,
    UPDATE_STEP,
    CLOSE_JOB,
    FAIL_JOB,
    CANCEL_JOB,
    OPEN_JOB,
)
