"""Values that parameters and rows are made of: intervals, sizes, times that never come."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from backend.core.errors import Usage

# PostgreSQL's infinity, and any date outside Python's years 1 to 9999, become these two.
INFINITY = datetime.max.replace(tzinfo=UTC)
MINUS_INFINITY = datetime.min.replace(tzinfo=UTC)

_UNITS = {
    "us usec usecs microsecond microseconds µs": 1e-6,
    "ms msec msecs millisecond milliseconds": 1e-3,
    "s sec secs second seconds": 1,
    "m min mins minute minutes": 60,
    "h hr hrs hour hours": 3600,
    "d day days": 86400,
    "w week weeks": 7 * 86400,
    "mon mons month months": 30 * 86400,
    "y yr yrs year years": 365.25 * 86400,
    "decade decades": 3652.5 * 86400,
    "century centuries": 36525 * 86400,
}
_SECONDS = {word: seconds for words, seconds in _UNITS.items() for word in words.split()}
_PART = re.compile(
    r"""\s*(?:(?P<sign>[+-]?)(?P<hours>\d+):(?P<minutes>\d\d)(?::(?P<rest>\d\d(?:\.\d+)?))?(?![\w:.])
         |(?P<number>[+-]?\d+(?:\.\d+)?)\s*(?P<unit>[a-zµ]+)(?![_:.]))""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_ISO = re.compile(
    r"P(?=.)(?:(-?[\d.]+)Y)?(?:(-?[\d.]+)M)?(?:(-?[\d.]+)W)?(?:(-?[\d.]+)D)?"
    r"(?:T(?=.)(?:(-?[\d.]+)H)?(?:(-?[\d.]+)M)?(?:(-?[\d.]+)S)?)?",
    re.ASCII,
)
_ISO_SECONDS = (365.25 * 86400, 30 * 86400, 7 * 86400, 86400, 3600, 60, 1)
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB|k|M|G|T)?\s*", re.IGNORECASE)
_POWERS = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4}


class Interval(str):
    """A PostgreSQL interval as it was written: `90s`, `5min`, `2h`, `1d`, `1 mon 2 days`, `01:30:00`."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Interval:
        """The interval, or a usage error; a bare number is refused, since nobody knows its unit."""
        if _length(text.strip()) is None:
            raise Usage(
                f"{text!r} is not a duration", hint="write 90s, 5min, 2h, 1d or a PostgreSQL interval"
            )
        return cls(text.strip())

    @property
    def approximate(self) -> timedelta:
        """The length for showing and comparing here; a month is 30 days, a year 365.25, as in PostgreSQL."""
        try:
            return timedelta(seconds=_length(self) or 0)
        except OverflowError:
            return timedelta.max


def _length(text: str) -> float | None:
    """The seconds of an interval; None when it is none."""
    if match := _ISO.fullmatch(text):
        try:
            return sum(float(n) * unit for n, unit in zip(match.groups(), _ISO_SECONDS, strict=True) if n)
        except ValueError:
            return None
    ago = re.fullmatch(r"(.*\S)\s+ago", text, re.IGNORECASE | re.DOTALL)
    if ago:
        past = _length(ago[1])
        return None if past is None else -past
    return _sum(text)


def _sum(text: str) -> float | None:
    total, position = 0.0, 0
    while position < len(text):
        match = _PART.match(text, position)
        seconds = _part(match) if match else None
        if match is None or seconds is None:
            return None
        total, position = total + seconds, match.end()
    return total if text else None


def _part(match: re.Match[str]) -> float | None:
    if match["unit"]:
        unit = _SECONDS.get(match["unit"].lower())
        return None if unit is None else float(match["number"]) * unit
    length = int(match["hours"]) * 3600 + int(match["minutes"]) * 60 + float(match["rest"] or 0)
    return -length if match["sign"] == "-" else length


class Size(int):
    """A number of bytes, written `10MB` or `512kB`; a kB is 1024 bytes, as in PostgreSQL's settings."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Size:
        """The size in bytes, or a usage error."""
        match = _SIZE.fullmatch(text)
        if not match:
            raise Usage(f"{text!r} is not a size", hint="write 512kB, 10MB, 2GB or a number of bytes")
        unit = (match[2] or "")[:1].lower()
        return cls(Decimal(match[1]) * 1024 ** _POWERS[unit])


def seconds(n: float) -> timedelta:
    """That many seconds."""
    return timedelta(seconds=n)


def minutes(n: float) -> timedelta:
    """That many minutes."""
    return timedelta(minutes=n)


def hours(n: float) -> timedelta:
    """That many hours."""
    return timedelta(hours=n)


def days(n: float) -> timedelta:
    """That many days."""
    return timedelta(days=n)
