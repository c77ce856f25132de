"""Actions on the batch that a consumer has open: give it up, or put events back for later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from psycopg import sql

from backend.core.clean import clean
from backend.core.declare import Ask, Danger, action
from backend.core.errors import Refused
from backend.core.facts import Query
from backend.core.plan import Check, Plan, statement
from backend.core.session import Session
from backend.core.show import counted
from backend.core.values import Interval
from backend.queue.calls import (
    ConsumerName,
    QueueName,
    answered,
    last,
    position,
    subject,
    whole_seconds,
)
from backend.queue.ground import CONSUMING, Registration, ask, find_consumer, main_of, registrations

After = Annotated[Interval, Ask("After", help="When it is delivered again, such as 5min", fill=False)]

_EVENTS = Query("""
SELECT pg_catalog.count(*) AS number,
       pg_catalog.count(*) FILTER (WHERE e.ev_id = %s) AS chosen
  FROM pgq.get_batch_events(%s) AS e
""")

# Only the batch that was seen, and only while it is the consumer's.
_OF_BATCH = """\
  FROM pgq.subscription AS s
  JOIN pgq.consumer AS c
    ON c.co_id = s.sub_consumer
 WHERE s.sub_batch = {batch}
   AND s.sub_id = {id}
   AND c.co_name = {consumer}"""


_FINISH = sql.SQL("SELECT pgq.finish_batch(s.sub_batch) AS finished\n")


@dataclass(frozen=True, slots=True)
class Contents:
    """How many events a batch has, and whether a certain one is among them."""

    number: int
    chosen: int


@action("queue.skip_batch", danger=Danger.DESTROY, needs=CONSUMING, on="queue.consumers")
async def skip_batch(s: Session, queue: QueueName, consumer: ConsumerName) -> Plan:
    """Finish the batch that a consumer has open, so that it never processes its events."""
    batch, found = await _open_batch(s, queue, consumer, "there is nothing to skip")
    events = await _contents(s, batch)
    return Plan(
        subject(queue, consumer),
        (
            statement(_on_batch(_FINISH, batch, found)),
            answered(1, that="the batch was still open", otherwise=_gone(batch)),
            position(queue, consumer),
        ),
        notes=(
            f"batch {batch} ends at tick {found.next_tick};"
            f" it has been open since {found.active.isoformat(timespec='seconds')}",
            f"{clean(consumer)} loses {counted(events.number, 'event')}; others still get them",
        ),
        result=lambda answers: last(answers) | {"batch": batch, "events": events.number},
    )


@action("queue.retry_batch", danger=Danger.CHANGE, needs=CONSUMING, on="queue.consumers")
async def retry_batch(
    s: Session,
    queue: QueueName,
    consumer: ConsumerName,
    after: After,
    finish: Annotated[
        bool, Ask("Finish", help="Also finish the batch, so that it is not processed now", fill=False)
    ] = False,
) -> Plan:
    """Have all events of a consumer's open batch delivered to it once more, later.

    The batch stays open and is processed as well, unless --finish takes it from the consumer. Events that
    come back have lost their order. Maintenance puts them back, by pgqd or queue.maintain.
    """
    seconds = whole_seconds(after, "--after")
    batch, found = await _open_batch(s, queue, consumer, "nothing can be retried once a batch is finished")
    events = await _contents(s, batch)
    if not events.number:
        raise Refused(f"batch {batch} of consumer {clean(consumer)} has no events")
    finishing = ",\n       pgq.finish_batch(s.sub_batch) AS finished" if finish else ""
    retry = sql.SQL("SELECT pgq.batch_retry(s.sub_batch, {}) AS events{}\n").format(
        sql.Literal(seconds), sql.SQL(finishing)
    )
    return Plan(
        subject(queue, consumer),
        (statement(_on_batch(retry, batch, found)), _one(batch)),
        danger=Danger.DISRUPT if finish else Danger.CHANGE,
        notes=(
            f"{after} from now it gets {counted(events.number, 'event')} of batch {batch} once more",
            "the batch is finished" if finish else "the batch stays open and is processed too",
        ),
        result=lambda answers: {
            "queue": queue,
            "consumer": consumer,
            "batch": batch,
            "events": answers[0].scalar,
            "waited_already": events.number - (answers[0].scalar or 0),
            "finished": finish,
        },
    )


@action("queue.retry_event", danger=Danger.CHANGE, needs=CONSUMING, on=("queue.consumers", "queue.events"))
async def retry_event(
    s: Session,
    queue: QueueName,
    consumer: ConsumerName,
    event: Annotated[int, Ask("Event", help="Its number, ev_id, in the open batch")],
    after: After,
) -> Plan:
    """Have one event of a consumer's open batch delivered to it once more, later."""
    seconds = whole_seconds(after, "--after")
    batch, found = await _open_batch(s, queue, consumer, "nothing can be retried once a batch is finished")
    if not (await _contents(s, batch, event)).chosen:
        raise Refused(
            f"event {event} is not in batch {batch} of consumer {clean(consumer)}",
            hint="queue.events --consumer lists those that are",
        )
    retry = sql.SQL("SELECT pgq.event_retry(s.sub_batch, {}, {}) AS events\n").format(
        sql.Literal(event), sql.Literal(seconds)
    )
    return Plan(
        subject(queue, consumer),
        (
            statement(_on_batch(retry, batch, found)),
            _one(batch),
            Check(
                lambda answers: answers[0].scalar == 1,
                that="it did not wait to be retried already",
                otherwise=f"event {event} waits to be retried already",
            ),
        ),
        notes=(f"it comes back {after} from now", "the batch stays open and is processed too"),
        result=lambda _: {"queue": queue, "consumer": consumer, "batch": batch, "event": event},
    )


async def _open_batch(s: Session, queue: str, consumer: str, otherwise: str) -> tuple[int, Registration]:
    _, found = await find_consumer(s, queue, consumer)
    if found.batch is None:
        raise Refused(f"consumer {clean(consumer)} has no batch open on queue {clean(queue)}: {otherwise}")
    main = main_of(found, await registrations(s, queue))
    if main is not None:
        raise Refused(
            f"consumer {clean(consumer)} is a subconsumer of {clean(main.consumer)}",
            hint=f"its batch is finished by SELECT pgq_coop.finish_batch({found.batch})",
        )
    return found.batch, found


async def _contents(s: Session, batch: int, event: int = 0) -> Contents:
    [found] = await ask(s, Contents, _EVENTS, event, batch)
    return found


def _on_batch(what: sql.Composable, batch: int, of: Registration) -> sql.Composed:
    return what + sql.SQL(_OF_BATCH).format(
        batch=sql.Literal(batch), id=sql.Literal(of.id), consumer=sql.Literal(of.consumer)
    )


def _gone(batch: int) -> str:
    return f"batch {batch} was finished or given up meanwhile; nothing was done"


def _one(batch: int) -> Check:
    return Check(
        lambda answers: len(answers[-1].rows) == 1,
        that="the batch was still open",
        otherwise=_gone(batch),
    )
