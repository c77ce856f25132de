"""The shop's partition sets: one strands rows, one has a gap; pg_partman manages both where it is."""

from __future__ import annotations

from typing import LiteralString

import psycopg
from psycopg import sql

SCHEMA = "partman"

_TABLES: tuple[LiteralString, ...] = (
    """\
CREATE TABLE public.visits (
    seen_at timestamptz NOT NULL,
    page    text        NOT NULL
) PARTITION BY RANGE (seen_at)""",
    """\
CREATE TABLE public.receipts (
    id    bigint  NOT NULL PRIMARY KEY,
    total numeric NOT NULL
) PARTITION BY RANGE (id)""",
)
_SETS = (("public.visits", "seen_at", "1 day"), ("public.receipts", "id", "1000"))

# Where pg_partman is absent, the same by hand.
_BY_HAND: LiteralString = """\
DO $$
DECLARE
    day date := current_date;
BEGIN
    FOR n IN -4 .. 4 LOOP
        EXECUTE format('CREATE TABLE public.visits_p%s PARTITION OF public.visits'
                       ' FOR VALUES FROM (%L) TO (%L)',
                       to_char(day + n, 'YYYYMMDD'), day + n, day + n + 1);
    END LOOP;
    FOR n IN 0 .. 4 LOOP
        EXECUTE format('CREATE TABLE public.receipts_p%s PARTITION OF public.receipts'
                       ' FOR VALUES FROM (%s) TO (%s)',
                       n * 1000, n * 1000, n * 1000 + 1000);
    END LOOP;
    CREATE TABLE public.visits_default PARTITION OF public.visits DEFAULT;
    CREATE TABLE public.receipts_default PARTITION OF public.receipts DEFAULT;
END
$$"""

_ROWS: tuple[LiteralString, ...] = (
    """\
INSERT INTO public.visits (seen_at, page)
SELECT now() - n * interval '2 minutes', 'page ' || n % 40
  FROM generate_series(1, 2000) AS n""",
    "INSERT INTO public.visits (seen_at, page) VALUES (now() + interval '30 days', 'a clock that ran ahead')",
    "INSERT INTO public.receipts (id, total) SELECT n, n % 90 FROM generate_series(1, 900) AS n",
    "DROP TABLE public.receipts_p2000",
)


def make_partitions(connection: psycopg.Connection) -> None:
    """Make the sets, all in the connection's transaction."""
    for table in _TABLES:
        connection.execute(table)
    if version := _partman(connection):
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(SCHEMA)))
        connection.execute(
            sql.SQL("CREATE EXTENSION IF NOT EXISTS pg_partman SCHEMA {}").format(sql.Identifier(SCHEMA))
        )
        kind = "native" if int(version.split(".")[0]) < 5 else "range"
        for parent, control, interval in _SETS:
            connection.execute(
                "SELECT partman.create_parent(p_parent_table := %s, p_control := %s, p_type := %s,"
                " p_interval := %s)",
                [parent, control, kind, interval],
            )
    else:
        connection.execute(_BY_HAND)
    for statement in _ROWS:
        connection.execute(statement)


def _partman(connection: psycopg.Connection) -> str:
    found = connection.execute(
        "SELECT default_version FROM pg_available_extensions WHERE name = 'pg_partman'"
    ).fetchone()
    return found[0] if found else ""
