"""Every queue in one row: its ticker, its rotation and why that is stuck, what is in it, who reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from backend.core.declare import Col, Health, Verdict
from backend.core.facts import Query
from backend.core.session import Session
from backend.core.show import duration
from backend.core.values import Interval
from backend.queue import rotation
from backend.queue.ground import ask, sees_retries
from backend.queue.rotation import Cause
from backend.queue.situation import Situation, holders, situations, why
from backend.queue.sizes import sizes

_RETRIES = Query("""
SELECT q.queue_name AS queue,
       pg_catalog.count(*) AS retries,
       pg_catalog.count(*) FILTER (
           WHERE r.ev_retry_after < pg_catalog.clock_timestamp() - interval '2 minutes'
       ) AS overdue
  FROM pgq.retry_queue AS r
  JOIN pgq.queue AS q
    ON q.queue_id = r.ev_queue
 GROUP BY q.queue_name
""")


@dataclass(frozen=True, slots=True)
class _Retries:
    """How many events of a queue wait to be delivered again, and how many of them should have been."""

    queue: str
    retries: int
    overdue: int


@dataclass(frozen=True, slots=True)
class QueueRow:
    """One queue."""

    queue: Annotated[str, Col("Queue", key=True, text=True, priority=1)]
    ticker_lag: Annotated[
        timedelta | None,
        Col("Tick age", priority=1, help="Since the last tick; an idle queue ticks once in its idle period"),
    ]
    events: Annotated[
        int | None,
        Col(
            "Events",
            rate=True,
            priority=1,
            help="Rows put into the event tables, as the server counts them; a standby does not",
        ),
    ]
    new_events: Annotated[
        int | None,
        Col("New", priority=4, help="Sequence numbers taken since the last tick, of undone inserts too"),
    ]
    consumers: Annotated[int, Col("Consumers", priority=2)]
    worst_consumer: Annotated[str | None, Col("Slowest", priority=3, help="Watermarks left out")]
    worst_behind: Annotated[
        timedelta | None,
        Col("Behind", priority=1, help="How far the slowest consumer is behind the last tick"),
    ]
    rotation_age: Annotated[timedelta, Col("Rotated", priority=2, help="Since the last rotation")]
    rotation_period: Annotated[
        Interval | None, Col("Period", priority=5, help="Least time between rotations")
    ]
    rotation: Annotated[Cause, Col("Rotation", priority=2, help="What the next rotation waits for")]
    why: Annotated[str, Col("Why", priority=3, help="Who or what it is that a due rotation waits for")]
    bytes: Annotated[
        int | None,
        Col(
            "Size", unit="bytes", priority=2, help="Of its event tables with indexes, measured once a minute"
        ),
    ]
    retries: Annotated[
        int | None, Col("Retries", priority=3, help="Events to deliver again; empty without the privilege")
    ]
    retries_overdue: Annotated[
        int | None, Col("Overdue", priority=6, help="Retries due for over two minutes")
    ]
    flags: Annotated[str, Col("Flags", priority=2, help="What is not as usual, in words")]
    ticker_max_count: Annotated[int, Col("Max count", priority=6, help="Ticks after this many new events")]
    ticker_max_lag: Annotated[Interval, Col("Max lag", priority=6, help="Ticks when an event is this old")]
    ticker_idle_period: Annotated[Interval, Col("Idle period", priority=6, help="Ticks without events")]
    current_table: Annotated[int, Col("Table", priority=8, help="The one written to; numbers begin at 0")]
    tables: Annotated[int, Col("Tables", priority=8)]
    per_tx_limit: Annotated[
        int | None, Col("Per tx", priority=8, help="Events that a transaction may insert")
    ]
    last_tick: Annotated[int | None, Col("Last tick", priority=6)]
    last_tick_time: Annotated[datetime | None, Col("Ticked", priority=7)]
    rotation_late: Annotated[timedelta | None, Col("Late", priority=6, help="Since the rotation was due")]
    ticker_paused: Annotated[bool, Col("Paused", hidden=True)]
    external_ticker: Annotated[bool, Col("External ticker", hidden=True)]
    inserts_disabled: Annotated[bool, Col("Inserts disabled", hidden=True)]
    half_rotated: Annotated[bool, Col("Half rotated", hidden=True)]
    unread: Annotated[bool, Col("Unread", hidden=True, help="It holds events, and has no consumer")]


async def queue_rows(s: Session) -> list[QueueRow]:
    """A row for each queue."""
    found, retries, measured = await asyncio.gather(situations(s), _retries(s), sizes(s))
    open_now = await holders(s, found)
    standby = s.facts.role == "standby"
    return [_row(q, retries, measured.get(q.id), why(q, open_now, s), standby) for q in found]


async def _retries(s: Session) -> Mapping[str, _Retries] | None:
    if not sees_retries(s.facts):
        return None
    return {r.queue: r for r in await ask(s, _Retries, _RETRIES)}


def _row(
    of: Situation, retries: Mapping[str, _Retries] | None, size: int | None, reason: str, standby: bool
) -> QueueRow:
    cause = of.cause
    waiting = _Retries(of.queue, 0, 0) if retries is not None else None
    waiting = (retries or {}).get(of.queue, waiting)
    return QueueRow(
        queue=of.queue,
        ticker_lag=of.ticker_lag,
        events=None if standby else of.inserted,
        new_events=None if standby else _new(of),
        consumers=of.consumers,
        worst_consumer=of.worst if of.worst_tick is not None else None,
        worst_behind=behind(of.now, of.last_tick_time, of.worst_time, of.waiting_since),
        rotation_age=of.rotation_age,
        rotation_period=None if of.rotation_period is None else Interval(of.rotation_period),
        rotation=cause,
        why=reason,
        bytes=size,
        retries=waiting.retries if waiting else None,
        retries_overdue=waiting.overdue if waiting else None,
        flags=_flags(of),
        ticker_max_count=of.ticker_max_count,
        ticker_max_lag=Interval(of.ticker_max_lag),
        ticker_idle_period=Interval(of.ticker_idle_period),
        current_table=of.current_table,
        tables=of.tables,
        per_tx_limit=of.per_tx_limit,
        last_tick=of.last_tick,
        last_tick_time=of.last_tick_time,
        rotation_late=rotation.late(cause, of.rotation_age, of.period),
        ticker_paused=of.ticker_paused,
        external_ticker=of.external_ticker,
        inserts_disabled=of.inserts_disabled,
        half_rotated=of.step2 is None,
        unread=of.unread,
    )


def behind(
    now: datetime, newest: datetime | None, own: datetime | None, waiting_since: datetime | None
) -> timedelta | None:
    """How far a consumer at the tick of time `own` is behind the queue's newest tick.

    Its lag minus the ticker's, and no longer than its next tick has been there: an idle queue's ticks are a
    minute apart, and whoever has not yet taken the newest one a moment later is not a minute behind.
    """
    if newest is None or own is None:
        return None
    if waiting_since is None:
        return timedelta()
    return max(timedelta(), min(newest - own, now - waiting_since))


def _new(of: Situation) -> int | None:
    if of.event_seq is None or of.last_tick_seq is None:
        return None
    return max(0, of.event_seq - of.last_tick_seq)


def _flags(of: Situation) -> str:
    said = {
        "ticker paused": of.ticker_paused,
        "external ticker": of.external_ticker,
        "inserts disabled": of.inserts_disabled,
        "rotation half done": of.step2 is None,
    }
    return ", ".join(word for word, holds in said.items() if holds)


def queue_verdict(row: QueueRow) -> Verdict | None:
    """What is wrong with a queue, the worst first; an idle one is fine however old its tick is."""
    found = [f for f in (_ticker(row), _rotation(row), *_lesser(row)) if f]
    if not found:
        return None
    worst = max(f.health for f in found)
    return Verdict(worst, "; ".join(f.sentence for f in found if f.health is worst))


def _ticker(row: QueueRow) -> Verdict | None:
    if row.external_ticker:
        return None
    if row.ticker_paused:
        return Verdict(Health.WARNING, "its ticker is paused: consumers get nothing")
    if row.ticker_lag is None:
        return Verdict(Health.CRITICAL, "it has no tick at all")
    grace = timedelta(seconds=5)
    limit = row.ticker_idle_period.approximate * 1.5 + grace
    if row.new_events:
        limit = min(limit, row.ticker_max_lag.approximate * 3 + grace)
    if row.ticker_lag <= limit:
        return None
    return Verdict(Health.CRITICAL, f"no tick for {duration(row.ticker_lag)}: its ticker does not run")


def _rotation(row: QueueRow) -> Verdict | None:
    if row.rotation in rotation.BROKEN:
        return Verdict(Health.CRITICAL, f"cannot rotate: {row.why}")
    period = None if row.rotation_period is None else row.rotation_period.approximate
    said = f"rotated {duration(row.rotation_age)} ago: {row.why}"
    if rotation.is_stuck(row.rotation, row.rotation_age, period, 4):
        return Verdict(Health.CRITICAL, said)
    return (
        Verdict(Health.WARNING, said)
        if rotation.is_stuck(row.rotation, row.rotation_age, period, 2)
        else None
    )


def _lesser(row: QueueRow) -> list[Verdict | None]:
    disabled = row.inserts_disabled and not row.external_ticker
    orphan = row.unread and not row.external_ticker
    return [
        Verdict(Health.WARNING, "inserts are disabled: producers fail") if disabled else None,
        Verdict(Health.WARNING, "nobody reads it: its events are thrown away") if orphan else None,
        Verdict(Health.WARNING, f"{row.retries_overdue} retries were due two minutes ago or before")
        if row.retries_overdue
        else None,
    ]
