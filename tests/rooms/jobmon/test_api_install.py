"""Creating, proving, upgrading and dropping the API."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors, sql

from backend.jobmon.api import (
    API_VERSION,
    INSTALLED,
    OWN_MARKER,
    dblink_statements,
    install_statements,
    uninstall_statements,
)
from backend.jobmon.api.connection import OWN_CONNECTION, connection_statement
from backend.jobmon.api.probe import probe_statement
from tests.rooms.jobmon.conftest import Connection, Sessions, set_up
from tests.servers import Database, OwnClusters, execute

ODD_NAMES = [
    "Weird Schema",
    'quo"te',
    "apo'strophe",
    "dol$body$lar",
    "back\\slash",
    "{brace} %s",
    "ünï",
    "select",
]

CONTENTS = """
    SELECT 'relation', relname::text FROM pg_class WHERE relnamespace = 'jobmon'::regnamespace
     UNION ALL SELECT 'function', proname::text FROM pg_proc WHERE pronamespace = 'jobmon'::regnamespace
"""


def run(database: Database, statements: list[sql.Composed]) -> None:
    """Run statements in one transaction."""
    with psycopg.connect(database.dsn) as connection:
        for statement in statements:
            connection.execute(statement)


@pytest.fixture
def on_bare(bare: Database) -> Iterator[Connection]:
    opener = Sessions(bare)
    yield opener()
    opener.close()


@pytest.mark.parametrize("schema", ODD_NAMES)
def test_works_in_a_schema_of_any_name(bare: Database, on_bare: Connection, schema: str) -> None:
    set_up(bare, schema, f"{schema} dblink")
    name = sql.Identifier(schema)
    [(job_id, job_name, owner, status, _, _)] = on_bare.ask(probe_statement(schema))
    assert (job_id, job_name, owner, status) == (1, "PGTUI CONNECTION TEST", on_bare.info.user, "OK")
    on_bare.ask(sql.SQL("SELECT {}.sql_job('x', 'SELECT 1')").format(name))
    on_bare.ask(sql.SQL("SELECT {0}.fail_job({0}.add_job('y'))").format(name))
    on_bare.ask(sql.SQL("SELECT {0}.cancel_job(1), {0}.job_log_clear('1 day')").format(name))
    assert (
        on_bare.value(sql.SQL("SELECT alert_text FROM {}.check_job_status()").format(name))
        == "All jobs run successfully"
    )
    assert on_bare.ask(INSTALLED) == [(schema, int(API_VERSION), on_bare.info.user)]
    run(bare, uninstall_statements(schema))
    assert on_bare.value("SELECT to_regnamespace(quote_ident(%s)) IS NULL", [schema])


def test_the_test_job_survives_the_rollback_of_who_asked_for_it(sessions: Sessions, dba: Connection) -> None:
    caller = sessions(autocommit=False)
    caller.ask(probe_statement("jobmon"))
    caller.rollback()
    assert dba.ask("SELECT job_name, status FROM jobmon.job_log") == [("PGTUI CONNECTION TEST", "OK")]


def test_a_connection_that_leads_to_another_server_is_noticed(
    jobmon: Database, dba: Connection, own_cluster: OwnClusters
) -> None:
    other = own_cluster()
    other.psql(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(jobmon.name)))
    elsewhere = Database(other, jobmon.name)
    set_up(elsewhere)
    dba.ask(
        connection_statement("jobmon", host=str(other.socket_dir), port=other.port, username=dba.info.user)
    )
    with pytest.raises(errors.RaiseException, match="job 1 was logged somewhere else, not in this database"):
        dba.ask(probe_statement("jobmon"))


def test_the_connection_is_derived_from_the_servers_own_socket(jobmon: Database, dba: Connection) -> None:
    server = jobmon.server
    assert dba.ask(OWN_CONNECTION) == [(str(server.socket_dir), None, str(server.port))]


def test_a_role_that_may_not_see_the_socket_gets_an_address(plain: Connection) -> None:
    [(host, hostaddr, port)] = plain.ask(OWN_CONNECTION)
    assert (host, hostaddr) == (None, "127.0.0.1")
    assert port == str(plain.info.port)


def test_a_server_on_no_socket_is_reached_where_it_listens(own_cluster: OwnClusters) -> None:
    server = own_cluster({"listen_addresses": "127.0.0.1"})
    server.configure(unix_socket_directories="")
    server.stop()
    server.cluster.data.joinpath("postgresql.auto.conf").write_text("unix_socket_directories = ''\n")
    server.start()
    dsn = server.dsn(host="127.0.0.1")
    assert execute(dsn, OWN_CONNECTION) == [(None, "127.0.0.1", str(server.port))]


def test_installing_again_keeps_rows_thresholds_and_the_connection(jobmon: Database, dba: Connection) -> None:
    dba.ask("SELECT jobmon.fail_job(jobmon.add_job('x'))")
    dba.ask("INSERT INTO jobmon.job_check_config VALUES ('X', '1 day', '2 days')")
    dba.ask("UPDATE jobmon.job_status_text SET alert_text = 'BAD' WHERE alert_code = 3")
    tables = ("job_log", "job_check_log", "job_check_config", "job_status_text", "dblink_mapping_jobmon")
    before = [dba.ask(f"SELECT * FROM jobmon.{table}") for table in tables]
    contents = sorted(dba.ask(CONTENTS))
    run(jobmon, install_statements("jobmon", "dblink"))
    assert [dba.ask(f"SELECT * FROM jobmon.{table}") for table in tables] == before
    assert sorted(dba.ask(CONTENTS)) == contents
    assert dba.value("SELECT jobmon.add_job('y')") == 2


def test_installing_again_while_the_log_is_in_use_replaces_functions(
    jobmon: Database, dba: Connection
) -> None:
    dba.ask("CREATE OR REPLACE FUNCTION jobmon.auth() RETURNS text LANGUAGE sql AS 'SELECT NULL::text'")
    run(jobmon, install_statements("jobmon", "dblink"))
    assert dba.value("SELECT jobmon.add_job('x')") == 1


def test_a_schema_whose_log_is_not_pgtuis_is_left_alone(bare: Database, on_bare: Connection) -> None:
    run(bare, dblink_statements("dblink"))
    on_bare.ask("CREATE SCHEMA jobmon; CREATE TABLE jobmon.job_log (mine integer)")
    with pytest.raises(errors.DuplicateTable, match="schema jobmon has a job_log that pgtui did not create"):
        run(bare, install_statements("jobmon", "dblink"))
    assert on_bare.ask(CONTENTS) == [("relation", "job_log")]


def test_uninstalling_leaves_nothing_but_dblink(jobmon: Database, dba: Connection) -> None:
    dba.ask(probe_statement("jobmon"))
    run(jobmon, uninstall_statements("jobmon"))
    assert dba.value("SELECT to_regnamespace('jobmon') IS NULL")
    assert dba.ask("SELECT extname FROM pg_extension WHERE extname = 'dblink'") == [("dblink",)]
    assert dba.ask(INSTALLED) == []


def test_uninstalling_keeps_the_schema_when_others_have_objects_in_it(
    jobmon: Database, dba: Connection
) -> None:
    dba.ask("CREATE TABLE jobmon.mine (n integer)")
    run(jobmon, uninstall_statements("jobmon"))
    assert dba.ask(CONTENTS) == [("relation", "mine")]


def test_uninstalling_is_refused_while_something_depends_on_the_log(
    jobmon: Database, dba: Connection
) -> None:
    dba.ask("CREATE VIEW report AS SELECT job_name FROM jobmon.job_log")
    before = sorted(dba.ask(CONTENTS))
    with pytest.raises(errors.DependentObjectsStillExist):
        run(jobmon, uninstall_statements("jobmon"))
    assert sorted(dba.ask(CONTENTS)) == before


def test_uninstalling_what_pgtui_did_not_create_is_refused(bare: Database, on_bare: Connection) -> None:
    on_bare.ask("CREATE SCHEMA jobmon; CREATE TABLE jobmon.job_log (mine integer)")
    with pytest.raises(errors.UndefinedObject, match="schema jobmon has no job log that pgtui created"):
        run(bare, uninstall_statements("jobmon"))
    assert on_bare.ask(CONTENTS) == [("relation", "job_log")]


def test_a_marker_planted_by_an_ordinary_role_is_not_believed(dba: Connection, plain: Connection) -> None:
    role = sql.Identifier(plain.info.user)
    dba.ask(sql.SQL("CREATE SCHEMA trap AUTHORIZATION {}").format(role))
    plain.ask(f"CREATE FUNCTION trap.{OWN_MARKER}() RETURNS integer LANGUAGE sql AS 'SELECT 1'")
    assert [schema for schema, *_ in dba.ask(INSTALLED)] == ["jobmon"]


def test_installing_depends_on_nobodys_search_path(bare: Database) -> None:
    with psycopg.connect(bare.dsn) as connection:
        connection.execute("SET search_path = ''")
        for statement in (*dblink_statements("dblink"), *install_statements("jobmon", "dblink")):
            connection.execute(statement)
