"""Odd values, encodings and settings: one row never blinds a view."""

from __future__ import annotations

import json
import os
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg import sql

from backend.core.declare import Col, Column
from backend.core.facts import Query
from backend.core.report import line
from backend.core.show import show
from backend.core.values import INFINITY, MINUS_INFINITY
from tests.core.conftest import OpenSession, Value, Word
from tests.servers import Database, Databases

ODD = [
    ("'infinity'::timestamptz", INFINITY),
    ("'-infinity'::timestamptz", MINUS_INFINITY),
    ("'294276-12-31 23:59:59+00'::timestamptz", INFINITY),
    ("'4713-01-02 00:00:00+00 BC'::timestamptz", MINUS_INFINITY),
    ("'infinity'::timestamp", INFINITY.replace(tzinfo=None)),
    ("'-infinity'::timestamp", MINUS_INFINITY.replace(tzinfo=None)),
    ("'20000-01-01'::timestamp", INFINITY.replace(tzinfo=None)),
    ("'infinity'::date", date.max),
    ("'-infinity'::date", date.min),
    ("'0044-03-15 BC'::date", date.min),
    ("'24:00'::time", time.max),
    ("'24:00+00'::timetz", time.max),
    ("'100000000 years'::interval", timedelta.max),
    ("'-100000000 years'::interval", timedelta.min),
    ("ARRAY['infinity'::timestamptz, NULL]", [INFINITY, None]),
    ("ARRAY['infinity'::date]", [date.max]),
    ("ARRAY['100000000 years'::interval]", [timedelta.max]),
    ("'NaN'::float8", float("nan")),
    ("'NaN'::numeric", Decimal("NaN")),
    ("'x'::\"char\"", "x"),
    ("''::\"char\"", ""),
    ("'x'::name", "x"),
    ("ARRAY['x'::name]", ["x"]),
    ("'ab'::char(4)", "ab  "),
    ("'x'", "x"),
    ("'{\"a\": [1, null]}'::jsonb", {"a": [1, None]}),
    ("'[1e400]'::json", [float("inf")]),
    ("'1 mon 2 days 03:00'::interval", timedelta(days=32, hours=3)),
    ("pg_catalog.int4range(1, 5)::text", "[1,5)"),
    ("NULL", None),
]


@pytest.mark.parametrize(("expression", "wanted"), ODD, ids=[e for e, _ in ODD])
async def test_an_odd_value_loads_and_can_be_shown(
    database: Database, open_session: OpenSession, expression: str, wanted: Any
) -> None:
    session = await open_session(database.dsn)
    # The statement is made of the list above.
    [row] = await session.fetch(Value, Query(f"SELECT {expression} AS value"))  # pyright: ignore[reportArgumentType]
    assert repr(row.value) == repr(wanted)
    assert isinstance(show(Column("value", type(wanted), True, Col("Value")), row.value), str)
    json.loads(line(row.value))


async def test_an_interval_without_end_loads(database: Database, open_session: OpenSession) -> None:
    if database.server.major < 17:  # intervals are finite there
        return
    session = await open_session(database.dsn)
    rows = await session.fetch(
        Value, Query("SELECT v::interval AS value FROM (VALUES ('infinity'), ('-infinity')) AS w(v)")
    )
    assert [r.value for r in rows] == [timedelta.max, timedelta.min]


async def test_an_enum_of_the_users_loads_as_text(database: Database, open_session: OpenSession) -> None:
    database.execute("CREATE TYPE public.mood AS ENUM ('fine', 'so so')")
    session = await open_session(database.dsn)
    [row] = await session.fetch(Value, Query("SELECT 'so so'::public.mood AS value"))
    assert row.value == "so so"


@pytest.fixture(params=["SQL_ASCII", "LATIN1"])
def encoded(request: pytest.FixtureRequest, databases: Databases) -> Any:
    name = f"in_{request.param.lower()}"
    server = databases.server
    server.psql(
        sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING {} LOCALE 'C'").format(
            sql.Identifier(name), sql.Literal(request.param)
        )
    )
    yield Database(server, name)
    databases.drop(Database(server, name))


async def test_a_database_in_another_encoding_does_not_blind_a_view(
    encoded: Database, open_session: OpenSession
) -> None:
    with psycopg.connect(encoded.dsn, autocommit=True) as connection:
        connection.pgconn.exec_(b"SET client_encoding = 'SQL_ASCII'")
        connection.pgconn.exec_(b'CREATE TABLE public."caf\xe9" (value int)')
        connection.pgconn.exec_(b'INSERT INTO public."caf\xe9" VALUES (1)')
    session = await open_session(encoded.dsn)
    names = Query("SELECT relname AS word FROM pg_catalog.pg_class WHERE relname LIKE 'caf%'")
    [row] = await session.fetch(Word, names)
    assert row.word == ("caf\udce9" if session.facts.encoding == "SQL_ASCII" else "café")
    again = Query("SELECT relname AS word FROM pg_catalog.pg_class WHERE relname = %s")
    assert [r.word for r in await session.fetch(Word, again, row.word)] == [row.word]
    assert show(Column("word", str, False, Col("Word")), row.word) in ("caf\\xe9", "café")


@pytest.mark.parametrize(
    "settings",
    [
        {"DateStyle": "German, DMY", "IntervalStyle": "iso_8601", "TimeZone": "XYZ5"},
        {"DateStyle": "SQL, DMY", "IntervalStyle": "sql_standard", "TimeZone": "<+0530>-5:30"},
        {"DateStyle": "Postgres", "IntervalStyle": "postgres_verbose", "TimeZone": "Foo/Bar-3"},
        {"TimeZone": "Europe/Amsterdam", "extra_float_digits": "-15", "bytea_output": "escape"},
    ],
    ids=lambda s: s["TimeZone"],
)
async def test_odd_settings_of_the_role_do_not_blind_a_view(
    database: Database, open_session: OpenSession, settings: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    for name, value in settings.items():
        database.execute(
            sql.SQL("ALTER ROLE CURRENT_USER IN DATABASE {} SET {} = {}").format(
                sql.Identifier(database.name), sql.Identifier(name), sql.Literal(value)
            )
        )
    session = await open_session(database.dsn)
    [row] = await session.fetch(Value, Query("SELECT '2024-02-03 04:05:06+00'::timestamptz AS value"))
    assert row.value == datetime.fromisoformat("2024-02-03T04:05:06+00:00")
    [old] = await session.fetch(Value, Query("SELECT '1880-01-01 00:00:00+00'::timestamptz AS value"))
    assert old.value == datetime.fromisoformat("1880-01-01T00:00:00+00:00")
    [row] = await session.fetch(Value, Query("SELECT '1 day 02:03:04.5'::interval AS value"))
    assert row.value == timedelta(days=1, hours=2, minutes=3, seconds=4.5)
    [row] = await session.fetch(Value, Query("SELECT 0.1::float8 + 0.2 AS value"))
    assert row.value == 0.1 + 0.2
    assert capfd.readouterr().err == ""
    assert os.environ.get("TZ") is None


async def test_statements_of_another_encodings_database_do_not_blind_a_multibyte_one(
    databases: Databases, database: Database, open_session: OpenSession
) -> None:
    server = databases.server
    server.psql(sql.SQL("CREATE DATABASE in_euc TEMPLATE template0 ENCODING 'EUC_JP' LOCALE 'C'"))
    try:
        with psycopg.connect(database.dsn, autocommit=True) as other:
            other.execute("SELECT 'a € that EUC_JP does not know'")
            session = await open_session(server.dsn("in_euc"))
            queries = Query("SELECT query AS word FROM pg_catalog.pg_stat_activity WHERE pid = %s")
            [row] = await session.fetch(Word, queries, other.info.backend_pid)
            assert row.word.startswith("SELECT 'a ")
            [own] = await session.fetch(Word, Query("SELECT %s::text AS word"), "日本")
            assert own.word == "日本"
            await session.close()
    finally:
        databases.drop(Database(server, "in_euc"))
