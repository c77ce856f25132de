"""Events, decoded: a consumer's open or next batch, or the newest of a queue; and those to deliver again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from backend.core.declare import Col
from backend.core.errors import Usage
from backend.core.facts import Query
from backend.core.session import Session
from backend.core.values import minutes
from backend.queue import peek
from backend.queue.decode import Encoding, Operation, decode
from backend.queue.ground import ask, find_consumer, find_queue

MOST = 10_000


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event; `id`, transaction and owner together name it, since a retried one keeps its id."""

    queue: Annotated[str, Col("Queue", hidden=True)]
    consumer: Annotated[str | None, Col("Consumer", hidden=True)]
    batch: Annotated[int | None, Col("Batch", priority=7, help="The open batch that it is in")]
    event: Annotated[int, Col("Event", key=True, priority=1)]
    time: Annotated[datetime, Col("Time", priority=2)]
    operation: Annotated[Operation | None, Col("Operation", priority=2, help="Of a row change")]
    table: Annotated[str | None, Col("Table", priority=2)]
    decoded: Annotated[
        str, Col("Says", text=True, priority=1, help="The row; with the old row kept, what an update changed")
    ]
    retry: Annotated[int | None, Col("Retry", priority=4, help="How often it was put off")]
    encoding: Annotated[Encoding, Col("Encoding", priority=5)]
    bytes: Annotated[int | None, Col("Size", unit="bytes", priority=6, help="Of its data")]
    key: Annotated[str, Col("Key", priority=7, help="The columns that tell its row apart")]
    type: Annotated[str | None, Col("Type", priority=4)]
    data: Annotated[str | None, Col("Data", priority=8, help=f"The first {peek.MOST_CHARACTERS} characters")]
    extra1: Annotated[str | None, Col("Extra 1", priority=9)]
    extra2: Annotated[str | None, Col("Extra 2", priority=9)]
    extra3: Annotated[str | None, Col("Extra 3", priority=9)]
    extra4: Annotated[str | None, Col("Extra 4", priority=9)]
    txid: Annotated[int, Col("Transaction", key=True, priority=8)]
    owner: Annotated[
        int | None, Col("Owner", key=True, priority=9, help="The one consumer that gets it again")
    ]


async def event_rows(s: Session, queue: str, consumer: str | None, limit: int) -> list[EventRow]:
    """A consumer's open batch, else its next one, as it will be delivered; without one the newest events."""
    if not 1 <= limit <= MOST:
        raise Usage(f"--limit wants a number from 1 to {MOST}, not {limit}")
    if consumer is None:
        return [_row(queue, None, None, e) for e in await peek.newest(s, await find_queue(s, queue), limit)]
    of, registration = await find_consumer(s, queue, consumer)
    found = await peek.next_events(s, of, registration, limit)
    return [_row(queue, consumer, registration.batch, e) for e in found]


def _row(queue: str, consumer: str | None, batch: int | None, event: peek.Event) -> EventRow:
    said = decode(event.type, event.data, event.extra1, event.extra2)
    return EventRow(
        queue=queue,
        consumer=consumer,
        batch=batch,
        event=event.id,
        time=event.time,
        operation=said.operation,
        table=said.table,
        decoded=said.text,
        retry=event.retry,
        encoding=said.encoding,
        bytes=event.bytes,
        key=", ".join(said.key),
        type=event.type,
        data=event.data,
        extra1=event.extra1,
        extra2=event.extra2,
        extra3=event.extra3,
        extra4=event.extra4,
        txid=event.txid,
        owner=event.owner,
    )


# The members of a group share its id; the shortest name is the group's own.
_RETRIES = Query("""
SELECT q.queue_name AS queue,
       (SELECT c.co_name
          FROM pgq.subscription AS s
          JOIN pgq.consumer AS c
            ON c.co_id = s.sub_consumer
         WHERE s.sub_queue = r.ev_queue
           AND s.sub_id = r.ev_owner
         ORDER BY pg_catalog.length(c.co_name)
         LIMIT 1) AS consumer,
       r.ev_id AS id,
       r.ev_owner AS owner,
       r.ev_time AS time,
       r.ev_retry AS retry,
       r.ev_retry_after AS due,
       pg_catalog.clock_timestamp() - r.ev_retry_after AS overdue,
       r.ev_type AS type,
       pg_catalog.left(r.ev_data, 65536) AS data,
       pg_catalog.left(r.ev_extra1, 65536) AS extra1,
       pg_catalog.left(r.ev_extra2, 65536) AS extra2
  FROM pgq.retry_queue AS r
  LEFT JOIN pgq.queue AS q
    ON q.queue_id = r.ev_queue
 ORDER BY r.ev_retry_after,
          r.ev_id,
          r.ev_owner
 LIMIT %s
""")


@dataclass(frozen=True, slots=True)
class _Retry:
    """An event on the retry queue."""

    queue: str | None
    consumer: str | None
    id: int
    owner: int
    time: datetime
    retry: int
    due: datetime
    overdue: timedelta
    type: str | None
    data: str | None
    extra1: str | None
    extra2: str | None


@dataclass(frozen=True, slots=True)
class RetryRow:
    """One event that a consumer wants again."""

    queue: Annotated[str | None, Col("Queue", key=True, priority=1)]
    consumer: Annotated[str | None, Col("Consumer", key=True, priority=1)]
    event: Annotated[int, Col("Event", key=True, priority=1)]
    retry: Annotated[
        int,
        Col("Retry", priority=1, warn=10, help="How often it was put off; who never succeeds piles them up"),
    ]
    due: Annotated[datetime, Col("Due", priority=2)]
    overdue: Annotated[
        timedelta | None,
        Col(
            "Overdue",
            priority=1,
            warn=minutes(2),
            help="Maintenance puts it back into the queue when it is due",
        ),
    ]
    time: Annotated[datetime, Col("Time", priority=5, help="Of the event")]
    operation: Annotated[Operation | None, Col("Operation", priority=4)]
    table: Annotated[str | None, Col("Table", priority=4)]
    decoded: Annotated[str, Col("Says", text=True, priority=2)]
    type: Annotated[str | None, Col("Type", priority=6)]
    data: Annotated[str | None, Col("Data", priority=8)]
    owner: Annotated[int, Col("Owner", key=True, priority=9, help="The consumer's id in PgQ's tables")]


async def retry_rows(s: Session, limit: int) -> list[RetryRow]:
    """The events on the retry queue, those that are due first."""
    if not 1 <= limit <= MOST:
        raise Usage(f"--limit wants a number from 1 to {MOST}, not {limit}")
    return [_retried(r) for r in await ask(s, _Retry, _RETRIES, limit)]


def _retried(of: _Retry) -> RetryRow:
    said = decode(of.type, of.data, of.extra1, of.extra2)
    return RetryRow(
        queue=of.queue,
        consumer=of.consumer,
        event=of.id,
        retry=of.retry,
        due=of.due,
        overdue=of.overdue if of.overdue > timedelta() else None,
        time=of.time,
        operation=said.operation,
        table=said.table,
        decoded=said.text,
        type=of.type,
        data=of.data,
        owner=of.owner,
    )
