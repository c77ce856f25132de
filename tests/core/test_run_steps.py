"""The steps of a run beside statements: programs, files, copies."""

from __future__ import annotations

import asyncio
from pathlib import Path, PurePosixPath

from psycopg import sql

from backend.core.errors import Refused
from backend.core.plan import Command, Copy, File, statement
from tests.core.conftest import eventually
from tests.core.runs import (
    Prepare,
    being,
    files_of,
    prepare,
)
from tests.servers import Database

__all__ = ["prepare"]


async def test_a_program_runs_and_its_failure_is_told(prepare: Prepare) -> None:
    report = await prepare(Command(("sh", "-c", "echo hello"))).execute()
    assert report.error is None
    report = await prepare(Command(("sh", "-c", "echo broken >&2; exit 3"))).execute()
    assert "sh ended with status 3: broken" in str(report.error)


async def test_a_file_is_replaced_unless_it_changed_meanwhile(prepare: Prepare, tmp_path: Path) -> None:
    path = tmp_path / "conf"
    path.write_text("old\n")
    step = File(PurePosixPath(path), "old\n", "new\n")
    assert "-old" in step.text
    assert (await prepare(step).execute()).error is None
    assert path.read_text() == "new\n"
    again = await prepare(step).execute()
    assert isinstance(again.error, Refused)
    fresh = await prepare(File(PurePosixPath(path), None, "x")).execute()
    assert isinstance(fresh.error, Refused)
    assert path.read_text() == "new\n"


async def test_copy_goes_in_out_and_through(prepare: Prepare, database: Database, tmp_path: Path) -> None:
    source, sink = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("a\nb\n")
    database.execute("CREATE TABLE public.other (what text)")
    report = await prepare(
        Copy(sql.SQL("COPY public.log FROM STDIN"), path=str(source)),
        Copy(sql.SQL("COPY public.log FROM STDIN"), data=b"c\n"),
        Copy(sql.SQL("COPY public.log TO STDOUT"), into=sql.SQL("COPY public.other FROM STDIN")),
        Copy(sql.SQL("COPY public.other TO STDOUT"), path=str(sink)),
    ).execute()
    assert report.error is None
    assert report.result == [{"rows": 3, "bytes": 6}]
    assert sink.read_text() == "a\nb\nc\n"
    assert files_of(tmp_path) == ["in.csv", "out.csv"]


async def test_notices_are_told_as_they_come(prepare: Prepare, database: Database) -> None:
    run = prepare(statement("DO $$BEGIN RAISE NOTICE 'half'; PERFORM pg_sleep(3600); END$$"))
    running = asyncio.create_task(run.execute())
    await eventually(lambda: being("half" in run.report.notices))
    assert not running.done()
    await run.cancel()
    await running
