"""Making servers, removing, renaming and upgrading them."""

from __future__ import annotations

import re
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from backend.cluster.discovery import discover
from backend.core.declare import Danger
from backend.core.errors import Failed, Missing, Refused, Usage
from backend.lab.servers import find_installations
from tests.ports import free_port
from tests.rooms.cluster.kinds import (
    Common,
    Operating,
    Subject,
    common,
    operating,
    own_folder,
    plain,
    subject,
)
from tests.servers import Workspace

__all__ = ["common", "operating", "plain", "subject"]


def serves(data: Path) -> bool:
    """Whether the process that postmaster.pid names works in the data folder."""
    pid = int((data / "postmaster.pid").read_text().split("\n")[0])
    return Path(f"/proc/{pid}/cwd").resolve() == data


async def test_makes_a_server_of_postgresql_common(common: Common, operating: Operating) -> None:
    console = operating(common.make("first"))
    port, data = free_port(), common.folder / "data" / "new"
    given = {"version": common.major, "name": "new", "port": port, "data": str(data)}
    plan = await console.plan("cluster.create", **given)
    assert (plan.subject, plan.danger) == (f"{common.major}/new", Danger.CHANGE)
    assert not data.exists()
    told = await console.done("cluster.create", **given)
    assert told == {"cluster": f"{common.major}/new", "port": port, "data": str(data)}
    assert serves(data)
    conf = (common.root / str(common.major) / "new" / "pg_hba.conf").read_text()
    assert "trust" not in [line.split()[-1] for line in conf.splitlines() if line and line[0] != "#"]
    for action in ("stop", "drop"):
        await console.done(f"cluster.{action}", cluster=f"{common.major}/new")
    assert not data.exists()


async def test_refuses_what_would_not_make_a_server(common: Common, operating: Operating) -> None:
    made = common.make("first")
    console = operating(made)
    data = common.folder / "data" / "new"

    async def refused(**given: object) -> str:
        words = {"version": common.major, "name": "new", "data": str(data)} | given
        error = await console.refused("cluster.create", **words)
        assert isinstance(error, (Refused, Missing, Usage))
        return error.message

    assert await refused(name="two words") == "'two words' is no name for a cluster"
    assert await refused(name="first") == f"the host has a cluster {made.name} already"
    assert await refused(version=9) == (
        f"PostgreSQL 9 is not on this machine; installed: {await _installed(console)}"
    )
    assert await refused(port=80) == "--port 80 is not between 1024 and 65535"
    assert await refused(port=made.port) == f"port {made.port} belongs to {made.name}"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert await refused(port=port) == f"something listens on port {port} already"
    data.mkdir()
    (data / "somebody's").write_text("file")
    assert await refused() == f"the folder {data} is not empty"
    assert await refused(data="relative/path") == "--data relative/path is not an absolute path"
    assert [p.name for p in data.iterdir()] == ["somebody's"]


async def test_a_name_that_another_has_by_its_path_alone_is_free(
    workspace: Workspace, common: Common, operating: Operating
) -> None:
    [installation] = [i for i in find_installations() if i.major == common.major]
    cluster = workspace.cluster(installation)
    home = workspace.new_folder("t") / "new"
    home.parent.mkdir(mode=0o755)
    cluster.folder.rename(home)
    cluster = replace(cluster, folder=home, socket_dir=home / "s")
    cluster.start()
    console = operating(common.make("first"))
    given = {"version": common.major, "name": "new", "data": str(common.folder / "data" / "new")}
    await console.done("cluster.create", start=False, **given)
    found = (await discover(console.session)).clusters
    names = {c.data: c.name for c in found if c.data in (str(cluster.data), given["data"])}
    assert names[str(given["data"])] == f"{common.major}/new"
    assert names[str(cluster.data)].endswith(f"{home.parent.name}/new")
    cluster.end()
    shutil.rmtree(home.parent)


async def _installed(console: object) -> str:
    found = {i.major for i in find_installations() if str(i.bindir).startswith("/usr/lib/postgresql")}
    bins = {i.major for i in find_installations()} & found
    return ", ".join(str(v) for v in sorted(bins))


async def test_makes_a_server_with_initdb_alone(workspace: Workspace, operating: Operating) -> None:
    installation = find_installations()[0]
    around, cluster = own_folder(workspace, installation, "plain")
    console = operating(around, run_as=None)
    data = cluster.folder / "second"
    given = {"version": installation.major, "name": "second", "port": free_port(), "data": str(data)}
    if str(installation.bindir).startswith("/usr/lib/postgresql"):
        pytest.skip("postgresql-common makes servers of this version")
    told = await console.done("cluster.create", **given)
    assert told["data"] == str(data)
    assert serves(data)
    second = operating(replace(around, data=data))
    for action in ("stop", "drop"):
        await second.done(f"cluster.{action}")
    assert not data.exists()


async def test_removes_a_server_that_is_down_and_nothing_else(subject: Subject, operating: Operating) -> None:
    console = operating(subject)
    await console.done("cluster.start")
    pid = subject.pid()
    problem = await console.refused("cluster.drop")
    assert isinstance(problem, Refused)
    assert re.fullmatch(f"{subject.called} runs, as pid {pid}", problem.message)
    assert subject.ask("SELECT 1") == [(1,)]
    await console.done("cluster.stop")
    plan = await console.plan("cluster.drop")
    assert re.fullmatch(subject.called, plan.subject)
    assert plan.danger is Danger.DESTROY
    assert subject.data.exists()
    await console.done("cluster.drop")
    assert not subject.data.exists()
    assert subject.data.parent.exists()


async def test_a_server_that_started_since_the_plan_is_not_removed(
    plain: Subject, operating: Operating
) -> None:
    console = operating(plain)
    plan = await console.plan("cluster.drop")
    await operating(plain).done("cluster.start")
    (plain.data / "postmaster.pid").rename(plain.data / "away")
    report = await console.run("cluster.drop", plan=plan)
    assert isinstance(report.error, Failed)
    assert f"server {plain.pid()} runs in {plain.data}" in report.error.message
    assert plain.ask("SELECT 1") == [(1,)]
    (plain.data / "away").rename(plain.data / "postmaster.pid")


async def test_tablespaces_lose_only_what_is_the_servers(workspace: Workspace, operating: Operating) -> None:
    made, cluster = own_folder(workspace, find_installations()[0], "plain")
    console = operating(made)
    await console.done("cluster.start")
    space = cluster.folder / "space"
    cluster.account.make_folder(space)
    made.ask(f"CREATE TABLESPACE big LOCATION '{space}'")
    await console.done("cluster.stop")
    (space / "mine").write_text("not the server's")
    plan = await console.plan("cluster.drop")
    assert f"its part of the tablespace in {space} goes too" in plan.notes
    await console.done("cluster.drop")
    assert [p.name for p in space.iterdir()] == ["mine"]
    assert not made.data.exists()


async def test_renames_a_server_that_runs(common: Common, operating: Operating) -> None:
    made = common.make("orders")
    console = operating(made)
    await console.done("cluster.start")
    problem = await console.refused("cluster.rename", to="two words")
    assert isinstance(problem, Usage)
    assert made.ask("SELECT 1") == [(1,)]
    plan = await console.plan("cluster.rename", to="sales")
    assert plan.danger is Danger.DISRUPT
    assert made.pid() is not None
    told = await console.done("cluster.rename", to="sales")
    assert told == {"cluster": f"{common.major}/sales", "data": str(made.data.with_name("sales"))}
    assert not made.data.exists()
    assert made.ask("SHOW cluster_name") == [(f"{common.major}/sales",)]


async def test_says_whether_a_server_starts_with_the_machine(common: Common, operating: Operating) -> None:
    made = common.make("orders")
    console = operating(made)
    file = common.root / str(common.major) / "orders" / "start.conf"
    before = file.stat()
    problem = await console.refused("cluster.start_mode", mode="manual")
    assert isinstance(problem, Refused)
    await console.done("cluster.start_mode", mode="auto")
    words = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    assert words == ["auto"]
    after = file.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)


async def test_begins_a_new_log_file(plain: Subject, operating: Operating) -> None:
    console = operating(plain)
    await console.done("cluster.start")
    problem = await console.refused("cluster.rotate_log")
    assert isinstance(problem, Refused)
    assert "does not write its log files itself" in problem.message
    plain.ask("ALTER SYSTEM SET logging_collector = on")
    plain.ask("ALTER SYSTEM SET log_filename = 'log-%s'")
    await console.done("cluster.restart")
    before = plain.ask("SELECT pg_current_logfile()")
    assert before != [(None,)]
    report = await console.run("cluster.rotate_log")
    assert report.status == "ok"


async def test_an_upgrade_that_cannot_work_stops_nothing(common: Common, operating: Operating) -> None:
    made = common.make("orders")
    console = operating(made)
    await console.done("cluster.start")
    pid = made.pid()
    for to, error, message in (
        (common.major, Refused, "is not newer"),
        (99, Missing, "PostgreSQL 99 is not installed on this machine"),
    ):
        problem = await console.refused("cluster.upgrade", to=to)
        assert isinstance(problem, error)
        assert message in problem.message
    assert made.pid() == pid
    assert [each.name for each in common.root.iterdir()] == [str(common.major)]
