"""Where every queue stands, in one statement, and in words who or what its rotation waits for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from backend.core.clean import clean
from backend.core.facts import Query
from backend.core.session import Session
from backend.queue import rotation
from backend.queue.ground import ask
from backend.queue.holding import Transaction, transactions
from backend.queue.rotation import Cause, Stand

# Tables alone: `pgq.get_queue_info` asks three questions for each queue, and its rate counts gaps in the
# sequence, such as the one that `force_tick` makes, as events. What is inserted is counted by the server.
# Opening a table waits for whoever has it locked alone, so such are left out.
_QUEUES = Query("""
  WITH locked AS MATERIALIZED (
    SELECT l.relation,
           pg_catalog.array_agg(DISTINCT l.pid) AS pids,
           pg_catalog.bool_or(l.mode = 'AccessExclusiveLock') AS alone
      FROM pg_catalog.pg_locks AS l
     WHERE l.locktype = 'relation'
       AND l.pid <> ALL (%s)
       AND l.database = (SELECT d.oid
                           FROM pg_catalog.pg_database AS d
                          WHERE d.datname = pg_catalog.current_database())
     GROUP BY l.relation
), running AS MATERIALIZED (
    SELECT pg_catalog.txid_snapshot_xmin(r.now) AS xmin,
           pg_catalog.txid_snapshot_xmax(r.now) AS xmax
      FROM (SELECT pg_catalog.txid_current_snapshot() AS now) AS r
), readers AS MATERIALIZED (
    SELECT o.queue_id,
           pg_catalog.count(*) AS consumers,
           pg_catalog.array_agg(o.name ORDER BY o.tick, o.name) AS names,
           pg_catalog.array_agg(o.tick ORDER BY o.tick, o.name) AS ticks,
           pg_catalog.min(o.tick) AS low,
           (pg_catalog.array_agg(o.name ORDER BY o.tick, o.name)
               FILTER (WHERE NOT o.watermark))[1] AS worst,
           pg_catalog.min(o.tick) FILTER (WHERE NOT o.watermark) AS worst_tick
      FROM (SELECT s.sub_queue AS queue_id,
                   u.co_name AS name,
                   s.sub_last_tick AS tick,
                   u.co_name = '.global_watermark'
                       OR pg_catalog.left(u.co_name, 1) = '.'
                          AND pg_catalog.right(u.co_name, 10) = '.watermark' AS watermark
              FROM pgq.subscription AS s
              JOIN pgq.consumer AS u
                ON u.co_id = s.sub_consumer) AS o
     GROUP BY o.queue_id
)
SELECT q.queue_name AS queue,
       q.queue_id AS id,
       q.queue_ntables AS tables,
       q.queue_cur_table AS current_table,
       q.queue_ticker_max_count AS ticker_max_count,
       q.queue_ticker_max_lag::pg_catalog.text AS ticker_max_lag,
       q.queue_ticker_idle_period::pg_catalog.text AS ticker_idle_period,
       q.queue_rotation_period::pg_catalog.text AS rotation_period,
       q.queue_rotation_period AS period,
       pg_catalog.clock_timestamp() - q.queue_switch_time AS rotation_age,
       q.queue_switch_step1 AS step1,
       q.queue_switch_step2 AS step2,
       q.queue_external_ticker AS external_ticker,
       q.queue_ticker_paused AS ticker_paused,
       q.queue_disable_insert AS inserts_disabled,
       q.queue_per_tx_limit AS per_tx_limit,
       t.tick_id AS last_tick,
       t.tick_time AS last_tick_time,
       pg_catalog.clock_timestamp() - t.tick_time AS ticker_lag,
       t.tick_event_seq AS last_tick_seq,
       pg_catalog.txid_snapshot_xmin(t.tick_snapshot) AS newest_xmin,
       CASE WHEN pg_catalog.has_sequence_privilege(e.sequence, 'SELECT')
            THEN coalesce(pg_catalog.pg_sequence_last_value(e.sequence), 1)
       END AS event_seq,
       coalesce(c.consumers, 0) AS consumers,
       c.names,
       c.ticks,
       c.worst,
       c.worst_tick,
       w.tick_time AS worst_time,
       (SELECT n.tick_time
          FROM pgq.tick AS n
         WHERE n.tick_queue = q.queue_id
           AND n.tick_id > c.worst_tick
         ORDER BY n.tick_queue,
                  n.tick_id
         LIMIT 1) AS waiting_since,
       pg_catalog.txid_snapshot_xmin(k.tick_snapshot) AS low_xmin,
       r.xmin AS oldest_running,
       r.xmax AS next_xid,
       d.unread,
       d.inserted,
       x.pids AS locked_by,
       pg_catalog.clock_timestamp() AS now
  FROM pgq.queue AS q
 CROSS JOIN running AS r
 CROSS JOIN LATERAL (
    SELECT pg_catalog.to_regclass(q.queue_event_seq)::pg_catalog.oid AS sequence,
           pg_catalog.to_regclass(
               q.queue_data_pfx || '_' || pg_catalog.mod(q.queue_cur_table + 1, q.queue_ntables)
           )::pg_catalog.oid AS next
 ) AS e
  LEFT JOIN LATERAL (SELECT i.tick_id,
                            i.tick_time,
                            i.tick_event_seq,
                            i.tick_snapshot
                       FROM pgq.tick AS i
                      WHERE i.tick_queue = q.queue_id
                      ORDER BY i.tick_queue DESC,
                               i.tick_id DESC
                      LIMIT 1) AS t
    ON TRUE
  LEFT JOIN readers AS c
    ON c.queue_id = q.queue_id
  LEFT JOIN pgq.tick AS k
    ON k.tick_queue = q.queue_id
   AND k.tick_id = c.low
  LEFT JOIN pgq.tick AS w
    ON w.tick_queue = q.queue_id
   AND w.tick_id = c.worst_tick
 CROSS JOIN LATERAL (
    SELECT -- Asked only where it matters, since each table that is opened costs.
           c.consumers IS NULL
               AND pg_catalog.bool_or(CASE WHEN c.consumers IS NULL AND NOT b.alone
                                           THEN pg_catalog.pg_relation_size(b.table) > 0
                                           ELSE FALSE
                                      END) AS unread,
           pg_catalog.sum(pg_catalog.pg_stat_get_tuples_inserted(b.table))::pg_catalog.int8 AS inserted
      FROM (SELECT o.table,
                   coalesce(a.alone, FALSE) AS alone
              FROM (SELECT pg_catalog.to_regclass(q.queue_data_pfx || '_' || n.n)::pg_catalog.oid AS table
                      FROM pg_catalog.generate_series(0, q.queue_ntables - 1) AS n (n)) AS o
              LEFT JOIN locked AS a
                ON a.relation = o.table) AS b
 ) AS d
  LEFT JOIN locked AS x
    ON x.relation = e.next
 ORDER BY q.queue_name
""")


@dataclass(frozen=True, slots=True)
class Situation:
    """A queue as PgQ's tables, the server's counters and its locks have it."""

    queue: str
    id: int
    tables: int
    current_table: int
    ticker_max_count: int
    ticker_max_lag: str
    ticker_idle_period: str
    rotation_period: str | None
    period: timedelta | None
    rotation_age: timedelta
    step1: int
    step2: int | None
    external_ticker: bool
    ticker_paused: bool
    inserts_disabled: bool
    per_tx_limit: int | None
    last_tick: int | None
    last_tick_time: datetime | None
    ticker_lag: timedelta | None
    last_tick_seq: int | None
    newest_xmin: int | None
    event_seq: int | None
    consumers: int
    names: list[str] | None
    ticks: list[int | None] | None
    worst: str | None
    worst_tick: int | None
    worst_time: datetime | None
    waiting_since: datetime | None
    low_xmin: int | None
    oldest_running: int
    next_xid: int
    unread: bool
    inserted: int | None
    locked_by: list[int] | None
    now: datetime

    @property
    def low(self) -> int | None:
        """The tick of the slowest consumer, watermarks included: they hold rotation too."""
        return self.ticks[0] if self.ticks else None

    @property
    def slowest(self) -> list[str]:
        """The consumers at that tick."""
        return [n for n, t in zip(self.names or (), self.ticks or (), strict=True) if t == self.low]

    @property
    def cause(self) -> Cause:
        """What its rotation waits for."""
        return rotation.cause_of(
            Stand(
                period=self.period,
                age=self.rotation_age,
                step1=self.step1,
                step2=self.step2,
                low=self.low,
                low_xmin=self.low_xmin,
                newest_xmin=self.newest_xmin,
                oldest_running=self.oldest_running,
                next_xid=self.next_xid,
                locked=bool(self.locked_by),
            )
        )


async def situations(s: Session) -> list[Situation]:
    """Every queue, in the order of names."""
    return await ask(s, Situation, _QUEUES, s.own_pids)


async def holders(s: Session, found: Sequence[Situation]) -> Sequence[Transaction]:
    """Who may hold a rotation; asked only when one is held."""
    held = [q for q in found if q.cause in ("transaction", "table locked")]
    readers = [pid for q in held for pid in q.locked_by or ()]
    return await transactions(s, readers) if held else ()


def why(of: Situation, open_now: Sequence[Transaction], s: Session) -> str:
    """Who or what the rotation waits for, in words."""
    cause = of.cause
    if cause == "slow consumer" or cause == "lost tick":
        return _at_tick(of, cause)
    if cause == "transaction":
        return _held_by(of, open_now, s)
    if cause == "table locked":
        open_by = [t for t in open_now if t.pid in (of.locked_by or ())]
        who = open_by[0].told if open_by else f"pid {', '.join(map(str, of.locked_by or ()))}"
        return f"waits for {who}, which has the next event table open"
    if cause == "no newer tick":
        why = "the ticker is paused" if of.ticker_paused else "no ticker runs"
        return "waits for a tick newer than the transaction that held it" + (
            "" if of.external_ticker else f"; {why}"
        )
    return {
        "half done": "the second step of the last rotation was not done; maintenance does it",
        "no maintenance": "nothing is in the way: maintenance does not run, or fails",
        "ids went back": "transaction ids are lower than the queue's: it was restored from a dump",
    }.get(cause, "")


def _at_tick(of: Situation, cause: Cause) -> str:
    names = [clean(n) for n in of.slowest]
    who = f"consumer {names[0]}" if len(names) == 1 else f"{len(names)} consumers, {names[0]} among them"
    if cause == "lost tick":
        return f"tick {of.low} of {who} is gone, so maintenance fails; reposition it"
    return f"waits for {who}, {(of.last_tick or 0) - (of.low or 0)} ticks behind"


def _held_by(of: Situation, open_now: Sequence[Transaction], s: Session) -> str:
    for each in open_now:
        if (xid := each.full_xid) is not None and of.step2 is not None and xid <= of.step2:
            return f"waits for {each.told}"
    if s.facts.role == "standby":
        return "waits for a transaction on the primary"
    return "waits for a transaction that has just ended"
