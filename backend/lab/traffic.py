"""The shop's customers, clerks and analysts: what sessions, locks, horizon and progress show."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import Awaitable, Callable
from typing import LiteralString

import psycopg
from psycopg import sql

from backend.lab.door import Connection, Door, Worker
from backend.lab.shop import ARTICLES, CUSTOMERS

# The chain of lock waits has rows of its own, so that it does not stop the other sessions.
CONTESTED = 10
CHAIN_HOLDS = 20.0
CHAIN_PAUSE = 20.0
PREPARED_PREFIX = "lab-settlement-"


def _customer() -> int:
    return random.randint(CONTESTED + 1, CUSTOMERS)


def _article() -> int:
    return random.randint(CONTESTED + 1, ARTICLES)


async def _order(connection: Connection) -> None:
    customer, article = _customer(), _article()
    async with connection.transaction():
        await connection.execute(
            "INSERT INTO orders (customer, article, total) VALUES (%s, %s, %s)",
            [customer, article, random.randint(5, 500)],
        )
        await connection.execute(
            "UPDATE stock SET quantity = quantity - 1 WHERE article = %s", [article]
        )  # fmt: skip


async def _browse(connection: Connection) -> None:
    await connection.execute(
        "SELECT article, quantity FROM stock WHERE article BETWEEN %s AND %s + 20", [_article(), _article()]
    )


async def _settle(connection: Connection) -> None:
    async with connection.transaction():
        await connection.execute(
            "UPDATE customers SET balance = balance + %s WHERE id = %s", [random.randint(1, 9), _customer()]
        )
        await asyncio.sleep(random.uniform(0.2, 1.0))


async def _wait_on_server(connection: Connection) -> None:
    await connection.execute("SELECT pg_sleep(%s)", [random.uniform(1, 4)])


async def _look_up(connection: Connection) -> None:
    await connection.execute(
        "SELECT o.id, o.total, c.name FROM orders AS o JOIN customers AS c ON c.id = o.customer"
        " WHERE o.created_at > now() - interval '1 minute' ORDER BY o.id DESC LIMIT 20"
    )


def _session(
    application: str, user: str, work: Callable[[Connection], Awaitable[None]], pause: tuple[float, float]
) -> Worker:
    async def live(door: Door) -> None:
        async with await door.enter(application, user) as connection:
            while True:
                await work(connection)
                await asyncio.sleep(random.uniform(*pause))

    return live


async def _idle(door: Door) -> None:
    """A pooled connection that nobody uses."""
    async with await door.enter("admin panel", "web") as connection:
        while True:
            await connection.execute("SELECT 1")
            await asyncio.sleep(120)


async def _monthly_report(door: Door) -> None:
    """One query of a minute and a half, whose snapshot holds back vacuum."""
    async with await door.enter("monthly report", "reports") as connection:
        while True:
            await connection.execute(
                "SELECT c.region, count(*), sum(o.total) FROM pg_sleep(90) AS slow, orders AS o"
                " JOIN customers AS c ON c.id = o.customer GROUP BY c.region ORDER BY c.region"
            )
            await asyncio.sleep(30)


async def _lock_chain(door: Door) -> None:
    """A clerk who went to lunch with a row locked, and a queue of customers behind."""
    async with (
        await door.enter("settlement", "billing") as holder,
        await door.enter("checkout", "web") as first,
        await door.enter("checkout", "web") as second,
        await door.enter("stock sync", "billing") as third,
    ):
        await holder.execute("BEGIN")
        await holder.execute("UPDATE customers SET balance = balance + 1 WHERE id = 1")
        async with asyncio.TaskGroup() as queue:
            queue.create_task(_queue(first, ("stock", 1), ("customers", 1)))
            queue.create_task(_queue(second, ("stock", 2), ("stock", 1), after=1))
            queue.create_task(_queue(third, ("stock", 2), after=2))
            await asyncio.sleep(CHAIN_HOLDS)
            await holder.execute("ROLLBACK")
    await asyncio.sleep(CHAIN_PAUSE)


TOUCH: dict[str, LiteralString] = {
    "customers": "UPDATE customers SET balance = balance + 1 WHERE id = %s",
    "stock": "UPDATE stock SET quantity = quantity + 1 WHERE article = %s",
}


async def _queue(connection: Connection, *rows: tuple[str, int], after: float = 0) -> None:
    await asyncio.sleep(after)
    with contextlib.suppress(psycopg.Error):
        async with connection.transaction():
            for table, key in rows:
                await connection.execute(TOUCH[table], [key])


async def _settlement(door: Door) -> None:
    """A prepared transaction for a quarter of a minute in each."""
    async with await door.enter("settlement", "dba") as connection:
        await _forget_prepared(connection)
        for number in itertools.count(1):
            await asyncio.sleep(45)
            await connection.execute("BEGIN")
            await connection.execute("UPDATE stock SET quantity = quantity WHERE article = 9")
            name = sql.Literal(f"{PREPARED_PREFIX}{number}")
            await connection.execute(sql.SQL("PREPARE TRANSACTION {}").format(name))
            await asyncio.sleep(15)
            await _forget_prepared(connection)


async def _forget_prepared(connection: Connection) -> None:
    found = await connection.execute(
        "SELECT gid FROM pg_prepared_xacts WHERE gid LIKE %s AND database = current_database()",
        [f"{PREPARED_PREFIX}%"],
    )
    for (gid,) in await found.fetchall():
        try:
            await connection.execute(sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(gid)))
        except psycopg.errors.UndefinedObject:
            continue  # an administrator was faster


async def _maintenance(door: Door) -> None:
    """VACUUM, ANALYZE and CREATE INDEX, slow enough to be watched and nearly free."""
    async with await door.enter("maintenance", "dba") as connection:
        await connection.execute("SET vacuum_cost_delay = '20ms'")
        await connection.execute("SET vacuum_cost_limit = 15")
        await connection.execute("SET vacuum_cost_page_hit = 4")
        for turn in itertools.count():
            await connection.execute("DELETE FROM orders WHERE created_at < now() - interval '20 minutes'")
            await connection.execute("UPDATE events SET seen_at = now() WHERE id %% 40 = %s", [turn % 40])
            await connection.execute("VACUUM public.events")
            await connection.execute("ANALYZE public.events")
            await connection.execute("DROP INDEX IF EXISTS events_unhurried")
            await connection.execute("CREATE INDEX events_unhurried ON events (unhurried(id))")
            await asyncio.sleep(20)


WORKERS: tuple[Worker, ...] = (
    _session("web shop", "web", _order, (0.3, 1.2)),
    _session("web shop", "web", _order, (0.3, 1.2)),
    _session("web shop", "web", _browse, (0.2, 0.6)),
    _session("web shop", "web", _browse, (0.2, 0.6)),
    _session("mobile app", "web", _look_up, (0.5, 1.5)),
    _session("mobile app", "web", _order, (0.5, 2.0)),
    _session("invoicing", "billing", _settle, (0.5, 2.0)),
    _session("invoicing", "billing", _settle, (0.5, 2.0)),
    _session("bank link", "billing", _wait_on_server, (0.5, 3.0)),
    _session("dashboard", "reports", _look_up, (2.0, 5.0)),
    _idle,
    _idle,
    _monthly_report,
    _lock_chain,
    _settlement,
    _maintenance,
)
