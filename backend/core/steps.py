"""Carrying out one step of each kind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from backend.core.connection import Connection, explain
from backend.core.errors import Failed, Interrupted, Refused
from backend.core.host import Host, Program
from backend.core.plan import (
    Answer,
    Answers,
    Check,
    Command,
    Copy,
    File,
    Repeat,
    Sql,
    Step,
    Wait,
    executable,
)

_CHUNK = 1 << 18


@dataclass(frozen=True, slots=True)
class Progress:
    """How much of a step is done; `total` is None where nobody knows."""

    done: int
    total: int | None
    unit: str


class Surroundings(Protocol):
    """What a step needs from the run it belongs to."""

    cancelled: asyncio.Event

    async def connection(self, on: str | None, dbname: str | None) -> Connection:
        """The run's connection to a target and database."""
        ...

    async def host(self, on: str | None) -> Host:
        """The host of a target."""
        ...

    def busy(self, connection: Connection | None = None, program: Program | None = None) -> None:
        """Tell what is running, so that a cancel knows what to stop."""
        ...

    def progress(self, progress: Progress) -> None:
        """Tell how far the step is."""
        ...

    def output(self, text: str) -> None:
        """Tell what a program wrote."""
        ...


async def perform(step: Step, answers: Answers, around: Surroundings) -> Answer:
    """Carry out one step; its answer, or a PgtuiError in the server's or program's own words."""
    try:
        match step:
            case Sql():
                return await _sql(step, around)
            case Check():
                return _check(step, answers)
            case Wait():
                return await _wait(step, around)
            case Repeat():
                return await _repeat(step, around)
            case Copy():
                return await _copy(step, around)
            case Command():
                return await _command(step, around)
            case File():
                return await _file(step, around)
    except psycopg.Error as e:
        if around.cancelled.is_set():
            raise Interrupted("it was cancelled", sqlstate=e.sqlstate) from None
        raise explain(e, "the server says") from None
    finally:
        around.busy()


async def _sql(step: Sql, around: Surroundings) -> Answer:
    connection = await around.connection(step.on, step.dbname)
    around.busy(connection)
    if len(step.statements) == 1 and not step.quiet_log:
        return await _execute(connection, step.statements[0])
    answer = Answer()
    async with connection.transaction():
        if step.quiet_log:
            await _hush(connection)
        for statement in step.statements:
            answer = await _execute(connection, statement)
    return answer


async def _hush(connection: Connection) -> None:
    """Keep a secret out of the server's log for this transaction, where the role may say so."""
    with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
        async with connection.transaction():
            await connection.execute(b"SET LOCAL log_statement = 'none'")
            await connection.execute(b"SET LOCAL log_min_duration_statement = -1")
            await connection.execute(b"SET LOCAL log_min_error_statement = 'panic'")


async def _execute(connection: Connection, statement: sql.Composable) -> Answer:
    text, params = executable(statement)
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(text, params, prepare=False)
        rows = tuple(await cursor.fetchall()) if cursor.description else ()
        return Answer(rows, max(cursor.rowcount, 0), cursor.statusmessage or "")


def _check(step: Check, answers: Answers) -> Answer:
    if not step.holds(answers):
        raise Failed(step.failure(answers), hint=step.hint)
    return answers[-1] if answers else Answer()


async def _wait(step: Wait, around: Surroundings) -> Answer:
    connection = await around.connection(step.on, step.dbname)
    deadline = time.monotonic() + step.deadline
    while True:
        around.busy(connection)
        answer = await _execute(connection, step.statement)
        around.busy()
        if answer.scalar:
            return answer
        left = deadline - time.monotonic()
        if left <= 0:
            raise Failed(f"after {step.deadline:g} s it is still not so that {step.until}")
        await _pause(min(step.every, left), around)


async def _repeat(step: Repeat, around: Surroundings) -> Answer:
    connection = await around.connection(step.on, step.dbname)
    done = 0
    while True:
        around.busy(connection)
        answer = await _execute(connection, step.statement)
        around.busy()
        if not answer.scalar:
            return Answer(({"done": done},), done, answer.text)
        done += int(answer.scalar)
        around.progress(Progress(done, step.total, step.unit))
        await _pause(step.pause, around)


async def _pause(seconds: float, around: Surroundings) -> None:
    """Sleep, unless the run is cancelled: then end here, between two rounds."""
    if seconds > 0:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(around.cancelled.wait(), seconds)
    if around.cancelled.is_set():
        raise Interrupted("it was cancelled")


async def _copy(step: Copy, around: Surroundings) -> Answer:
    connection = await around.connection(step.on, step.dbname)
    around.busy(connection)
    text = step.statement.as_bytes(None)
    if step.into is not None:
        return await _copy_through(connection, text, step, around)
    if b"TO STDOUT" in text.upper():
        return await _copy_out(connection, text, Path(step.path or os.devnull), around)
    source = _file_chunks(Path(step.path)) if step.path else _one(step.data or b"")
    return await _copy_in(connection, text, source, around)


async def _copy_in(
    connection: Connection, text: bytes, source: AsyncIterator[bytes], around: Surroundings
) -> Answer:
    sent = 0
    async with connection.cursor() as cursor:
        async with cursor.copy(text) as copy:
            async for chunk in source:
                if around.cancelled.is_set():
                    raise Interrupted("it was cancelled")
                await copy.write(chunk)
                sent += len(chunk)
                around.progress(Progress(sent, None, "bytes"))
        return Answer(({"rows": cursor.rowcount},), cursor.rowcount, cursor.statusmessage or "")


async def _copy_out(connection: Connection, text: bytes, path: Path, around: Surroundings) -> Answer:
    part = path.with_name(path.name + ".part")
    got = 0
    try:
        async with connection.cursor() as cursor:
            with part.open("wb") as file:
                async with cursor.copy(text) as copy:
                    async for chunk in copy:
                        file.write(chunk)
                        got += len(chunk)
                        around.progress(Progress(got, None, "bytes"))
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
            return Answer(
                ({"rows": cursor.rowcount, "bytes": got},), cursor.rowcount, cursor.statusmessage or ""
            )
    except OSError as e:
        raise Failed(f"{path} cannot be written: {e.strerror}") from None
    finally:
        part.unlink(missing_ok=True)


async def _copy_through(connection: Connection, text: bytes, step: Copy, around: Surroundings) -> Answer:
    assert_into = step.into or sql.SQL("")
    other = await around.connection(step.into_on, None)
    async with connection.cursor() as reader, reader.copy(text) as copy:
        return await _copy_in(other, assert_into.as_bytes(None), _chunks(copy), around)


async def _chunks(copy: psycopg.AsyncCopy) -> AsyncIterator[bytes]:
    async for chunk in copy:
        yield bytes(chunk)


async def _file_chunks(path: Path) -> AsyncIterator[bytes]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
    except OSError as e:
        raise Failed(f"{path} cannot be read: {e.strerror}") from None


async def _one(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def _command(step: Command, around: Surroundings) -> Answer:
    host = await around.host(step.on)
    if step.long:
        return await _follow(await host.start(step.argv, run_as=step.run_as), step, around)
    done = await host.run(step.argv, stdin=step.stdin, timeout=step.deadline, run_as=step.run_as)
    done.demand(*step.ok)
    return Answer(({"status": done.code},), 1, done.text)


async def _follow(program: Program, step: Command, around: Surroundings) -> Answer:
    around.busy(program=program)
    position, status, tail = 0, None, b""
    while status is None:
        status = await program.status()
        fresh, position = await program.follow(position)
        if fresh:
            tail = (tail + fresh)[-4096:]
            around.output(fresh.decode("utf-8", "surrogateescape"))
        if status is None:
            await asyncio.sleep(0.5)
    await program.forget()
    if around.cancelled.is_set():
        raise Interrupted("it was cancelled")
    text = tail.decode("utf-8", "surrogateescape")
    if status not in step.ok:
        raise Failed(f"{Path(step.argv[0]).name} ended with status {status}: {text.strip()[-400:]}")
    return Answer(({"status": status},), 1, text)


async def _file(step: File, around: Surroundings) -> Answer:
    host = await around.host(step.on)
    if step.before is not None:
        now = (await host.read(str(step.path), run_as=step.run_as)).decode("utf-8", "surrogateescape")
        if now != step.before:
            raise Refused(f"{step.path} has changed since the plan was made", hint="plan it again")
    await host.write(str(step.path), step.after.encode("utf-8", "surrogateescape"), run_as=step.run_as)
    return Answer(text=str(step.path))
