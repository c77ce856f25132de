"""What events say: as PgQ's own triggers write them, and as others do."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.core.declare import Health
from backend.queue.decode import decode, pairs
from backend.queue.snapshot import Snapshot, between, full_xid
from tests.rooms.jobmon.conftest import Console
from tests.rooms.queue.conftest import Hand, capture
from tests.servers import Database

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(st.dictionaries(TEXT, st.none() | TEXT))
def test_an_urlencoded_row_is_read_back(row: dict[str, str | None]) -> None:
    written = "&".join(
        quote_plus(name) if value is None else f"{quote_plus(name)}={quote_plus(value)}"
        for name, value in row.items()
    )
    assert pairs(written) == (row if written else {})


@given(st.none() | TEXT, st.none() | TEXT, st.none() | TEXT, st.none() | TEXT)
def test_any_event_can_be_shown(
    kind: str | None, data: str | None, extra1: str | None, extra2: str | None
) -> None:
    assert isinstance(decode(kind, data, extra1, extra2).text, str)


@pytest.mark.parametrize(
    ("kind", "data", "extra1"),
    [
        ("note", "a=1&b=2", None),
        ("I", "free text", None),
        ("I:id", "id=1", None),
        ('{"op": "DANCE"}', "{}", "public.t"),
        ('{"op":"INSERT"', "{}", "public.t"),
        ('{"op":"INSERT","table":["a","b"]}', "[1, 2]", None),
        ("Import", "x", "public.t"),
    ],
)
def test_what_no_trigger_wrote_is_plain(kind: str, data: str, extra1: str | None) -> None:
    said = decode(kind, data, extra1, None)
    assert (said.encoding, said.operation, said.text) == ("plain", None, data)


def test_bytes_that_are_no_text_and_json_that_is_deep_are_no_obstacle() -> None:
    assert pairs("a=%ff") == {"a": "\udcff"}
    assert decode('{"op":"INSERT"}', "[" * 100_000, "t", None).encoding == "plain"


@pytest.fixture
def goods(pgq: Database) -> Database:
    """The sample with a table of awkward names and values."""
    pgq.execute('CREATE TABLE goods (id int PRIMARY KEY, "Na=me & %" text, price numeric, sold bool)')
    return pgq


CHANGES = (
    """INSERT INTO goods VALUES (1, E'O''Brien & co=%+\\n[red]\\\\', NULL, true)""",
    "UPDATE goods SET price = 2.50",
    "DELETE FROM goods",
)
NAME = "Na=me & %"
VALUE = "O'Brien & co=%+\n[red]\\"


@pytest.mark.parametrize(
    ("function", "encoding", "sold"), [("logutriga", "urlencoded", "t"), ("jsontriga", "json", True)]
)
async def test_row_changes_are_decoded_as_the_triggers_write_them(
    console: Console, goods: Database, function: str, encoding: str, sold: Any
) -> None:
    capture(goods, "goods", function, "orders", "backup")
    for change in CHANGES:
        goods.execute(change)
    rows = await console.rows("queue.events", queue="orders", limit=3)
    deleted, updated, inserted = [decode(r.type, r.data, r.extra1, r.extra2) for r in rows]
    assert [r.operation for r in rows] == ["delete", "update", "insert"]
    assert {(r.encoding, r.table, r.key) for r in rows} == {(encoding, "public.goods", "id")}
    assert inserted.row == {"id": inserted.row["id"], NAME: VALUE, "price": None, "sold": sold}
    assert str(inserted.row["id"]) == "1"
    assert (updated.before["price"], updated.row["price"]) == (None, "2.50")
    assert updated.text == "id=1, price=NULL → 2.50"
    assert deleted.row[NAME] == VALUE
    assert "sold=" + ("t" if sold == "t" else "true") in inserted.text


async def test_partial_sql_is_made_whole(console: Console, goods: Database) -> None:
    capture(goods, "goods", "sqltriga", "orders")
    for change in CHANGES:
        goods.execute(change)
    rows = await console.rows("queue.events", queue="orders", limit=3)
    assert {r.encoding for r in rows} == {"sql"}
    delete, update, insert = [r.decoded for r in rows]
    assert insert.startswith('insert into public.goods (id,"Na=me & %",price,sold) values')
    assert update == "update public.goods set price='2.50' where id='1'"
    assert delete == "delete from public.goods where id='1'"
    for statement in (insert, update):
        goods.execute("ALTER TABLE goods DISABLE TRIGGER USER")
        goods.execute(statement)
    assert goods.execute("SELECT * FROM goods") == [(1, VALUE, goods.execute("SELECT 2.50")[0][0], True)]


async def test_a_truncated_table_says_so(console: Console, goods: Database) -> None:
    for function in ("logutriga", "jsontriga"):
        goods.execute(
            f"CREATE TRIGGER whole_{function} AFTER TRUNCATE ON goods"
            f" EXECUTE FUNCTION pgq.{function}('orders')"
        )
    goods.execute("TRUNCATE goods")
    rows = await console.rows("queue.events", queue="orders", limit=2)
    assert {(r.operation, r.decoded) for r in rows} == {("truncate", "truncate public.goods")}


@given(st.data())
def test_a_batch_has_what_became_visible_between_its_ticks(data: Any) -> None:
    numbers = st.integers(1, 60)
    last = data.draw(st.builds(_snapshot, numbers, st.frozensets(numbers)))
    later = data.draw(st.builds(_snapshot, st.integers(last.xmax, 80), st.frozensets(numbers)))
    # What a snapshot saw ended, a later one sees ended too.
    current = _snapshot(
        later.xmax, frozenset(x for x in later.running if x >= last.xmax or x in last.running)
    )
    span = between(last, current)
    chosen = {
        x
        for x in range(100)
        if (span.first <= x < span.end and x not in span.still_running) or x in span.late
    }
    assert chosen == {x for x in range(100) if _sees(current, x) and not _sees(last, x)}


def _snapshot(xmax: int, running: frozenset[int]) -> Snapshot:
    inside = frozenset(x for x in running if x < xmax)
    text = f"{min(inside, default=xmax)}:{xmax}:{','.join(map(str, sorted(inside)))}"
    return Snapshot.parse(text)


def _sees(snapshot: Snapshot, xid: int) -> bool:
    return xid < snapshot.xmin or (xid < snapshot.xmax and xid not in snapshot.running)


@given(st.integers(2**31, 2**62), st.integers(-(2**31) + 1, 2**31 - 1))
def test_a_short_transaction_id_is_made_long_again(near: int, away: int) -> None:
    assert full_xid((near + away) % 2**32, near) == near + away


async def test_no_verdict_on_events(console: Console, hand: Hand) -> None:
    assert (await console.judged("queue.events", queue="orders")).overall.health is Health.OK
