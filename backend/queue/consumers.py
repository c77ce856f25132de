"""Who reads which queue, how far behind, and in which state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
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
from backend.queue.queues import behind

Kind = Literal["plain", "group", "member", "watermark", "worker", "copy"]
State = Literal["caught up", "working", "lagging", "stuck", "dead", "idle", "lost"]

STUCK_AFTER = minutes(5)
LAGGING_FROM = minutes(1)

_CONSUMERS = Query("""
  WITH newest AS MATERIALIZED (
    SELECT q.queue_id,
           q.queue_name,
           q.queue_ticker_idle_period AS idle,
           t.tick_id,
           t.tick_time,
           t.tick_event_seq
      FROM pgq.queue AS q
      LEFT JOIN LATERAL (SELECT i.tick_id,
                                i.tick_time,
                                i.tick_event_seq
                           FROM pgq.tick AS i
                          WHERE i.tick_queue = q.queue_id
                          ORDER BY i.tick_queue DESC,
                                   i.tick_id DESC
                          LIMIT 1) AS t
        ON TRUE
)
SELECT n.queue_name AS queue,
       c.co_name AS consumer,
       s.sub_id AS id,
       n.idle,
       n.tick_id AS newest,
       n.tick_time AS newest_time,
       n.tick_event_seq AS newest_seq,
       s.sub_last_tick AS last_tick,
       s.sub_next_tick AS next_tick,
       s.sub_batch AS batch,
       s.sub_active AS active,
       t.tick_time AS own_time,
       t.tick_event_seq AS own_seq,
       CASE WHEN s.sub_last_tick < n.tick_id
            THEN (SELECT w.tick_time
                    FROM pgq.tick AS w
                   WHERE w.tick_queue = s.sub_queue
                     AND w.tick_id > s.sub_last_tick
                   ORDER BY w.tick_queue,
                            w.tick_id
                   LIMIT 1)
       END AS waiting_since,
       pg_catalog.clock_timestamp() AS now
  FROM pgq.subscription AS s
  JOIN newest AS n
    ON n.queue_id = s.sub_queue
  JOIN pgq.consumer AS c
    ON c.co_id = s.sub_consumer
  LEFT JOIN pgq.tick AS t
    ON t.tick_queue = s.sub_queue
   AND t.tick_id = s.sub_last_tick
 ORDER BY n.queue_name,
          c.co_name
""")

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
class _Consumer:
    """A registration beside its queue's newest tick."""

    queue: str
    consumer: str
    id: int
    idle: timedelta
    newest: int | None
    newest_time: datetime | None
    newest_seq: int | None
    last_tick: int | None
    next_tick: int | None
    batch: int | None
    active: datetime
    own_time: datetime | None
    own_seq: int | None
    waiting_since: datetime | None
    now: datetime

    @property
    def behind(self) -> timedelta | None:
        """How far behind it is by itself."""
        return behind(self.now, self.newest_time, self.own_time, self.waiting_since)

    @property
    def unseen(self) -> timedelta:
        """Since it opened, finished or was moved."""
        return max(timedelta(), self.now - self.active)

    @property
    def waiting(self) -> timedelta:
        """How long a tick that it has not finished has been there."""
        return self.now - self.waiting_since if self.waiting_since else timedelta()


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
    if queue is not None and consumer is not None:
        await find_consumer(s, queue, consumer)
    elif queue is not None:
        await find_queue(s, queue)
    everybody = await ask(s, _Consumer, _CONSUMERS)
    workers, retries = await _workers(s), await _retries(s)
    wanted = [c for c in everybody if queue in (None, c.queue) and consumer in (None, c.consumer)]
    if consumer is not None and not wanted:
        raise Refused(f"there is no consumer {clean(consumer)}", hint="queue.consumers lists them")
    counted = await peek.count_pending(s, {(c.queue, c.consumer) for c in wanted}) if exact else {}
    groups = _groups(everybody)
    return [_row(c, groups, workers, retries, counted.get((c.queue, c.consumer))) for c in wanted]


async def _workers(s: Session) -> set[tuple[str, str]]:
    """Queue and name of each consumer that replicates a cascade."""
    if not cascaded(s.facts):
        return set()
    return {(w.queue, w.worker) for w in await ask(s, _Worker, _WORKERS)}


async def _retries(s: Session) -> Mapping[int, int] | None:
    if not sees_retries(s.facts):
        return None
    return {r.id: r.retries for r in await ask(s, _Retries, _RETRIES)}


def _groups(of: Sequence[_Consumer]) -> Mapping[int, list[_Consumer]]:
    """The consumers of each id; several are a cooperative group."""
    groups: dict[int, list[_Consumer]] = {}
    for each in of:
        groups.setdefault(each.id, []).append(each)
    return groups


def _row(
    of: _Consumer,
    groups: Mapping[int, list[_Consumer]],
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
    of: _Consumer, main: _Consumer | None, group: Sequence[_Consumer], workers: set[tuple[str, str]]
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


def _furthest(of: _Consumer, group: Sequence[_Consumer]) -> timedelta | None:
    """A group's main advances when a batch is handed out; how far they are is told by whoever works on it."""
    return max((b for c in (of, *group) if (b := c.behind) is not None), default=None)


def _difference(whole: int | None, own: int | None) -> int | None:
    return None if whole is None or own is None else max(0, whole - own)


def _state(of: _Consumer, kind: Kind, far: timedelta | None) -> State:
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


def _is_dead(of: _Consumer) -> bool:
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
            f"not seen for {duration(row.last_seen)}, and {row.pending_ticks} ticks wait for it",
        )
    return None
