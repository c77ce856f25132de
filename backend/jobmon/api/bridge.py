"""From the caller to the far side: the functions that hold the key to the connection.

Those marked `definer` run as the role that installed the API, so an ordinary role can log without
reading the password and without rights of its own on dblink. They build one fixed call each, with
every value quoted, and say nothing of the connection; `_over_dblink`, which takes any statement,
runs as its caller and so gives nobody more than they have.
"""

from backend.jobmon.api.routine import Routine

AUTH = Routine(
    "auth",
    types="",
    arguments="",
    returns="text",
    volatility="STABLE",
    # libpq's own rule: backslash before backslash and quote, the value between single quotes. Written so
    # that the caller's standard_conforming_strings does not matter.
    body=r"""
DECLARE
    v_auth text;
BEGIN
    SELECT string_agg(format('%s=''%s''', p.key,
                             replace(replace(p.value, E'\\', E'\\\\'), '''', E'\\''')), ' ' ORDER BY p.rank)
      INTO v_auth
      FROM (SELECT 1) AS always
      LEFT JOIN {schema}.dblink_mapping_jobmon AS m
        ON true
     CROSS JOIN LATERAL
           (VALUES (1, 'port', m.port),
                   (2, 'dbname', current_database()::text),
                   (3, 'user', m.username),
                   (4, 'password', m.pwd),
                   (5, 'host', m.host),
                   (6, 'hostaddr', m.hostaddr)) AS p (rank, key, value)
     WHERE p.value <> '';
    RETURN v_auth;
END
""",
)

OVER_DBLINK = Routine(
    "_over_dblink",
    types="text",
    arguments="p_query text",
    returns="text",
    # Given a connection string, dblink opens and closes by itself, on errors too. The error is raised
    # anew because the context of the first one may hold that string, password and all.
    body="""
DECLARE
    v_answer  text;
    v_state   text;
    v_message text;
    v_detail  text;
    v_hint    text;
BEGIN
    SELECT r.answer
      INTO v_answer
      FROM {dblink}.dblink({schema}.auth() || ' fallback_application_name=jobmon',
                           p_query) AS r (answer text);
    RETURN v_answer;
EXCEPTION
    WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS v_state   = RETURNED_SQLSTATE,
                                v_message = MESSAGE_TEXT,
                                v_detail  = PG_EXCEPTION_DETAIL,
                                v_hint    = PG_EXCEPTION_HINT;
        v_detail := coalesce(nullif(concat_ws(chr(10), nullif(v_detail, ''), nullif(v_hint, '')), ''),
                             'The connection over which jobs are logged said so.');
        IF left(v_state, 2) = '08' OR v_state = '2F003' THEN
            RAISE EXCEPTION
            USING ERRCODE = v_state, MESSAGE = v_message, DETAIL = v_detail,
                  HINT = format('Jobs are logged over the connection in %I.dblink_mapping_jobmon.',
                                {schema_name});
        END IF;
        RAISE EXCEPTION
        USING ERRCODE = v_state, MESSAGE = v_message, DETAIL = v_detail;
END
""",
)

LOG_ADD_JOB = Routine(
    "_log_add_job",
    types="text, text",
    arguments="p_owner text, p_job_name text",
    returns="bigint",
    definer=True,
    body="""
BEGIN
    RETURN {schema}._over_dblink(format('SELECT %I._autonomous_add_job(%L, %L, %L)',
                                        {schema_name}, p_owner, p_job_name, pg_backend_pid()));
END
""",
)

LOG_ADD_STEP = Routine(
    "_log_add_step",
    types="bigint, text",
    arguments="p_job_id bigint, p_action text",
    returns="bigint",
    definer=True,
    body="""
BEGIN
    RETURN {schema}._over_dblink(format('SELECT %I._autonomous_add_step(%L, %L)',
                                        {schema_name}, p_job_id, p_action));
END
""",
)

LOG_UPDATE_STEP = Routine(
    "_log_update_step",
    types="bigint, text, text",
    arguments="p_step_id bigint, p_status text, p_message text",
    returns="integer",
    definer=True,
    body="""
BEGIN
    RETURN {schema}._over_dblink(format('SELECT %I._autonomous_update_step(%L, %L, %L)',
                                        {schema_name}, p_step_id, p_status, p_message));
END
""",
)

LOG_CLOSE_JOB = Routine(
    "_log_close_job",
    types="bigint",
    arguments="p_job_id bigint",
    returns="integer",
    definer=True,
    body="""
BEGIN
    RETURN {schema}._over_dblink(format('SELECT %I._autonomous_close_job(%L)', {schema_name}, p_job_id));
END
""",
)

LOG_FAIL_JOB = Routine(
    "_log_fail_job",
    types="bigint, integer",
    arguments="p_job_id bigint, p_fail_level integer",
    returns="integer",
    definer=True,
    body="""
BEGIN
    RETURN {schema}._over_dblink(format('SELECT %I._autonomous_fail_job(%L, %L)',
                                        {schema_name}, p_job_id, p_fail_level));
END
""",
)

LOG_CANCEL_JOB = Routine(
    "_log_cancel_job",
    types="bigint, text",
    arguments="p_job_id bigint, p_message text",
    returns="integer",
    definer=True,
    body="""
BEGIN
    RETURN {schema}._over_dblink(format('SELECT %I._autonomous_cancel_job(%L, %L)',
                                        {schema_name}, p_job_id, p_message));
END
""",
)

OPEN_JOB = Routine(
    "_open_job",
    types="bigint",
    arguments="p_job_id bigint, OUT pid integer, OUT start_time timestamptz, OUT backend_start timestamptz",
    returns="record",
    definer=True,
    # Asked over dblink because the caller's snapshot may be too old to see that the job has ended.
    body="""
DECLARE
    v_job json := {schema}._over_dblink(format('SELECT %I._autonomous_open_job(%L)',
                                               {schema_name}, p_job_id));
BEGIN
    PERFORM pg_stat_clear_snapshot();
    pid := v_job ->> 'pid';
    start_time := v_job ->> 'start_time';
    backend_start := (SELECT a.backend_start FROM pg_stat_activity AS a WHERE a.pid = _open_job.pid);
END
""",
)

DROP_ORPHAN_STREAKS = Routine(
    "_drop_orphan_streaks",
    types="",
    arguments="",
    returns="bigint",
    definer=True,
    body="""
DECLARE
    v_rows bigint;
BEGIN
    DELETE FROM {schema}.job_check_log AS c
     WHERE NOT EXISTS (SELECT FROM {schema}.job_log AS j WHERE j.job_id = c.job_id);
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    RETURN v_rows;
END
""",
)

BRIDGE_ROUTINES = (
    AUTH,
    OVER_DBLINK,
    LOG_ADD_JOB,
    LOG_ADD_STEP,
    LOG_UPDATE_STEP,
    LOG_CLOSE_JOB,
    LOG_FAIL_JOB,
    LOG_CANCEL_JOB,
    OPEN_JOB,
    DROP_ORPHAN_STREAKS,
)
