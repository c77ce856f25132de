"""The shop's partition sets, each with something to see, and traffic into them.

pg_partman manages all but one where it is; where it is absent there are three, made by hand.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import LiteralString

import psycopg
from psycopg import sql

from backend.lab.door import Door, Worker

SCHEMA = "partman"


@dataclass(frozen=True, slots=True)
class PartitionedTable:
    """A table with its partitions: `table` makes it empty, `then` what is to be seen in it.

    Without `interval` nobody manages it. `by_hand` makes partitions without pg_partman; where it is empty too
    the table is left out.
    """

    name: str
    table: LiteralString
    control: str
    interval: str = ""
    by_hand: LiteralString = ""
    options: Mapping[str, LiteralString] = field(default_factory=dict)
    subdivided: str = ""
    then: tuple[LiteralString, ...] = ()


def _by_day(name: LiteralString, first: LiteralString, last: LiteralString) -> LiteralString:
    return (
        """\
DO $$
DECLARE
    day date;
BEGIN
    FOR n IN """
        + first
        + " .. "
        + last
        + """ LOOP
        day := current_date + n;
        EXECUTE format('CREATE TABLE public."""
        + name
        + "_p%s PARTITION OF public."
        + name
        + """ FOR VALUES FROM (%L) TO (%L)',
                       to_char(day, 'YYYYMMDD'), day, day + 1);
    END LOOP;
END
$$"""
    )


VISITS = PartitionedTable(
    "visits",
    """\
CREATE TABLE public.visits (
    seen_at timestamptz NOT NULL,
    page    text        NOT NULL
) PARTITION BY RANGE (seen_at)""",
    "seen_at",
    "1 day",
    by_hand=_by_day("visits", "-4", "4")
    + "; CREATE TABLE public.visits_default PARTITION OF public.visits DEFAULT",
    then=(
        """\
INSERT INTO public.visits (seen_at, page)
SELECT now() - n * interval '2 minutes', 'page ' || n % 40
  FROM generate_series(1, 2000) AS n""",
        "INSERT INTO public.visits (seen_at, page)"
        " VALUES (now() + interval '30 days', 'a clock that ran ahead')",
    ),
)
RECEIPTS = PartitionedTable(
    "receipts",
    """\
CREATE TABLE public.receipts (
    id    bigint  NOT NULL PRIMARY KEY,
    total numeric NOT NULL
) PARTITION BY RANGE (id)""",
    "id",
    "1000",
    by_hand="""\
DO $$
BEGIN
    FOR n IN 0 .. 4 LOOP
        EXECUTE format('CREATE TABLE public.receipts_p%s PARTITION OF public.receipts'
                       ' FOR VALUES FROM (%s) TO (%s)',
                       n * 1000, n * 1000, n * 1000 + 1000);
    END LOOP;
    CREATE TABLE public.receipts_default PARTITION OF public.receipts DEFAULT;
END
$$""",
    then=(
        "INSERT INTO public.receipts (id, total) SELECT n, n % 90 FROM generate_series(1, 900) AS n",
        "DROP TABLE public.receipts_p2000",
    ),
)
READINGS = PartitionedTable(
    "readings",
    """\
CREATE TABLE public.readings (
    read_at timestamptz NOT NULL,
    sensor  integer     NOT NULL,
    value   real        NOT NULL
) PARTITION BY RANGE (read_at)""",
    "read_at",
    "1 hour",
    options={"p_start_partition": "(now() - interval '12 hours')::text"},
    then=(
        """\
INSERT INTO public.readings (read_at, sensor, value)
SELECT now() - n * interval '8 seconds', n % 12, 20 + n % 7
  FROM generate_series(1, 5000) AS n""",
        "UPDATE partman.part_config SET retention = '6 hours' WHERE parent_table = 'public.readings'",
    ),
)
SALES = PartitionedTable(
    "sales",
    """\
CREATE TABLE public.sales (
    sold_at timestamptz NOT NULL,
    article integer     NOT NULL
) PARTITION BY RANGE (sold_at)""",
    "sold_at",
    "1 month",
    options={"p_premake": "1"},
    subdivided="1 day",
    then=(
        """\
INSERT INTO public.sales (sold_at, article)
SELECT now() - n * interval '1 minute', n % 500
  FROM generate_series(1, 1000) AS n""",
    ),
)
AUDITS = PartitionedTable(
    "audits",
    """\
CREATE TABLE public.audits (
    at   timestamptz NOT NULL,
    what text        NOT NULL
) PARTITION BY RANGE (at)""",
    "at",
    by_hand=_by_day("audits", "-6", "0"),
    then=(
        """\
INSERT INTO public.audits (at, what)
SELECT now() - n * interval '10 minutes', 'login of clerk ' || n % 9
  FROM generate_series(1, 700) AS n""",
    ),
)
# A stray row and so far ahead; a gap; what retention lets go; a set of sets; one that nobody looks after.
TABLES = (VISITS, RECEIPTS, READINGS, SALES, AUDITS)


def make_partitions(connection: psycopg.Connection) -> None:
    """Make the sets that are missing, all in the connection's transaction."""
    version = _partman(connection)
    if version:
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(SCHEMA)))
        connection.execute(
            sql.SQL("CREATE EXTENSION IF NOT EXISTS pg_partman SCHEMA {}").format(sql.Identifier(SCHEMA))
        )
    for each in TABLES:
        for statement in _statements(each, version) if _absent(connection, each) else ():
            connection.execute(statement)


def _statements(of: PartitionedTable, version: int) -> Iterator[sql.SQL | sql.Composed]:
    managed = bool(version and of.interval)
    if not managed and not of.by_hand:
        return
    yield sql.SQL(of.table)
    if managed:
        yield _create_parent(of, version)
        if of.subdivided:
            yield _create_sub_parent(of, version)
    else:
        yield sql.SQL(of.by_hand)
    yield from map(sql.SQL, of.then)
    yield sql.SQL("GRANT SELECT, INSERT ON {} TO PUBLIC").format(sql.Identifier("public", of.name))


def _create_parent(of: PartitionedTable, version: int) -> sql.Composed:
    given = _given(of.control, of.interval, version) | {k: sql.SQL(v) for k, v in of.options.items()}
    return _call("create_parent", {"p_parent_table": sql.Literal(f"public.{of.name}")} | given)


def _create_sub_parent(of: PartitionedTable, version: int) -> sql.Composed:
    sure = "p_native_check" if version < 5 else "p_declarative_check"
    given = _given(of.control, of.subdivided, version) | {
        sure: sql.Literal("yes"),
        "p_premake": sql.Literal(2),
    }
    return _call("create_sub_parent", {"p_top_parent": sql.Literal(f"public.{of.name}")} | given)


def _given(control: str, interval: str, version: int) -> dict[str, sql.Composable]:
    return {
        "p_control": sql.Literal(control),
        "p_type": sql.Literal("native" if version < 5 else "range"),
        "p_interval": sql.Literal(interval),
    }


def _call(function: str, given: Mapping[str, sql.Composable]) -> sql.Composed:
    arguments = (sql.SQL("{} := {}").format(sql.Identifier(name), value) for name, value in given.items())
    name = sql.Identifier(SCHEMA, function)
    return sql.SQL("SELECT {}({})").format(name, sql.SQL(", ").join(arguments))


def _absent(connection: psycopg.Connection, of: PartitionedTable) -> bool:
    found = connection.execute("SELECT to_regclass(%s) IS NULL", [f"public.{of.name}"]).fetchone()
    return bool(found and found[0])


def _partman(connection: psycopg.Connection) -> int:
    """The major version of the pg_partman that the server has; 0 where it has none."""
    found = connection.execute(
        "SELECT default_version FROM pg_available_extensions WHERE name = 'pg_partman'"
    ).fetchone()
    return int(found[0].partition(".")[0]) if found else 0


def _into(table: str, user: str, insert: LiteralString, pause: tuple[float, float]) -> Worker:
    """Somebody who puts rows into a set, where there is that set."""

    async def live(door: Door) -> None:
        async with await door.enter(f"{table} feed", user) as connection:
            found = await connection.execute("SELECT to_regclass(%s) IS NULL", [f"public.{table}"])
            if await found.fetchone() == (True,):
                await asyncio.Event().wait()
            while True:
                await connection.execute(insert)
                await asyncio.sleep(random.uniform(*pause))

    return live


WORKERS: tuple[Worker, ...] = (
    _into(
        "visits",
        "web",
        "INSERT INTO public.visits (seen_at, page) VALUES (now(), 'page ' || floor(random() * 40))",
        (0.2, 1.0),
    ),
    _into(
        "receipts",
        "billing",
        "INSERT INTO public.receipts (id, total) SELECT max(r.id) + 1, 42 FROM public.receipts AS r",
        (2.0, 6.0),
    ),
    _into(
        "readings",
        "web",
        "INSERT INTO public.readings (read_at, sensor, value)"
        " SELECT now(), n, 20 + random() FROM generate_series(1, 12) AS n",
        (1.0, 3.0),
    ),
    _into(
        "sales",
        "web",
        "INSERT INTO public.sales (sold_at, article) VALUES (now(), floor(random() * 500))",
        (0.5, 3.0),
    ),
)
