"""Who may do what, and what nobody may see."""

from __future__ import annotations

import traceback
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict

from backend.jobmon.api import dblink_statements, install_statements
from backend.jobmon.api.connection import connection_statement
from backend.jobmon.api.probe import probe_statement
from tests.rooms.jobmon.conftest import Connection, Sessions, until
from tests.servers import OwnClusters, execute

SECRET = "s3 'cr\\et"


def everything_said(error: psycopg.Error) -> str:
    diag = error.diag
    parts = (diag.message_primary, diag.message_detail, diag.message_hint, diag.context, diag.internal_query)
    return "\n".join([*traceback.format_exception(error), *map(str, parts)])


def test_an_ordinary_role_logs_as_itself_with_nothing_but_usage(plain: Connection, dba: Connection) -> None:
    job_id = plain.value("SELECT jobmon.add_job('mine')")
    step_id = plain.value("SELECT jobmon.add_step(%s, 'one')", [job_id])
    plain.ask("SELECT jobmon.update_step(%s, 'OK', '')", [step_id])
    plain.ask("SELECT jobmon.close_job(%s)", [job_id])
    assert dba.ask("SELECT owner, status FROM jobmon.job_log") == [(plain.info.user, "OK")]


def test_the_owner_is_the_current_role_not_the_one_that_connected(plain: Connection, dba: Connection) -> None:
    dba.ask(sql.SQL("SET ROLE {}").format(sql.Identifier(plain.info.user)))
    dba.ask("SELECT jobmon.add_job('as another')")
    dba.ask("RESET ROLE")
    assert dba.ask("SELECT owner FROM jobmon.job_log") == [(plain.info.user,)]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT pwd FROM jobmon.dblink_mapping_jobmon",
        "SELECT jobmon.auth()",
        "SELECT jobmon._over_dblink('SELECT 1')",
        "SELECT jobmon._autonomous_add_job('x', 'x', 1)",
        "SELECT jobmon._autonomous_close_job(1)",
        "DELETE FROM jobmon.job_log",
    ],
)
def test_an_ordinary_role_gets_neither_the_password_nor_the_tables(plain: Connection, statement: str) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        plain.ask(statement)


def test_a_role_without_usage_cannot_log(dba: Connection, plain: Connection) -> None:
    dba.ask(sql.SQL("REVOKE USAGE ON SCHEMA jobmon FROM {}").format(sql.Identifier(plain.info.user)))
    with pytest.raises(errors.InsufficientPrivilege, match="permission denied for schema jobmon"):
        plain.ask("SELECT jobmon.add_job('x')")


def test_values_that_look_like_sql_are_logged_as_they_are(plain: Connection, dba: Connection) -> None:
    nasty = "x'); DROP TABLE jobmon.job_log; --\\' $body$ %s %I"
    plain.ask("SET standard_conforming_strings = off")
    job_id = plain.value("SELECT jobmon.add_job(%s::text)", [nasty])
    step_id = plain.value("SELECT jobmon.add_step(%s, %s::text)", [job_id, nasty])
    plain.ask("SELECT jobmon.update_step(%s, %s::text, %s::text)", [step_id, nasty, nasty])
    assert dba.ask("SELECT job_name FROM jobmon.job_log") == [(nasty.upper(),)]
    assert dba.ask("SELECT action, status, message FROM jobmon.job_detail") == [(nasty, nasty, nasty)]


def test_every_function_that_runs_as_the_installer_has_a_search_path_of_its_own(dba: Connection) -> None:
    found = dba.ask(
        "SELECT proname, proconfig FROM pg_proc WHERE pronamespace = 'jobmon'::regnamespace AND prosecdef"
    )
    assert len(found) > 5
    for name, settings in found:
        assert settings == ["search_path=pg_catalog, pg_temp"], name


@pytest.mark.parametrize(
    ("broken", "state"),
    [
        ({"port": 1}, "08001"),
        ({"username": "nobody at all"}, "08001"),
        ({"host": "/no/such/folder"}, "08001"),
    ],
)
@pytest.mark.parametrize(
    "call", ["add_job('x')", "cancel_job(1)", "sql_job('x', 'SELECT 1')", "job_log_clear('1 d')"]
)
def test_an_error_of_the_connection_keeps_its_code_and_hides_the_password(
    dba: Connection, broken: dict[str, str], state: str, call: str
) -> None:
    dba.ask(connection_statement("jobmon", password=sql.Literal(SECRET), **broken))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(psycopg.Error) as caught:
        dba.ask(f"SELECT jobmon.{call}")
    assert caught.value.sqlstate == state
    assert caught.value.diag.message_primary == "could not establish connection"
    assert "dblink_mapping_jobmon" in str(caught.value.diag.message_hint)
    said = everything_said(caught.value)
    assert "s3" not in said
    assert "cr\\et" not in said


def test_every_value_of_the_connection_is_quoted_for_libpq(dba: Connection) -> None:
    dba.ask(
        connection_statement(
            "jobmon", host="/a b/'c'\\d", port=99, username="o'neil x", password=sql.Literal(SECRET)
        )
    )
    options = conninfo_to_dict(dba.value("SELECT jobmon.auth()"))
    assert options == {
        "host": "/a b/'c'\\d",
        "port": "99",
        "user": "o'neil x",
        "password": SECRET,
        "dbname": dba.info.dbname,
    }


def test_without_a_row_the_connection_is_the_name_of_the_database_alone(dba: Connection) -> None:
    dba.ask("DELETE FROM jobmon.dblink_mapping_jobmon")
    assert dba.value("SELECT jobmon.auth()") == f"dbname='{dba.info.dbname}'"


def test_a_second_connection_row_is_refused(dba: Connection) -> None:
    with pytest.raises(errors.RaiseException, match=r"^Only a single row may exist in this table"):
        dba.ask("INSERT INTO jobmon.dblink_mapping_jobmon (port) VALUES ('1')")


def test_two_sessions_cannot_each_insert_a_connection_row(sessions: Sessions, dba: Connection) -> None:
    dba.ask("DELETE FROM jobmon.dblink_mapping_jobmon")
    first = sessions(autocommit=False)
    first.ask("INSERT INTO jobmon.dblink_mapping_jobmon (port) VALUES ('1')")
    second = sessions()
    waits = [second.info.backend_pid]
    with ThreadPoolExecutor() as pool:
        insert = pool.submit(second.ask, "INSERT INTO jobmon.dblink_mapping_jobmon (port) VALUES ('2')")
        until(lambda: dba.value("SELECT cardinality(pg_blocking_pids(%s)) > 0", waits) is True)
        first.commit()
        with pytest.raises(errors.UniqueViolation):
            insert.result()


def test_setting_the_connection_again_changes_the_one_row_and_forgets_the_password(dba: Connection) -> None:
    dba.ask(connection_statement("jobmon", host="other", port=7, password=sql.Literal("x")))
    dba.ask(connection_statement("jobmon", hostaddr="127.0.0.1", port=8))
    assert dba.ask("SELECT username, port, pwd, host, hostaddr FROM jobmon.dblink_mapping_jobmon") == [
        (None, "8", None, None, "127.0.0.1")
    ]


def test_a_password_may_be_sent_as_a_parameter(dba: Connection) -> None:
    dba.execute(connection_statement("jobmon", password=sql.Placeholder("secret")), {"secret": SECRET})
    assert dba.value("SELECT pwd FROM jobmon.dblink_mapping_jobmon") == SECRET


def test_an_installer_without_superuser_logs_with_a_password_that_the_server_asks_for(
    own_cluster: OwnClusters,
) -> None:
    server = own_cluster()
    server.psql(sql.SQL("CREATE ROLE logger LOGIN PASSWORD {}").format(sql.Literal(SECRET)))
    server.psql("CREATE ROLE worker LOGIN")
    server.psql("CREATE DATABASE shop OWNER logger")
    for statement in dblink_statements("dblink"):
        server.psql(statement, "shop")
    server.psql("GRANT USAGE ON SCHEMA dblink TO logger", "shop")
    rules = server.data / "pg_hba.conf"
    rules.write_text("local shop logger scram-sha-256\n" + rules.read_text())
    server.cluster.reload()

    logger = server.dsn("shop", user="logger", password=SECRET)
    for statement in install_statements("jobmon", "dblink"):
        execute(logger, statement)
    execute(logger, "GRANT USAGE ON SCHEMA jobmon TO worker")
    socket = str(server.socket_dir)

    def connect(password: str | None) -> None:
        literal = None if password is None else sql.Literal(password)
        execute(
            logger,
            connection_statement(
                "jobmon", host=socket, port=server.port, username="logger", password=literal
            ),
        )

    connect(SECRET)
    [(_, name, owner, status, logged_as, _)] = execute(logger, probe_statement("jobmon"))
    assert (name, owner, status, logged_as) == ("PGTUI CONNECTION TEST", "logger", "OK", "logger")
    execute(server.dsn("shop", user="worker"), "SELECT jobmon.close_job(jobmon.add_job('work'))")
    assert execute(logger, "SELECT owner, status FROM jobmon.show_job('work')") == [("worker", "OK")]

    connect(None)
    with pytest.raises(psycopg.Error, match="password"):
        execute(logger, probe_statement("jobmon"))
    connect(SECRET + "wrong")
    with pytest.raises(psycopg.Error) as caught:
        execute(server.dsn("shop", user="worker"), "SELECT jobmon.add_job('work')")
    assert caught.value.sqlstate == "08001"
    assert "s3" not in everything_said(caught.value)
