"""Disks that are full, or become full while something is written."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backend.core.errors import Failed, Refused
from backend.lab.servers import find_installations
from tests.ports import free_port
from tests.rooms.cluster.kinds import Common, Operating, Subject, common, operating, own_folder
from tests.rooms.cluster.mounting import mounts
from tests.rooms.cluster.test_faults import lives_on
from tests.rooms.cluster.test_hba_editing import fill
from tests.servers import Workspace, until

__all__ = ["common", "operating"]

pytestmark = pytest.mark.skipif(not mounts(), reason="file systems cannot be mounted here")


@pytest.fixture
def small(workspace: Workspace) -> Iterator[Callable[[str], Path]]:
    """Makes file systems of their own, of a size such as 192m."""
    made: list[Path] = []

    def make(size: str) -> Path:
        folder = workspace.new_folder("small")
        workspace.account.make_folder(folder)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "tmpfs", folder], check=True)
        workspace.account.own(folder)
        made.append(folder)
        return folder

    yield make
    for folder in made:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def cramped(workspace: Workspace, small: Callable[[str], Path]) -> Iterator[Subject]:
    """A server that is down, on a file system of its own that holds little more."""
    made, cluster = own_folder(workspace, find_installations()[0], "plain")
    around = small("160m")
    data = around / "data"
    subprocess.run(["cp", "-a", made.data, data], check=True)
    shutil.rmtree(made.data)
    made.data.symlink_to(data)
    made.data = data
    made.name = f"{cluster.installation.major}/{around.name}"
    yield made
    cluster.end()
    if pid := made.pid():
        os.kill(pid, 3)
        until(lambda: made.pid() is None)
    shutil.rmtree(cluster.folder, ignore_errors=True)


async def test_a_setting_is_as_before_when_the_disk_is_full(cramped: Subject, operating: Operating) -> None:
    console = operating(cramped)
    await console.done("cluster.start")
    cramped.ask("ALTER SYSTEM SET work_mem = '5MB'")
    cramped.ask("SELECT pg_reload_conf()")
    auto = (cramped.data / "postgresql.auto.conf").read_bytes()
    filler = cramped.data.parent / "filler"
    fill(filler)
    report = await console.run("cluster.set", name="work_mem", value="6MB")
    assert isinstance(report.error, Failed)
    assert "No space left on device" in report.error.message
    assert (cramped.data / "postgresql.auto.conf").read_bytes() == auto
    assert cramped.ask("SHOW work_mem") == [("5MB",)]
    filler.unlink()
    await lives_on(cramped, console)
    assert cramped.ask("SHOW work_mem") == [("5MB",)]


async def test_a_server_is_removed_from_a_full_disk(cramped: Subject, operating: Operating) -> None:
    fill(cramped.data.parent / "filler")
    await operating(cramped).done("cluster.drop")
    assert [p.name for p in cramped.data.parent.iterdir()] == ["filler"]


async def test_a_disk_with_too_little_room_is_told_before(
    common: Common, operating: Operating, small: Callable[[str], Path]
) -> None:
    console, folder = operating(common.make("first")), small("64m")
    data = folder / "little"
    error = await console.refused("cluster.create", version=common.major, name="little", data=str(data))
    assert isinstance(error, Refused)
    assert error.message == f"on the disk of {data} are only 64 MB free"


@pytest.mark.parametrize("by", ["postgresql-common", "initdb"])
async def test_a_disk_that_fills_up_meanwhile_leaves_no_half_of_a_server(
    workspace: Workspace, common: Common, operating: Operating, small: Callable[[str], Path], by: str
) -> None:
    first, newest = common.make("first"), workspace.within_reach(find_installations()[0])
    bindir = first.bindir if by == "postgresql-common" else newest.bindir
    major = common.major if by == "postgresql-common" else newest.major
    if by == "initdb" and bindir.is_relative_to("/usr/lib/postgresql"):
        pytest.skip("postgresql-common makes servers of this version")
    first.bindir = bindir
    console, folder = operating(first), small("192m")
    data = folder / "full"
    given = {"version": major, "name": "full", "port": free_port(), "data": str(data)}
    plan = await console.plan("cluster.create", **given)
    filler = folder / "filler"
    fill(filler)
    os.truncate(filler, filler.stat().st_size - (8 << 20))
    report = await console.run("cluster.create", plan=plan)
    assert isinstance(report.error, Failed)
    assert [p.name for p in folder.rglob("*") if p != filler and p != data] == []
    assert not list((common.root / str(major)).glob("full/*"))
    filler.unlink()
    await console.done("cluster.create", **given)
    first.data = data
    for action in ("stop", "drop"):
        await operating(first).done(f"cluster.{action}")
    assert [p.name for p in folder.iterdir()] == []
