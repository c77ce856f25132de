"""Maintenance that runs by itself."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from backend.core.declare import Danger
from backend.core.errors import Failed, Missing, Refused, Usage
from backend.core.session import Session
from backend.core.ssh import SshHost
from backend.core.target import Inventory, Target
from backend.core.values import Interval
from backend.partman.rhythm import rhythm_of
from backend.partman.timers import service_text, timer_text, unit_name
from tests.rooms.jobmon.conftest import Console, Consoles
from tests.rooms.partman.conftest import demand_partman, install, managed
from tests.rooms.partman.test_actions import partitions
from tests.servers import Database, OwnClusters, Server, Workspace, until
from tests.sshd import Sshd, sshd

__all__ = ["sshd"]


@pytest.mark.parametrize(
    ("every", "cron", "calendar"),
    [
        ("1min", "*/1 * * * *", "*:0/1"),
        ("15min", "*/15 * * * *", "*:0/15"),
        ("60min", "0 */1 * * *", "0/1:00"),
        ("6h", "0 */6 * * *", "0/6:00"),
        ("1 day", "0 3 * * *", "*-*-* 03:00:00"),
    ],
)
def test_a_rhythm_is_told_to_cron_and_to_systemd(every: str, cron: str, calendar: str) -> None:
    rhythm = rhythm_of(Interval.parse(every))
    assert (rhythm.cron, rhythm.calendar) == (cron, calendar)
    if shutil.which("systemd-analyze"):
        subprocess.run(["systemd-analyze", "calendar", calendar], check=True, capture_output=True)


@pytest.mark.parametrize("every", ["7min", "90min", "5h", "30s", "2d", "-1h", "0s"])
def test_a_rhythm_that_cron_cannot_keep_is_refused(every: str) -> None:
    with pytest.raises(Usage, match="divides neither an hour nor a day"):
        rhythm_of(Interval.parse(every))


# -- a crontab ---------------------------------------------------------------------------------------------


@pytest.fixture
def program(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program pgtui at a place that any account may read."""
    folder = workspace.new_folder("programs")
    folder.mkdir()
    made = folder / "pgtui"
    made.write_text(f'#!/bin/sh\nexec {shlex.quote(str(Path(sys.executable).with_name("pgtui")))} "$@"\n')
    made.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return made


@pytest.fixture
def keeper(program: Path) -> Iterator[str]:
    """An account without a crontab, whose crontab is gone again after the test."""
    if shutil.which("crontab") is None:
        pytest.skip("crontab is not installed")
    if os.getuid() != 0:
        pytest.skip("only root acts for other accounts")
    name = f"pgtui{os.getpid()}"
    subprocess.run(["useradd", "--no-create-home", "--home-dir", "/", name], check=True)
    yield name
    subprocess.run(["crontab", "-u", name, "-r"], check=False, capture_output=True)
    subprocess.run(["userdel", name], check=True, capture_output=True)


def run(command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def crontab(user: str) -> str:
    return subprocess.run(["crontab", "-u", user, "-l"], capture_output=True, text=True).stdout


def set_crontab(user: str, text: str) -> None:
    subprocess.run(["crontab", "-u", user, "-"], input=text, text=True, check=True)


@pytest.fixture
async def kept(partman: Database, consoles: Consoles, keeper: str) -> Console:
    """A console whose programs run as that account."""
    return await consoles(partman.dsn, run_as=keeper)


async def test_a_crontab_gets_one_line_which_works_and_goes_again(
    kept: Console, keeper: str, partman: Database
) -> None:
    set_crontab(keeper, "# mine\n0 1 * * * true # pgtui partman.maintain lab2\n")
    before = crontab(keeper)
    plan = await kept.plan("partman.schedule", by="crontab")
    assert (plan.subject, plan.danger) == ("lab", Danger.CHANGE)
    assert crontab(keeper) == before
    done = await kept.done("partman.schedule", by="crontab")
    assert done == {"by": "crontab", "schedule": "0 */1 * * *", "replaced": False}
    [line] = [each for each in crontab(keeper).splitlines() if each.endswith("# pgtui partman.maintain lab")]
    assert crontab(keeper) == f"{before}{line}\n"
    assert line in shlex.split(plan.steps[0].text)[-1] + " # pgtui partman.maintain lab"
    assert (await kept.plan("partman.schedule", by="crontab")).steps == ()

    replaced = await kept.plan("partman.schedule", by="crontab", every=Interval("1d"))
    assert any(n.startswith("replaces: 0 */1") for n in replaced.notes)
    assert (await kept.done("partman.schedule", by="crontab", every=Interval("1d")))["replaced"] is True
    assert len(crontab(keeper).splitlines()) == 3

    partman.execute("UPDATE partman.part_config SET premake = 6")
    command = line.removeprefix("0 */1 * * * ").replace("\\%", "%")
    ran = run(["sh", "-c", command])
    assert ran.returncode == 0, ran.stderr
    assert partman.execute("SELECT count(*) FROM pg_inherits WHERE inhparent = 'events'::regclass") == [(12,)]

    await kept.done("partman.schedule", by="crontab", remove=True)
    assert crontab(keeper) == before
    with pytest.raises(Refused, match=f"the crontab of {keeper} on this machine has no line"):
        await kept.plan("partman.schedule", by="crontab", remove=True)


async def test_a_schedule_that_will_drop_wants_a_word_and_carries_it(
    kept: Console, keeper: str, partman: Database
) -> None:
    partman.execute("UPDATE partman.part_config SET retention_keep_table = false WHERE retention IS NOT NULL")
    plan = await kept.plan("partman.schedule", by="crontab")
    assert plan.danger is Danger.DESTROY
    assert "retention of public.old will drop what is older than 3 days" in plan.notes
    await kept.done("partman.schedule", by="crontab")
    assert re.search(r" --yes --confirm \S+ # pgtui partman\.maintain lab\n", crontab(keeper))
    before = partitions(partman, "old")
    ran = run(["sh", "-c", crontab(keeper).partition(" * * * ")[2].replace("\\%", "%")])
    assert ran.returncode == 0, ran.stderr
    gone = set(before) - set(partitions(partman, "old"))
    assert len(gone) == 3
    assert [partman.execute("SELECT to_regclass(%s)", [name]) for name in gone] == [[(None,)]] * 3


async def test_an_inventory_is_named_by_its_whole_path(
    partman: Database, consoles: Consoles, keeper: str, program: Path, workspace: Workspace
) -> None:
    folder = workspace.new_folder("inventory")
    folder.mkdir()
    file = folder / "100% mine.toml"
    file.write_text(f'[target."the 100% shop"]\ndsn = "{partman.dsn}"\nrun_as = "{keeper}"\nguard = "name"\n')
    target = Inventory.read(file).targets["the 100% shop"]
    console = await consoles(target.dsn, run_as=keeper, guard="name", inventory=target.inventory)
    console.session.target = target
    await console.done("partman.schedule", by="crontab")
    [line] = crontab(keeper).splitlines()
    words = shlex.split(line.replace("\\%", "%"))
    assert words[5] == str(program)
    assert words[6:] == [
        "run-action", "partman.maintain", "--all-sets", "--inventory", str(file), "--target", "the 100% shop",
        "--yes", "--confirm", "the 100% shop", "#", "pgtui", "partman.maintain", "the", "100%", "shop",
    ]  # fmt: skip
    closed(file)
    with pytest.raises(Refused, match=f"{keeper} could not read"):
        await console.plan("partman.schedule", by="crontab", every=Interval("1d"))


def closed(file: Path) -> None:
    file.chmod(0o600)


async def test_a_password_has_no_place_in_a_schedule(partman: Database, consoles: Consoles) -> None:
    console = await consoles(partman.server.dsn(partman.name, password="s3cret"))
    with pytest.raises(Refused, match="needs a password, which has no place in a schedule"):
        await console.plan("partman.schedule", by="crontab")


async def test_a_host_without_pgtui_runs_no_schedule_of_it(partman: Database, sshd: Sshd) -> None:
    target = Target("far", partman.dsn, ssh=sshd.host)
    session = Session(target, SshHost(sshd.host, config=sshd.ssh_config))
    try:
        if (await session.host.run(("sh", "-c", "command -v pgtui"))).code == 0:
            pytest.skip("pgtui is installed for everybody here")
        await session.open()
        with pytest.raises(Missing, match="pgtui is not on host db1, where the schedule would run it"):
            await Console(session).plan("partman.schedule", by="crontab")
    finally:
        await session.close()


# -- systemd -----------------------------------------------------------------------------------------------


def test_units_are_what_systemd_takes(workspace: Workspace) -> None:
    words = ("/bin/echo", "100% $HOME", 'a "b" \\c', "--target", "it's")
    user = pwd.getpwuid(os.getuid()).pw_name
    service, timer = service_text("shop 100%", words, user), timer_text("shop 100%", "*:0/15")
    assert 'ExecStart="/bin/echo" "100%% $$HOME" "a \\"b\\" \\\\c" "--target" "it\'s"\n' in service
    assert "OnCalendar=*:0/15\nPersistent=true\n" in timer
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    folder = workspace.new_folder("units")
    folder.mkdir()
    name = unit_name("shop 100%/x")
    assert name == "pgtui-maintain-shop_20_100_25__2f_x"
    for ending, text in (("service", service), ("timer", timer)):
        (folder / f"{name}.{ending}").write_text(text)
    said = run(["systemd-analyze", "verify", folder / f"{name}.service", folder / f"{name}.timer"])
    assert name not in said.stderr
    (folder / f"{name}.timer").write_text(timer.replace("OnCalendar=", "OnCalendar=no "))
    said = run(["systemd-analyze", "verify", folder / f"{name}.timer"])
    assert "Failed to parse calendar specification" in said.stderr


@pytest.fixture
def without_systemd() -> None:
    if Path("/run/systemd/system").exists():
        pytest.skip("systemd runs here")


@pytest.mark.usefixtures("without_systemd")
async def test_without_systemd_there_is_no_timer(console: Console) -> None:
    with pytest.raises(Missing, match="systemd does not run on this machine"):
        await console.plan("partman.schedule", by="systemd")


# -- inside the server -------------------------------------------------------------------------------------


async def test_the_background_worker_is_not_given_company(
    own_cluster: OwnClusters, consoles: Consoles
) -> None:
    server = own_cluster()
    demand_partman(server)
    server.psql("CREATE DATABASE shop")
    install(Database(server, "shop"))
    restart_with(server, {"shared_preload_libraries": "pg_partman_bgw", "pg_partman_bgw.dbname": "x, shop"})
    console = await consoles(server.dsn("shop"))
    with pytest.raises(Refused, match="background worker maintains database shop already"):
        await console.plan("partman.schedule")


def with_cron(own_cluster: OwnClusters) -> Server:
    """A server that has loaded pg_cron, with a database that has sets and one for pg_cron."""
    server = own_cluster()
    demand_partman(server)
    if not server.psql("SELECT 1 FROM pg_available_extensions WHERE name = 'pg_cron'"):
        pytest.skip(f"PostgreSQL {server.major} here has no pg_cron")
    server.psql("CREATE DATABASE shop")
    managed(Database(server, "shop"))
    server.psql("CREATE DATABASE jobs")
    return server


async def test_pg_cron_in_another_database_does_it(own_cluster: OwnClusters, consoles: Consoles) -> None:
    server = with_cron(own_cluster)
    restart_with(server, cron_in("jobs"))
    console = await consoles(server.dsn("shop"))
    report = await console.run("partman.schedule")
    assert isinstance(report.error, Failed)
    assert "database jobs has no extension pg_cron" in report.error.message
    server.psql("CREATE EXTENSION pg_cron", "jobs")
    plan = await console.plan("partman.schedule")
    assert [s.text.partition("(")[0] for s in plan.steps if "schedule_in_database" in s.text] == [
        'SELECT "cron"."schedule_in_database"'
    ]
    assert server.psql("SELECT count(*) FROM cron.job", "jobs") == [(0,)]
    done = await console.done("partman.schedule")
    assert (done["by"], done["database"], done["replaced"]) == ("pg_cron", "jobs", False)
    assert (await console.done("partman.schedule", every=Interval("15min")))["replaced"] is True
    [(schedule, command, database)] = server.psql("SELECT schedule, command, database FROM cron.job", "jobs")
    assert (schedule, database) == ("*/15 * * * *", "shop")
    server.psql("UPDATE partman.part_config SET premake = 6", "shop")
    server.psql(command, "shop")
    assert server.psql("SELECT count(*) FROM pg_inherits WHERE inhparent = 'events'::regclass", "shop") == [
        (12,)
    ]
    await console.done("partman.schedule", remove=True)
    assert server.psql("SELECT count(*) FROM cron.job", "jobs") == [(0,)]
    report = await console.run("partman.schedule", remove=True)
    assert report.error is not None
    assert "pg_cron has no job pgtui partman.maintain shop of this role" in report.error.message


async def test_pg_cron_in_the_same_database_really_maintains(
    own_cluster: OwnClusters, consoles: Consoles
) -> None:
    server = with_cron(own_cluster)
    restart_with(server, cron_in("shop"))
    server.psql("CREATE EXTENSION pg_cron", "shop")
    console = await consoles(server.dsn("shop"))
    await console.done("partman.schedule", by="pg_cron")
    assert (await console.plan("partman.schedule")).steps == ()
    plan = await console.plan("partman.schedule", every=Interval("1d"))
    assert any(n.startswith("replaces job 1, which runs at 0 */1 * * *") for n in plan.notes)
    server.psql("UPDATE partman.part_config SET premake = 6", "shop")
    [(version,)] = server.psql("SELECT extversion FROM pg_extension WHERE extname = 'pg_cron'", "shop")
    if version.startswith(("1.4", "1.3")):
        return  # it knows nothing shorter than a minute, which no test waits for
    server.psql("SELECT cron.alter_job(1, schedule := '1 second')", "shop")
    count = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'events'::regclass"
    until(lambda: server.psql(count, "shop") == [(12,)])


def restart_with(server: Server, settings: dict[str, str]) -> None:
    """Give the server settings that it reads only when it starts."""
    server.stop()
    with (server.data / "postgresql.auto.conf").open("a") as file:
        file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
    server.start()


def cron_in(database: str) -> dict[str, str]:
    """Settings with which pg_cron keeps its jobs in that database, and runs them inside the server."""
    return {
        "shared_preload_libraries": "pg_cron",
        "cron.database_name": database,
        "cron.use_background_workers": "on",
    }


async def test_pg_cron_has_to_be_there(console: Console) -> None:
    with pytest.raises(Missing, match="the server has not loaded pg_cron"):
        await console.plan("partman.schedule", by="pg_cron")


async def test_a_standby_and_a_database_without_the_extension_schedule_nothing(
    database: Database, consoles: Consoles
) -> None:
    console = await consoles(database.dsn)
    with pytest.raises(Missing, match="has no extension pg_partman"):
        await console.plan("partman.schedule", by="crontab")
