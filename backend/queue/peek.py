"""Events as consumers get them, read without taking part.

Only the two tables that events are in now are read, never the one that rotation empties next, and each
question is a transaction of its own. So a rotation is never held up, however often somebody looks.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

from psycopg import sql

from backend.core.clean import clean
from backend.core.errors import Refused
from backend.core.facts import Query
from backend.core.session import Session
from backend.queue.ground import Queue, Registration, ask, find_consumer, main_of, queues, registrations
from backend.queue.snapshot import Snapshot, Span, between

MOST_COUNTED = 100_000
MOST_CHARACTERS = 65_536  # as in the statements below

_RAW: LiteralString = """
SELECT r.ev_id, r.ev_time, r.ev_txid, r.ev_owner, r.ev_retry,
       r.ev_type, r.ev_data, r.ev_extra1, r.ev_extra2, r.ev_extra3, r.ev_extra4
  FROM ONLY {table} AS r
"""
_EVENTS: LiteralString = """
SELECT e.ev_id AS id,
       e.ev_time AS time,
       e.ev_txid AS txid,
       e.ev_owner AS owner,
       e.ev_retry AS retry,
       e.ev_type AS type,
       pg_catalog.left(e.ev_data, 65536) AS data,
       pg_catalog.octet_length(e.ev_data) AS bytes,
       pg_catalog.left(e.ev_extra1, 65536) AS extra1,
       pg_catalog.left(e.ev_extra2, 65536) AS extra2,
       pg_catalog.left(e.ev_extra3, 65536) AS extra3,
       pg_catalog.left(e.ev_extra4, 65536) AS extra4
  FROM ({source}) AS e
"""

# The tables have one index, on the transaction.
_IN_SPAN: LiteralString = """
 WHERE (r.ev_txid >= %s AND r.ev_txid < %s AND r.ev_txid <> ALL (%s::pg_catalog.int8[])
        OR r.ev_txid = ANY (%s::pg_catalog.int8[]))
   AND (r.ev_owner IS NULL OR r.ev_owner = %s)
"""
_NEWEST: LiteralString = """
 ORDER BY r.ev_txid DESC, r.ev_id DESC
 LIMIT %s
"""

_TICKS = Query("""
SELECT l.tick_snapshot::pg_catalog.text AS last,
       n.tick_id AS until,
       n.tick_snapshot::pg_catalog.text AS current
  FROM pgq.tick AS l
  LEFT JOIN LATERAL (SELECT k.tick_id,
                            k.tick_snapshot
                       FROM pgq.tick AS k
                      WHERE k.tick_queue = l.tick_queue
                        AND k.tick_id >= coalesce(%s::pg_catalog.int8, l.tick_id + 1)
                      ORDER BY k.tick_queue,
                               k.tick_id
                      LIMIT 1) AS n
    ON TRUE
 WHERE l.tick_queue = %s
   AND l.tick_id = %s
""")

_ASKED = Query("{asked}")


@dataclass(frozen=True, slots=True)
class Event:
    """An event as the tables have it; texts are cut at 65,536 characters, `bytes` is how long the data is."""

    id: int
    time: datetime
    txid: int
    owner: int | None
    retry: int | None
    type: str | None
    data: str | None
    bytes: int | None
    extra1: str | None
    extra2: str | None
    extra3: str | None
    extra4: str | None


@dataclass(frozen=True, slots=True)
class _Ticks:
    """The two ticks of a batch; the second is missing where there is none yet."""

    last: str
    until: int | None
    current: str | None

    @property
    def span(self) -> Span | None:
        """The transactions between them."""
        return between(Snapshot.parse(self.last), Snapshot.parse(self.current)) if self.current else None

    @property
    def rest(self) -> Span:
        """All transactions after the first."""
        last = Snapshot.parse(self.last)
        return Span(last.xmax, (1 << 63) - 1, [], sorted(last.running))


async def newest(s: Session, of: Queue, limit: int) -> list[Event]:
    """The newest events of a queue, delivered or not, the newest first."""
    parts = [
        sql.SQL("({}{})").format(sql.SQL(_RAW).format(table=t), sql.SQL(_NEWEST)) for t in of.filled_tables
    ]
    source = sql.SQL(" UNION ALL ").join(parts)
    asked = _events(source) + sql.SQL(" ORDER BY e.ev_txid DESC, e.ev_id DESC LIMIT %s")
    return await ask(s, Event, _ASKED, *[limit] * (len(parts) + 1), asked=asked)


async def next_events(s: Session, of: Queue, consumer: Registration, limit: int) -> list[Event]:
    """What the consumer has open, or else is given next, in the order of delivery."""
    ticks = await _ticks(s, of, await _position(s, consumer))
    if ticks is None or (span := ticks.span) is None:
        return []
    source, params = _within(of, span, consumer.id)
    ordered = source + sql.SQL(" ORDER BY ev_id LIMIT %s")
    asked = _events(ordered) + sql.SQL(" ORDER BY e.ev_id")
    return await ask(s, Event, _ASKED, *params, limit, asked=asked)


async def count_pending(s: Session, wanted: Collection[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """How many events consumers have not finished, by queue and consumer, counted up to `MOST_COUNTED`.

    Those of a group's members are of their open batch, those of its main what was not handed out yet.
    """
    counted: dict[tuple[str, str], int] = {}
    names = {queue for queue, _ in wanted}
    for queue in [q for q in await queues(s) if q.name in names]:
        known = await registrations(s, queue.name)
        for consumer in known:
            if (queue.name, consumer.consumer) in wanted and consumer.last_tick is not None:
                number = await _pending(s, queue, consumer, member=main_of(consumer, known) is not None)
                if number is not None:
                    counted[queue.name, consumer.consumer] = number
    return counted


async def _pending(s: Session, of: Queue, consumer: Registration, *, member: bool) -> int | None:
    found = await ask(s, _Ticks, _TICKS, consumer.next_tick, of.id, consumer.last_tick)
    if not found:
        return None
    span = found[0].span if member else found[0].rest
    if span is None:
        return 0
    source, params = _within(of, span, consumer.id)
    asked = sql.SQL("SELECT pg_catalog.count(*) AS number FROM (SELECT FROM ({}) AS i LIMIT %s) AS e").format(
        source
    )
    [answer] = await ask(s, _Number, _ASKED, *params, MOST_COUNTED, asked=asked)
    return answer.number


@dataclass(frozen=True, slots=True)
class _Number:
    """A count."""

    number: int


async def _position(s: Session, of: Registration) -> Registration:
    """Where the next batch begins: an idle member of a group gets the group's."""
    if of.last_tick is not None:
        return of
    main = main_of(of, await registrations(s, of.queue))
    if main is None:
        raise Refused(f"consumer {clean(of.consumer)} of queue {clean(of.queue)} has no position")
    return main


async def _ticks(s: Session, of: Queue, at: Registration) -> _Ticks | None:
    found = await ask(s, _Ticks, _TICKS, at.next_tick, of.id, at.last_tick)
    if found:
        return found[0]
    _, now = await find_consumer(s, of.name, at.consumer)
    if now.last_tick != at.last_tick:
        return None  # it has finished its batch, and rotation has gone on, since it was found
    raise Refused(
        f"tick {at.last_tick} of consumer {clean(at.consumer)} is gone, so it gets no batch",
        hint="queue.reposition moves it to a tick that is there",
    )


def _within(of: Queue, span: Span, owner: int) -> tuple[sql.Composable, list[object]]:
    """The events of these transactions that this consumer is to get, and the parameters of that."""
    parts = [sql.SQL(_RAW).format(table=t) + sql.SQL(_IN_SPAN) for t in of.filled_tables]
    params = [span.first, span.end, span.still_running, span.late, owner]
    return sql.SQL(" UNION ALL ").join(parts), params * len(parts)


def _events(source: sql.Composable) -> sql.Composed:
    return sql.SQL(_EVENTS).format(source=source)
