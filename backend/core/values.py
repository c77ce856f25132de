"""Values that parameters and rows are made of: intervals, sizes, times that never come."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from backend.core.errors import Usage

# PostgreSQL's infinity, and any date outside Python's years 1 to 9999, become these two.
INFINITY = datetime.max.replace(tzinfo=UTC)
MINUS_INFINITY = datetime.min.replace(tzinfo=UTC)

_INTERVAL = re.compile(
    r"""\s*-?(\d+(\.\d+)?)\s*
        (us|ms|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?|mons?|months?|y|yrs?|years?)
        (\s+-?.+)?\s*|\s*-?\d+:\d\d(:\d\d(\.\d+)?)?\s*|\s*P.+""",
    re.VERBOSE | re.IGNORECASE,
)
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zµ]+)", re.IGNORECASE)
_CLOCK = re.compile(r"(\d+):(\d\d)(?::(\d\d(?:\.\d+)?))?")
_SECONDS = {
    "us": 1e-6, "ms": 1e-3, "s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600,
    "hr": 3600, "hour": 3600, "d": 86400, "day": 86400, "w": 604800, "week": 604800,
}  # fmt: skip
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB|k|M|G|T)?\s*", re.IGNORECASE)
_POWERS = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4}


class Interval(str):
    """A PostgreSQL interval as it was written: `90s`, `5min`, `2h`, `1d`, `1 mon 2 days`, `01:30:00`."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Interval:
        """The interval, or a usage error; a bare number is refused, since nobody knows its unit."""
        if not _INTERVAL.fullmatch(text):
            raise Usage(
                f"{text!r} is not a duration", hint="write 90s, 5min, 2h, 1d or a PostgreSQL interval"
            )
        return cls(text.strip())

    @property
    def approximate(self) -> timedelta:
        """The length for showing and comparing here; a month is 30 days, a year 365.25, as in PostgreSQL."""
        seconds = 0.0
        for number, unit in _PART.findall(self):
            seconds += float(number) * _unit_seconds(unit.lower())
        for hours, minutes, rest in _CLOCK.findall(self):
            seconds += int(hours) * 3600 + int(minutes) * 60 + float(rest or 0)
        return timedelta(seconds=seconds)


def _unit_seconds(unit: str) -> float:
    if unit.startswith("mon"):
        return 30 * 86400
    if unit.startswith("y"):
        return 365.25 * 86400
    return _SECONDS.get(unit, _SECONDS.get(unit.rstrip("s"), 0))


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
        return cls(float(match[1]) * 1024 ** _POWERS[unit])


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
