"""The lab as whoever starts and stops it sees it, on real servers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.core.errors import Refused
from backend.core.target import Inventory
from backend.lab import lab
from backend.lab.account import Account
from backend.lab.lab import Lab
from backend.lab.place import SHARED_PLACE, Place
from tests.servers import Workspace, execute, until

# Where it is installed, so is PgQ for the lab's server.
PGQD = shutil.which("pgqd") is not None
PARTS = ("primary", *(("pgqd",) if PGQD else ()), "workload", "pending", "broken")

UP = """
import json, pathlib, sys
from backend.lab import lab
print(json.dumps(lab.up(pathlib.Path(sys.argv[1])).to_json()))
"""


@pytest.fixture
def folder(workspace: Workspace) -> Iterator[Path]:
    """Where a test's own lab goes."""
    folder = workspace.new_folder("lab")
    yield folder
    lab.down(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def running(workspace: Workspace) -> Iterator[Lab]:
    """A lab for tests that only look."""
    folder = workspace.new_folder("lab")
    yield lab.up(folder)
    lab.down(folder)
    shutil.rmtree(folder, ignore_errors=True)


def pids(found: Lab) -> dict[str, int | None]:
    return {part.name: part.pid for part in found.parts}


def pid(found: Lab, name: str) -> int:
    number = pids(found)[name]
    assert number is not None
    return number


def statuses(found: Lab) -> dict[str, str]:
    """How the parts are, without the server that is down whatever happens."""
    return {part.name: part.status for part in found.parts if part.name != "spare"}


def shop(found: Lab) -> str:
    dsn = found.parts[0].dsn
    assert dsn is not None
    return dsn


def processes_of(folder: Path) -> list[str]:
    listed = subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, text=True).stdout
    return [line for line in listed.splitlines() if str(folder) in line]


def test_says_what_it_consists_of_and_how_to_connect(running: Lab) -> None:
    said = json.loads(json.dumps(running.to_json()))
    assert list(said) == ["folder", "inventory", "parts"]
    assert [(part["name"], part["kind"], part["status"]) for part in said["parts"]] == [
        ("primary", "postgres", "running"),
        *([("pgqd", "pgqd", "running")] if PGQD else []),
        ("workload", "workload", "running"),
        ("spare", "postgres", "stopped"),
        ("pending", "postgres", "running"),
        ("broken", "postgres", "running"),
    ]
    assert execute(said["parts"][0]["dsn"], "SELECT current_database()") == [("shop",)]
    assert said["parts"][1]["dsn"] is None


def test_its_inventory_leads_to_it(running: Lab) -> None:
    inventory = Inventory.read(running.inventory)
    target = inventory.standard()
    assert target.name == "lab"
    assert execute(target.dsn, "SELECT current_database(), current_user") == [("shop", "dba")]


def test_beside_it_are_servers_with_something_wrong(running: Lab) -> None:
    inventory = Inventory.read(running.inventory)
    assert list(inventory.targets) == ["lab", "spare", "pending", "broken"]
    waiting = "SELECT name FROM pg_settings WHERE pending_restart"
    until(lambda: execute(inventory.targets["pending"].dsn, waiting) == [("max_connections",)])
    wrong = "SELECT error FROM pg_hba_file_rules WHERE error IS NOT NULL"
    assert execute(inventory.targets["broken"].dsn, wrong) == [('invalid connection type "hots"',)]
    spare = Path(inventory.targets["spare"].cluster["data"])
    assert (spare / "PG_VERSION").exists()
    assert not (spare / "postmaster.pid").exists()


def test_its_log_has_errors(running: Lab) -> None:
    log = running.folder / "primary" / "log" / "postgresql.log"
    until(lambda: "ERROR:  division by zero" in log.read_text())


def test_the_workload_trades_logs_jobs_and_blocks_itself(running: Lab) -> None:
    dsn = shop(running)
    until(lambda: bool(execute(dsn, "SELECT 1 FROM orders LIMIT 1")))
    until(lambda: bool(execute(dsn, "SELECT 1 FROM jobmon.job_log WHERE status = 'OK'")))
    until(lambda: bool(execute(dsn, "SELECT 1 FROM jobmon.job_log WHERE status = 'WARNING'")))
    until(
        lambda: (
            execute(
                dsn,
                "SELECT count(*) FROM pg_stat_activity AS a"
                " WHERE EXISTS (SELECT FROM unnest(pg_blocking_pids(a.pid)) AS b (pid)"
                " WHERE cardinality(pg_blocking_pids(b.pid)) > 0)",
            )
            != [(0,)]
        )
    )


def test_starting_again_changes_nothing(running: Lab) -> None:
    assert pids(lab.up(running.folder)) == pids(running)


def test_nobody_else_can_reach_its_server(running: Lab) -> None:
    assert (running.folder / "primary").stat().st_mode & 0o077 == 0
    assert execute(shop(running), "SHOW listen_addresses") == [("",)]


def test_down_leaves_nothing_running(folder: Path) -> None:
    started = lab.up(folder)
    assert processes_of(folder)
    assert statuses(lab.down(folder)) == dict.fromkeys(PARTS, "stopped")
    assert processes_of(folder) == []
    assert statuses(lab.down(folder)) == dict.fromkeys(PARTS, "stopped")
    again = lab.up(folder)
    assert shop(again) == shop(started)


def test_down_and_status_make_no_folder(folder: Path) -> None:
    assert set(statuses(lab.status(folder)).values()) == {"stopped"}
    assert set(statuses(lab.down(folder)).values()) == {"stopped"}
    assert not folder.exists()


def test_what_was_killed_is_called_failed_and_started_again(folder: Path) -> None:
    started = lab.up(folder)
    execute(shop(started), "CREATE TABLE kept AS SELECT 1 AS one")
    execute(shop(started), "CHECKPOINT")
    for name in PARTS:
        os.kill(pid(started, name), signal.SIGKILL)
    until(lambda: set(statuses(lab.status(folder)).values()) == {"failed"})
    assert statuses(lab.up(folder)) == dict.fromkeys(PARTS, "running")
    assert execute(shop(started), "SELECT one FROM kept") == [(1,)]


def test_a_pid_file_from_before_a_reboot_is_no_obstacle(folder: Path) -> None:
    lab.up(folder)
    lab.down(folder)
    (folder / "primary" / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n{folder}\n")
    assert statuses(lab.status(folder))["primary"] == "stopped"
    assert statuses(lab.up(folder))["primary"] == "running"


@pytest.mark.parametrize("left", ["data.partial", "data"])
def test_goes_on_after_an_interrupted_start(folder: Path, left: str) -> None:
    lab.up(folder)
    lab.down(folder)
    primary = folder / "primary"
    if left == "data.partial":
        (primary / "data").rename(primary / left)
    (folder / "inventory.toml").unlink()
    (folder / "workload.pid").unlink()
    again = lab.up(folder)
    assert set(statuses(again).values()) == {"running"}
    assert again.inventory.exists()


def test_two_starts_at_once_make_one_lab(folder: Path) -> None:
    command = [sys.executable, "-c", UP, str(folder)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    first, second = (process.communicate(timeout=60)[0] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert json.loads(first)["parts"] == json.loads(second)["parts"]


def test_a_frozen_server_is_ended_all_the_same(folder: Path) -> None:
    started = lab.up(folder)
    os.kill(pid(started, "primary"), signal.SIGSTOP)
    assert statuses(lab.down(folder))["primary"] == "stopped"
    assert processes_of(folder) == []


def test_a_long_path_gets_its_sockets_elsewhere(folder: Path) -> None:
    deep = folder / ("x" * 100)
    folder.mkdir(mode=0o755)
    try:
        found = lab.up(deep)
        [(sockets,)] = execute(shop(found), "SHOW unix_socket_directories")
        assert str(deep) not in sockets
        assert shop(lab.up(deep)) == shop(found)
    finally:
        lab.down(deep)
    assert not Path(sockets).exists()


def test_refuses_a_folder_with_something_else_in_it(folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.txt").write_text("")
    with pytest.raises(Refused, match="not empty and not a lab"):
        lab.up(folder)
    assert [each.name for each in folder.iterdir()] == ["thesis.txt"]


def test_the_folder_is_the_one_named_in_the_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGTUI_LAB", str(folder))
    assert lab.status().folder == folder


def test_without_a_name_it_is_in_the_users_state_folder(state_home: Path) -> None:
    try:
        found = lab.up()
        assert found.folder == state_home / ".local/state/pgtui/lab"
        assert found.notes == ()
        assert set(statuses(found).values()) == {"running"}
    finally:
        lab.down()


def test_where_servers_cannot_go_it_says_where_it_is_instead(state_home: Path) -> None:
    state_home.chmod(0o700)
    place = Place.find(None, Account(uid=2**31 - 5, gid=2**31 - 5, dropped=True))
    assert place.folder == SHARED_PLACE
    assert str(state_home) in place.notes[0]


def test_starting_opens_no_folder_but_its_own(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700, parents=True)
    stranger = Account(uid=2**31 - 5, gid=2**31 - 5, dropped=True)
    with pytest.raises(Refused, match="cannot enter"):
        Place(closed / "lab", account=stranger).prepare()
    assert closed.stat().st_mode & 0o777 == 0o700
