"""Values from servers and to them: whatever a row holds, it never fails to load.

One odd row would otherwise blind a whole view: bytes that are no UTF-8, times that never come, days that
Python has no name for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, time, timedelta
from typing import Any

import psycopg
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Format

from backend.core.values import INFINITY, MINUS_INFINITY


def _codec(context: AdaptContext | None) -> str:
    """The encoding that text arrives in; bytes of no declared encoding are most likely UTF-8."""
    connection = context.connection if context else None
    found = connection.info.encoding if connection else "utf-8"
    return "utf-8" if found == "ascii" else found


class TextLoader(Loader):
    """Text whose bytes need not be valid in its encoding."""

    def __init__(self, oid: int, context: AdaptContext | None = None) -> None:
        super().__init__(oid, context)
        self._encoding = _codec(context)

    def load(self, data: Buffer) -> str:
        """The text, with undecodable bytes kept as surrogates."""
        return bytes(data).decode(self._encoding, "surrogateescape")


class TextDumper(Dumper):
    """Text as `TextLoader` gives it: the bytes kept as surrogates become bytes again."""

    def __init__(self, cls: type, context: AdaptContext | None = None) -> None:
        super().__init__(cls, context)
        self._encoding = _codec(context)

    def dump(self, obj: str) -> Buffer:
        """The bytes; a data error for what no server can hold."""
        if "\0" in obj:
            raise psycopg.DataError("a text for PostgreSQL cannot hold a zero byte")
        try:
            return obj.encode(self._encoding, "surrogateescape")
        except UnicodeEncodeError:
            raise psycopg.DataError(f"this text cannot be written in {self._encoding}") from None


class JsonLoader(Loader):
    """JSON, whose strings need not be UTF-8 either."""

    def load(self, data: Buffer) -> Any:
        """The value; the text itself where it cannot be read as JSON."""
        text = bytes(data).decode("utf-8", "surrogateescape")
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text


class _Bounded(Loader):
    """psycopg's own loader, with named values for what lies outside Python's range."""

    least: Any
    most: Any

    def __init__(self, oid: int, context: AdaptContext | None = None) -> None:
        super().__init__(oid, context)
        # The loader in C is far faster than its Python twin, and cannot be subclassed.
        found = psycopg.adapters.get_loader(oid, Format.TEXT)
        if found is None:
            raise LookupError(f"psycopg has no loader for type {oid}")
        self._usual = found(oid, context)

    def load(self, data: Buffer) -> Any:
        """The value, never an error."""
        try:
            return self._usual.load(data)
        except (psycopg.DataError, ValueError, OverflowError):
            return self.least if self.is_low(bytes(data)) else self.most

    def is_low(self, text: bytes) -> bool:
        """Whether what cannot be told lies before everything, not after it."""
        return text.startswith((b"-", b"0001-", b"0000-")) or text.endswith(b" BC")


class TimestamptzLoader(_Bounded):
    """Times with zone."""

    least, most = MINUS_INFINITY, INFINITY


class TimestampLoader(_Bounded):
    """Times without zone; the named values have none either, so that they compare with the others."""

    least, most = MINUS_INFINITY.replace(tzinfo=None), INFINITY.replace(tzinfo=None)


class DateLoader(_Bounded):
    """Days."""

    least, most = date.min, date.max


class TimeLoader(_Bounded):
    """Times of day; 24:00 is the last moment that Python knows."""

    least, most = time.min, time.max


class IntervalLoader(_Bounded):
    """Lengths of time; infinity, and what is longer than Python can tell, are the longest it can."""

    least, most = timedelta.min, timedelta.max

    def load(self, data: Buffer) -> Any:
        """The length, never an error."""
        # psycopg takes a word without digits for no time at all.
        if bytes(data).endswith(b"infinity"):
            return self.least if self.is_low(bytes(data)) else self.most
        return super().load(data)


_LOADERS: Mapping[str, type[Loader]] = {
    **dict.fromkeys(("text", "varchar", "bpchar", "name", '"char"', "xml"), TextLoader),
    **dict.fromkeys(("json", "jsonb"), JsonLoader),
    "timestamptz": TimestamptzLoader,
    "timestamp": TimestampLoader,
    "date": DateLoader,
    "time": TimeLoader,
    "timetz": TimeLoader,
    "interval": IntervalLoader,
}


# What psycopg has no loader for, such as an enum, loads as what is registered for no type at all.
_NO_TYPE, _UNKNOWN = 0, 705


def adapt(connection: psycopg.AsyncConnection[Any]) -> None:
    """Give the connection loaders that no row can make fail, and a dumper that takes back what they gave."""
    for name, loader in _LOADERS.items():
        connection.adapters.register_loader(name, loader)
    for oid in (_NO_TYPE, _UNKNOWN):
        connection.adapters.register_loader(oid, TextLoader)
    connection.adapters.register_dumper(str, TextDumper)
