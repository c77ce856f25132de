"""SQL run as a step or as a whole job, under the caller's own search_path and rights.

`sql_job` and `sql_step` have no search_path of their own, so their bodies use no operator and no
unqualified name; the rest of the work is in helpers that have one.
"""

from backend.jobmon.api.routine import Routine

SQL_STEP = Routine(
    "sql_step",
    types="bigint, text, text",
    arguments="p_job_id bigint, p_action text, p_sql text",
    returns="boolean",
    pinned=False,
    # A cancelled statement is not caught by OTHERS; it would leave the step open for ever.
    body="""
DECLARE
    v_step_id bigint;
    v_rows    bigint;
BEGIN
    v_step_id := {schema}._sql_step_begin(p_job_id, p_action, p_sql);
    BEGIN
        EXECUTE p_sql;
        GET DIAGNOSTICS v_rows = ROW_COUNT;
    EXCEPTION
        WHEN query_canceled THEN
            PERFORM {schema}._sql_step_end(v_step_id, 3, pg_catalog.concat('ERROR: ', SQLERRM));
            RAISE;
        WHEN assert_failure OR OTHERS THEN
            PERFORM {schema}._sql_step_end(v_step_id, 3, pg_catalog.concat('ERROR: ', SQLERRM));
            RETURN false;
    END;
    PERFORM {schema}._sql_step_end(v_step_id, 1, pg_catalog.concat('Rows affected: ', v_rows));
    RETURN true;
END
""",
)

SQL_JOB = Routine(
    "sql_job",
    types="text, text",
    arguments="p_job_name text, p_sql text",
    returns="text",
    pinned=False,
    body="""
DECLARE
    v_job_id bigint;
    v_good   boolean;
BEGIN
    v_job_id := {schema}._sql_job_begin(p_job_name, p_sql);
    IF NOT {schema}._sql_job_lock(p_job_name) THEN
        RETURN {schema}._sql_job_busy(v_job_id, p_job_name);
    END IF;
    BEGIN
        v_good := {schema}.sql_step(v_job_id, {schema}._sql_job_action(p_sql), p_sql);
    EXCEPTION
        WHEN query_canceled OR assert_failure OR OTHERS THEN
            PERFORM {schema}.fail_job(v_job_id);
            RAISE;
    END;
    RETURN {schema}._sql_job_end(v_job_id, v_good);
END
""",
)

STEP_BEGIN = Routine(
    "_sql_step_begin",
    types="bigint, text, text",
    arguments="p_job_id bigint, p_action text, p_sql text",
    returns="bigint",
    body="""
BEGIN
    PERFORM {schema}._require('sql_step', 'p_job_id', p_job_id::text);
    PERFORM {schema}._require('sql_step', 'p_action', p_action);
    PERFORM {schema}._require('sql_step', 'p_sql', p_sql);
    RETURN {schema}.add_step(p_job_id, p_action);
END
""",
)

STEP_END = Routine(
    "_sql_step_end",
    types="bigint, integer, text",
    arguments="p_step_id bigint, p_alert_code integer, p_message text",
    returns="void",
    body="""
BEGIN
    PERFORM {schema}.update_step(p_step_id, {schema}._status_text(p_alert_code), p_message);
END
""",
)

JOB_BEGIN = Routine(
    "_sql_job_begin",
    types="text, text",
    arguments="p_job_name text, p_sql text",
    returns="bigint",
    body="""
BEGIN
    PERFORM {schema}._require('sql_job', 'p_job_name', p_job_name);
    PERFORM {schema}._require('sql_job', 'p_sql', p_sql);
    RETURN {schema}.add_job(p_job_name);
END
""",
)

JOB_LOCK = Routine(
    "_sql_job_lock",
    types="text",
    arguments="p_job_name text",
    returns="boolean",
    # Held until the transaction ends: until then nobody else sees what the job did.
    body="""
BEGIN
    RETURN pg_try_advisory_xact_lock(hashtext('sql_log'), hashtext(upper(p_job_name)));
END
""",
)

JOB_ACTION = Routine(
    "_sql_job_action",
    types="text",
    arguments="p_sql text",
    returns="text",
    volatility="IMMUTABLE",
    body="""
BEGIN
    RETURN format('Running sql: %L', p_sql);
END
""",
)

JOB_BUSY = Routine(
    "_sql_job_busy",
    types="bigint, text",
    arguments="p_job_id bigint, p_job_name text",
    returns="text",
    body="""
DECLARE
    v_message text := format('A job named %s is already running, so nothing was run', upper(p_job_name));
BEGIN
    PERFORM {schema}._sql_step_end({schema}.add_step(p_job_id, 'Look for a running job of this name'),
                                   2, v_message);
    PERFORM {schema}.fail_job(p_job_id, 2);
    RETURN v_message;
END
""",
)

JOB_END = Routine(
    "_sql_job_end",
    types="bigint, boolean",
    arguments="p_job_id bigint, p_good boolean",
    returns="text",
    body="""
BEGIN
    IF p_good THEN
        PERFORM {schema}.close_job(p_job_id);
        RETURN format('Job logged with job id: %s', p_job_id);
    END IF;
    PERFORM {schema}.fail_job(p_job_id);
    RETURN format('Job ID %s failed. See job_detail table for more details', p_job_id);
END
""",
)

SQL_ROUTINES = (STEP_BEGIN, STEP_END, JOB_BEGIN, JOB_LOCK, JOB_ACTION, JOB_BUSY, JOB_END, SQL_STEP, SQL_JOB)
