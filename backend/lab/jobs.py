"""The shop's logged jobs: some succeed, some fail, some hang, and some go missing."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any, LiteralString

from backend.lab.door import Connection, Door, Worker

OK, WARNING, CRITICAL = 1, 2, 3


async def _call(connection: Connection, statement: LiteralString, *values: Any) -> Any:
    row = await (await connection.execute(statement, values)).fetchone()
    return row[0] if row else None


async def _begin(connection: Connection, name: str) -> int:
    job: int = await _call(connection, "SELECT jobmon.add_job(%s)", name)
    return job


async def _step(
    connection: Connection, job: int, action: str, seconds: float, message: str, status: str = "OK"
) -> None:
    step = await _call(connection, "SELECT jobmon.add_step(%s, %s)", job, action)
    await connection.execute("SELECT pg_sleep(%s)", [seconds])
    await connection.execute("SELECT jobmon.update_step(%s, %s, %s)", [step, status, message])


async def _end(connection: Connection, job: int, level: int = OK) -> None:
    if level == OK:
        await connection.execute("SELECT jobmon.close_job(%s)", [job])
    else:
        await connection.execute("SELECT jobmon.fail_job(%s, %s)", [job, level])


async def _settle_invoices(door: Door) -> None:
    """Succeeds, every half minute."""
    async with await door.enter("nightly jobs", "billing") as connection:
        while True:
            job = await _begin(connection, "settle invoices")
            await _step(connection, job, "collect open invoices", 3, "412 invoices")
            await _step(connection, job, "match payments", 5, "398 matched, 14 left")
            await _step(connection, job, "post to ledger", 2, "done")
            await _end(connection, job)
            await asyncio.sleep(20)


async def _load_exchange_rates(door: Door) -> None:
    """Fails twice out of three times."""
    async with await door.enter("rate loader", "billing") as connection:
        for turn in itertools.count():
            job = await _begin(connection, "load exchange rates")
            await _step(connection, job, "fetch", 2, "32 currencies")
            if turn % 3 == 0:
                await _step(connection, job, "store", 1, "32 rows")
                await _end(connection, job)
            else:
                message = 'ERROR: null value in column "rate" violates not-null constraint (currency XDR)'
                await _step(connection, job, "store", 1, message, "CRITICAL")
                await _end(connection, job, CRITICAL)
            await asyncio.sleep(25)


async def _sync_warehouse(door: Door) -> None:
    """Ends with a warning each time, and has a streak of them."""
    async with await door.enter("warehouse", "web") as connection:
        while True:
            job = await _begin(connection, "sync warehouse")
            await _step(connection, job, "compare", 4, "3 articles differ by more than 5 %", "WARNING")
            await _end(connection, job, WARNING)
            await asyncio.sleep(40)


async def _archive_orders(door: Door) -> None:
    """Hangs: its session works on one step for minutes, past the thresholds."""
    async with await door.enter("archiver", "billing") as connection:
        while True:
            job = await _begin(connection, "archive orders")
            await _step(connection, job, "copy to archive", 240, "0 rows")
            await _end(connection, job)
            await asyncio.sleep(30)


async def _export_ledger(door: Door) -> None:
    """Crashes: its session ends and the job stays open."""
    async with await door.enter("ledger export", "billing") as connection:
        job = await _begin(connection, "export ledger")
        await _call(connection, "SELECT jobmon.add_step(%s, %s)", job, "write file")
    await asyncio.sleep(300)


async def _mail_reminders(door: Door) -> None:
    """Goes missing: runs once, and its next run never comes."""
    async with await door.enter("reminders", "web") as connection:
        job = await _begin(connection, "mail reminders")
        await _step(connection, job, "send", 1, "57 mails")
        await _end(connection, job)
    await asyncio.Event().wait()


async def _clear_log(door: Door) -> None:
    """Keeps the log short."""
    async with await door.enter("maintenance", "dba") as connection:
        while True:
            await asyncio.sleep(900)
            await connection.execute("SELECT jobmon.job_log_clear('2 hours')")


WORKERS: tuple[Worker, ...] = (
    _settle_invoices,
    _load_exchange_rates,
    _sync_warehouse,
    _archive_orders,
    _export_ledger,
    _mail_reminders,
    _clear_log,
)
