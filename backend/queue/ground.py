"""What every part of the room stands on: where PgQ is, who may do what, and queues and consumers by name.

PgQ answers an unknown name with no rows, or with a success that did nothing; here it is refused. Its tables
are always in schema `pgq` (and `pgq_node`), whatever the extension's own schema is said to be.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar

from psycopg import sql

from backend.core.clean import clean
from backend.core.errors import Missing, Refused, nearest
from backend.core.facts import Facts, Needs, Query
from backend.core.session import Session
from backend.core.values import Interval

T = TypeVar("T")

OLDEST = (3, 5)
PGQ = {"pgq": OLDEST}

READER, WRITER, ADMIN = "pgq_reader", "pgq_writer", "pgq_admin"
# Everybody may see queues, consumers and ticks; events only readers, the retry queue only administrators.
LOOKING = Needs(extensions=PGQ)
PEEKING = Needs(extensions=PGQ, roles=(READER, "pg_read_all_data"))
RETRYING = Needs(extensions=PGQ, roles=(ADMIN, "pg_read_all_data"))
# For actions, by what PgQ grants each of its roles.
CONSUMING = Needs(extensions=PGQ, roles=(READER,), primary=True)
PRODUCING = Needs(extensions=PGQ, roles=(WRITER,), primary=True)
ADMINISTERING = Needs(extensions=PGQ, roles=(ADMIN,), primary=True)


def cascaded(facts: Facts) -> bool:
    """Whether the database has cascades of nodes."""
    return "pgq_node" in facts.extensions


def sees_retries(facts: Facts) -> bool:
    """Whether the user may read the retry queue."""
    return not RETRYING.missing(facts)


def sees_sessions(facts: Facts) -> bool:
    """Whether the user may see what other users' sessions do."""
    return facts.has_role("pg_read_all_stats")


_QUEUES = Query("""
SELECT q.queue_id AS id,
       q.queue_name AS name,
       q.queue_ntables AS tables,
       q.queue_cur_table AS current_table,
       q.queue_rotation_period::pg_catalog.text AS rotation_period,
       q.queue_switch_step1 AS switch_step1,
       q.queue_switch_step2 AS switch_step2,
       q.queue_switch_time AS switched,
       q.queue_external_ticker AS external_ticker,
       q.queue_ticker_paused AS ticker_paused,
       q.queue_disable_insert AS inserts_disabled,
       q.queue_ticker_max_count AS ticker_max_count,
       q.queue_ticker_max_lag::pg_catalog.text AS ticker_max_lag,
       q.queue_ticker_idle_period::pg_catalog.text AS ticker_idle_period,
       q.queue_per_tx_limit AS per_tx_limit,
       q.queue_data_pfx AS data_prefix
  FROM pgq.queue AS q
 ORDER BY q.queue_name
""")

_REGISTRATIONS = Query("""
SELECT s.sub_id AS id,
       q.queue_name AS queue,
       c.co_name AS consumer,
       s.sub_last_tick AS last_tick,
       s.sub_batch AS batch,
       s.sub_next_tick AS next_tick,
       s.sub_active AS active
  FROM pgq.subscription AS s
  JOIN pgq.queue AS q
    ON q.queue_id = s.sub_queue
  JOIN pgq.consumer AS c
    ON c.co_id = s.sub_consumer
 WHERE q.queue_name = %s
 ORDER BY c.co_name
""")


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue's settings; intervals as the server writes them."""

    id: int
    name: str
    tables: int
    current_table: int
    rotation_period: Interval | None
    switch_step1: int
    switch_step2: int | None
    switched: datetime
    external_ticker: bool
    ticker_paused: bool
    inserts_disabled: bool
    ticker_max_count: int
    ticker_max_lag: Interval
    ticker_idle_period: Interval
    per_tx_limit: int | None
    data_prefix: str

    @property
    def event_table(self) -> sql.Identifier:
        """The parent of its event tables."""
        return sql.Identifier(*self.data_prefix.split(".", 1))

    @property
    def filled_tables(self) -> list[sql.Identifier]:
        """The tables that events are in: the previous one and the one written to.

        Rotation empties none of them next, so reading them never holds it up.
        """
        numbers = {(self.current_table - 1) % self.tables: None, self.current_table: None}
        return [sql.Identifier(*f"{self.data_prefix}_{n}".split(".", 1)) for n in numbers]


@dataclass(frozen=True, slots=True)
class Registration:
    """A consumer on a queue; ticks and batch are None while a cooperative one has nothing to do."""

    id: int
    queue: str
    consumer: str
    last_tick: int | None
    batch: int | None
    next_tick: int | None
    active: datetime


class NoSuchQueue(Refused):
    """No queue has that name."""


class NoSuchConsumer(Refused):
    """No consumer of that name is registered on the queue."""


async def queues(s: Session) -> list[Queue]:
    """All queues of the database."""
    return await ask(s, Queue, _QUEUES)


async def find_queue(s: Session, name: str) -> Queue:
    """The queue of exactly that name; refused with the nearest one where there is none."""
    known = await queues(s)
    for each in known:
        if each.name == name:
            return each
    raise NoSuchQueue(
        f"database {clean(s.facts.database)} has no queue {_quoted(name)}",
        hint=_hint(name, [q.name for q in known], "queue.queues lists them"),
    )


async def registrations(s: Session, queue: str) -> list[Registration]:
    """All consumers of a queue."""
    return await ask(s, Registration, _REGISTRATIONS, queue)


async def find_consumer(s: Session, queue: str, name: str) -> tuple[Queue, Registration]:
    """The queue and the consumer of exactly these names; refused with the nearest where there is none."""
    at = await find_queue(s, queue)
    known = await registrations(s, queue)
    for each in known:
        if each.consumer == name:
            return at, each
    raise NoSuchConsumer(
        f"queue {_quoted(queue)} has no consumer {_quoted(name)}",
        hint=_hint(name, [r.consumer for r in known], "queue.consumers lists them"),
    )


class Named(Protocol):
    """What belongs to a consumer: its name, and the id that members of a group share."""

    @property
    def id(self) -> int:
        """What retries are kept under."""
        ...

    @property
    def consumer(self) -> str:
        """The whole name."""
        ...


C = TypeVar("C", bound=Named)


def main_of(of: Named, among: Iterable[C]) -> C | None:
    """The main consumer that a cooperative one belongs to; they share an id and the beginning of the name."""
    mains = [r for r in among if r.id == of.id and of.consumer.startswith(f"{r.consumer}.")]
    return max(mains, key=lambda r: len(r.consumer), default=None)


async def ask(s: Session, row: type[T], query: Query, *params: Any, **more: str | sql.Composable) -> list[T]:
    """The rows of a query; a missing privilege says which role of PgQ's has it."""
    try:
        return await s.fetch(row, query, *params, **more)
    except Missing as e:
        if e.sqlstate != "42501":
            raise
        role = ADMIN if "retry_queue" in e.message else READER
        grant = sql.SQL("GRANT {} TO {}").format(sql.Identifier(role), sql.Identifier(s.facts.user))
        raise Missing(e.message, hint=f"{grant.as_string(None)} lets it", sqlstate=e.sqlstate) from None


def _quoted(name: str) -> str:
    return clean(name) if name.strip() else f'"{clean(name)}"'


def _hint(name: str, known: list[str], otherwise: str) -> str:
    return clean(nearest(name, known)) or otherwise
