"""Filters: one small language for tables on screen and for `pgtui show --where`.

    text               a cell contains it          !text          no cell does
    name=value         name!=value                 name>value     also < >= <=
    name~regex         name!~regex                 !name=value    the opposite of any term

Terms separated by blanks all have to hold; quotes keep blanks and operators together. Case never
matters. Values are read by the column's type: `age>5min`, `size>=10MB`, `share<90%`, `started>2026-01-31`.
"""

from __future__ import annotations

import inspect
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from backend.core.declare import Column
from backend.core.errors import Usage, unknown
from backend.core.params import parse_bool
from backend.core.record import record
from backend.core.show import show
from backend.core.values import Interval, Size

ValueOf = Callable[[Any, str], Any]
Test = Callable[[Any, ValueOf], bool]

_OPERATOR = re.compile(r"!=|!~|>=|<=|=|~|>|<")
_NAME = re.compile(r"[^\W\d]\w*")
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}


@record
class Where:
    """A parsed filter; a row matches when all of its terms hold."""

    text: str
    tests: tuple[Test, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.tests)

    def matches(self, row: Any, value_of: ValueOf = getattr) -> bool:
        """Whether the row passes; `value_of(row, column)` gives what its cell shows."""
        return all(test(row, value_of) for test in self.tests)


EVERYTHING = Where("")


def parse(text: str, columns: Sequence[Column]) -> Where:
    """The filter, or a usage error naming the unknown column, the bad value or the bad regex."""
    shown = [c for c in columns if not c.col.hidden]
    return Where(text, tuple(_test(term, columns, shown) for term in _terms(text)))


def quote(text: str) -> str:
    """The text written so that `parse` looks for exactly it."""
    return '"' + text.replace('"', '""') + '"'


@dataclass(slots=True)
class _Term:
    negated: bool = False
    name: str = ""
    op: str = ""
    value: str = ""


def _terms(text: str) -> list[_Term]:
    terms, at = [], _skip(text, 0)
    while at < len(text):
        term, at = _term(text, at)
        terms.append(term)
        at = _skip(text, at)
    return terms


def _term(text: str, at: int) -> tuple[_Term, int]:
    term = _Term()
    while text.startswith("!", at):
        term.negated, at = not term.negated, at + 1
    if name := _NAME.match(text, at):
        found = _OPERATOR.match(text, _skip(text, name.end()))
        if found:
            term.name, term.op = name[0], found[0]
            at = _skip(text, found.end())
    term.value, at = _word(text, at)
    return term, at


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _word(text: str, at: int) -> tuple[str, int]:
    if at < len(text) and text[at] in "\"'":
        return _quoted(text, at)
    end = at
    while end < len(text) and not text[end].isspace():
        end += 1
    return text[at:end], end


def _quoted(text: str, at: int) -> tuple[str, int]:
    mark, parts, start = text[at], [], at + 1
    while (end := text.find(mark, start)) >= 0:
        parts.append(text[start:end])
        if not text.startswith(mark, end + 1):
            return mark.join(parts), end + 1
        start = end + 2
    raise Usage(f"the quotation that starts with {text[at : at + 20]} has no end")


def _test(term: _Term, columns: Sequence[Column], shown: Sequence[Column]) -> Test:
    test = _compare(_column(term, columns), term) if term.op else _contains(term.value, shown)
    return (lambda row, value_of: not test(row, value_of)) if term.negated else test


def _column(term: _Term, columns: Sequence[Column]) -> Column:
    wanted = term.name.casefold()
    for column in columns:
        if wanted in (column.name.casefold(), column.col.title.casefold().replace(" ", "_")):
            return column
    error = unknown("column", term.name, [c.name for c in columns])
    hint = f"{error.hint or ''}; to look for the text put it in quotes".lstrip("; ")
    raise Usage(error.message, hint=hint)


def _contains(text: str, shown: Sequence[Column]) -> Test:
    wanted = text.casefold()

    def test(row: Any, value_of: ValueOf) -> bool:
        values = ((c, value_of(row, c.name)) for c in shown)
        return any(wanted in text_of(c, v).casefold() for c, v in values if v is not None)

    return test if wanted else lambda row, value_of: True


def text_of(column: Column, value: Any) -> str:
    """What a filter sees of a cell: the exact text, or the value as it is shown."""
    return value if isinstance(value, str) else show(column, value)


def _compare(column: Column, term: _Term) -> Test:
    if term.op in ("~", "!~"):
        return _regex(column, term)
    if not term.value:
        return _presence(column, term)
    if term.op in ("=", "!="):
        return _equals(column, term)
    return _ordered(column, term)


def _regex(column: Column, term: _Term) -> Test:
    try:
        pattern = re.compile(term.value, re.IGNORECASE)
    except (re.error, OverflowError, RecursionError) as e:
        raise Usage(f"{term.value!r} is not a regular expression: {e}") from None
    wanted = term.op == "~"

    def test(row: Any, value_of: ValueOf) -> bool:
        value = value_of(row, column.name)
        return (value is not None and bool(pattern.search(text_of(column, value)))) is wanted

    return test


def _presence(column: Column, term: _Term) -> Test:
    if term.op not in ("=", "!="):
        raise Usage(f"{term.name}{term.op} wants a value")
    wanted = term.op == "="
    return lambda row, value_of: (value_of(row, column.name) in (None, "")) is wanted


def _equals(column: Column, term: _Term) -> Test:
    limit, text, wanted = _value(column, term), term.value.casefold(), term.op == "="

    def test(row: Any, value_of: ValueOf) -> bool:
        value = value_of(row, column.name)
        same = value is not None and (comparable(value) == limit or text_of(column, value).casefold() == text)
        return same is wanted

    return test


def _ordered(column: Column, term: _Term) -> Test:
    limit, beyond = _value(column, term), _ORDER[term.op]

    def test(row: Any, value_of: ValueOf) -> bool:
        value = comparable(value_of(row, column.name))
        try:
            return value is not None and beyond(value, limit)
        except TypeError:
            return beyond(str(value).casefold(), term.value.casefold())

    return test


def comparable(value: Any) -> Any:
    """The value as it is ordered and compared: intervals by length, words without case."""
    if isinstance(value, Interval):
        return value.approximate
    if isinstance(value, Enum):
        return comparable(value.value)
    return value.casefold() if isinstance(value, str) else value


def _value(column: Column, term: _Term) -> Any:
    try:
        return _typed(column, term.value)
    except (ValueError, OverflowError):
        raise Usage(f"{term.name}{term.op} wants {_wanted(column)}, not {term.value!r}") from None
    except Usage as e:
        raise Usage(f"{term.name}{term.op}: {e.message}", hint=e.hint) from None


def _typed(column: Column, text: str) -> Any:
    if column.col.unit == "bytes" or _is(column, Size):
        return Size.parse(text.removesuffix("/s"))
    if column.type is bool:
        return parse_bool(text)
    if column.type in (int, float) or column.col.rate:
        return float(text.removesuffix("%").removesuffix("/s"))
    if _is(column, timedelta, Interval):
        return _length(text)
    if _is(column, datetime):
        return _moment(text)
    return text.casefold()


def _is(column: Column, *types: type) -> bool:
    # A column of Literal words has no class.
    return inspect.isclass(column.type) and issubclass(column.type, types)


def _length(text: str) -> timedelta:
    length = Interval.parse(text.lstrip("-")).approximate
    return -length if text.startswith("-") else length


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.astimezone()


def _wanted(column: Column) -> str:
    if column.type is bool:
        return "true or false"
    return "a time such as 2026-01-31 or 2026-01-31T10:30" if column.type is datetime else "a number"
