"""Progress of long commands, each held in the middle."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backend.activity.progress import Reported, in_words
from backend.core.declare import Health
from backend.core.judge import judge
from backend.core.registry import find_view
from backend.core.session import Session
from tests.rooms.activity.conftest import Crowd, Look, Person, row, rows, until
from tests.servers import Database, OwnClusters, Server

SLOWLY = ("SET vacuum_cost_delay = 100", "SET vacuum_cost_limit = 1")
SLOW_FUNCTION = (
    "CREATE FUNCTION slow(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS"
    " 'BEGIN PERFORM pg_sleep(0.2); RETURN i; END'"
)


def fill(database: Database, rows: int = 100000) -> None:
    database.execute(f"CREATE TABLE t AS SELECT generate_series(1, {rows}) AS i")


def slow_backup(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def reported(**more: Any) -> Reported:
    known = {"pid": 1, "operation": "VACUUM", "phase": "scanning heap", "unit": "blocks"}
    return Reported(**dict.fromkeys(Reported.__annotations__) | known | more)  # type: ignore[arg-type]


async def in_the_middle(console: Session, person: Person, **fields: Any) -> Any:
    for _ in range(500):
        if any(
            all(getattr(r, k) == v for k, v in fields.items())
            for r in await rows(console, "activity.progress")
        ):
            break
    return await row(console, "activity.progress", pid=person.pid)


async def test_vacuum(crowd: Crowd, console: Session, database: Database) -> None:
    fill(database)
    person = crowd(*SLOWLY).starts("VACUUM t")
    found = await in_the_middle(console, person, phase="scanning heap")
    assert (found.operation, found.database, found.relation) == ("VACUUM", database.name, "public.t")
    assert 0 <= found.percent < 100
    assert re.fullmatch(r"\d+ of 44\d blocks", found.counts)
    assert (found.query, found.automatic) == ("VACUUM t", False)


async def test_vacuum_of_another_database_is_shown_by_oid(
    crowd: Crowd, server: Server, look: Look, database: Database
) -> None:
    fill(database)
    person = crowd(*SLOWLY).starts("VACUUM t")
    found = await in_the_middle(await look(server.dsn()), person, phase="scanning heap")
    assert (found.database, found.relation[:4]) == (database.name, "oid ")


async def test_analyze(crowd: Crowd, console: Session, database: Database) -> None:
    fill(database)
    found = await in_the_middle(console, crowd(*SLOWLY).starts("ANALYZE t"), phase="acquiring sample rows")
    assert (found.operation, found.relation) == ("ANALYZE", "public.t")
    assert "blocks" in found.counts


async def test_an_index_build_names_whom_it_waits_for(
    crowd: Crowd, console: Session, database: Database
) -> None:
    fill(database, 100)
    writer = crowd("BEGIN", "INSERT INTO t VALUES (1)")
    person = crowd().waits("CREATE INDEX CONCURRENTLY i ON t (i)")
    found = await row(console, "activity.progress", pid=person.pid)
    assert found.operation == "CREATE INDEX CONCURRENTLY"
    assert found.phase == "waiting for writers before build"
    assert found.counts == "0 of 1 transactions"
    assert found.remark == f"waits for process {writer.pid}"


async def test_vacuum_full(crowd: Crowd, console: Session, database: Database) -> None:
    fill(database, 100)
    database.execute(SLOW_FUNCTION)
    index = crowd().starts("CREATE INDEX i ON t (slow(i))")
    assert (await in_the_middle(console, index, operation="CREATE INDEX")).relation == "public.t"
    database.execute(f"SELECT pg_cancel_backend({index.pid})")
    assert index.finished() == "57014"
    database.execute("DELETE FROM t WHERE i > 1")
    database.execute("CREATE INDEX i ON t (slow(i))")
    database.execute("INSERT INTO t SELECT generate_series(2, 6)")
    person = crowd().starts("VACUUM FULL t")
    found = await in_the_middle(console, person, operation="VACUUM FULL", phase="rebuilding index")
    assert (found.operation, found.relation) == ("VACUUM FULL", "public.t")


async def test_copy(crowd: Crowd, console: Session) -> None:
    person = crowd("CREATE TABLE t (i int)")
    with person.connection.cursor().copy("COPY t FROM STDIN") as copy:
        copy.write(b"1\n2\n" * 200000)
        found = await in_the_middle(console, person, operation="COPY FROM")
        assert (found.operation, found.relation, found.phase) == ("COPY FROM", "public.t", "pipe")
        assert found.percent is None


async def test_base_backup(own_cluster: OwnClusters, look: Look, tmp_path: Path) -> None:
    server = own_cluster()
    console = await look(server.dsn())
    folder = server.cluster.folder / "backup"
    command = [
        str(server.installation.program("pg_basebackup")), "--dbname", server.dsn(), "--pgdata", str(folder),
        "--max-rate=1M", "--checkpoint=fast", "--no-sync", "--wal-method=none",
    ]  # fmt: skip
    with slow_backup(command) as backup:
        try:
            found: list[Any] = []
            for _ in range(2000):
                found = await rows(console, "activity.progress")
                if found and found[0].phase == "streaming database files":
                    break
            assert (found[0].operation, found[0].database) == ("base backup", None)
            assert found[0].percent < 100
        finally:
            backup.kill()


async def test_a_role_without_the_right_is_told_that_something_runs(
    few_rights: Server, look: Look, crowd_on: Callable[[str], Crowd]
) -> None:
    crowd = crowd_on(few_rights.dsn())
    crowd("CREATE TABLE t AS SELECT generate_series(1, 100000) AS i")
    crowd(*SLOWLY).starts("VACUUM t")
    until(lambda: bool(few_rights.psql("SELECT 1 FROM pg_stat_progress_vacuum")))
    found = await rows(await look(few_rights.dsn(user="app")), "activity.progress")
    assert [(r.phase, r.percent) for r in found] == [(None, None)]
    assert judge(find_view("activity.progress"), found).overall.health is Health.UNKNOWN


def test_remarks_on_what_a_dba_should_know() -> None:
    forced = reported(
        backend_type="autovacuum worker", query="autovacuum: VACUUM public.t (to prevent wraparound)"
    )
    feigned = reported(backend_type="client backend", query="SELECT '(to prevent wraparound)'")
    cramped = reported(passes=3)
    found = in_words([forced, feigned, cramped, reported(passes=1, skipped=2)])
    assert [r.remark for r in found] == [
        "to prevent wraparound",
        None,
        "pass 3 over the indexes: maintenance_work_mem is too small",
        "2 rows skipped",
    ]
    assert [r.automatic for r in found] == [True, False, False, False]


def test_counts_in_words() -> None:
    found = in_words([
        reported(done=5, total=10),
        reported(done=0, total=0),
        reported(done=2048, total=4096, unit="bytes", parts_done=1, parts_total=2, parts="tablespaces"),
        reported(done=2048, total=0, unit="bytes", rows=7),
        reported(parts_done=2, parts="indexes rebuilt"),
    ])  # fmt: skip
    assert [(r.percent, r.counts) for r in found] == [
        (50.0, "5 of 10 blocks"),
        (None, None),
        (50.0, "2.0K of 4.0K, 1 of 2 tablespaces"),
        (None, "2.0K, 7 rows"),
        (None, "2 indexes rebuilt"),
    ]
