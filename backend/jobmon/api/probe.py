"""Proof that logging works: a job logged from inside work that is undone."""

from psycopg import sql

from backend.jobmon.api.routine import Routine

PROBE = Routine(
    "pgtui_jobmon_probe",
    types="",
    arguments=(
        "OUT job_id bigint, OUT job_name text, OUT owner text, OUT status text, "
        "OUT logged_as text, OUT took interval"
    ),
    returns="record",
    body="""
#variable_conflict use_column
DECLARE
    v_began   timestamptz := clock_timestamp();
    v_job_id  bigint;
    v_step_id bigint;
BEGIN
    BEGIN
        v_job_id := {schema}.add_job('pgtui connection test');
        v_step_id := {schema}.add_step(v_job_id, 'Log a step from work that is rolled back');
        PERFORM {schema}.update_step(v_step_id, {schema}._status_text(1), 'The log outlives the rollback');
        PERFORM {schema}.close_job(v_job_id);
        RAISE EXCEPTION 'undone' USING ERRCODE = 'triggered_action_exception';
    EXCEPTION
        WHEN triggered_action_exception THEN
            took := clock_timestamp() - v_began;
    END;

    SELECT j.job_id, j.job_name, j.owner, j.status
      INTO job_id, job_name, owner, status
      FROM {schema}.job_log AS j
     WHERE j.job_id = v_job_id
       AND j.pid = pg_backend_pid();
    IF NOT FOUND THEN
        RAISE EXCEPTION 'job % was logged somewhere else, not in this database', v_job_id
        USING HINT = format('%I.dblink_mapping_jobmon leads to another server.', {schema_name});
    END IF;
    logged_as := {schema}._over_dblink('SELECT current_user');
END
""",
)


def probe_statement(schema: str) -> sql.Composed:
    """Logs a test job that survives the undoing of its work, answers with it, and raises when it cannot."""
    return sql.SQL("SELECT job_id, job_name, owner, status, logged_as, took\n  FROM {}()").format(
        sql.Identifier(schema, "pgtui_jobmon_probe")
    )
