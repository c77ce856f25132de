"""Why a queue does not rotate: the condition that PgQ's maintenance finds unmet, in its own order.

Maintenance skips a rotation silently. It wants the period to be over, the second step of the last rotation
done, the slowest consumer's tick to have seen nothing of the time before that step, and the next table free.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

Cause = Literal[
    "not due",
    "off",
    "half done",
    "slow consumer",
    "transaction",
    "no newer tick",
    "table locked",
    "no maintenance",
    "lost tick",
    "ids went back",
]

# Conditions of a queue that is as it should be.
AT_REST: tuple[Cause, ...] = ("not due", "off")
# Maintenance does not skip these, it fails.
BROKEN: tuple[Cause, ...] = ("lost tick", "ids went back")

# pgqd looks after queues every two minutes; a period shorter than that is not the queue's fault.
GRACE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Stand:
    """What decides about a rotation; transaction ids have 64 bits, `low` is the slowest consumer's tick."""

    period: timedelta | None
    age: timedelta
    step1: int
    step2: int | None
    low: int | None
    low_xmin: int | None
    newest_xmin: int | None
    oldest_running: int
    next_xid: int
    locked: bool


def cause_of(at: Stand) -> Cause:
    """What the rotation waits for."""
    if at.next_xid < at.step1:
        return "ids went back"
    if at.low is not None and at.low_xmin is None:
        return "lost tick"
    if at.step2 is None:
        return "half done"
    if at.period is None:
        return "off"
    if at.age <= at.period:
        return "not due"
    if at.low_xmin is not None and at.low_xmin <= at.step2:
        return _held(at, at.step2)
    return "table locked" if at.locked else "no maintenance"


def _held(at: Stand, step2: int) -> Cause:
    if at.newest_xmin is not None and at.newest_xmin > step2:
        return "slow consumer"
    # A tick taken now would see the transaction too, so consumers and ticker cannot help.
    return "transaction" if at.oldest_running <= step2 else "no newer tick"


def late(cause: Cause, age: timedelta, period: timedelta | None) -> timedelta | None:
    """How long ago the rotation was due; None when it is not due."""
    if period is None or cause in AT_REST or age <= period:
        return None
    return age - period


def is_stuck(cause: Cause, age: timedelta, period: timedelta | None, times: int) -> bool:
    """Whether a rotation is later than `times` its period and than maintenance explains."""
    overdue = late(cause, age, period)
    if overdue is None or period is None:
        return cause == "half done" and age > GRACE * (times - 1)
    return overdue > max(period, GRACE) * (times - 1)
