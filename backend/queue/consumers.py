"""Who reads which queue, how far behind, and in which state."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Literal

from backend.core.clean import clean
from backend.core.declare import Col, Health, Verdict
from backend.core.errors import Refused
from backend.core.facts import Query
from backend.core.session import Session
from backend.core.show import duration
from backend.core.values import minutes
from backend.queue import peek
from backend.queue.ground import ask, cascaded, find_consumer, find_queue, main_of, sees_retries
from backend.queue.standing import Standing, standings

Kind = Literal["plain", "group", "member", "watermark", "worker", "copy"]
State = Literal["caught up", "working", "lagging", "stuck", "dead", "idle", "lost"]

STUCK_AFTER = minutes(5)
LAGGING_FROM = minutes(1)

_WORKERS = Query("""
SELECT w.worker_name AS worker,
       w.queue_name AS queue
  FROM pgq_node.subscriber_info AS w
 UNION
SELECT i.worker_name AS worker,
       i.queue_name AS queue
  FROM pgq_node.node_info AS i
 WHERE i.worker_name IS NOT NULL
""")

_RETRIES = Query("""
SELECT r.ev_owner AS id,
       pg_catalog.count(*) AS retries
  FROM pgq.retry_queue AS r
 GROUP BY r.ev_owner
""")


@dataclass(frozen=True, slots=True)
class _Worker:
    """A consumer that replicates a cascaded queue."""

    worker: str
    queue: str


@dataclass(frozen=True, slots=True)
class _Retries:
    """How many events wait to be delivered again to the consumers of an id."""

    id: int
    retries: int


@dataclass(frozen=True, slots=True)
class ConsumerRow:
    """One consumer of one queue."""

    queue: Annotated[str, Col("Queue", key=True, priority=1)]
    consumer: Annotated[str, Col("Consumer", key=True, text=True, priority=1)]
    state: Annotated[
        State,
        Col(
            "State",
            priority=1,
            help="stuck: a batch open for 5 min; dead: takes nothing that is there; lost: its tick is gone",
        ),
    ]
    behind: Annotated[
        timedelta | None,
        Col(
            "Behind",
            priority=1,
            warn=LAGGING_FROM,
            crit=minutes(10),
            help="Its lag without the ticker's; of a group the furthest member's; empty for watermarks",
        ),
    ]
    lag: Annotated[
        timedelta | None,
        Col(
            "Lag",
            priority=3,
            help="Age of the last tick it has finished; up to the idle period on an idle queue",
        ),
    ]
    pending_ticks: Annotated[int | None, Col("Ticks", priority=2, help="Ticks it has not finished")]
    pending_events: Annotated[
        int | None,
        Col("Pending", priority=2, help="Sequence numbers, not events: they have gaps; --exact counts"),
    ]
    exact_events: Annotated[
        int | None,
        Col(
            "Counted", priority=6, help=f"Events it has not finished, with --exact; up to {peek.MOST_COUNTED}"
        ),
    ]
    batch: Annotated[int | None, Col("Batch", priority=3, help="The batch it has open")]
    batch_age: Annotated[timedelta | None, Col("Batch age", priority=2, warn=STUCK_AFTER)]
    last_seen: Annotated[
        timedelta,
        Col("Seen", priority=3, help="Since it opened or finished a batch; asking in vain is not seen"),
    ]
    retries: Annotated[
        int | None, Col("Retries", priority=4, help="Events it wants again; empty without the privilege")
    ]
    kind: Annotated[
        Kind,
        Col(
            "Kind",
            priority=3,
            help="group and member: cooperative main consumer and subconsumer; worker and copy: replication",
        ),
    ]
    main: Annotated[str | None, Col("Group", priority=7, help="The main consumer of a member")]
    last_tick: Annotated[int | None, Col("Last tick", priority=5, help="The last one it has finished")]
    next_tick: Annotated[int | None, Col("Batch to", priority=6, help="The last tick of its open batch")]
    queue_tick: Annotated[int | None, Col("Queue at", priority=6, help="The queue's last tick")]
    waiting: Annotated[
        timedelta | None,
        Col("Waits", priority=6, help="Since when a batch has been there that it has not finished"),
    ]


async def consumer_rows(
    s: Session, queue: str | None, consumer: str | None, exact: bool
) -> list[ConsumerRow]:
    """All consumers, or those of one queue or one name; members come after their group."""
    everybody, workers, retries = await asyncio.gather(standings(s, queue), _workers(s), _retries(s))
    wanted = [c for c in everybody if consumer in (None, c.consumer)]
    if not wanted:
        await _demand(s, queue, consumer)
    counted = await peek.count_pending(s, {(c.queue, c.consumer) for c in wanted}) if exact else {}
    groups = _groups(everybody)
    return [_row(c, groups, workers, retries, counted.get((c.queue, c.consumer))) for c in wanted]


async def _demand(s: Session, queue: str | None, consumer: str | None) -> None:
    """Refuse what is asked of a queue or a consumer that is not there."""
    if queue is not None and consumer is not None:
        await find_consumer(s, queue, consumer)
    elif queue is not None:
        await find_queue(s, queue)
    elif consumer is not None:
        raise Refused(f"there is no consumer {clean(consumer)}", hint="queue.consumers lists them")


async def _workers(s: Session) -> set[tuple[str, str]]:
    """Queue and name of each consumer that replicates a cascade."""
    if not cascaded(s.facts):
        return set()
    return {(w.queue, w.worker) for w in await ask(s, _Worker, _WORKERS)}


async def _retries(s: Session) -> Mapping[int, int] | None:
    if not sees_retries(s.facts):
        return None
    return {r.id: r.retries for r in await ask(s, _Retries, _RETRIES)}


def _groups(of: Sequence[Standing]) -> Mapping[int, list[Standing]]:
    """The consumers of each id; several are a cooperative group."""
    groups: dict[int, list[Standing]] = {}
    for each in of:
        groups.setdefault(each.id, []).append(each)
    return groups


def _row(
    of: Standing,
    groups: Mapping[int, list[Standing]],
    workers: set[tuple[str, str]],
    retries: Mapping[int, int] | None,
    counted: int | None,
) -> ConsumerRow:
    group = groups[of.id]
    main = main_of(of, group)
    kind = _kind(of, main, group, workers)
    far = _furthest(of, group) if kind == "group" else of.behind
    lag = of.now - of.own_time if of.own_time else None
    return ConsumerRow(
        queue=of.queue,
        consumer=of.consumer,
        state=_state(of, kind, far),
        behind=None if kind == "watermark" else far,
        lag=lag,
        pending_ticks=_difference(of.newest, of.last_tick),
        pending_events=_difference(of.newest_seq, of.own_seq),
        exact_events=counted,
        batch=of.batch,
        batch_age=of.unseen if of.batch is not None else None,
        last_seen=of.unseen,
        # Members share the id that retries are kept under.
        retries=None if retries is None or main else retries.get(of.id, 0),
        kind=kind,
        main=main.consumer if main else None,
        last_tick=of.last_tick,
        next_tick=of.next_tick,
        queue_tick=of.newest,
        waiting=of.waiting if of.waiting_since else None,
    )


def _kind(
    of: Standing, main: Standing | None, group: Sequence[Standing], workers: set[tuple[str, str]]
) -> Kind:
    if main:
        return "member"
    if len(group) > 1:
        return "group"
    if is_watermark(of.consumer):
        return "watermark"
    if (of.queue, of.consumer) in workers:
        return "worker"
    copied = any(of.queue == q and of.consumer.startswith(f"{w}.copy.") for q, w in workers)
    return "copy" if copied else "plain"


def is_watermark(consumer: str) -> bool:
    """Whether the name is one that cascades keep positions of other nodes under; nobody consumes as it."""
    return consumer == ".global_watermark" or (consumer.startswith(".") and consumer.endswith(".watermark"))


def _furthest(of: Standing, group: Sequence[Standing]) -> timedelta | None:
    """A group's main advances when a batch is handed out; how far they are is told by whoever works on it."""
    return max((b for c in (of, *group) if (b := c.behind) is not None), default=None)


def _difference(whole: int | None, own: int | None) -> int | None:
    return None if whole is None or own is None else max(0, whole - own)


def _state(of: Standing, kind: Kind, far: timedelta | None) -> State:
    if of.last_tick is None:
        return "idle"
    if of.own_time is None:
        return "lost"
    if of.batch is not None and of.unseen > STUCK_AFTER:
        return "stuck"
    if kind != "watermark":
        if _is_dead(of):
            return "dead"
        if far is not None and far >= LAGGING_FROM:
            return "lagging"
    caught_up = of.batch is None and (of.newest is None or of.last_tick >= of.newest)
    return "caught up" if caught_up else "working"


def _is_dead(of: Standing) -> bool:
    """Whether it leaves alone what is there; after a pause of the ticker nobody has been seen for long."""
    limit = max(minutes(1), of.idle * 2)
    return of.batch is None and of.unseen > limit and of.waiting > limit


def consumer_verdict(row: ConsumerRow) -> Verdict | None:
    """What is wrong with a consumer besides being behind."""
    if row.state == "lost":
        return Verdict(Health.CRITICAL, f"its tick {row.last_tick} is gone: it gets an error; reposition it")
    if row.state == "dead":
        return Verdict(
            Health.CRITICAL,
            f"not seen for {duration(row.last_seen)}, and ticks wait for it: {row.pending_ticks}",
        )
    return None
