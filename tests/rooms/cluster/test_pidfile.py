"""What the pure parts of discovery make of a host's words."""

from __future__ import annotations

import pytest

from backend.cluster import units
from backend.cluster.clusters import Archiver, archiving
from backend.cluster.conffile import settings
from backend.cluster.manager import manager_of
from backend.cluster.pidfile import Clock, PidFile, standing
from backend.cluster.scan import Folder, Process, Scan

CLOCK = Clock(ticks=100, boot=1_000_000)
DATA = "/srv/pg/data"


def process(pid: int, **values: str) -> Process:
    return Process(pid, {"stat": f"{pid} (postgres) S 1 {' '.join(['0'] * 17)} 5000 0", **values})


def folder(pidfile: str = "", **values: str) -> Folder:
    told = {"readable": "yes", **values} | ({"postmaster.pid": pidfile} if pidfile else {})
    return Folder(DATA, values=told)


def file(pid: int, started: int = 1_000_050, status: str = "ready   ") -> str:
    return f"{pid}\n{DATA}\n{started}\n5432\n/run/postgresql\n\n 1 2\n{status}\n"


@pytest.mark.parametrize(
    ("cwd", "args", "started", "state"),
    [
        (DATA, "", 1_000_050, "up"),
        ("/srv/pg/other", "", 1_000_050, "crashed"),
        ("", f"postgres\1-D\1{DATA}\1", 1_000_050, "up"),
        ("", "postgres\1-D\1/srv/pg/other\1", 1_000_050, "crashed"),
        ("", "postgres\1", 1_000_050, "up"),
        ("", "postgres\1", 900_000, "crashed"),
        (f"{DATA} (deleted)", "", 1_000_050, "up"),
    ],
)
def test_a_process_is_the_server_when_it_is_in_its_folder_or_began_with_the_file(
    cwd: str, args: str, started: int, state: str
) -> None:
    found = standing(folder(file(7, started)), {7: process(7, cwd=cwd, args=args)}, CLOCK)
    assert found.state == state


def test_the_file_tells_what_a_server_is_busy_with() -> None:
    there = {7: process(7, cwd=DATA)}
    for word, state in (("starting", "starting"), ("stopping", "stopping"), ("standby ", "up")):
        assert standing(folder(file(7, status=word)), there, CLOCK).state == state


def test_who_only_asks_for_a_setting_is_no_server() -> None:
    asking = process(9, cwd=DATA, args=f"postgres\1-D\1{DATA}\1-C\1port\1")
    assert standing(folder(), {9: asking}, CLOCK).state == "down"


def test_a_folder_that_cannot_be_read_is_down_for_nobody() -> None:
    assert standing(Folder(DATA), {}, CLOCK).state == "unknown"
    assert standing(folder(), {}, Clock()).state == "unknown"


@pytest.mark.parametrize("text", ["", "\n", "not a number\n/x\n"])
def test_a_pid_file_without_a_pid_is_none(text: str) -> None:
    assert PidFile.read(text) is None


def test_a_single_user_server_counts_by_its_number() -> None:
    found = PidFile.read(f"-7\n{DATA}\n")
    assert found is not None
    assert found.pid == 7


def test_configuration_is_read_as_the_server_reads_it() -> None:
    files = {
        "/c/postgresql.conf": "port = 5433\nPORT 5434 # a comment\nlisten_addresses='*'\n"
        "archive_command = 'test ! -f ''x y'' && cp %p \\'z\\''\n"
        "include_dir 'conf.d'\ninclude_if_exists = 'no.conf'\nnonsense line here\n",
        "/c/conf.d/20-late.conf": "work_mem = 8MB\n",
        "/c/conf.d/10-early.conf": "work_mem = 4MB\nmy.setting = 'a#b'\n",
        "/c/conf.d/.hidden.conf": "work_mem = 1MB\n",
        "/d/postgresql.auto.conf": "listen_addresses = ''\n",
    }
    assert settings(files, "/c/postgresql.conf", "/d/postgresql.auto.conf") == {
        "port": "5434",
        "listen_addresses": "",
        "archive_command": "test ! -f 'x y' && cp %p 'z'",
        "work_mem": "8MB",
        "my.setting": "a#b",
    }


def test_a_file_that_includes_itself_ends() -> None:
    assert settings({"/c/a.conf": "port = 1\ninclude 'a.conf'\n"}, "/c/a.conf") == {"port": "1"}


@pytest.mark.parametrize(
    ("mode", "command", "library", "failing", "told"),
    [
        ("off", "", "", False, "off"),
        ("on", "", "", False, "no command"),
        ("on", "/bin/true", "", False, "discarding"),
        ("always", " /bin/true # pgbackrest", "", False, "discarding"),
        ("on", "exit 0", "", False, "discarding"),
        ("on", "true && cp %p /a", "", False, "on"),
        ("on", "cp %p /a/%f", "", False, "on"),
        ("on", "cp %p /a/%f", "", True, "failing"),
        ("on", "", "basic_archive", False, "on"),
    ],
)
def test_archiving_is_told_by_what_the_command_does(
    mode: str, command: str, library: str, failing: bool, told: str
) -> None:
    assert archiving(Archiver(mode, command, library, failing)) == told


def test_a_manager_is_named_by_its_process_its_group_or_its_files() -> None:
    scan, here = Scan(), folder()
    assert manager_of(here, process(7, parent="systemd", cgroup="0::/system.slice"), "", scan) is None
    assert manager_of(here, process(7, parent="patroni"), "", scan) == "Patroni"
    assert manager_of(here, process(7, cgroup="0::/system.slice/pacemaker.service"), "", scan) == "Pacemaker"
    assert manager_of(here, None, "pg_stat_statements, repmgr", scan) == "repmgr"
    here.has.add("patroni.dynamic.json")
    assert manager_of(here, None, "", scan) == "Patroni"
    assert manager_of(folder(), None, "", Scan({"kubernetes": "yes"})) == "Kubernetes"


UNITS = """\
Id=postgresql@15-main.service
MainPID=7
LoadState=loaded
ActiveState=active
SubState=running
UnitFileState=enabled-runtime
Environment=

Id=postgresql-16.service
MainPID=0
LoadState=loaded
ActiveState=failed
SubState=failed
UnitFileState=disabled
Environment=PGDATA=/var/lib/pgsql/16/data/ PG_OOM_ADJUST_FILE=/proc/self/oom_score_adj

Id=postgresql.service
LoadState=not-found
ActiveState=inactive
"""


def unit_of(path: str, running: Process | None = None, kind: str = "plain", debian: str = "") -> str | None:
    scan = Scan({"systemd": "yes", "units": UNITS, "files": "postgresql-17.service enabled enabled\n"})
    values = {"major": path.split("/")[4]} if "/pgsql/" in path else {}
    found = units.of(Folder(path, debian, values), running, scan, kind)
    return found.name if found else None


def test_a_unit_is_found_by_group_process_folder_or_convention() -> None:
    grouped = process(9, cgroup="0::/system.slice/system-postgresql.slice/postgresql@15-x.service")
    assert unit_of("/d", grouped) == "postgresql@15-x.service"
    assert unit_of("/d", process(7)) == "postgresql@15-main.service"
    assert unit_of("/var/lib/pgsql/16/data", kind="rpm") == "postgresql-16.service"
    assert unit_of("/var/lib/pgsql/17/data", kind="rpm") == "postgresql-17.service"
    assert unit_of("/d", kind="debian", debian="/etc/postgresql/15/x") == "postgresql@15-x.service"
    assert unit_of("/home/me/data") is None
    assert units.of(Folder("/d", "/etc/postgresql/15/x"), None, Scan(), "debian") is None


def test_the_start_mode_is_start_confs_else_the_units() -> None:
    assert units.start_mode({"start": "# auto\n\nmanual # for now\n"}, None) == "manual"
    assert units.start_mode({}, None) == "auto"
    assert units.start_mode(None, units.Unit("u", enabled="enabled")) == "auto"
    assert units.start_mode(None, units.Unit("u", enabled="masked-runtime")) == "disabled"
    assert units.start_mode(None, units.Unit("u", enabled="disabled")) == "manual"
    assert units.start_mode(None, None) is None
