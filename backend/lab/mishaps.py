"""What goes wrong in every application, so that the lab's log has something to tell."""

from __future__ import annotations

import asyncio
import contextlib
from typing import LiteralString

import psycopg

from backend.lab.door import Door, Worker

PAUSE = 4.0

# The first comes most often: the log folds it.
MISHAPS: tuple[LiteralString, ...] = (
    "SELECT total / (quantity - quantity) FROM orders, stock LIMIT 1",
    "INSERT INTO customers (id, region) VALUES (1, 'north')",
    "SELECT total / (quantity - quantity) FROM orders, stock LIMIT 1",
    "SELECT * FROM order_lines",
    "DO $$ BEGIN RAISE WARNING 'the cache of prices is old' USING HINT = 'refresh it'; END $$",
    "SELECT total / (quantity - quantity) FROM orders, stock LIMIT 1",
    "UPDATE customers SET balance = 'a lot' WHERE id = 1",
)


async def _mishaps(door: Door) -> None:
    """Statements that fail, one after the other."""
    async with await door.enter("web shop", "web") as connection:
        while True:
            for statement in MISHAPS:
                with contextlib.suppress(psycopg.DataError, psycopg.IntegrityError, psycopg.ProgrammingError):
                    await connection.execute(statement)
                await asyncio.sleep(PAUSE)


WORKERS: tuple[Worker, ...] = (_mishaps,)
