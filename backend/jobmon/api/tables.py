"""The tables of the API, their triggers, and how both are created and dropped."""

from typing import LiteralString

from backend.jobmon.api.routine import Routine

TABLES: tuple[LiteralString, ...] = (
    """\
CREATE TABLE IF NOT EXISTS {schema}.job_log (
    job_id     bigserial   PRIMARY KEY,
    owner      text        NOT NULL,
    job_name   text        NOT NULL,
    start_time timestamptz NOT NULL,
    end_time   timestamptz,
    status     text,
    pid        integer     NOT NULL
)""",
    "CREATE INDEX IF NOT EXISTS job_log_job_name_idx ON {schema}.job_log (job_name)",
    "CREATE INDEX IF NOT EXISTS job_log_start_time_idx ON {schema}.job_log (start_time)",
    "CREATE INDEX IF NOT EXISTS job_log_status_idx ON {schema}.job_log (status)",
    "CREATE INDEX IF NOT EXISTS job_log_pid_idx ON {schema}.job_log (pid)",
    # What runs is asked for again and again, and is a handful among millions.
    "CREATE INDEX IF NOT EXISTS job_log_open_idx ON {schema}.job_log (job_name) WHERE end_time IS NULL",
    """\
CREATE TABLE IF NOT EXISTS {schema}.job_detail (
    job_id       bigint      NOT NULL REFERENCES {schema}.job_log ON DELETE CASCADE,
    step_id      bigserial   PRIMARY KEY,
    action       text        NOT NULL,
    start_time   timestamptz NOT NULL,
    end_time     timestamptz,
    elapsed_time real,
    status       text,
    message      text
)""",
    "CREATE INDEX IF NOT EXISTS job_detail_job_id_idx ON {schema}.job_detail (job_id)",
    """\
CREATE TABLE IF NOT EXISTS {schema}.job_check_config (
    job_name        text     PRIMARY KEY,
    warn_threshold  interval NOT NULL,
    error_threshold interval NOT NULL,
    active          boolean  NOT NULL DEFAULT false,
    sensitivity     smallint NOT NULL DEFAULT 0,
    escalate        integer
)""",
    """\
CREATE TABLE IF NOT EXISTS {schema}.job_check_log (
    job_id     bigint  NOT NULL,
    job_name   text    NOT NULL,
    alert_code integer NOT NULL DEFAULT 3
)""",
    """\
CREATE TABLE IF NOT EXISTS {schema}.job_status_text (
    alert_code integer PRIMARY KEY,
    alert_text text    NOT NULL
)""",
    """\
INSERT INTO {schema}.job_status_text (alert_code, alert_text)
SELECT code, words
  FROM (VALUES (1, 'OK'), (2, 'WARNING'), (3, 'CRITICAL')) AS preset (code, words)
 WHERE NOT EXISTS (SELECT FROM {schema}.job_status_text)""",
    """\
CREATE TABLE IF NOT EXISTS {schema}.dblink_mapping_jobmon (
    username text,
    port     text,
    pwd      text,
    host     text,
    hostaddr text
)""",
    # Two sessions that insert at the same moment do not see each other's row; the index does.
    """\
CREATE UNIQUE INDEX IF NOT EXISTS dblink_mapping_jobmon_one_row
    ON {schema}.dblink_mapping_jobmon ((true))""",
)

TABLE_NAMES: tuple[LiteralString, ...] = (
    "job_detail",
    "job_log",
    "job_check_log",
    "job_check_config",
    "job_status_text",
    "dblink_mapping_jobmon",
)

TRIGGERS: tuple[LiteralString, ...] = (
    """\
CREATE OR REPLACE TRIGGER trg_job_monitor
AFTER UPDATE ON {schema}.job_log
FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status)
EXECUTE FUNCTION {schema}.job_monitor()""",
    """\
CREATE OR REPLACE TRIGGER job_check_log_escalate_trig
BEFORE INSERT ON {schema}.job_check_log
FOR EACH ROW EXECUTE FUNCTION {schema}.job_check_log_escalate_trig()""",
    """\
CREATE OR REPLACE TRIGGER job_check_config_upper_trig
BEFORE INSERT OR UPDATE ON {schema}.job_check_config
FOR EACH ROW EXECUTE FUNCTION {schema}.job_check_config_upper_trig()""",
    """\
CREATE OR REPLACE TRIGGER dblink_limit_trig
BEFORE INSERT ON {schema}.dblink_mapping_jobmon
FOR EACH ROW EXECUTE FUNCTION {schema}.dblink_limit_trig()""",
)

JOB_MONITOR = Routine(
    "job_monitor",
    types="",
    arguments="",
    returns="trigger",
    # A streak counts jobs, so a job that failed already is only made worse, never counted again.
    body="""
DECLARE
    v_code integer;
BEGIN
    SELECT max(t.alert_code)
      INTO v_code
      FROM {schema}.job_status_text AS t
     WHERE t.alert_text = NEW.status;

    IF v_code = 1 THEN
        DELETE FROM {schema}.job_check_log AS c WHERE c.job_name = NEW.job_name;
    ELSIF v_code IS NOT NULL THEN
        UPDATE {schema}.job_check_log AS c
           SET alert_code = greatest(c.alert_code, v_code)
         WHERE c.job_id = NEW.job_id;
        IF NOT FOUND THEN
            INSERT INTO {schema}.job_check_log (job_id, job_name, alert_code)
            VALUES (NEW.job_id, NEW.job_name, v_code);
        END IF;
    END IF;
    RETURN NULL;
END
""",
)

ESCALATE = Routine(
    "job_check_log_escalate_trig",
    types="",
    arguments="",
    returns="trigger",
    body="""
DECLARE
    v_escalate integer;
    v_highest  integer;
    v_runs     bigint;
    v_next     integer;
BEGIN
    SELECT c.escalate
      INTO v_escalate
      FROM {schema}.job_check_config AS c
     WHERE c.job_name = NEW.job_name;
    IF v_escalate IS NULL THEN
        RETURN NEW;
    END IF;

    SELECT l.alert_code, count(*)
      INTO v_highest, v_runs
      FROM {schema}.job_check_log AS l
     WHERE l.job_name = NEW.job_name
     GROUP BY l.alert_code
     ORDER BY l.alert_code DESC
     LIMIT 1;
    NEW.alert_code := greatest(NEW.alert_code, v_highest);

    SELECT min(t.alert_code)
      INTO v_next
      FROM {schema}.job_status_text AS t
     WHERE t.alert_code > NEW.alert_code;

    -- The first failure has no earlier one to be counted with, whatever the limit.
    IF v_runs + 1 >= v_escalate AND v_next IS NOT NULL THEN
        INSERT INTO {schema}.job_detail (job_id, action, start_time, end_time, elapsed_time, status, message)
        SELECT j.job_id, 'ALERT ESCALATION', clock_timestamp(), clock_timestamp(), 0, 'ESCALATE',
               format('%s failed %s times in a row at level %s; raised to level %s',
                      j.job_name, v_runs + 1, NEW.alert_code, v_next)
          FROM {schema}.job_log AS j
         WHERE j.job_id = NEW.job_id;
        UPDATE {schema}.job_log AS j SET status = 'ESCALATED' WHERE j.job_id = NEW.job_id;
        NEW.alert_code := v_next;
    END IF;
    RETURN NEW;
END
""",
)

UPPER_NAME = Routine(
    "job_check_config_upper_trig",
    types="",
    arguments="",
    returns="trigger",
    # Jobs are logged in upper case: a threshold under another spelling would never meet its job.
    body="""
BEGIN
    NEW.job_name := upper(NEW.job_name);
    RETURN NEW;
END
""",
)

ONE_ROW = Routine(
    "dblink_limit_trig",
    types="",
    arguments="",
    returns="trigger",
    body="""
BEGIN
    IF EXISTS (SELECT FROM {schema}.dblink_mapping_jobmon) THEN
        RAISE EXCEPTION 'Only a single row may exist in this table'
        USING HINT = 'Update the row that is there.';
    END IF;
    RETURN NEW;
END
""",
)

TRIGGER_ROUTINES = (JOB_MONITOR, ESCALATE, UPPER_NAME, ONE_ROW)
