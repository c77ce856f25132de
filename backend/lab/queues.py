"""The shop's queues, where the server has PgQ: row changes, mails, and invoices whose ticker is paused.

One consumer is good, one slow, one has died in a batch, and one puts more and more off.
"""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any, LiteralString

import psycopg

from backend.lab.door import Connection, Door, Worker

CHANGES, MAILS, INVOICES = "order_changes", "mails", "invoices"
# One that nobody can ever deliver is given up after so many attempts; the room warns from ten on.
ATTEMPTS = 12

_QUEUES: tuple[LiteralString, ...] = (
    "CREATE EXTENSION pgq",
    "GRANT pgq_reader, pgq_writer TO web, billing",
    "SELECT pgq.create_queue(q) FROM unnest(ARRAY['order_changes', 'mails', 'invoices']) AS q",
    """\
SELECT pgq.set_queue_config(q.name, 'rotation_period', q.period)
  FROM (VALUES ('order_changes', '3 minutes'), ('mails', '5 minutes'), ('invoices', '30 minutes'))
       AS q (name, period)""",
    "SELECT pgq.set_queue_config('invoices', 'ticker_paused', 'true')",
    """\
SELECT pgq.register_consumer(c.queue, c.consumer)
  FROM (VALUES ('order_changes', 'warehouse'), ('order_changes', 'search_index'),
               ('mails', 'mailer'), ('mails', 'newsletter'), ('invoices', 'ledger'))
       AS c (queue, consumer)""",
    """\
CREATE TRIGGER orders_to_queue
 AFTER INSERT OR UPDATE OR DELETE ON public.orders
   FOR EACH ROW
EXECUTE FUNCTION pgq.logutriga('order_changes', 'backup', 'ignore=created_at')""",
)


def make_queues(connection: psycopg.Connection) -> None:
    """Make the queues where the server has PgQ and none is there, all in the connection's transaction."""
    found = connection.execute(
        "SELECT to_regnamespace('pgq') IS NULL"
        "   AND EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pgq')"
    ).fetchone()
    if found == (True,):
        for statement in _QUEUES:
            connection.execute(statement)


async def _enter(door: Door, application: str, user: str) -> Connection:
    """A connection; where there are no queues, it is never given."""
    connection = await door.enter(application, user)
    if await _value(connection, "SELECT to_regclass('pgq.queue') IS NULL"):
        await connection.close()
        await asyncio.Event().wait()
    return connection


async def _value(connection: Connection, statement: LiteralString, *values: Any) -> Any:
    row = await (await connection.execute(statement, values)).fetchone()
    return row[0] if row else None


async def _finish(connection: Connection, batch: int) -> None:
    await connection.execute("SELECT pgq.finish_batch(%s)", [batch])


def _produce(queue: str, kinds: tuple[str, ...], pause: tuple[float, float]) -> Worker:
    """Somebody whose events are JSON of the shop's own."""

    async def live(door: Door) -> None:
        async with await _enter(door, f"{queue} producer", "web") as connection:
            while True:
                data = json.dumps({"customer": random.randint(1, 2000), "total": random.randint(5, 500)})
                await connection.execute(
                    "SELECT pgq.insert_event(%s, %s, %s)", [queue, random.choice(kinds), data]
                )
                await asyncio.sleep(random.uniform(*pause))

    return live


async def _warehouse(door: Door) -> None:
    """Takes every batch at once."""
    async with await _enter(door, "warehouse", "billing") as connection:
        while True:
            batch = await _value(connection, "SELECT pgq.next_batch('order_changes', 'warehouse')")
            if batch is None:
                await asyncio.sleep(0.5)
                continue
            await connection.execute("SELECT count(*) FROM pgq.get_batch_events(%s)", [batch])
            await _finish(connection, batch)


async def _search_index(door: Door) -> None:
    """Works for a minute on the changes of a minute and a half, and so is always behind."""
    async with await _enter(door, "search index", "billing") as connection:
        while True:
            batch = await _value(
                connection,
                "SELECT batch_id"
                "  FROM pgq.next_batch_custom('order_changes', 'search_index', NULL, NULL, '90 seconds')",
            )
            await asyncio.sleep(random.uniform(40, 75) if batch is not None else 2)
            if batch is not None:
                await _finish(connection, batch)


async def _mailer(door: Door) -> None:
    """Puts off what bounces, again and again."""
    async with await _enter(door, "mailer", "billing") as connection:
        while True:
            batch = await _value(connection, "SELECT pgq.next_batch('mails', 'mailer')")
            if batch is None:
                await asyncio.sleep(0.5)
                continue
            await connection.execute(
                "SELECT pgq.event_retry(%s, e.ev_id, 20) FROM pgq.get_batch_events(%s) AS e"
                " WHERE e.ev_type = 'bounce' AND coalesce(e.ev_retry, 0) < %s",
                [batch, batch, ATTEMPTS],
            )
            await _finish(connection, batch)


async def _newsletter(door: Door) -> None:
    """Died two hours ago over the events of a batch, which is still open."""
    async with await _enter(door, "newsletter", "dba") as connection:
        while not await _has_events(connection):
            await connection.execute("SELECT pg_sleep(1)")
        await connection.execute(
            "UPDATE pgq.subscription SET sub_active = now() - interval '2 hours'"
            " WHERE sub_consumer = (SELECT co_id FROM pgq.consumer WHERE co_name = 'newsletter')"
            "   AND sub_active > now() - interval '1 hour'"
        )
    await asyncio.Event().wait()


async def _has_events(connection: Connection) -> bool:
    """Whether the newsletter's batch has events; an empty one is finished, and there may be none yet."""
    batch = await _value(connection, "SELECT pgq.next_batch('mails', 'newsletter')")
    if batch is None:
        return False
    events = await _value(connection, "SELECT count(*) FROM pgq.get_batch_events(%s)", batch)
    if not events:
        await _finish(connection, batch)
    return bool(events)


WORKERS: tuple[Worker, ...] = (
    _produce(MAILS, ("welcome", "receipt", "receipt", "receipt", "receipt", "receipt", "bounce"), (0.3, 2.0)),
    _produce(INVOICES, ("invoice", "reminder"), (1.0, 4.0)),
    _warehouse,
    _search_index,
    _mailer,
    _newsletter,
)
