"""COPY of translated records as a step, whole or in transactions of so many rows."""

from __future__ import annotations

import re
from collections.abc import Iterator

import psycopg

from backend.core.connection import Connection, explain, is_lost
from backend.core.errors import Failed, Interrupted, PgtuiError
from backend.core.plan import Answer, Chunk, Load
from backend.core.rendering import executable, inlined
from backend.core.surroundings import Progress, Surroundings, stop_if_cancelled


async def load(step: Load, around: Surroundings) -> Answer:
    """Load all rows; what stops it takes back only the transaction that it stops."""
    connection = await around.connection(step.on, step.dbname)
    around.busy(connection)
    chunks = step.source.chunks(step.every)
    done = transactions = 0
    try:
        while (chunk := next(chunks, None)) is not None:
            stop_if_cancelled(around)
            done += await _transaction(step, connection, chunk, chunks, around)
            transactions += 1
    except PgtuiError as e:
        raise _stopped(e, done, step.unit) from None
    except psycopg.Error as e:
        if is_lost(e) or (around.cancelled.is_set() and isinstance(e, psycopg.errors.QueryCanceled)):
            raise
        raise _stopped(_placed(e, done, step.unit), done, step.unit) from None
    return Answer(({"rows": done, "transactions": transactions},), done, f"COPY {done}")


async def _transaction(
    step: Load, connection: Connection, first: Chunk, chunks: Iterator[Chunk], around: Surroundings
) -> int:
    rows = 0
    chunk: Chunk | None = first
    async with connection.transaction(), connection.cursor() as cursor:
        for statement in step.before:
            text, params = executable(statement)
            await cursor.execute(text, params, prepare=False)
        table = await cursor.fetchone()
        if table is None:
            raise Failed("the server names no table to load into")
        async with cursor.copy(inlined(step.copy_into(*table))) as copy:
            while chunk is not None:
                stop_if_cancelled(around)
                await copy.write(chunk.data)
                rows += chunk.rows
                around.progress(Progress(chunk.read, step.source.size, "bytes"))
                chunk = None if rows == step.every else next(chunks, None)
        if cursor.rowcount != rows:
            raise Failed(f"{rows} {step.unit} were sent, and the server took {cursor.rowcount}")
        stop_if_cancelled(around)
    return rows


def _placed(error: psycopg.Error, done: int, unit: str) -> PgtuiError:
    """The server's complaint, with the number of the row that it is about."""
    said = explain(error, "the server says")
    if found := re.search(r"^COPY .*, line (\d+)", error.diag.context or ""):
        return type(said)(
            f"{said.message} (number {done + int(found[1])} of the {unit})",
            hint=said.hint,
            sqlstate=said.sqlstate,
        )
    return said


def _stopped(error: PgtuiError, done: int, unit: str) -> PgtuiError:
    """The same error, saying what has been committed before."""
    if isinstance(error, Interrupted):
        return Interrupted(f"after {done} {unit}" if done else "")
    stays = f"the {done} {unit} before this transaction stay" if done else f"no {unit} were inserted"
    return type(error)(f"{error.message}; {stays}", hint=error.hint, sqlstate=error.sqlstate)
