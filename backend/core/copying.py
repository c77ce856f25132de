"""COPY as a step: in from a file, out to a file, or through into another target."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg

from backend.core.connection import Connection
from backend.core.errors import Failed
from backend.core.plan import Answer, Copy
from backend.core.rendering import inlined
from backend.core.surroundings import Progress, Surroundings, stop_if_cancelled

_CHUNK = 1 << 18


async def copy(step: Copy, around: Surroundings) -> Answer:
    """Move data in, out or through; a cancel or a failure leaves none behind."""
    connection = await around.connection(step.on, step.dbname)
    around.busy(connection)
    stop_if_cancelled(around)
    text = inlined(step.statement)
    if step.into is not None:
        return await _copy_through(connection, text, inlined(step.into), step, around)
    if _copies_out(text):
        return await _copy_out(connection, text, Path(step.path or os.devnull), around)
    source = _file_chunks(Path(step.path)) if step.path else _one(step.data or b"")
    return await _copy_in(connection, text, source, around)


def _copies_out(text: bytes) -> bool:
    """Whether data comes from the server; the last of the two words decides, a name may hold the other."""
    found = re.findall(rb"\bTO\s+STDOUT\b|\bFROM\s+STDIN\b", text.upper())
    return bool(found) and found[-1].startswith(b"TO")


async def _copy_in(
    connection: Connection, text: bytes, source: AsyncIterator[bytes], around: Surroundings
) -> Answer:
    sent = 0
    async with connection.cursor() as cursor:
        async with cursor.copy(text) as copy:
            async for chunk in source:
                stop_if_cancelled(around)
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
                        stop_if_cancelled(around)
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
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


async def _copy_through(
    connection: Connection, text: bytes, into: bytes, step: Copy, around: Surroundings
) -> Answer:
    # One connection cannot read and write at once, so the same target gets a second one.
    other = await around.connection(step.into_on, None, spare=True)
    async with connection.cursor() as reader, reader.copy(text) as copy:
        return await _copy_in(other, into, _chunks(copy), around)


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
