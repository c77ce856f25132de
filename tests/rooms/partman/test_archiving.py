"""Partitions that leave their set and become files."""

from __future__ import annotations

import asyncio
import pwd
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from backend.core.declare import Danger
from backend.core.errors import Failed, Interrupted, Missing, Refused, Usage
from backend.core.plan import Command
from backend.core.run import Run
from backend.core.session import Session
from backend.core.ssh import SshHost
from backend.core.target import Target
from tests.rooms.jobmon.conftest import Console, Consoles
from tests.rooms.partman.conftest import create_parent
from tests.rooms.partman.test_actions import partitions
from tests.servers import Database, Workspace
from tests.sshd import Sshd, own_sshd, sshd

__all__ = ["own_sshd", "sshd"]

SHAPE = (
    "SELECT c.oid, c.relname, pg_get_expr(c.relpartbound, c.oid),"
    " ARRAY(SELECT conname FROM pg_constraint WHERE conrelid = c.oid ORDER BY 1)"
    " FROM pg_class c WHERE c.relname LIKE 'sales%' ORDER BY c.oid"
)


def sales(database: Database) -> None:
    """A set by month without a default partition, with an index, whose rows hold all that COPY escapes."""
    database.execute("CREATE TABLE sales (at date NOT NULL, note text) PARTITION BY RANGE (at)")
    for month in (1, 2, 3):
        database.execute(
            f"CREATE TABLE sales_{month} PARTITION OF sales"
            f" FOR VALUES FROM ('2020-0{month}-01') TO ('2020-0{month + 1}-01')"
        )
    database.execute("CREATE INDEX ON sales (note)")
    database.execute(
        "INSERT INTO sales SELECT '2020-01-15', E'a\\n\\\\.\\nCOPY x FROM stdin;\\n\\t' || n"
        " FROM generate_series(1, 1000) n"
    )


@pytest.fixture
def shop(database_from: Callable[[str, Callable[[Database], None]], Database]) -> Database:
    """A fresh database with the set `sales`."""
    return database_from("sales_sample", sales)


@pytest.fixture
def folder(workspace: Workspace) -> Iterator[Path]:
    """An empty folder into which anybody may write."""
    made = workspace.new_folder("archive")
    made.mkdir()
    made.chmod(0o777)
    yield made
    subprocess.run(["rm", "-rf", made], check=True)


def files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def closed(folder: Path) -> None:
    folder.chmod(0o755)


def bin_of(database: Database) -> dict[str, str]:
    return {"bin": str(database.server.installation.bindir)}


@pytest.fixture
async def there(shop: Database, consoles: Consoles) -> Console:
    """A console of the superuser on it, whom the server tells where its programs are."""
    return await consoles(shop.dsn)


def restored(database: Database, file: Path) -> None:
    """Read a dump back into the database."""
    restore = database.server.installation.program("pg_restore")
    subprocess.run([restore, f"--dbname={database.dsn}", "--exit-on-error", file], check=True)


async def test_a_partition_becomes_a_file_and_is_kept(there: Console, shop: Database, folder: Path) -> None:
    before = shop.execute(SHAPE)
    plan = await there.plan("partman.archive_partition", partition="public.sales_1", folder=str(folder))
    assert (plan.subject, plan.danger) == ("public.sales_1", Danger.CHANGE)
    assert any(s.text.endswith('DETACH PARTITION "public"."sales_1" CONCURRENTLY;') for s in plan.steps)
    assert (shop.execute(SHAPE), files(folder)) == (before, [])
    done = await there.done("partman.archive_partition", partition="public.sales_1", folder=str(folder))
    file = folder / "public.sales_1.dump"
    assert done == {
        "parent": "public.sales", "partition": "public.sales_1", "file": str(file), "rows": 1000,
        "dropped": False,
    }  # fmt: skip
    assert file.stat().st_mode & 0o777 == 0o600
    assert partitions(shop, "sales") == ["sales_2", "sales_3"]
    content = shop.execute("SELECT * FROM sales_1 ORDER BY note")
    shop.execute("DROP TABLE sales_1")
    restored(shop, file)
    assert shop.execute("SELECT * FROM sales_1 ORDER BY note") == content


async def test_it_is_dropped_only_when_told(there: Console, shop: Database, folder: Path) -> None:
    given = {"partition": "sales_1", "folder": str(folder), "drop": True}
    plan = await there.plan("partman.archive_partition", **given)
    assert (plan.subject, plan.danger) == ("public.sales_1", Danger.DESTROY)
    assert (await there.done("partman.archive_partition", **given))["dropped"] is True
    assert shop.execute("SELECT to_regclass('public.sales_1')") == [(None,)]
    restored(shop, folder / "public.sales_1.dump")
    assert shop.execute("SELECT count(*) FROM sales_1") == [(1000,)]


async def test_rows_that_come_after_the_dump_keep_the_table(
    there: Console, shop: Database, folder: Path
) -> None:
    run = await there.start("partman.archive_partition", partition="sales_1", folder=str(folder), drop=True)
    before = shop.execute(SHAPE)
    run.changed = at_the_drop(run, lambda: shop.execute("INSERT INTO sales_1 VALUES ('2020-01-16', 'late')"))
    report = await run.execute()
    assert isinstance(report.error, Failed)
    assert "rows came or went after the dump" in report.error.message
    assert shop.execute("SELECT count(*) FROM sales WHERE at < '2020-02-01'") == [(1001,)]
    assert shop.execute(SHAPE) == before
    assert files(folder) == [folder / "public.sales_1.dump"]


async def test_a_whole_file_stays_when_the_table_is_gone(
    there: Console, shop: Database, folder: Path
) -> None:
    run = await there.start("partman.archive_partition", partition="sales_1", folder=str(folder), drop=True)
    run.changed = at_the_drop(run, lambda: shop.execute("DROP TABLE sales_1"))
    report = await run.execute()
    assert report.error is not None
    assert any("ATTACH PARTITION" in n and "did not succeed" in n for n in report.notices)
    restored(shop, folder / "public.sales_1.dump")
    assert shop.execute("SELECT count(*) FROM sales_1") == [(1000,)]


async def test_what_a_killed_run_left_behind_is_in_the_way(
    there: Console, shop: Database, folder: Path
) -> None:
    (folder / "public.sales_1.dump.part").touch()
    with pytest.raises(Refused, match=r"public\.sales_1\.dump\.part is there already"):
        await there.plan("partman.archive_partition", partition="sales_1", folder=str(folder))


def at_the_drop(run: Run, do: Callable[[], object]) -> Callable[[Run], None]:
    """Does something once, as the last step begins."""
    done: list[object] = []

    def changed(_: Run) -> None:
        if run.report.steps[-1].status == "running" and not done:
            done.append(do())

    return changed


async def test_rows_that_go_during_the_dump_are_noticed(there: Console, shop: Database, folder: Path) -> None:
    run = await there.start("partman.archive_partition", partition="sales_1", folder=str(folder), drop=True)

    def erase(_: Any) -> None:
        if any(s.status == "running" and s.text.startswith("SELECT r.rows") for s in run.report.steps):
            shop.execute("DELETE FROM sales_1 WHERE note LIKE '%7'")

    run.changed = erase
    report = await run.execute()
    assert isinstance(report.error, Failed)
    assert report.error.message == "the dump holds 1000 rows and public.sales_1 900"
    assert partitions(shop, "sales") == ["sales_1", "sales_2", "sales_3"]
    assert files(folder) == []


async def test_what_fails_in_the_middle_is_put_back_without_reading_the_table(
    there: Console, shop: Database, folder: Path
) -> None:
    before = shop.execute(SHAPE)
    run = await there.start("partman.archive_partition", partition="sales_1", folder=str(folder))
    scans = "SELECT seq_scan FROM pg_stat_all_tables WHERE relname = 'sales_1'"

    def spoil(_: Any) -> None:
        if any(s.status == "running" and "--list" in s.text for s in run.report.steps):
            (folder / "public.sales_1.dump.part").write_bytes(b"no dump")

    run.changed = spoil
    report = await run.execute()
    assert isinstance(report.error, Failed)
    assert "pg_restore ended with status 1" in report.error.message
    assert (shop.execute(SHAPE), files(folder)) == (before, [])
    # Once to validate the constraint and once to dump.
    assert shop.execute(scans)[0][0] <= 2


async def test_cancelled_it_is_put_back(there: Console, shop: Database, folder: Path) -> None:
    before = shop.execute(SHAPE)
    run = await there.start("partman.archive_partition", partition="sales_1", folder=str(folder), drop=True)
    dumping = asyncio.Event()
    locking = psycopg.connect(shop.dsn)

    def hold(_: Any) -> None:
        if any(s.status == "running" and "pg_dump" in s.text for s in run.report.steps):
            if not dumping.is_set():
                locking.execute("LOCK TABLE sales_1 IN ACCESS EXCLUSIVE MODE")
            dumping.set()

    run.changed = hold
    running = asyncio.create_task(run.execute())
    await asyncio.wait_for(dumping.wait(), 30)
    cancelling = asyncio.create_task(run.cancel())
    await asyncio.sleep(0)
    locking.close()
    await cancelling
    report = await running
    assert isinstance(report.error, Interrupted)
    assert (shop.execute(SHAPE), files(folder)) == (before, [])


async def test_a_reader_of_the_partition_is_waited_for_no_longer_than_told(
    there: Console, shop: Database, folder: Path
) -> None:
    before = shop.execute(SHAPE)
    run = await there.start("partman.archive_partition", partition="sales_1", folder=str(folder))
    run.lock_wait = "100ms"
    with psycopg.connect(shop.dsn) as reading:
        reading.execute("SELECT FROM sales LIMIT 1")
        report = await run.execute()
    assert report.error is not None
    assert report.error.sqlstate == "55P03"
    assert (shop.execute(SHAPE), files(folder)) == (before, [])


@pytest.mark.parametrize("lasting", [False, True])
async def test_a_detach_that_a_reader_of_the_set_holds_up_is_put_back_or_told(
    there: Console, shop: Database, folder: Path, lasting: bool
) -> None:
    before = shop.execute(SHAPE)
    run = await there.start("partman.archive_partition", partition="sales_1", folder=str(folder))
    run.lock_wait = "100ms"
    with psycopg.connect(shop.dsn) as reading:
        reading.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ if lasting else None
        reading.execute("SELECT FROM sales WHERE at = '2020-02-02'")
        report = await run.execute()
    assert report.error is not None
    assert report.error.sqlstate == "55P03"
    if not lasting:
        assert shop.execute(SHAPE) == before
        return
    [notice] = [n for n in report.notices if "ATTACH PARTITION" in n]
    assert "did not succeed" in notice
    shown = await there.rows("partman.partitions", parent="sales")
    assert [p.state for p in shown if p.partition == "public.sales_1"] == ["detaching"]
    with pytest.raises(Refused, match=r"a detach of public\.sales_1 has begun and not ended"):
        await there.plan("partman.archive_partition", partition="sales_1", folder=str(folder))
    await there.done("partman.detach", partition="public.sales_1")
    assert shop.execute("SELECT count(*) FROM sales_1") == [(1000,)]


async def test_beside_a_default_partition_the_lock_is_short_and_told(
    there: Console, shop: Database, folder: Path
) -> None:
    shop.execute("CREATE TABLE sales_rest PARTITION OF sales DEFAULT")
    given = {"partition": "sales_1", "folder": str(folder)}
    plan = await there.plan("partman.archive_partition", **given)
    assert plan.danger is Danger.DISRUPT
    assert "rows that still come for it go to public.sales_rest" in plan.notes
    await there.done("partman.archive_partition", **given)
    assert partitions(shop, "sales") == ["sales_2", "sales_3", "sales_rest"]


async def test_odd_names(shop: Database, consoles: Consoles, folder: Path) -> None:
    shop.execute('CREATE SCHEMA "a.b c"')
    parent, name = '"a.b c"."T ""x"" 100%s"', '"a.b c"."it\'s $1 \\ * ?"'
    shop.execute(f'CREATE TABLE {parent} ("The Key" int) PARTITION BY RANGE ("The Key")')
    shop.execute(f"CREATE TABLE {name} PARTITION OF {parent} FOR VALUES FROM (1) TO (10)")
    shop.execute(f'CREATE TABLE "a.b c".later PARTITION OF {parent} FOR VALUES FROM (10) TO (20)')
    shop.execute(f"INSERT INTO {parent} SELECT generate_series(1, 9)")
    there = await consoles(shop.dsn, cluster=bin_of(shop))
    odd = folder / "with a blank"
    odd.mkdir(mode=0o777)
    done = await there.done("partman.archive_partition", partition=name, folder=str(odd), drop=True)
    assert (done["rows"], done["file"]) == (9, f"{odd}/a.b%20c.it%27s%20%241%20%5C%20%2A%20%3F.dump")
    restored(shop, Path(done["file"]))
    assert shop.execute(f"SELECT count(*) FROM {name}") == [(9,)]


async def test_an_empty_partition_is_archived_and_maintenance_goes_on(
    partman: Database, consoles: Consoles, folder: Path
) -> None:
    there = await consoles(partman.dsn, cluster=bin_of(partman))
    first = partitions(partman, "old")[1]
    partman.execute(f"DELETE FROM {first}")
    done = await there.done("partman.archive_partition", partition=first, folder=str(folder))
    assert done["rows"] == 0
    shown = await there.rows("partman.partitions", parent="public.old")
    assert (shown[-1].partition, shown[-1].state) == (f"public.{first}", "detached")
    await there.done("partman.maintain", parent="public.old")


async def test_a_partition_that_others_refer_to(there: Console, shop: Database, folder: Path) -> None:
    shop.execute("CREATE UNIQUE INDEX ON sales_1 (note)")
    shop.execute("ALTER TABLE sales_1 ADD UNIQUE (note)")
    shop.execute("CREATE TABLE notes (note text REFERENCES sales_1 (note))")
    shop.execute("CREATE VIEW seen AS SELECT * FROM sales_1")
    given = {"partition": "sales_1", "folder": str(folder)}
    with pytest.raises(
        Refused, match=r"cannot be dropped: constraint notes_note_fkey .*, view public\.seen depends on it"
    ):
        await there.plan("partman.archive_partition", drop=True, **given)
    await there.done("partman.archive_partition", **given)


async def test_rows_that_are_referred_to_stay(shop: Database, consoles: Consoles, folder: Path) -> None:
    shop.execute("CREATE TABLE orders (id int PRIMARY KEY) PARTITION BY RANGE (id)")
    shop.execute("CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (1) TO (10)")
    shop.execute("CREATE TABLE orders_2 PARTITION OF orders FOR VALUES FROM (10) TO (20)")
    shop.execute("INSERT INTO orders VALUES (1), (15)")
    shop.execute("CREATE TABLE items (id int REFERENCES orders)")
    shop.execute("INSERT INTO items VALUES (1)")
    there = await consoles(shop.dsn, cluster=bin_of(shop))
    given = {"partition": "orders_1", "folder": str(folder), "drop": True}
    plan = await there.plan("partman.archive_partition", **given)
    assert any(n.startswith("table public.items refers to the set") for n in plan.notes)
    report = await there.run("partman.archive_partition", **given)
    assert report.error is not None
    assert "violates foreign key constraint" in report.error.message
    assert (partitions(shop, "orders"), files(folder)) == (["orders_1", "orders_2"], [])
    shop.execute("DELETE FROM items")
    assert (await there.done("partman.archive_partition", **given))["rows"] == 1


@pytest.mark.parametrize("spoilt", [True, False])
async def test_a_partition_of_a_partition(shop: Database, there: Console, folder: Path, spoilt: bool) -> None:
    shop.execute(
        "CREATE TABLE sales_0 PARTITION OF sales FOR VALUES FROM ('2019-01-01') TO ('2020-01-01')"
        " PARTITION BY LIST (note)"
    )
    shop.execute("CREATE TABLE sales_0_a PARTITION OF sales_0 FOR VALUES IN ('a', 'it''s', NULL)")
    shop.execute("CREATE TABLE sales_0_b PARTITION OF sales_0 FOR VALUES IN ('b')")
    shop.execute("INSERT INTO sales VALUES ('2019-02-02', 'a'), ('2019-02-02', NULL), ('2019-03-03', 'b')")
    before = shop.execute(SHAPE)
    run = await there.start("partman.archive_partition", partition="sales_0_a", folder=str(folder), drop=True)

    def spoil(_: Any) -> None:
        if any(s.status == "running" and "--list" in s.text for s in run.report.steps):
            (folder / "public.sales_0_a.dump.part").write_bytes(b"no dump")

    if spoilt:
        run.changed = spoil
    report = await run.execute()
    if spoilt:
        assert report.error is not None
        assert (shop.execute(SHAPE), files(folder)) == (before, [])
    else:
        assert report.result["rows"] == 2
        assert partitions(shop, "sales_0") == ["sales_0_b"]


@pytest.mark.parametrize(
    ("given", "error", "sentence"),
    [
        ({"folder": "relative"}, Usage, "wants the whole path of a folder on this machine"),
        ({"folder": "/no/such/folder"}, Refused, "there is no folder /no/such/folder on this machine"),
        ({"folder": "/proc/self"}, Refused, "may not write into folder|has .* free"),
        ({"partition": "public.nope"}, Refused, "there is no partition public.nope"),
        ({"partition": "public.sales_4"}, Refused, "still gets rows"),
        ({"partition": "public.sales_d"}, Refused, "is the default partition"),
        ({"partition": "public.sales_9"}, Refused, "is partitioned itself"),
        ({"partition": "public.byhash_0"}, Refused, "partitioned by hash"),
    ],
)
async def test_what_cannot_be_archived_is_refused(
    there: Console, shop: Database, folder: Path, given: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    shop.execute("CREATE TABLE sales_4 PARTITION OF sales FOR VALUES FROM ('2020-04-01') TO ('2999-01-01')")
    shop.execute(
        "CREATE TABLE sales_9 PARTITION OF sales FOR VALUES FROM ('2019-01-01') TO ('2020-01-01')"
        " PARTITION BY RANGE (at)"
    )
    shop.execute("CREATE TABLE sales_d PARTITION OF sales DEFAULT")
    shop.execute("CREATE TABLE byhash (id int) PARTITION BY HASH (id)")
    shop.execute("CREATE TABLE byhash_0 PARTITION OF byhash FOR VALUES WITH (modulus 1, remainder 0)")
    with pytest.raises(error, match=sentence):
        await there.plan(
            "partman.archive_partition", **{"partition": "public.sales_1", "folder": str(folder), **given}
        )


async def test_an_existing_file_is_not_written_over(there: Console, shop: Database, folder: Path) -> None:
    file = folder / "public.sales_1.dump"
    given = {"partition": "sales_1", "folder": str(folder)}
    run = await there.start("partman.archive_partition", **given)
    file.write_text("precious")
    with pytest.raises(Refused, match="is there already"):
        await there.plan("partman.archive_partition", **given)
    report = await run.execute()
    assert report.error is not None
    assert file.read_text() == "precious"
    assert partitions(shop, "sales") == ["sales_1", "sales_2", "sales_3"]


@pytest.fixture
def small(workspace: Workspace) -> Iterator[Path]:
    """A folder on a file system with hardly any room."""
    made = workspace.new_folder("small")
    made.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(made)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield made
    subprocess.run(["umount", made], check=True)


async def test_a_full_file_system_is_noticed_before(there: Console, small: Path) -> None:
    with pytest.raises(Refused, match="free; the table takes"):
        await there.plan("partman.archive_partition", partition="sales_1", folder=str(small))


async def test_programs_that_are_absent_or_too_old_are_told(
    shop: Database, consoles: Consoles, folder: Path
) -> None:
    fake = folder / "bin"
    fake.mkdir()
    for name in ("pg_dump", "pg_restore"):
        (fake / name).write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.1'\n")
        (fake / name).chmod(0o755)
    there = await consoles(shop.dsn, cluster={"bin": str(fake)})
    with pytest.raises(Missing, match=r"pg_dump on this machine is 9, too old for PostgreSQL"):
        await there.plan("partman.archive_partition", partition="sales_1", folder=str(folder))


async def test_it_runs_as_the_owner_of_the_cluster(shop: Database, consoles: Consoles, folder: Path) -> None:
    account = shop.server.cluster.account
    if not account.dropped:
        pytest.skip("the tests run as the server's owner")
    owner = pwd.getpwuid(account.uid).pw_name
    there = await consoles(shop.dsn, cluster=bin_of(shop), run_as=owner)
    await there.done("partman.archive_partition", partition="sales_1", folder=str(folder))
    assert (folder / "public.sales_1.dump").owner() == owner
    closed(folder)
    with pytest.raises(Refused, match=f"{owner} may not write into folder"):
        await there.plan("partman.archive_partition", partition="sales_2", folder=str(folder))


async def test_a_password_reaches_pg_dump_and_nobody_else(
    shop: Database, consoles: Consoles, folder: Path
) -> None:
    secret = "it's \\ s3cret"
    dsn = shop.server.dsn(shop.name, password=secret)
    there = await consoles(dsn, cluster=bin_of(shop))
    run = await there.start("partman.archive_partition", partition="sales_1", folder=str(folder))
    [dump] = [s for s in run.plan.steps if isinstance(s, Command) and "/pg_dump" in s.text]
    assert "s3cret" not in str(dump.argv)
    assert dump.stdin == f"{secret}\n".encode()
    assert (await run.execute()).error is None


@pytest.fixture
async def remote(sshd: Sshd, shop: Database) -> AsyncIterator[Console]:
    """A console on the database as if it were on another machine."""
    target = Target("far", shop.dsn, ssh=sshd.host, cluster=bin_of(shop))
    session = Session(target, SshHost(sshd.host, config=sshd.ssh_config))
    yield Console(await session.open())
    await session.close()


async def test_over_ssh(remote: Console, shop: Database, folder: Path) -> None:
    done = await remote.done("partman.archive_partition", partition="sales_1", folder=str(folder), drop=True)
    assert done["rows"] == 1000
    assert (folder / "public.sales_1.dump").exists()


async def test_a_managed_partition_is_archived_and_maintenance_goes_on(
    partman: Database, consoles: Consoles, folder: Path
) -> None:
    partman.execute("CREATE TABLE n (id bigint NOT NULL PRIMARY KEY) PARTITION BY RANGE (id)")
    create_parent(partman, "public.n", "id", "10")
    partman.execute("INSERT INTO n SELECT generate_series(0, 25)")
    there = await consoles(partman.dsn, cluster=bin_of(partman))
    with pytest.raises(Refused, match="still gets rows: it ends at 30"):
        await there.plan("partman.archive_partition", partition="n_p20", folder=str(folder))
    await there.done("partman.archive_partition", partition="n_p0", folder=str(folder), drop=True)
    [told] = await there.done("partman.maintain", parent="public.n")
    assert told["error"] is None
