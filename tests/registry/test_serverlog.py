"""The net itself: what it must catch, and what it must let through."""

from __future__ import annotations

import pytest

from tests.registry.reviewed import FUNCTIONS, VOLATILE
from tests.registry.serverlog import Asked
from tests.servers import Server


def said(statement: str) -> Asked:
    return Asked("pgtui", "d", statement)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO t VALUES (1)",
        "WITH gone AS (DELETE FROM t RETURNING *) SELECT * FROM gone",
        "SELECT * FROM t FOR UPDATE",
        "SELECT 1 INTO t",
        "CHECKPOINT",
        "VACUUM t",
        "SET work_mem = '1MB'",
        "COPY t TO PROGRAM 'rm'",
    ],
)
def test_catches_what_does_more_than_look(statement: str) -> None:
    assert not said(statement).only_looks


@pytest.mark.parametrize(
    "statement",
    [
        "BEGIN READ ONLY",
        "SELECT 'insert into t'",
        "WITH a AS (SELECT 1) SELECT 'x' AS \"drop\" FROM a -- drop",
    ],
)
def test_lets_questions_through(statement: str) -> None:
    assert said(statement).only_looks


def test_finds_the_functions_that_are_called() -> None:
    asked = said(
        "WITH RECURSIVE z(a) AS (SELECT 1) SELECT pg_switch_wal(), f ((1)), count(*)"
        " FROM x AS y(a, b) WHERE i IN (1) AND 'g(1)' = ''"
    )
    assert asked.functions == {"pg_switch_wal", "f", "count"}
    assert not asked.functions <= FUNCTIONS


def test_no_reviewed_function_is_known_to_the_server_as_a_writing_one(server: Server) -> None:
    names = [name.partition(".")[2] for name in FUNCTIONS]
    volatile = {
        name
        for (name,) in server.psql(
            "SELECT DISTINCT proname FROM pg_proc WHERE proname = ANY (%s)"
            " AND pronamespace = 'pg_catalog'::regnamespace AND provolatile = 'v'",
            params=[names],
        )
    }
    assert volatile <= VOLATILE, volatile - VOLATILE
