"""Where consumers stand on a queue: its ticks, and the events between two of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from backend.core.clean import clean
from backend.core.errors import Refused
from backend.core.facts import Query
from backend.core.session import Session
from backend.queue.calls import moment
from backend.queue.ground import Queue, Registration, ask, main_of, registrations

_TICK = Query("""
SELECT t.tick_id AS id,
       t.tick_time AS at,
       t.tick_event_seq AS sequence
  FROM pgq.tick AS t
 WHERE t.tick_queue = %s
   AND t.tick_id = %s
""")

# Ticks can be out of order in time where a clock was set back; their numbers never are.
_TICK_AT = Query("""
SELECT t.tick_id AS id,
       t.tick_time AS at,
       t.tick_event_seq AS sequence
  FROM pgq.tick AS t
 WHERE t.tick_queue = %s
   AND t.tick_time <= %s::pg_catalog.timestamptz
 ORDER BY t.tick_id DESC
 LIMIT 1
""")

_ENDS = Query("""
(SELECT t.tick_id AS id, t.tick_time AS at, t.tick_event_seq AS sequence
   FROM pgq.tick AS t
  WHERE t.tick_queue = %s
  ORDER BY t.tick_queue, t.tick_id
  LIMIT 1)
UNION
(SELECT t.tick_id AS id, t.tick_time AS at, t.tick_event_seq AS sequence
   FROM pgq.tick AS t
  WHERE t.tick_queue = %s
  ORDER BY t.tick_queue DESC, t.tick_id DESC
  LIMIT 1)
 ORDER BY id
""")


@dataclass(frozen=True, slots=True)
class Tick:
    """A tick, and the value of the event sequence at it."""

    id: int
    at: datetime
    sequence: int


async def ends(s: Session, queue: Queue) -> tuple[Tick, Tick]:
    """The oldest and the newest tick; refused where the queue has never ticked."""
    found = await ask(s, Tick, _ENDS, queue.id, queue.id)
    if not found:
        raise Refused(f"queue {clean(queue.name)} has no tick yet", hint="queue.tick makes one")
    return found[0], found[-1]


async def tick_numbered(s: Session, queue: Queue, number: int) -> Tick:
    """The tick of that number; refused when it is not there any more, or not yet."""
    if found := await ask(s, Tick, _TICK, queue.id, number):
        return found[0]
    oldest, newest = await ends(s, queue)
    lost = "is lost" if number < oldest.id else "is not there"
    raise Refused(
        f"tick {number} of queue {clean(queue.name)} {lost}",
        hint=f"it has the ticks from {oldest.id} ({_time(oldest)}) to {newest.id} ({_time(newest)})",
    )


async def tick_before(s: Session, queue: Queue, text: str, option: str) -> Tick:
    """The last tick at or before a time; refused when the queue remembers none so old."""
    at = moment(text, option)
    if found := await ask(s, Tick, _TICK_AT, queue.id, at.isoformat()):
        return found[0]
    oldest, _ = await ends(s, queue)
    raise Refused(
        f"queue {clean(queue.name)} has no tick from before {at.isoformat()}",
        hint=f"its ticks go back to {_time(oldest)}",
    )


def _time(tick: Tick) -> str:
    return tick.at.isoformat(timespec="seconds")


async def demand_plain(s: Session, of: Registration, instead: str) -> None:
    """Refuse for a subconsumer, which shares the position of its main consumer."""
    main = main_of(of, await registrations(s, of.queue))
    if main is not None:
        raise Refused(
            f"consumer {clean(of.consumer)} is a subconsumer of {clean(main.consumer)} and has no position of"
            " its own",
            hint=instead.replace("MAIN", clean(main.consumer)),
        )
