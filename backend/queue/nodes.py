"""Nodes of cascaded queues, as this database knows them: itself, those that it provides, the others."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Literal

from backend.core.clean import clean, mask
from backend.core.declare import Col, Health, Verdict
from backend.core.facts import Query
from backend.core.session import Session
from backend.core.values import minutes
from backend.queue.ground import ask
from backend.queue.queues import behind

Relation = Literal["this node", "subscriber", "member"]

# A subscriber's worker is a consumer here; this node's own worker notes how far it is in local_state.
_NODES = Query("""
SELECT l.queue_name AS queue,
       l.node_name AS node,
       l.node_location AS location,
       l.dead,
       i.node_type AS type,
       i.combined_queue,
       u.subscriber_node IS NOT NULL AS subscriber,
       coalesce(u.worker_name, i.worker_name) AS worker,
       o.provider_node AS provider,
       o.paused,
       o.uptodate,
       o.cur_error AS error,
       coalesce(s.sub_last_tick, o.last_tick_id) AS tick,
       w.sub_last_tick AS watermark,
       s.sub_batch AS batch,
       k.tick_time AS own_time,
       t.tick_id AS newest,
       t.tick_time AS newest_time,
       CASE WHEN s.sub_last_tick < t.tick_id
            THEN (SELECT n.tick_time
                    FROM pgq.tick AS n
                   WHERE n.tick_queue = s.sub_queue
                     AND n.tick_id > s.sub_last_tick
                   ORDER BY n.tick_queue,
                            n.tick_id
                   LIMIT 1)
       END AS waiting_since,
       pg_catalog.clock_timestamp() AS now
  FROM pgq_node.node_location AS l
  LEFT JOIN pgq_node.node_info AS i
    ON i.queue_name = l.queue_name
   AND i.node_name = l.node_name
  LEFT JOIN pgq_node.local_state AS o
    ON o.queue_name = i.queue_name
   AND o.consumer_name = i.worker_name
  LEFT JOIN pgq_node.subscriber_info AS u
    ON u.queue_name = l.queue_name
   AND u.subscriber_node = l.node_name
  LEFT JOIN pgq.queue AS q
    ON q.queue_name = l.queue_name
  LEFT JOIN LATERAL (SELECT b.tick_id,
                            b.tick_time
                       FROM pgq.tick AS b
                      WHERE b.tick_queue = q.queue_id
                      ORDER BY b.tick_queue DESC,
                               b.tick_id DESC
                      LIMIT 1) AS t
    ON TRUE
  LEFT JOIN pgq.consumer AS c
    ON c.co_name = u.worker_name
  LEFT JOIN pgq.subscription AS s
    ON s.sub_queue = q.queue_id
   AND s.sub_consumer = c.co_id
  LEFT JOIN pgq.tick AS k
    ON k.tick_queue = s.sub_queue
   AND k.tick_id = s.sub_last_tick
  LEFT JOIN pgq.consumer AS m
    ON m.co_name = CASE WHEN i.node_name IS NULL THEN u.watermark_name ELSE '.global_watermark' END
  LEFT JOIN pgq.subscription AS w
    ON w.sub_queue = q.queue_id
   AND w.sub_consumer = m.co_id
 ORDER BY l.queue_name,
          i.node_name IS NULL,
          u.subscriber_node IS NULL,
          l.node_name
""")


@dataclass(frozen=True, slots=True)
class _Node:
    """A node as pgq_node's tables have it."""

    queue: str
    node: str
    location: str
    dead: bool
    type: str | None
    combined_queue: str | None
    subscriber: bool
    worker: str | None
    provider: str | None
    paused: bool | None
    uptodate: bool | None
    error: str | None
    tick: int | None
    watermark: int | None
    batch: int | None
    own_time: datetime | None
    newest: int | None
    newest_time: datetime | None
    waiting_since: datetime | None
    now: datetime


@dataclass(frozen=True, slots=True)
class NodeRow:
    """One node of a cascaded queue."""

    queue: Annotated[str, Col("Queue", key=True, priority=1)]
    node: Annotated[str, Col("Node", key=True, text=True, priority=1)]
    relation: Annotated[
        Relation,
        Col("Relation", priority=2, help="subscriber: it reads from here; member: known by name only"),
    ]
    type: Annotated[str | None, Col("Type", priority=1, help="root, branch or leaf; known of this node")]
    provider: Annotated[str | None, Col("Provider", priority=2, help="The node that this one reads from")]
    worker: Annotated[str | None, Col("Worker", priority=3, help="The consumer that replicates")]
    lag: Annotated[
        timedelta | None,
        Col("Lag", priority=2, help="Age of the last tick that its worker finished, or that came here"),
    ]
    behind: Annotated[
        timedelta | None,
        Col(
            "Behind",
            priority=1,
            warn=minutes(1),
            crit=minutes(10),
            help="A subscriber's lag without the ticker's",
        ),
    ]
    paused: Annotated[bool | None, Col("Paused", priority=2)]
    uptodate: Annotated[
        bool | None, Col("Up to date", priority=4, help="Its worker has seen the last change")
    ]
    error: Annotated[str | None, Col("Error", priority=1, help="What its worker stumbled over last")]
    tick: Annotated[int | None, Col("Tick", priority=5, help="The last one its worker finished")]
    queue_tick: Annotated[int | None, Col("Queue at", priority=6, help="The last tick here")]
    watermark: Annotated[
        int | None, Col("Watermark", priority=6, help="The tick that it and all nodes below it have passed")
    ]
    batch: Annotated[int | None, Col("Batch", priority=7, help="The batch that its worker has open here")]
    dead: Annotated[bool, Col("Dead", priority=5, help="Declared dead: nobody waits for it")]
    combined_queue: Annotated[
        str | None, Col("Into", priority=7, help="The queue that a leaf is merged into")
    ]
    location: Annotated[
        str, Col("Location", priority=8, help="How the other nodes connect, without password")
    ]


async def node_rows(s: Session) -> list[NodeRow]:
    """Every node that this database knows, itself first, then its subscribers."""
    return [_row(n) for n in await ask(s, _Node, _NODES)]


def _row(of: _Node) -> NodeRow:
    finished = of.own_time if of.subscriber else of.newest_time if of.type else None
    return NodeRow(
        queue=of.queue,
        node=of.node,
        relation="this node" if of.type else "subscriber" if of.subscriber else "member",
        type=of.type,
        provider=of.provider if of.provider != of.node else None,
        worker=of.worker,
        lag=of.now - finished if finished else None,
        behind=behind(of.now, of.newest_time, of.own_time, of.waiting_since) if not of.dead else None,
        paused=of.paused,
        uptodate=of.uptodate,
        error=of.error,
        tick=of.tick,
        queue_tick=of.newest,
        watermark=of.watermark,
        batch=of.batch,
        dead=of.dead,
        combined_queue=of.combined_queue,
        location=mask(of.location),
    )


def node_verdict(row: NodeRow) -> Verdict | None:
    """What is wrong with a node's worker besides being behind."""
    if row.error:
        return Verdict(Health.CRITICAL, f"its worker fails: {clean(row.error.strip().splitlines()[0])}")
    if row.paused:
        return Verdict(Health.WARNING, "its worker is paused")
    if row.uptodate is False and row.type != "root":
        return Verdict(Health.WARNING, "its worker has not seen the last change of the cascade")
    return None
