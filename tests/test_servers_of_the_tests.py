"""The servers that all other tests rely on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.servers import ROOT_VARIABLE, Database, OwnClusters, Server, execute, until


def test_a_server_is_of_the_version_it_says(server: Server) -> None:
    [(number,)] = server.psql("SHOW server_version_num")
    assert int(number) // 10000 == server.major


def test_a_database_is_empty_and_ones_own(database: Database) -> None:
    assert database.execute("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace") == []
    database.execute("CREATE TABLE kept (id int)")
    database.execute("SELECT pg_create_logical_replication_slot('left_behind', 'test_decoding')")
    database.execute("BEGIN; PREPARE TRANSACTION 'left behind'")


def test_a_template_is_prepared_once(
    database_from: Callable[[str, Callable[[Database], None]], Database],
) -> None:
    prepared: list[str] = []

    def fill(database: Database) -> None:
        prepared.append(database.name)
        database.execute("CREATE TABLE sample AS SELECT 1 AS one")

    first, second = database_from("sample", fill), database_from("sample", fill)
    first.execute("INSERT INTO sample VALUES (2)")
    assert second.execute("SELECT one FROM sample") == [(1,)]
    assert prepared == ["sample"]


def test_a_standby_follows_and_can_be_promoted(own_cluster: OwnClusters) -> None:
    primary = own_cluster({"work_mem": "5MB"})
    standby = own_cluster.standby(primary)
    assert standby.psql("SHOW work_mem") == [("5MB",)]
    primary.psql("CREATE TABLE streamed ()")
    until(lambda: standby.psql("SELECT to_regclass('streamed') IS NOT NULL") == [(True,)])
    standby.promote()
    assert standby.psql("SELECT pg_is_in_recovery()") == [(False,)]


def test_a_frozen_server_goes_on_after_thawing(own_cluster: OwnClusters) -> None:
    server = own_cluster()
    server.freeze()
    server.thaw()
    assert server.psql("SELECT 1") == [(1,)]


def test_a_killed_server_starts_again(own_cluster: OwnClusters) -> None:
    server = own_cluster({"synchronous_commit": "on"})
    server.psql("CREATE TABLE kept ()")
    server.kill()
    until(lambda: not server.cluster.running())
    server.start()
    assert server.psql("SELECT count(*) FROM kept") == [(0,)]


def test_tests_have_a_home_of_their_own(state_home: Path) -> None:
    assert Path.home() == state_home
    assert os.environ["XDG_STATE_HOME"].startswith(str(state_home))
    assert list((state_home / ".config").iterdir()) == []


def test_nothing_is_left_of_a_killed_run(tmp_path: Path) -> None:
    inner = tmp_path / "test_inner.py"
    inner.write_text(
        "import os, pathlib, signal\n"
        "def test_dies(server):\n"
        f"    pathlib.Path({str(tmp_path)!r}, 'dsn').write_text(server.dsn())\n"
        f"    pathlib.Path({str(tmp_path)!r}, 'root').write_text(str(server.data.parent.parent))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != ROOT_VARIABLE}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "tests.conftest",
        str(inner),
    ]
    project = Path(__file__).parent.parent
    subprocess.run(command, cwd=project, env=environment, stdout=subprocess.DEVNULL)
    root = Path((tmp_path / "root").read_text())
    until(lambda: not root.exists())
    try:
        execute((tmp_path / "dsn").read_text(), "SELECT 1")
    except Exception as error:
        assert "No such file" in str(error)
    else:
        raise AssertionError("the server still runs")
