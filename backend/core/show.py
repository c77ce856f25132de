"""Values as people read them; rows and JSON keep the exact ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from functools import lru_cache
from typing import Any

from backend.core.clean import clean
from backend.core.declare import Column
from backend.core.values import INFINITY, MINUS_INFINITY


def show(column: Column, value: Any) -> str:
    """The value of a cell: one line, safe for a terminal, empty for None."""
    if value is None:
        return ""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, timedelta):
        return duration(value)
    if column.col.unit == "bytes" and isinstance(value, (int, float)):
        return size(value) + ("/s" if column.col.rate else "")
    return plain(value, percent=column.col.unit == "percent")


def counted(items: Sequence[Any] | int, what: str) -> str:
    """A number with what is counted, in the plural where it has one."""
    number = items if isinstance(items, int) else len(items)
    return f"{number} {what}{'' if number == 1 else 's'}"


def plain(value: Any, *, percent: bool = False) -> str:
    """Numbers, times and lists of them."""
    if isinstance(value, float):
        return f"{value:.1f}%" if percent else _number(value)
    if isinstance(value, int):
        return f"{value}%" if percent else str(value)
    if isinstance(value, datetime):
        return moment(value)
    if value in (date.min, date.max):
        return "infinity" if value == date.max else "-infinity"
    if isinstance(value, Enum):
        return clean(str(value.value))
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(v) for v in value)
    return clean(str(value))


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("infinity" if value > 0 else "-infinity")
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.1f}"


def moment(value: datetime) -> str:
    """A time in the local zone: the clock alone for today, else with the date."""
    if value.replace(tzinfo=UTC) in (INFINITY, MINUS_INFINITY):
        return "infinity" if value.year > 1 else "-infinity"
    try:
        local = value.astimezone()
    except OverflowError:
        return value.isoformat(" ")
    today = local.date() == datetime.now().astimezone().date()
    return local.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S")


def duration(value: timedelta) -> str:
    """A length of time in at most two units: `340ms`, `12.3s`, `4m 05s`, `2h 03m`, `3d 04h`."""
    if value in (timedelta.max, timedelta.min):
        return "infinity" if value == timedelta.max else "-infinity"
    total = value.total_seconds()
    if total < 0:
        return f"-{duration(-value)}"
    if total < 1:
        return f"{total * 1000:.0f}ms"
    if total < 60:
        return f"{total:.1f}s"
    if total < 3600:
        return f"{int(total // 60)}m {int(total % 60):02d}s"
    if total < 86400:
        return f"{int(total // 3600)}h {int(total % 3600 // 60):02d}m"
    return f"{int(total // 86400)}d {int(total % 86400 // 3600):02d}h"


@lru_cache(maxsize=4096)
def size(value: float) -> str:
    """A number of bytes in binary units: `8.0K`, `1.2G`."""
    from humanize import naturalsize

    return naturalsize(value, gnu=True)
