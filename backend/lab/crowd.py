"""Everybody who works on the lab's server, kept at it whatever happens to their connections."""

from __future__ import annotations

import asyncio
import logging
import time

import psycopg

from backend.lab import jobs, mishaps, partitions, queues, traffic
from backend.lab.door import Door, Worker

WORKERS: tuple[Worker, ...] = (
    *traffic.WORKERS,
    *jobs.WORKERS,
    *partitions.WORKERS,
    *queues.WORKERS,
    *mishaps.WORKERS,
)
GIVE_UP_AFTER = 120.0
PAUSE = 2.0


async def crowd(dsn: str) -> None:
    """Let everybody work until cancelled, or until nobody has got in for long."""
    logging.getLogger("psycopg").setLevel(logging.ERROR)
    door = Door(dsn)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_again_and_again(worker, door)) for worker in WORKERS]
        await _while_open(door)
        for task in tasks:
            task.cancel()


async def _while_open(door: Door) -> None:
    while True:
        await asyncio.sleep(PAUSE)
        if time.monotonic() - door.last_entered > GIVE_UP_AFTER and not await _opens(door):
            return


async def _again_and_again(worker: Worker, door: Door) -> None:
    while True:
        # Whoever tries the lab may cancel or terminate anybody in it: that is what it is for.
        try:
            await worker(door)
        except psycopg.Error:
            await asyncio.sleep(PAUSE)


async def _opens(door: Door) -> bool:
    try:
        await (await door.enter("workload", "web")).close()
    except psycopg.Error:
        return False
    return True
