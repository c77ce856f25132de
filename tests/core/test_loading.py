"""Records that are translated while they are loaded by COPY."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from psycopg import sql

from backend.core.declare import Action, Danger
from backend.core.errors import Failed
from backend.core.facts import Needs
from backend.core.local import LocalHost
from backend.core.plan import Chunk, Load, Plan
from backend.core.run import Report, Run, make_plan
from backend.core.session import Session
from backend.core.target import Target
from tests.servers import Database

WHICH = sql.SQL("SELECT 'public' AS schema, t.name FROM public.which AS t")


@dataclass(frozen=True)
class Numbers:
    """Rows 1 to `rows`, five in a chunk; after `good` of them comes a bad one."""

    rows: int
    good: int | None = None
    text: str = "numbers"
    size: int = 100

    def chunks(self, every: int | None) -> Iterator[Chunk]:
        for first in range(1, self.rows + 1, 5):
            if self.good is not None and first > self.good:
                raise Failed(f"row {first} is bad")
            data = "".join(f"{n}\n" for n in range(first, first + 5))
            yield Chunk(data.encode(), 5, min(100, first))


@pytest.fixture
def tables(database: Database) -> Database:
    for statement in (
        "CREATE TABLE a (n int CHECK (n <> 33))",
        "CREATE TABLE b (LIKE a)",
        "CREATE TABLE which AS SELECT 'a'::text AS name",
    ):
        database.execute(statement)
    return database


async def loaded(database: Database, source: Numbers, every: int | None = None) -> Report:
    async def load(s: Any) -> Plan:
        """Load."""
        return Plan("a", (Load(source, (WHICH,), ("n",), every=every),))

    action = Action("sample.load", load, Danger.CHANGE, Needs(), (), True)
    session = Session(Target("t", database.dsn), LocalHost())
    try:
        plan = await make_plan(session, action, {})
        assert "COPY" in plan.steps[0].text
        return await Run(session, action, {}, plan).execute()
    finally:
        await session.close()


def there(database: Database, table: str = "a") -> int:
    [(number,)] = database.execute(f"SELECT count(*) FROM {table}")
    return int(number)


@pytest.mark.parametrize(("every", "transactions"), [(None, 1), (10, 3), (5, 6)])
async def test_loads_all_in_transactions_of_that_many(
    tables: Database, every: int | None, transactions: int
) -> None:
    report = await loaded(tables, Numbers(30), every)
    assert report.result == [{"rows": 30, "transactions": transactions}]
    assert tables.execute("SELECT count(DISTINCT xmin::text), count(*) FROM a") == [(transactions, 30)]


async def test_the_server_says_which_table(tables: Database) -> None:
    tables.execute("UPDATE which SET name = 'b'")
    assert (await loaded(tables, Numbers(5))).error is None
    assert (there(tables, "a"), there(tables, "b")) == (0, 5)


async def test_nothing_to_load_is_no_error(tables: Database) -> None:
    assert (await loaded(tables, Numbers(0))).result == [{"rows": 0, "transactions": 0}]


@pytest.mark.parametrize(
    ("every", "stay", "told"),
    [(None, 0, "row 26 is bad; no rows were inserted"),
     (10, 20, "row 26 is bad; the 20 rows before this transaction stay")],
)  # fmt: skip
async def test_a_bad_record_takes_back_its_transaction(
    tables: Database, every: int | None, stay: int, told: str
) -> None:
    report = await loaded(tables, Numbers(30, good=25), every)
    assert report.error is not None
    assert report.error.message == told
    assert there(tables) == stay


async def test_the_servers_complaint_names_the_row(tables: Database) -> None:
    report = await loaded(tables, Numbers(40), 10)
    assert report.error is not None
    assert report.error.sqlstate == "23514"
    assert report.error.message.endswith("(number 33 of the rows); the 30 rows before this transaction stay")
    assert there(tables) == 30


async def test_a_table_that_is_not_named_is_told(tables: Database) -> None:
    tables.execute("DELETE FROM which")
    report = await loaded(tables, Numbers(5))
    assert report.error is not None
    assert report.error.message == "the server names no table to load into; no rows were inserted"


async def test_a_table_that_is_not_there_is_told(tables: Database) -> None:
    tables.execute("UPDATE which SET name = 'nowhere'")
    report = await loaded(tables, Numbers(5))
    assert report.error is not None
    assert 'relation "public.nowhere" does not exist; no rows were inserted' in report.error.message
