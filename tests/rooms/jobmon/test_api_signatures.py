"""Scripts find the functions and tables they were written for."""

from __future__ import annotations

import pytest

from tests.rooms.jobmon.conftest import Connection

CHECK_COLUMNS = "OUT alert_code integer, OUT alert_status text, OUT job_name text, OUT alert_text text"

# name, arguments, result, volatility
FUNCTIONS = {
    ("add_job", "p_job_name text", "bigint", "v"),
    ("add_step", "p_job_id bigint, p_action text", "bigint", "v"),
    ("update_step", "p_step_id bigint, p_status text, p_message text", "void", "v"),
    ("close_job", "p_job_id bigint", "void", "v"),
    ("fail_job", "p_job_id bigint, p_fail_level integer DEFAULT 3", "void", "v"),
    ("cancel_job", "p_job_id bigint", "boolean", "v"),
    ("sql_step", "p_job_id bigint, p_action text, p_sql text", "boolean", "v"),
    ("sql_job", "p_job_name text, p_sql text", "text", "v"),
    ("job_log_clear", "p_interval interval", "void", "v"),
    ("show_job", "p_name text, integer DEFAULT 10", "SETOF job_log", "s"),
    ("show_job_like", "p_name text, integer DEFAULT 10", "SETOF job_log", "s"),
    ("show_job_status", "p_status text, integer DEFAULT 10", "SETOF job_log", "s"),
    ("show_job_status", "p_name text, p_status text, integer DEFAULT 10", "SETOF job_log", "s"),
    ("show_detail", "p_id bigint", "SETOF job_detail", "s"),
    ("show_detail", "p_name text, integer DEFAULT 1", "SETOF job_detail", "s"),
    ("show_running", "integer DEFAULT 10", "SETOF job_log", "s"),
    ("check_job_status", CHECK_COLUMNS, "SETOF record", "s"),
    ("check_job_status", f"p_history interval, {CHECK_COLUMNS}", "SETOF record", "s"),
    ("auth", "", "text", "s"),
    ("_autonomous_add_job", "p_owner text, p_job_name text, p_pid integer", "bigint", "v"),
    ("_autonomous_add_step", "p_job_id bigint, p_action text", "bigint", "v"),
    ("_autonomous_update_step", "p_step_id bigint, p_status text, p_message text", "integer", "v"),
    ("_autonomous_close_job", "p_job_id bigint", "integer", "v"),
    ("_autonomous_fail_job", "p_job_id bigint, p_fail_level integer", "integer", "v"),
    ("job_monitor", "", "trigger", "v"),
    ("job_check_log_escalate_trig", "", "trigger", "v"),
    ("dblink_limit_trig", "", "trigger", "v"),
}

# column, type, not null, default
COLUMNS = {
    "job_log": [
        ("job_id", "bigint", True, "nextval('job_log_job_id_seq'::regclass)"),
        ("owner", "text", True, None),
        ("job_name", "text", True, None),
        ("start_time", "timestamp with time zone", True, None),
        ("end_time", "timestamp with time zone", False, None),
        ("status", "text", False, None),
        ("pid", "integer", True, None),
    ],
    "job_detail": [
        ("job_id", "bigint", True, None),
        ("step_id", "bigint", True, "nextval('job_detail_step_id_seq'::regclass)"),
        ("action", "text", True, None),
        ("start_time", "timestamp with time zone", True, None),
        ("end_time", "timestamp with time zone", False, None),
        ("elapsed_time", "real", False, None),
        ("status", "text", False, None),
        ("message", "text", False, None),
    ],
    "job_check_config": [
        ("job_name", "text", True, None),
        ("warn_threshold", "interval", True, None),
        ("error_threshold", "interval", True, None),
        ("active", "boolean", True, "false"),
        ("sensitivity", "smallint", True, "0"),
        ("escalate", "integer", False, None),
    ],
    "job_check_log": [
        ("job_id", "bigint", True, None),
        ("job_name", "text", True, None),
        ("alert_code", "integer", True, "3"),
    ],
    "job_status_text": [
        ("alert_code", "integer", True, None),
        ("alert_text", "text", True, None),
    ],
    "dblink_mapping_jobmon": [
        ("username", "text", False, None),
        ("port", "text", False, None),
        ("pwd", "text", False, None),
        ("host", "text", False, None),
        ("hostaddr", "text", False, None),
    ],
}


def test_every_function_of_the_api_has_its_arguments_result_and_volatility(dba: Connection) -> None:
    dba.execute("SET search_path = jobmon")
    found = dba.ask(
        "SELECT proname, pg_get_function_arguments(oid), pg_get_function_result(oid), provolatile::text"
        "  FROM pg_proc WHERE pronamespace = 'jobmon'::regnamespace"
    )
    assert set(found) >= FUNCTIONS
    names = {name for name, *_ in FUNCTIONS}
    assert {each for each in found if each[0] in names} == FUNCTIONS


@pytest.mark.parametrize("table", sorted(COLUMNS))
def test_every_table_has_its_columns(dba: Connection, table: str) -> None:
    dba.execute("SET search_path = jobmon")
    found = dba.ask(
        "SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,"
        "       pg_get_expr(d.adbin, d.adrelid)"
        "  FROM pg_attribute AS a LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum"
        " WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 ORDER BY a.attnum",
        [table],
    )
    assert found == COLUMNS[table]


def test_keys_and_indexes_are_those_of_the_extension(dba: Connection) -> None:
    dba.execute("SET search_path = jobmon")
    keys = dba.ask(
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace = 'jobmon'::regnamespace AND contype IN ('p', 'f') ORDER BY conname"
    )
    assert keys == [
        ("job_check_config_pkey", "PRIMARY KEY (job_name)"),
        ("job_detail_job_id_fkey", "FOREIGN KEY (job_id) REFERENCES job_log(job_id) ON DELETE CASCADE"),
        ("job_detail_pkey", "PRIMARY KEY (step_id)"),
        ("job_log_pkey", "PRIMARY KEY (job_id)"),
        ("job_status_text_pkey", "PRIMARY KEY (alert_code)"),
    ]
    indexes = dba.ask("SELECT indexname FROM pg_indexes WHERE schemaname = 'jobmon' ORDER BY indexname")
    assert {name for (name,) in indexes} >= {
        "job_detail_job_id_idx",
        "job_log_job_name_idx",
        "job_log_pid_idx",
        "job_log_start_time_idx",
        "job_log_status_idx",
    }


def test_triggers_are_where_the_extension_has_them(dba: Connection) -> None:
    found = dba.ask(
        "SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE NOT tgisinternal ORDER BY tgname"
    )
    assert found == [
        ("jobmon.dblink_mapping_jobmon", "dblink_limit_trig"),
        ("jobmon.job_check_config", "job_check_config_upper_trig"),
        ("jobmon.job_check_log", "job_check_log_escalate_trig"),
        ("jobmon.job_log", "trg_job_monitor"),
    ]


def test_status_texts_are_those_of_the_extension(dba: Connection) -> None:
    assert dba.ask("SELECT alert_code, alert_text FROM jobmon.job_status_text ORDER BY alert_code") == [
        (1, "OK"),
        (2, "WARNING"),
        (3, "CRITICAL"),
    ]


def test_arguments_can_be_given_by_name(dba: Connection) -> None:
    job = dba.value("SELECT jobmon.add_job(p_job_name => 'named')")
    step = dba.value("SELECT jobmon.add_step(p_job_id := %s, p_action := 'one')", [job])
    dba.ask("SELECT jobmon.update_step(p_step_id => %s, p_status => 'OK', p_message => 'done')", [step])
    dba.ask("SELECT jobmon.fail_job(p_job_id => %s, p_fail_level => 2)", [job])
    assert dba.value("SELECT status FROM jobmon.show_job(p_name => 'named')") == "WARNING"
