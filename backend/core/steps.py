"""Carrying out one step of each kind."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from backend.core.clean import mask
from backend.core.connection import Connection, explain, guarded, is_lost
from backend.core.copying import copy
from backend.core.errors import Failed, Interrupted, Missing, PgtuiError, Refused, Unreachable
from backend.core.following import followed
from backend.core.host import Program
from backend.core.loading import load
from backend.core.plan import (
    Answer,
    Answers,
    Check,
    Command,
    Copy,
    File,
    Load,
    Repeat,
    Sql,
    Step,
    Wait,
)
from backend.core.rendering import executable, inlined, secrets_of
from backend.core.show import counted
from backend.core.surroundings import Progress as Progress
from backend.core.surroundings import Surroundings, stop_if_cancelled

T = TypeVar("T")
Cursor = psycopg.AsyncCursor[dict[str, Any]]


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
                return await copy(step, around)
            case Load():
                return await load(step, around)
            case Command():
                return await _command(step, around)
            case File():
                return await _file(step, around)
    except psycopg.Error as e:
        raise _ended(e, _secrets(step), around) from None
    finally:
        around.busy()


class Lost(Failed):
    """The connection broke while a step ran: nobody here knows how it ended."""


def _ended(error: psycopg.Error, secrets: Sequence[str], around: Surroundings) -> PgtuiError:
    """Why a step did not get to its end, without the secrets that a server repeats in its complaint."""
    said = explain(error, "the server says")
    words, hint = _without(said.message, secrets), said.hint and _without(said.hint, secrets)
    if is_lost(error):
        return Lost(words, hint=hint, sqlstate=said.sqlstate)
    if around.cancelled.is_set() and isinstance(error, psycopg.errors.QueryCanceled):
        return Interrupted("", sqlstate=error.sqlstate)
    return type(said)(words, hint=hint, sqlstate=said.sqlstate)


def _without(text: str, secrets: Sequence[str]) -> str:
    for secret in filter(None, secrets):
        text = text.replace(secret, "****")
    return text


def _secrets(step: Step) -> list[str]:
    return [secret for s in step.statements for secret in secrets_of(s)] if isinstance(step, Sql) else []


async def _sql(step: Sql, around: Surroundings) -> Answer:
    connection = await around.connection(step.on, step.dbname)
    around.busy(connection)
    if step.followed:
        async with followed(connection, step, around):
            return await _transaction(connection, step.statements, around)
    if not step.quiet_log and not _secrets(step):
        return await _transaction(connection, step.statements, around)
    async with _hushed(connection):
        return await _transaction(connection, step.statements, around, inline=step.quiet_log)


async def _transaction(
    connection: Connection,
    statements: Sequence[sql.Composable],
    around: Surroundings,
    *,
    inline: bool = False,
) -> Answer:
    """The answer of the last of the statements, which stand or fall together."""
    if len(statements) == 1:
        stop_if_cancelled(around)
        return await _execute(connection, statements[0], inline=inline)
    answer = Answer()
    async with connection.transaction():
        for statement in statements:
            stop_if_cancelled(around)
            answer = await _execute(connection, statement, inline=inline)
        stop_if_cancelled(around)
    return answer


# All that can put a statement or its parameters into the log, other sessions' sight or statistics.
_QUIET = {
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_min_duration_sample": "-1",
    "log_transaction_sample_rate": "0",
    "log_min_error_statement": "panic",
    "log_min_messages": "panic",  # a complaint may quote the value
    "log_duration": "off",
    "track_activities": "off",
    "pg_stat_statements.track_utility": "off",
    "auto_explain.log_min_duration": "-1",
}
_LOGGED = (
    b"SELECT pg_catalog.current_setting('log_statement') <> 'none'"
    b"    OR pg_catalog.current_setting('log_min_duration_statement') <> '-1'"
    b"    OR pg_catalog.current_setting('log_min_duration_sample') <> '-1'"
)


@contextlib.asynccontextmanager
async def _hushed(connection: Connection) -> AsyncIterator[None]:
    """Keep a secret out of the server's log; refused where it would be logged and the role cannot help it."""
    for name, value in _QUIET.items():
        with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
            await connection.execute(
                b"SELECT pg_catalog.set_config(%s, %s, false)"
                b" WHERE pg_catalog.current_setting(%s, true) IS NOT NULL",
                [name, value, name],
                prepare=False,
            )
    [(logged,)] = await (await connection.execute(_LOGGED, prepare=False)).fetchall()
    if logged:
        raise Missing(
            "the server would write the secret into its log, and this role may not switch that off",
            hint="act as a superuser, or GRANT SET ON PARAMETER log_statement, log_min_duration_statement",
        )
    try:
        yield
    finally:
        with contextlib.suppress(psycopg.Error):
            for name in _QUIET:
                await connection.execute(sql.SQL("RESET {}").format(sql.Identifier(name)), prepare=False)


async def _execute(connection: Connection, statement: sql.Composable, *, inline: bool = False) -> Answer:
    return await _answer(await _asked(connection, statement, inline=inline))


async def _asked(connection: Connection, statement: sql.Composable, *, inline: bool = False) -> Cursor:
    text, params = (inlined(statement), None) if inline else executable(statement)
    return await connection.cursor(row_factory=dict_row).execute(text, params, prepare=False)


async def _answer(cursor: Cursor) -> Answer:
    rows = tuple(await cursor.fetchall()) if cursor.description else ()
    return Answer(rows, max(cursor.rowcount, 0), cursor.statusmessage or "")


def _check(step: Check, answers: Answers) -> Answer:
    if not step.holds(answers):
        raise Failed(step.failure(answers), hint=step.hint)
    return answers[-1] if answers else Answer()


async def _wait(step: Wait, around: Surroundings) -> Answer:
    deadline = time.monotonic() + step.deadline
    while True:
        answer, trouble = await _look(step, deadline - time.monotonic(), around)
        if answer.scalar:
            return answer
        left = deadline - time.monotonic()
        if left <= 0:
            raise Failed(f"after {step.deadline:g} s it is still not so that {step.until}", hint=trouble)
        await _pause(min(step.every, left), around)


async def _look(step: Wait, left: float, around: Surroundings) -> tuple[Answer, str | None]:
    """Ask once; a server that is away, as in a restart, may be what is waited for."""
    try:
        connection = await around.connection(step.on, step.dbname)
        around.busy(connection)
        asked = _execute(connection, step.statement)
        return await guarded(asked, max(left, 1), connection, "the server"), None
    except psycopg.Error as e:
        if not is_lost(e):
            raise
        return Answer(), explain(e, "the server says").message
    except Unreachable as e:
        return Answer(), e.message
    finally:
        around.busy()


async def _repeat(step: Repeat, around: Surroundings) -> Answer:
    connection = await around.connection(step.on, step.dbname)
    done = rounds = 0
    try:
        while True:
            around.busy(connection)
            answer = await _at_once(connection, (*step.before, step.statement), around)
            around.busy()
            amount = int((answer.scalar if answer.rows else answer.count) or 0)
            if not amount:
                return Answer(({"done": done},), done, answer.text)
            done, rounds = done + amount, rounds + 1
            around.progress(Progress(done, step.total, step.unit, rounds))
            await _pause(step.pause, around)
    except Interrupted:
        raise Interrupted(_so_far(step, done)) from None
    except psycopg.Error as e:
        said = _ended(e, (), around)
        words = ", ".join(filter(None, (said.message, _so_far(step, done))))
        raise type(said)(words, hint=said.hint, sqlstate=said.sqlstate) from None


def _so_far(step: Repeat, done: int) -> str:
    moved, left = counted(done, step.unit.removesuffix("s")), max((step.total or 0) - done, 0)
    return f"after {moved}" + ("" if step.total is None else f", {left} {'is' if left == 1 else 'are'} left")


async def _at_once(
    connection: Connection, statements: Sequence[sql.Composable], around: Surroundings
) -> Answer:
    """The same as `_transaction`, sent whole: no lock is held while the next statement is on its way."""
    stop_if_cancelled(around)
    async with connection.pipeline(), connection.transaction():
        cursors = [await _asked(connection, statement) for statement in statements]
    return await _answer(cursors[-1])


async def _pause(seconds: float, around: Surroundings) -> None:
    """Sleep, unless the run is cancelled: then end here, between two rounds."""
    if seconds > 0:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(around.cancelled.wait(), seconds)
    stop_if_cancelled(around)


async def _command(step: Command, around: Surroundings) -> Answer:
    host = await around.host(step.on)
    stop_if_cancelled(around)
    if step.long:
        started = await host.start(step.argv, stdin=step.stdin, run_as=step.run_as)
        return await _follow(started, step, around)
    run = host.run(step.argv, stdin=step.stdin, timeout=step.deadline, run_as=step.run_as)
    done = (await _unless_cancelled(run, around)).demand(*step.ok)
    return Answer(({"status": done.code},), 1, done.text)


async def _unless_cancelled(work: Coroutine[Any, Any, T], around: Surroundings) -> T:
    """What the work gives; when the run is cancelled first, the work is ended."""
    running = asyncio.ensure_future(work)
    cancelled = asyncio.ensure_future(around.cancelled.wait())
    try:
        await asyncio.wait({running, cancelled}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            return running.result()
        raise Interrupted("its program was ended; what it had done by then stays")
    finally:
        for task in (running, cancelled):
            task.cancel()
        await asyncio.gather(running, cancelled, return_exceptions=True)


# How long a program that goes on by itself is looked for when its host does not answer.
_PATIENCE = 600.0


async def _follow(program: Program, step: Command, around: Surroundings) -> Answer:
    around.busy(program=program)
    position, status, tail, seen = 0, None, b"", time.monotonic()
    while status is None:
        try:
            status = await program.status()
            fresh, position = await program.follow(position)
            seen = time.monotonic()
        except Unreachable as e:
            if time.monotonic() - seen > _PATIENCE:
                raise Lost(f"{e.message}; the program may go on without pgtui", hint=e.hint) from None
            around.output(f"{e.message}; trying again\n")
            status, fresh = None, b""
        if fresh:
            tail = (tail + fresh)[-4096:]
            around.output(fresh.decode("utf-8", "surrogateescape"))
        if status is None:
            await asyncio.sleep(0.5)
    await program.forget()
    return _outcome(step, status, tail.decode("utf-8", "surrogateescape"), around)


def _outcome(step: Command, status: int, text: str, around: Surroundings) -> Answer:
    if status in step.ok:
        return Answer(({"status": status},), 1, text)
    if around.cancelled.is_set():
        raise Interrupted("its program was ended; what it had done by then stays")
    said = mask(text.strip()[-400:]) or "it said nothing"
    raise Failed(f"{Path(step.argv[0]).name} ended with status {status}: {said}")


async def _file(step: File, around: Surroundings) -> Answer:
    host = await around.host(step.on)
    stop_if_cancelled(around)
    now = None
    with contextlib.suppress(*(() if step.before is not None else (Failed,))):
        now = (await host.read(str(step.path), run_as=step.run_as)).decode("utf-8", "surrogateescape")
    if now != step.before:
        raise Refused(f"{step.path} has changed since the plan was made", hint="plan it again")
    await host.write(str(step.path), step.after.encode("utf-8", "surrogateescape"), run_as=step.run_as)
    return Answer(text=str(step.path))
