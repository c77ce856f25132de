from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.core.declare import Col, columns_of
from backend.core.errors import Usage
from backend.core.values import Interval, Size, minutes
from backend.core.where import parse, quote


@dataclass(frozen=True, slots=True)
class Row:
    name: Annotated[str | None, Col("Name", key=True)]
    age: Annotated[timedelta | None, Col("Query age")] = None
    size: Annotated[int, Col("Size", unit="bytes")] = 0
    share: Annotated[float, Col("Share", unit="percent")] = 0
    active: Annotated[bool, Col("Active")] = False
    started: Annotated[datetime | None, Col("Started")] = None
    keep: Annotated[Interval | None, Col("Keep")] = None
    limit: Annotated[Size | None, Col("Limit")] = None
    kind: Annotated[Literal["a", "b"], Col("Kind")] = "a"
    count: Annotated[int, Col("Count")] = 0
    secret: Annotated[str, Col("Inner", hidden=True)] = ""


COLUMNS = columns_of(Row)


def passes(where: str, row: Row) -> bool:
    return parse(where, COLUMNS).matches(row)


@pytest.mark.parametrize(
    ("where", "row", "expected"),
    [
        ("", Row("x"), True),
        ("ord", Row("Orders"), True),
        ("!ord", Row("Orders"), False),
        ("ord shop", Row("Shop orders"), True),
        ("ord shop", Row("Orders"), False),
        ('"shop orders"', Row("the shop orders"), True),
        ("don't", Row("I don't know"), True),
        ("name=Orders", Row("orders"), True),
        ("name=order", Row("orders"), False),
        ("name!=order", Row("orders"), True),
        ("!name=order", Row("orders"), True),
        ("name=", Row(None), True),
        ("name!=", Row(""), False),
        ("name~^o.*s$", Row("Orders"), True),
        ("name!~^o", Row(None), True),
        ("name>m", Row("orders"), True),
        ("age>5min", Row("x", age=minutes(6)), True),
        ("age > 5min", Row("x", age=minutes(4)), False),
        ("query_age>=5min", Row("x", age=minutes(5)), True),
        ("age>5min", Row("x"), False),
        ("age='1 hour'", Row("x", age=minutes(60)), True),
        ("size>=10MB", Row("x", size=10 * 1024**2), True),
        ("size<10MB", Row("x", size=10 * 1024**2), False),
        ("share<90%", Row("x", share=89.9), True),
        ("active=yes", Row("x", active=True), True),
        ("active=false", Row("x", active=True), False),
        ("started>2026-01-31", Row("x", started=datetime(2026, 2, 1, 12, tzinfo=UTC)), True),
        ("keep>1d", Row("x", keep=Interval("2 days")), True),
        ("limit>1GB", Row("x", limit=Size(2 * 1024**3)), True),
        ("kind=b", Row("x", kind="b"), True),
        ("count=3", Row("x", count=3), True),
        ("10.0.0.1/32", Row("10.0.0.1/32"), True),
        ("->", Row("a->b"), True),
        ("hidden", Row("x", secret="hidden"), False),
        ("inner=hidden", Row("x", secret="hidden"), True),
    ],
)
def test_a_filter_passes_what_it_says(where: str, row: Row, expected: bool) -> None:
    assert passes(where, row) is expected


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("nam=x", "did you mean name"),
        ("name~[", "not a regular expression"),
        ("age>5", "not a duration"),
        ("count>many", "count> wants a number"),
        ("size>many", "not a size"),
        ("active=maybe", "true or false"),
        ("started>yesterday", "wants a time"),
        ("age>", "age> wants a value"),
        ('name="x', "has no end"),
    ],
)
def test_a_wrong_filter_says_what_is_wrong(where: str, said: str) -> None:
    with pytest.raises(Usage) as caught:
        parse(where, COLUMNS)
    assert said in f"{caught.value.message} {caught.value.hint}"


def test_rates_are_compared_as_they_are_shown() -> None:
    where = parse("count>100", COLUMNS)
    assert where.matches(Row("x", count=1), lambda row, column: 200.0 if column == "count" else None)


@given(st.text())
def test_any_text_is_a_filter_or_a_usage_error(text: str) -> None:
    try:
        where = parse(text, COLUMNS)
    except Usage:
        return
    assert isinstance(where.matches(Row("x", age=minutes(1))), bool)


@given(st.text(), st.text(), st.text())
def test_a_quoted_text_finds_every_cell_that_contains_it(before: str, text: str, after: str) -> None:
    assert passes(quote(text), Row(before + text + after))


@given(st.text(min_size=1), st.text(min_size=1))
def test_the_opposite_of_a_term_is_its_opposite(text: str, name: str) -> None:
    assert passes("!" + quote(text), Row(name)) is not passes(quote(text), Row(name))


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=900)), st.integers(0, 10**6))
def test_comparisons_agree_with_the_values(age: timedelta, seconds: int) -> None:
    row: Any = Row("x", age=age)
    assert passes(f"age>{seconds}s", row) is (age > timedelta(seconds=seconds))
    assert passes(f"age<={seconds}s", row) is (age <= timedelta(seconds=seconds))
