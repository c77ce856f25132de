"""Where each consumer stands on the ticks of its queue."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from backend.core.facts import Query
from backend.core.session import Session
from backend.queue.ground import ask
from backend.queue.queues import behind

_STANDINGS = Query("""
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
     WHERE %s::pg_catalog.text IS NULL
        OR q.queue_name = %s
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


@dataclass(frozen=True, slots=True)
class Standing:
    """A registration beside its queue's newest tick; `own` is of the last tick that it has finished."""

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


async def standings(s: Session, queue: str | None) -> list[Standing]:
    """The consumers of a queue, or of all."""
    return await ask(s, Standing, _STANDINGS, queue, queue)
