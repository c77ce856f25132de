"""How often something scheduled runs, as cron and as systemd write it."""

from __future__ import annotations

from dataclasses import dataclass

from backend.core.errors import Usage
from backend.core.values import Interval

_HOUR, _DAY = 60, 24


@dataclass(frozen=True, slots=True)
class Rhythm:
    """The same rhythm in cron's five fields and as systemd's OnCalendar."""

    cron: str
    calendar: str


def rhythm_of(every: Interval) -> Rhythm:
    """The rhythm of an interval, which has to divide an hour or a day; daily is at three in the night."""
    minutes, rest = divmod(every.approximate.total_seconds(), 60)
    if rest == 0 and 1 <= minutes < _HOUR and _HOUR % minutes == 0:
        return Rhythm(f"*/{minutes:.0f} * * * *", f"*:0/{minutes:.0f}")
    hours, rest = divmod(minutes, _HOUR)
    if rest == 0 and 1 <= hours < _DAY and _DAY % hours == 0:
        return Rhythm(f"0 */{hours:.0f} * * *", f"0/{hours:.0f}:00")
    if rest == 0 and hours == _DAY:
        return Rhythm("0 3 * * *", "*-*-* 03:00:00")
    raise Usage(f"--every {every} divides neither an hour nor a day", hint="15min, 1h, 6h and 1d do")
