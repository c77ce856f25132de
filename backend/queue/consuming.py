"""Actions on who reads a queue, and from where on."""

from __future__ import annotations

from typing import Annotated

from psycopg import sql

from backend.core.clean import clean
from backend.core.declare import Ask, Danger, action
from backend.core.errors import Refused, Usage
from backend.core.facts import Query
from backend.core.plan import Check, Plan, Sql, Step, statement
from backend.core.session import Session
from backend.core.show import counted
from backend.queue.calls import (
    ConsumerName,
    QueueName,
    answered,
    last,
    literal,
    new_name,
    position,
    subject,
)
from backend.queue.ground import (
    CONSUMING,
    Queue,
    Registration,
    ask,
    find_consumer,
    find_queue,
    main_of,
    registrations,
    sees_retries,
)
from backend.queue.positions import Tick, demand_plain, ends, tick_before, tick_numbered
from backend.queue.ticking import Number

# register_consumer_at would move a consumer that is registered already, and answer as if nothing were new.
_REGISTER_AT = """\
SELECT pgq.register_consumer_at({queue}, {consumer}, {tick}) AS registered
 WHERE NOT EXISTS (SELECT
                     FROM pgq.subscription AS s
                     JOIN pgq.queue AS q
                       ON q.queue_id = s.sub_queue
                     JOIN pgq.consumer AS c
                       ON c.co_id = s.sub_consumer
                    WHERE q.queue_name = {queue}
                      AND c.co_name = {consumer})"""

_TICK_OF = """\
(SELECT s.sub_last_tick
          FROM pgq.subscription AS s
         WHERE s.sub_id = {id}
           AND s.sub_queue = {queue}
           AND s.sub_last_tick IS NOT NULL
         ORDER BY s.sub_last_tick
         LIMIT 1)"""

# Only a consumer that is still registered is moved: PgQ would register it anew.
_MOVE = """\
SELECT pgq.register_consumer_at({queue}, {consumer}, {tick}) AS registered
  FROM pgq.subscription AS s
  JOIN pgq.consumer AS c
    ON c.co_id = s.sub_consumer
 WHERE s.sub_id = {id}
   AND s.sub_queue = {queue_id}
   AND c.co_name = {consumer}"""

_RETRYING = Query("""
SELECT pg_catalog.count(*) AS number
  FROM pgq.retry_queue AS r
 WHERE r.ev_owner = %s
   AND r.ev_queue = %s
""")


@action("queue.register", danger=Danger.CHANGE, needs=CONSUMING, on="queue.queues")
async def register(
    s: Session,
    queue: QueueName,
    consumer: Annotated[str, Ask("Consumer", help="Name of the new consumer", fill=False)],
    at_time: Annotated[
        str | None, Ask("At time", help="Begin with events from that time on", fill=False)
    ] = None,
    like: Annotated[
        str | None,
        Ask("Like", help="Begin where this consumer stands", choices="queue.consumers.consumer", fill=False),
    ] = None,
) -> Plan:
    """Register a consumer at the last tick, at a time, or where another consumer stands.

    From then on the queue keeps events until the consumer has finished them, also when it never comes.
    """
    if at_time is not None and like is not None:
        raise Usage("give either --at-time or --like")
    found = await find_queue(s, queue)
    await _demand_new(s, queue, consumer)
    if like is not None:
        return await _like(s, found, like, consumer)
    if at_time is None:
        _, newest = await ends(s, found)
        call = sql.SQL("SELECT pgq.register_consumer({}, {}) AS registered")
        step = statement(call.format(literal(queue), literal(consumer)))
        return _register(found, consumer, step, f"at the last tick, now {_at(newest)}")
    tick = await tick_before(s, found, at_time, "--at-time")
    return _register(
        found, consumer, _register_at(found, consumer, sql.Literal(tick.id)), f"at tick {_at(tick)}"
    )


def _at(tick: Tick) -> str:
    return f"{tick.id} of {tick.at.isoformat(timespec='seconds')}"


async def _demand_new(s: Session, queue: str, consumer: str) -> None:
    new_name(consumer, "--consumer")
    if any(r.consumer == consumer for r in await registrations(s, queue)):
        raise Refused(
            f"queue {clean(queue)} has a consumer {clean(consumer)} already",
            hint="queue.reposition moves it",
        )


async def _like(s: Session, queue: Queue, like: str, consumer: str) -> Plan:
    _, other = await find_consumer(s, queue.name, like)
    await demand_plain(s, other, "give its main consumer MAIN")
    tick = sql.SQL(_TICK_OF).format(id=sql.Literal(other.id), queue=sql.Literal(queue.id))
    batch = "" if other.batch is None else f", whose open batch {other.batch} is delivered to both"
    told = f"where {clean(like)} stands, now at tick {other.last_tick}{batch}"
    return _register(queue, consumer, _register_at(queue, consumer, tick), told)


def _register_at(queue: Queue, consumer: str, tick: sql.Composable) -> Sql:
    return statement(
        sql.SQL(_REGISTER_AT).format(queue=literal(queue.name), consumer=literal(consumer), tick=tick)
    )


def _register(queue: Queue, consumer: str, step: Sql, where: str) -> Plan:
    check = answered(
        1,
        that="it was not registered before",
        otherwise=f"consumer {clean(consumer)} was registered elsewhere meanwhile and stays where it is",
    )
    return Plan(
        subject(queue.name, consumer),
        (step, check, position(queue.name, consumer)),
        notes=(f"it begins {where}", "the queue keeps events until it has finished them"),
        result=last,
    )


@action("queue.copy_consumer", danger=Danger.CHANGE, needs=CONSUMING, on="queue.consumers")
async def copy_consumer(
    s: Session,
    queue: QueueName,
    consumer: ConsumerName,
    to: Annotated[str, Ask("To", help="Name of the new consumer", fill=False)],
) -> Plan:
    """Register a new consumer where another one stands; both then get the same events.

    Events that wait to be retried belong to one consumer and are not copied.
    """
    found = await find_queue(s, queue)
    await _demand_new(s, queue, to)
    return await _like(s, found, consumer, to)


@action("queue.reposition", danger=Danger.DESTROY, needs=CONSUMING, on="queue.consumers")
async def reposition(
    s: Session,
    queue: QueueName,
    consumer: ConsumerName,
    at_time: Annotated[str | None, Ask("At time", help="To the last tick before it", fill=False)] = None,
    at_tick: Annotated[int | None, Ask("At tick", fill=False)] = None,
) -> Plan:
    """Move a consumer to a tick that the queue still has, or to a time.

    Backward it gets events again, forward it never sees those between. Its open batch is given up; whoever
    works on it finds it gone when finishing.
    """
    if (at_time is None) is (at_tick is None):
        raise Usage("give either --at-time or --at-tick")
    found, registered = await find_consumer(s, queue, consumer)
    await demand_plain(s, registered, "move its main consumer MAIN")
    if at_tick is not None:
        tick = await tick_numbered(s, found, at_tick)
    else:
        tick = await tick_before(s, found, at_time or "", "--at-time")
    if registered.last_tick == tick.id and registered.batch is None:
        raise Refused(f"consumer {clean(consumer)} is at tick {tick.id} already")
    return Plan(
        subject(queue, consumer),
        (_move(found, registered, tick), _moved(consumer), position(queue, consumer), _is_at(tick, consumer)),
        notes=tuple(await _consequences(s, found, registered, tick)),
        result=lambda answers: last(answers[:3]) | {"was_at": registered.last_tick},
    )


def _move(queue: Queue, of: Registration, tick: Tick) -> Sql:
    return statement(
        sql.SQL(_MOVE).format(
            queue=literal(queue.name),
            consumer=literal(of.consumer),
            tick=sql.Literal(tick.id),
            id=sql.Literal(of.id),
            queue_id=sql.Literal(queue.id),
        )
    )


def _moved(consumer: str) -> Step:
    return answered(
        0,
        that="it was still registered",
        otherwise=f"consumer {clean(consumer)} was unregistered meanwhile; nothing was moved",
    )


def _is_at(tick: Tick, consumer: str) -> Check:
    return Check(
        lambda answers: answers[-1].first.get("tick") == tick.id,
        that=f"it is at tick {tick.id}",
        otherwise=f"consumer {clean(consumer)} is not at tick {tick.id}; it may have gone on by itself",
    )


async def _consequences(s: Session, queue: Queue, of: Registration, tick: Tick) -> list[str]:
    notes = [f"from tick {of.last_tick} to tick {_at(tick)}"]
    if of.last_tick is not None:
        now = await tick_numbered(s, queue, of.last_tick)
        events = counted(abs(tick.sequence - now.sequence), "event")
        gets = "gets about" if tick.id < now.id else "never sees about"
        notes.append(f"it {gets} {events}{' again' if tick.id < now.id else ''}")
    if of.batch is not None:
        notes.append(f"its open batch {of.batch} is given up")
    return notes


@action("queue.unregister", danger=Danger.DESTROY, needs=CONSUMING, on="queue.consumers")
async def unregister(s: Session, queue: QueueName, consumer: ConsumerName) -> Plan:
    """Remove a consumer from a queue, with its position and the events it wanted to retry."""
    found, registered = await find_consumer(s, queue, consumer)
    everybody = await registrations(s, queue)
    main = main_of(registered, everybody)
    gone = [registered] if main else [r for r in everybody if r.id == registered.id]
    call = sql.SQL("SELECT pgq.unregister_consumer({}, {}) AS removed")
    return Plan(
        subject(queue, consumer),
        (
            statement(call.format(literal(queue), literal(consumer))),
            Check(
                lambda answers: bool(answers[-1].scalar),
                that="it was registered",
                otherwise=f"consumer {clean(consumer)} was unregistered elsewhere meanwhile",
            ),
        ),
        notes=tuple(await _losses(s, found, registered, gone, main)),
        result=lambda answers: {"queue": queue, "consumer": consumer} | dict(answers[0].first),
    )


async def _losses(
    s: Session, queue: Queue, of: Registration, gone: list[Registration], main: Registration | None
) -> list[str]:
    notes = [f"its position, tick {of.last_tick}, is lost"]
    if of.batch is not None:
        whose = " for all of its group" if main else ""
        notes.append(f"its open batch {of.batch} is given up{whose}")
    if len(gone) > 1:
        notes.append(f"with it go {counted(len(gone) - 1, 'subconsumer')}")
    if main is None and sees_retries(s.facts):
        [waiting] = await ask(s, Number, _RETRYING, of.id, queue.id)
        notes.append(f"lost with it: {counted(waiting.number, 'event')} waiting to be retried")
    return notes
