"""What scripts call to log: jobs and their steps, ended well, badly or from outside."""

from backend.jobmon.api.routine import Routine

ADD_JOB = Routine(
    "add_job",
    types="text",
    arguments="p_job_name text",
    returns="bigint",
    body="""
BEGIN
    PERFORM {schema}._require('add_job', 'p_job_name', p_job_name);
    RETURN {schema}._log_add_job(current_user, p_job_name);
END
""",
)

ADD_STEP = Routine(
    "add_step",
    types="bigint, text",
    arguments="p_job_id bigint, p_action text",
    returns="bigint",
    body="""
BEGIN
    PERFORM {schema}._require('add_step', 'p_job_id', p_job_id::text);
    PERFORM {schema}._require('add_step', 'p_action', p_action);
    RETURN {schema}._log_add_step(p_job_id, p_action);
END
""",
)

UPDATE_STEP = Routine(
    "update_step",
    types="bigint, text, text",
    arguments="p_step_id bigint, p_status text, p_message text",
    returns="void",
    body="""
BEGIN
    PERFORM {schema}._require('update_step', 'p_step_id', p_step_id::text);
    IF {schema}._log_update_step(p_step_id, p_status, p_message) = 0 THEN
        RAISE WARNING 'there is no step %, so nothing was updated', p_step_id;
    END IF;
END
""",
)

CLOSE_JOB = Routine(
    "close_job",
    types="bigint",
    arguments="p_job_id bigint",
    returns="void",
    body="""
BEGIN
    PERFORM {schema}._require('close_job', 'p_job_id', p_job_id::text);
    IF {schema}._log_close_job(p_job_id) = 0 THEN
        RAISE WARNING 'there is no job %, so nothing was closed', p_job_id;
    END IF;
END
""",
)

FAIL_JOB = Routine(
    "fail_job",
    types="bigint, integer",
    arguments="p_job_id bigint, p_fail_level integer DEFAULT 3",
    returns="void",
    body="""
BEGIN
    PERFORM {schema}._require('fail_job', 'p_job_id', p_job_id::text);
    PERFORM {schema}._require('fail_job', 'p_fail_level', p_fail_level::text);
    IF {schema}._log_fail_job(p_job_id, p_fail_level) = 0 THEN
        RAISE WARNING 'there is no job %, so nothing was failed', p_job_id;
    END IF;
END
""",
)

CANCEL_JOB = Routine(
    "cancel_job",
    types="bigint",
    arguments="p_job_id bigint",
    returns="boolean",
    # Whoever may signal a backend also sees when it began; the installer's role may not.
    body="""
DECLARE
    v_job   record;
    v_began timestamptz;
BEGIN
    PERFORM {schema}._require('cancel_job', 'p_job_id', p_job_id::text);
    SELECT o.pid, o.start_time, o.backend_start
      INTO v_job
      FROM {schema}._open_job(p_job_id) AS o;
    IF v_job.pid IS NULL THEN
        RAISE WARNING 'there is no open job %, so nothing was cancelled', p_job_id;
        RETURN false;
    END IF;

    v_began := coalesce(v_job.backend_start,
                        (SELECT a.backend_start FROM pg_stat_activity AS a WHERE a.pid = v_job.pid));
    IF v_began IS NULL OR v_began > v_job.start_time THEN
        RAISE WARNING 'the session that logged job % is gone or out of sight (pid %); nothing was cancelled',
                      p_job_id, v_job.pid
        USING HINT = format('SELECT %I.fail_job(%s) ends a job whose session is gone.',
                            {schema_name}, p_job_id);
        RETURN false;
    END IF;

    -- A session that cancels its own job gets no further than the signal.
    IF v_job.pid <> pg_backend_pid() AND NOT pg_cancel_backend(v_job.pid) THEN
        RETURN false;
    END IF;
    PERFORM {schema}._log_cancel_job(p_job_id, format('Cancelled by %s with cancel_job()', current_user));
    IF v_job.pid = pg_backend_pid() THEN
        PERFORM pg_cancel_backend(v_job.pid);
    END IF;
    RETURN true;
END
""",
)

JOB_LOG_CLEAR = Routine(
    "job_log_clear",
    types="interval",
    arguments="p_interval interval",
    returns="void",
    body="""
DECLARE
    v_boundary timestamptz;
    v_job_id   bigint;
    v_step_id  bigint;
    v_jobs     bigint;
    v_streaks  bigint;
BEGIN
    PERFORM {schema}._require('job_log_clear', 'p_interval', p_interval::text);
    v_boundary := now() - p_interval;
    v_job_id := {schema}.add_job(format('Purging pg_jobmon job logs older than %s', v_boundary));
    v_step_id := {schema}.add_step(v_job_id, format('Delete jobs that began up to %s', v_boundary));

    DELETE FROM {schema}.job_log AS j
     WHERE j.start_time <= v_boundary
       AND j.job_id <> v_job_id
       AND NOT (j.end_time IS NULL
           AND EXISTS (SELECT
                         FROM pg_stat_activity AS a
                        WHERE a.pid = j.pid
                          AND (a.backend_start IS NULL OR a.backend_start <= j.start_time)));
    GET DIAGNOSTICS v_jobs = ROW_COUNT;
    v_streaks := {schema}._drop_orphan_streaks();

    PERFORM {schema}.update_step(v_step_id, {schema}._status_text(1),
                                 format('Deleted %s jobs and %s failures of deleted jobs',
                                        v_jobs, v_streaks));
    PERFORM {schema}.close_job(v_job_id);
EXCEPTION
    WHEN query_canceled OR assert_failure OR OTHERS THEN
        IF v_step_id IS NOT NULL THEN
            PERFORM {schema}.update_step(v_step_id, {schema}._status_text(3), 'ERROR: ' || SQLERRM);
        END IF;
        IF v_job_id IS NOT NULL THEN
            PERFORM {schema}.fail_job(v_job_id);
        END IF;
        RAISE;
END
""",
)

REQUIRE = Routine(
    "_require",
    types="text, text, text",
    arguments="p_function text, p_argument text, p_value text",
    returns="void",
    volatility="IMMUTABLE",
    body="""
BEGIN
    IF p_value IS NULL THEN
        RAISE EXCEPTION '% needs %, which is null', p_function, p_argument
        USING ERRCODE = 'null_value_not_allowed';
    END IF;
END
""",
)

CONTROL_ROUTINES = (REQUIRE, ADD_JOB, ADD_STEP, UPDATE_STEP, CLOSE_JOB, FAIL_JOB, CANCEL_JOB, JOB_LOG_CLEAR)
