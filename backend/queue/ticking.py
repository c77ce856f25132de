"""Actions that do the daemon's work by hand: a tick now, one round of maintenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from psycopg import sql

from backend.core.clean import clean
from backend.core.declare import Ask, Danger, action
from backend.core.errors import Refused
from backend.core.facts import Query
from backend.core.plan import Answers, Check, Plan, Repeat, Sql, Step, Wait, statement
from backend.core.session import Session
from backend.core.show import counted
from backend.queue.calls import QueueName, last, literal
from backend.queue.ground import ADMINISTERING, Queue, ask, find_queue
from backend.queue.rotation import AT_REST
from backend.queue.situation import Situation, holders, situations, why

WAIT = 30.0

_DAEMONS = Query("""
SELECT a.pid
  FROM pg_catalog.pg_stat_activity AS a
 WHERE a.datname = pg_catalog.current_database()
   AND a.query = 'select pgq.ticker()'
""")

_LAST_TICK = Query("""
SELECT t.tick_id AS id
  FROM pgq.tick AS t
 WHERE t.tick_queue = %s
 ORDER BY t.tick_queue DESC, t.tick_id DESC
 LIMIT 1
""")

# force_tick only lets the event sequence jump, so that the next call of the ticker finds a tick due.
_TICK = """\
SELECT coalesce(pgq.ticker({queue}),
                (SELECT pgq.ticker({queue})
                   FROM (SELECT pgq.force_tick({queue}) AS tick OFFSET 0) AS f
                  WHERE f.tick IS NOT NULL)) AS tick"""
_NEWEST = """\
SELECT t.tick_id AS tick, t.tick_time AS at
  FROM pgq.tick AS t
 WHERE t.tick_queue = {id}
   AND t.tick_id > {before}
 ORDER BY t.tick_queue DESC, t.tick_id DESC
 LIMIT 1"""

_STATE = """\
SELECT q.queue_name AS queue, q.queue_cur_table AS current_table,
       q.queue_switch_step2 IS NOT NULL AS complete
  FROM pgq.queue AS q
 WHERE q.queue_id = ANY ({ids})
 ORDER BY q.queue_name"""

_RETRIES = Query("""
SELECT pg_catalog.count(*) AS number
  FROM pgq.retry_queue AS r
 WHERE r.ev_retry_after <= pg_catalog.now()
""")


@dataclass(frozen=True, slots=True)
class Daemon:
    """A session that ticks the queues of this database."""

    pid: int


@dataclass(frozen=True, slots=True)
class Tick:
    """The last tick of a queue."""

    id: int


@dataclass(frozen=True, slots=True)
class Number:
    """How many there are."""

    number: int


@action("queue.tick", danger=Danger.CHANGE, needs=ADMINISTERING, on="queue.queues")
async def tick(s: Session, queue: QueueName) -> Plan:
    """Tick a queue now, so that its events can be delivered at once.

    Where no tick is due, PgQ can only be told that many events have come: its event sequence jumps, by 2000
    unless ticker-max-count is set, and so do the counters of new and pending events. Where a daemon ticks,
    the tick is left to it, since two tickers at the same moment could mix up the order of events.
    """
    found = await find_queue(s, queue)
    _demand_ticking(found)
    newest = await ask(s, Tick, _LAST_TICK, found.id)
    before = newest[0].id if newest else 0
    jump = 2 * found.ticker_max_count + 1000
    daemons = await ask(s, Daemon, _DAEMONS)
    steps = _by_daemon(found, before) if daemons else _by_hand(found)
    notes = tuple(f"server process {d.pid} ticks here, and the tick is left to it" for d in daemons[:1])
    more = "the event sequence jumps by" if daemons else "unless a tick is due, the event sequence jumps by"
    look = sql.SQL(_NEWEST).format(id=sql.Literal(found.id), before=sql.Literal(before))
    return Plan(
        queue, (*steps, statement(look)), notes=(*notes, f"{more} {jump}, and counters with it"), result=last
    )


def _demand_ticking(queue: Queue) -> None:
    if queue.external_ticker:
        raise Refused(f"the ticks of queue {clean(queue.name)} come from elsewhere, so it cannot tick here")
    if queue.ticker_paused:
        raise Refused(
            f"the ticker of queue {clean(queue.name)} is paused", hint="queue.resume_ticker lets it tick"
        )


def _by_daemon(queue: Queue, before: int) -> tuple[Step, ...]:
    asked = sql.SQL("SELECT pgq.force_tick({}) AS last_tick").format(literal(queue.name))
    newer = sql.SQL("SELECT EXISTS ({}) AS ticked").format(
        sql.SQL(_NEWEST).format(id=sql.Literal(queue.id), before=sql.Literal(before))
    )
    return (
        statement(asked),
        _known(queue),
        Wait(newer, until="the daemon has ticked", deadline=WAIT, every=0.1),
    )


def _by_hand(queue: Queue) -> tuple[Step, ...]:
    return statement(sql.SQL(_TICK).format(queue=literal(queue.name))), _known(queue)


def _known(queue: Queue) -> Check:
    return Check(
        lambda answers: answers[-1].scalar is not None,
        that="PgQ knows a tick",
        otherwise=f"PgQ did not tick queue {clean(queue.name)}: it was dropped or paused meanwhile",
    )


@action("queue.maintain", danger=Danger.CHANGE, needs=ADMINISTERING, on="queue.queues")
async def maintain(
    s: Session,
    queue: Annotated[str | None, Ask("Queue", choices="queue.queues.queue", help="Without it, all")] = None,
) -> Plan:
    """Rotate event tables that are due, and put events back whose time to be retried has come.

    Rotation is two transactions for each queue, the second after the first is visible to all. What keeps a
    queue from being rotated is told; PgQ itself would skip it in silence. Events to be retried are put back
    for all queues.
    """
    if queue is not None:
        await find_queue(s, queue)
    chosen = [q for q in await situations(s) if queue in (None, q.queue)]
    half = [q for q in chosen if q.cause == "half done"]
    due = [q for q in chosen if q.cause not in ("half done", *AT_REST)]
    open_now = await holders(s, due)
    waits = {q.queue: why(q, open_now, s) for q in due if q.cause != "no maintenance"}
    [retries] = await ask(s, Number, _RETRIES)
    steps: list[Step] = [_step1(q) for q in due]
    if due or half:
        steps += [
            statement("SELECT pgq.maint_rotate_tables_step2() AS done", lenient=True),
            _state(due + half),
        ]
    steps.append(_retry(retries.number))
    return Plan(
        queue if queue is not None else s.target.label,
        tuple(steps),
        notes=tuple(_remarks(chosen, due, half, waits, retries.number)),
        result=lambda answers: _told(due + half, waits, answers),
    )


def _step1(queue: Situation) -> Sql:
    call = sql.SQL("SELECT pgq.maint_rotate_tables_step1({}) AS done").format(literal(queue.queue))
    return statement(call, lenient=True)


def _state(of: Sequence[Situation]) -> Sql:
    # Step 1 answers 0 also when it skipped the queue, so only the queue itself tells.
    return statement(sql.SQL(_STATE).format(ids=sql.Literal([q.id for q in of])))


def _retry(number: int) -> Repeat:
    call = sql.SQL("SELECT pgq.maint_retry_events() AS events").format()
    return Repeat(call, until="none is due", total=number, unit="events")


def _remarks(
    chosen: Sequence[Situation],
    due: Sequence[Situation],
    half: Sequence[Situation],
    waits: Mapping[str, str],
    retries: int,
) -> list[str]:
    notes = [f"queue {clean(q.queue)} is due for rotation" for q in due if q.queue not in waits]
    notes += [
        f"queue {clean(name)} is due, and will hardly rotate: it {told}" for name, told in waits.items()
    ]
    notes += [
        f"queue {clean(q.queue)} has no consumer: what is in its oldest table goes unread"
        for q in due
        if not q.consumers
    ]
    notes += [f"the rotation of queue {clean(q.queue)} is half done, and is ended" for q in half]
    if resting := len(chosen) - len(due) - len(half):
        notes.append(f"{counted(resting, 'queue')} not due for rotation")
    return [*notes, f"{counted(retries, 'event')} due to be retried"]


def _told(looked: Sequence[Situation], waits: Mapping[str, str], answers: Answers) -> dict[str, Any]:
    after = {r["queue"]: r for r in answers[-2].rows} if looked else {}
    return {
        "queues": [_rotation(q, after.get(q.queue, {}), waits.get(q.queue)) for q in looked],
        "retried": answers[-1].count,
    }


def _rotation(queue: Situation, after: Mapping[str, Any], waits: str | None) -> dict[str, Any]:
    rotated = bool(after) and after["current_table"] != queue.current_table
    return {
        "queue": queue.queue,
        "rotated": rotated,
        "complete": bool(after) and after["complete"],
        "waits": None if rotated else waits,
    }
