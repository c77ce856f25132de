"""pgqd started, reloaded and stopped: the real one."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from backend.core.declare import Danger
from backend.core.errors import Missing, Refused, Usage
from backend.core.local import LocalHost
from backend.core.plan import Command, File
from backend.core.session import Session
from backend.core.ssh import SshHost
from backend.core.target import Target
from backend.queue import pgqd
from backend.queue.running import Files, _service
from tests.rooms.jobmon.conftest import Console, Consoles, until
from tests.rooms.queue.conftest import Hand
from tests.sshd import Sshd, own_sshd, sshd  # noqa: F401 -- fixtures

ROOT = Path(__file__).resolve().parents[3]
SESSIONS = (
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgqd' AND datname = current_database()"
)


def pid_in(folder: Path) -> int | None:
    """The process id in the only pid file below a folder."""
    for file in folder.rglob("*.pid"):
        return int(file.read_text())
    return None


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def start_of(pid: int) -> str:
    """When it started, as the kernel counts."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def owner_of(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def exists(path: Path | str) -> bool:
    return Path(path).exists()


def content(path: Path | str) -> str:
    return Path(path).read_text()


def is_private(path: str) -> bool:
    return not Path(path).stat().st_mode & 0o077


def only(folder: Path, pattern: str) -> Path:
    [found] = folder.glob(pattern)
    return found


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "60"])


def run_pgqd(config: Path) -> None:
    subprocess.run(["pgqd", "-q", "-d", str(config)], check=True)


@pytest.fixture
def state(state_home: Path) -> Iterator[Path]:
    """Where the files of pgqd go; one that still runs at the end is ended."""
    if not shutil.which("pgqd", path=f"{os.environ.get('PATH', '')}:/usr/bin"):
        if os.environ.get("CI"):
            pytest.fail("pgqd is not installed")
        pytest.skip("pgqd is not installed")
    yield state_home / ".local" / "state" / "pgtui" / "pgqd"
    pid = pid_in(state_home)
    if pid is not None and alive(pid):
        os.kill(pid, signal.SIGKILL)
        until(lambda: not alive(pid))


@pytest.fixture
def given(hand: Hand) -> dict[str, Any]:
    """Parameters of a pgqd for this database alone, so that others are left in peace."""
    return {"databases": [hand.database.name], "ticker_period": 0.05}


@pytest.fixture
async def started(console: Console, state: Path, given: dict[str, Any]) -> AsyncIterator[int]:
    """The process id of a pgqd that was started."""
    await console.done("queue.start_daemon", **given)
    pid = pid_in(state)
    assert pid is not None
    yield pid


async def test_starts_a_pgqd_that_ticks(
    console: Console, hand: Hand, state: Path, given: dict[str, Any]
) -> None:
    plan = await console.plan("queue.start_daemon", **given)
    assert (plan.subject, plan.danger) == ("lab", Danger.CHANGE)
    assert not exists(state)
    result = await console.done("queue.start_daemon", **given)
    assert result["service"] is None
    text = content(result["config"])
    assert f"database_list = {hand.database.name}\n" in text
    assert "ticker_period = 0.05\n" in text
    assert "password" not in text
    assert is_private(result["config"])
    before = hand.value("SELECT max(tick_id) FROM pgq.tick WHERE tick_queue = 1")
    hand.configure("orders", ticker_max_lag="10 ms")
    hand.insert("orders", ("t", "x"))
    until(lambda: hand.value("SELECT max(tick_id) FROM pgq.tick WHERE tick_queue = 1") > before)
    [row] = [r for r in await console.rows("queue.daemon") if r.serves == hand.database.name]
    assert row.state == "ticking"


def test_it_outlives_the_pgtui_that_started_it(hand: Hand, state: Path) -> None:
    words = [
        *(sys.executable, "-m", "tui", "run-action", "queue.start_daemon", "-t", hand.database.dsn),
        *("--databases", hand.database.name, "--ticker-period", "0.1"),
    ]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, start_new_session=True)
    assert done.returncode == 0, done.stderr
    pid = pid_in(state)
    assert pid is not None
    assert alive(pid)
    assert os.getsid(pid) != os.getsid(0)
    assert hand.value(SESSIONS) > 0


async def test_a_second_one_for_the_same_database_is_refused(
    console: Console, hand: Hand, started: int, given: dict[str, Any], consoles: Consoles
) -> None:
    with pytest.raises(Refused, match=f"a pgqd serves database {hand.database.name} already"):
        await console.plan("queue.start_daemon", **given)
    with pytest.raises(Refused, match="a pgqd serves database"):
        await console.plan("queue.start_daemon")
    assert alive(started)


async def test_one_that_runs_without_reaching_the_server_counts_too(
    console: Console, started: int, given: dict[str, Any]
) -> None:
    os.kill(started, signal.SIGSTOP)
    try:
        console.session.target = console.session.target.database("postgres")
        with pytest.raises(Refused, match=f"pgqd runs already on this machine, process {started}"):
            await console.plan("queue.start_daemon", databases=["postgres"])
    finally:
        os.kill(started, signal.SIGCONT)


async def test_stops_it(console: Console, hand: Hand, started: int) -> None:
    plan = await console.plan("queue.stop_daemon")
    assert plan.danger is Danger.DISRUPT
    assert hand.database.name in plan.notes[0]
    assert alive(started)
    await console.done("queue.stop_daemon")
    assert not alive(started)
    until(lambda: hand.value(SESSIONS) == 0)
    with pytest.raises(Refused, match="no pgqd runs by"):
        await console.plan("queue.stop_daemon")


async def test_reloads_it_with_other_settings(console: Console, state: Path, started: int) -> None:
    config, log = only(state, "*.ini"), only(state, "*.log")
    before = config.read_text()
    plan = await console.plan("queue.reload_daemon", ticker_period=2, maint_period=7)
    assert [s.kind for s in plan.steps] == ["file", "command"]
    assert "-ticker_period = 0.05\n" in plan.steps[0].text
    assert config.read_text() == before
    await console.done("queue.reload_daemon", ticker_period=2, maint_period=7)
    assert "ticker_period = 2\n" in config.read_text()
    assert config.read_text().endswith("maint_period = 7\n")
    until(lambda: "Got SIGHUP, re-reading config" in log.read_text())
    assert alive(started)
    assert [s.kind for s in (await console.plan("queue.reload_daemon")).steps] == ["command"]


async def test_looks_after_another_pgqd_by_its_configuration(
    console: Console, hand: Hand, state: Path, tmp_path: Path
) -> None:
    conninfo = conninfo_to_dict(hand.database.dsn)
    config = tmp_path / "own.ini"
    config.write_text(
        f"[pgqd]\n  pidfile={tmp_path}/own.pid\nlogfile = {tmp_path}/own.log\nsyslog=0\n"
        f"base_connstr = host={conninfo['host']} port={conninfo['port']} user={conninfo['user']}\n"
        f"initial_database = {hand.database.name}\ndatabase_list = {hand.database.name}\n"
    )
    run_pgqd(config)
    until((tmp_path / "own.pid").exists)
    pid = int((tmp_path / "own.pid").read_text())
    try:
        with pytest.raises(Refused, match="pgtui has started no pgqd for this server on this machine"):
            await console.plan("queue.stop_daemon")
        await console.done("queue.reload_daemon", config=str(config))
        await console.done("queue.stop_daemon", config=str(config))
        assert not alive(pid)
    finally:
        if alive(pid):
            os.kill(pid, signal.SIGKILL)


async def test_never_signals_what_is_no_pgqd(console: Console, state: Path, tmp_path: Path) -> None:
    other = sleeper()
    config, pidfile = tmp_path / "own.ini", tmp_path / "own.pid"
    config.write_text(f"[pgqd]\npidfile = {pidfile}\n")
    try:
        for content in (f"{other.pid}\n", "", "nonsense\n", "-1\n", "999999999\n"):
            pidfile.write_text(content)
            for action in ("queue.stop_daemon", "queue.reload_daemon"):
                with pytest.raises(Refused, match="no pgqd runs by"):
                    await console.plan(action, config=str(config))
        for process in (pgqd.Process(other.pid, start_of(other.pid)), pgqd.Process(other.pid, "1")):
            done = await LocalHost().run(process.signal("INT", None).argv)
            assert (done.code, done.complaint) == (1, f"process {other.pid} is gone")
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


async def test_one_that_has_ended_since_the_plan_is_told(console: Console, started: int) -> None:
    run = await console.start("queue.stop_daemon")
    os.kill(started, signal.SIGKILL)
    until(lambda: not alive(started))
    report = await run.execute()
    assert report.error is not None
    assert f"process {started} is gone" in report.error.message


async def test_one_that_cannot_connect_is_taken_back(
    console: Console, hand: Hand, state: Path, given: dict[str, Any], role_in: Callable[..., str]
) -> None:
    role = str(conninfo_to_dict(role_in("pgq_admin"))["user"])
    run = await console.start("queue.start_daemon", **given, user=role)
    hand.database.execute(sql.SQL("ALTER ROLE {} CONNECTION LIMIT 0").format(sql.Identifier(role)))
    seen: list[int] = []

    def cancel_while_it_waits(_: Any) -> None:
        if run.report.steps[-1].status == "running" and not seen:
            seen.append(pid_in(state) or 0)
            asyncio.get_running_loop().create_task(run.cancel())

    run.changed = cancel_while_it_waits
    report = await run.execute()
    assert report.error is not None
    assert report.error.exit_code == 130
    assert seen[0]
    until(lambda: not alive(seen[0]))


@pytest.mark.parametrize(
    ("params", "error", "sentence"),
    [
        ({"ticker_period": 0}, Usage, "--ticker-period wants 0.05 to 60 seconds, not 0"),
        ({"maint_period": 1e9}, Usage, "--maint-period wants 1 to 86400 seconds"),
        ({"retry_period": 0.5}, Usage, "--retry-period wants"),
        ({"check_period": -1}, Usage, "--check-period wants"),
        ({"databases": ["nowhere"]}, Refused, "the server has no database nowhere"),
        ({"user": "nobody at all"}, Refused, "there is no role nobody at all that may log in"),
        ({"user": "pgq_admin"}, Refused, "there is no role pgq_admin that may log in"),
        ({"service": True}, Missing, "this machine does not run systemd"),
    ],
)
async def test_an_impossible_daemon_is_not_started(
    console: Console, state: Path, params: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    if "service" in params and exists("/run/systemd/system"):
        pytest.skip("this machine runs systemd")
    with pytest.raises(error, match=sentence):
        await console.plan("queue.start_daemon", **params)
    assert not exists(state)


async def test_a_role_that_may_not_tick_is_named(
    console: Console, state: Path, role_in: Callable[..., str]
) -> None:
    role = conninfo_to_dict(role_in("pgq_reader"))["user"]
    with pytest.raises(Missing) as caught:
        await console.plan("queue.start_daemon", user=role)
    assert caught.value.hint == f'GRANT "pgq_admin" TO "{role}" lets it'


async def test_is_started_and_stopped_on_another_machine(
    hand: Hand,
    sshd: Sshd,  # noqa: F811
    given: dict[str, Any],
    state: Path,
) -> None:
    target = Target("far", dsn=hand.database.dsn, ssh=sshd.host)
    session = Session(target, SshHost(sshd.host, config=sshd.ssh_config))
    console = Console(await session.open())
    try:
        result = await console.done("queue.start_daemon", **given)
        assert result["config"].startswith(str(sshd.state))
        pid = pid_in(sshd.state)
        assert pid is not None
        assert alive(pid)
        await console.done("queue.reload_daemon", ticker_period=1)
        assert "ticker_period = 1\n" in content(result["config"])
        await console.done("queue.stop_daemon")
        assert not alive(pid)
    finally:
        await session.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else without a rule")
async def test_runs_as_the_owner_of_the_cluster(
    consoles: Consoles, hand: Hand, state: Path, given: dict[str, Any]
) -> None:
    console = await consoles(hand.database.dsn, run_as="postgres")
    stem = pgqd.label(console.session.target)
    folder = Path(pwd.getpwnam("postgres").pw_dir) / ".local" / "state" / "pgtui" / "pgqd"
    try:
        result = await console.done("queue.start_daemon", **given)
        assert result["config"] == str(folder / f"{stem}.ini")
        pid = int((folder / f"{stem}.pid").read_text())
        assert owner_of(pid) == pwd.getpwnam("postgres").pw_uid
        await console.done("queue.stop_daemon")
        assert not alive(pid)
    finally:
        for file in folder.glob(f"{stem}.*"):
            file.unlink()


async def test_is_a_service_where_systemd_runs(console: Console, state: Path) -> None:
    place = pgqd.Place("postgres", PurePosixPath("/home/it's 100%/x"), "/usr/bin/pgqd", "/usr/bin/systemctl")
    files = Files.of(console.session, place)
    unit, *commands = await _service(console.session, place, files)
    assert isinstance(unit, File)
    assert (unit.path, unit.run_as) == (PurePosixPath("/etc/systemd/system") / files.unit, "root")
    assert [c.argv[1:] for c in commands if isinstance(c, Command)] == [
        ("daemon-reload",),
        ("enable", "--now", files.unit),
    ]
    undo = commands[-1].undo
    assert isinstance(undo, Command)
    assert undo.argv[1:] == ("disable", "--now", files.unit)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_takes_the_unit(tmp_path: Path, state: Path) -> None:
    config = tmp_path / 'it\'s "100%" $HOME.ini'
    config.touch()
    place = pgqd.Place("root", PurePosixPath("/x"), shutil.which("pgqd") or "/usr/bin/pgqd", "systemctl")
    unit = tmp_path / "pgtui-pgqd-x.service"
    unit.write_text(pgqd.unit(place, PurePosixPath(config), "lab\nExecStart=/bin/false"))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True)
    assert unit.name not in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("dsn", "ssh", "told"),
    [
        ("host=/s port=5433 user=me dbname=x password=secret", None, "user=r host=/s port=5433"),
        ("postgresql://me:secret@db1/x?sslmode=require", None, "user=r host=db1 sslmode=require"),
        ("service=billing", "db1", "service=billing user=r"),
    ],
)
def test_it_is_told_where_the_server_is_and_no_password(dsn: str, ssh: str | None, told: str) -> None:
    found = conninfo_to_dict(pgqd.connection(Target("t", dsn, ssh=ssh), "r"))
    assert found == conninfo_to_dict(told) | {"application_name": "pgqd"}


def test_a_setting_is_changed_where_it_stands() -> None:
    text = "[pgqd]\n  pidfile=/a b/c.pid  \n#ticker_period = 9\n ticker_period=1\n"
    assert pgqd.setting(text, "pidfile") == "/a b/c.pid"
    assert pgqd.setting(text, "logfile") is None
    changed = pgqd.changed(text, {"ticker_period": "2", "logfile": "\\1"})
    assert changed == "[pgqd]\n  pidfile=/a b/c.pid  \n#ticker_period = 9\nticker_period = 2\nlogfile = \\1\n"


def test_a_database_whose_name_pgqd_cannot_read_is_refused() -> None:
    for name in ("a,b", " a"):
        with pytest.raises(Refused, match="pgqd separates by commas"):
            pgqd.checked_list([name], (name,))
