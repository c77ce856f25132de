"""Servers of all three kinds, for tests that start, stop and remove them."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo

from backend.core.errors import PgtuiError
from backend.core.local import LocalHost
from backend.core.plan import Plan
from backend.core.registry import find_action
from backend.core.run import Report, Run, make_plan
from backend.core.session import Session
from backend.core.target import Target
from backend.lab.cluster import PrivateCluster
from backend.lab.servers import Installation, find_installations
from tests.ports import free_port
from tests.servers import Workspace, execute

NO_COMMON = "postgresql-common is not on this machine"


@dataclass
class Subject:
    """A server under test: where it is, how it is reached, and its name where no other has that too."""

    kind: str
    name: str
    data: Path
    dsn: str
    bindir: Path
    port: int

    @property
    def called(self) -> str:
        """A pattern of its name, which gets longer while another server on the machine has the same."""
        return re.escape(self.name) if self.kind == "debian" else rf"{self.name.partition('/')[0]}/\S+"

    def pid(self) -> int | None:
        """The process that serves the data folder, by its working folder."""
        for each in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (each / "cmdline").read_bytes().split(b"\0")
                if (each / "cwd").resolve() == self.data and b"-D" in words and b"postgres" in words[0]:
                    return int(each.name)
        return None

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """What the server answers."""
        return execute(self.dsn, statement)


def common_major() -> int | None:
    """A version that postgresql-common can make servers of."""
    if shutil.which("pg_createcluster") is None:
        return None
    found = [i.major for i in find_installations() if i.bindir.is_relative_to("/usr/lib/postgresql")]
    return max(found, default=None)


class Common:
    """Servers of postgresql-common in a configuration root of their own."""

    def __init__(self, workspace: Workspace) -> None:
        major = common_major()
        if major is None:
            if os.environ.get("CI"):
                pytest.fail(NO_COMMON)
            pytest.skip(NO_COMMON)
        self.major = major
        self.account = workspace.account
        self.folder = workspace.new_folder("common")
        for each in (self.folder, self.folder / "etc", self.folder / "data", self.folder / "s"):
            each.mkdir(mode=0o755)
            self.account.own(each)
        self.user = pwd.getpwuid(self.account.uid).pw_name

    @property
    def root(self) -> Path:
        """What stands for /etc/postgresql."""
        return self.folder / "etc"

    def make(self, name: str) -> Subject:
        """A server that is not started."""
        data, port = self.folder / "data" / name, free_port()
        subprocess.run(
            [
                "pg_createcluster", "--user", self.user, "--port", str(port), "--datadir", data,
                "--socketdir", self.folder / "s", "--logfile", self.folder / f"{name}.log",
                "--start-conf", "manual", "--pgoption", "fsync=off", "--pgoption", "shared_buffers=16MB",
                str(self.major), name, "--", "--auth=trust", "--no-sync",
            ],
            check=True, capture_output=True, cwd="/",
            env=os.environ | {"PG_CLUSTER_CONF_ROOT": str(self.root)},
        )  # fmt: skip
        dsn = make_conninfo(host=str(self.folder / "s"), port=port, user=self.user, dbname="postgres")
        bindir = Path(f"/usr/lib/postgresql/{self.major}/bin")
        return Subject("debian", f"{self.major}/{name}", data, dsn, bindir, port)

    def remove(self) -> None:
        """End what runs and remove everything."""
        for file in self.folder.glob("data/*/postmaster.pid"):
            subprocess.run(["kill", "-QUIT", file.read_text().split("\n")[0]], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def common(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Common]:
    """Makes servers of postgresql-common."""
    made = Common(workspace)
    monkeypatch.setenv("PG_CLUSTER_CONF_ROOT", str(made.root))
    yield made
    made.remove()


def own_folder(workspace: Workspace, installation: Installation, kind: str) -> tuple[Subject, PrivateCluster]:
    """A server of initdb's, in a folder as RPM packages lay it out or in any other; not started."""
    cluster = workspace.cluster(installation)
    if kind == "rpm":
        top = workspace.new_folder("r")
        home = top / "pgsql" / str(installation.major)
        home.parent.mkdir(parents=True)
        cluster.folder.rename(home)
        cluster = replace(cluster, folder=home, socket_dir=home / "s")
    cluster.configure()
    cluster.account.make_folder(cluster.socket_dir)
    stem = "data" if kind == "rpm" else cluster.folder.name
    subject = Subject(
        kind,
        f"{installation.major}/{stem}",
        cluster.data,
        cluster.dsn(),
        cluster.installation.bindir,
        cluster.port,
    )
    return subject, cluster


@pytest.fixture(params=["debian", "rpm", "plain"])
def subject(
    request: pytest.FixtureRequest, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Subject]:
    """A server that is down, of each kind."""
    if request.param == "debian":
        common = Common(workspace)
        monkeypatch.setenv("PG_CLUSTER_CONF_ROOT", str(common.root))
        yield common.make("orders")
        common.remove()
        return
    made, cluster = own_folder(workspace, find_installations()[0], request.param)
    yield made
    cluster.end()
    shutil.rmtree(cluster.folder, ignore_errors=True)


@pytest.fixture
def plain(workspace: Workspace) -> Iterator[Subject]:
    """A server of initdb's that is down."""
    made, cluster = own_folder(workspace, find_installations()[0], "plain")
    yield made
    cluster.end()
    shutil.rmtree(cluster.folder, ignore_errors=True)


@dataclass
class Operator:
    """What somebody does to servers whose own may be down."""

    session: Session

    async def plan(self, action: str, **params: Any) -> Plan:
        return await make_plan(self.session, find_action(action), params)

    async def refused(self, action: str, **params: Any) -> PgtuiError:
        """Why an action is not even planned."""
        try:
            await self.plan(action, **params)
        except PgtuiError as e:
            return e
        pytest.fail(f"{action} was planned")

    async def run(self, action: str, *, plan: Plan | None = None, **params: Any) -> Report:
        """What an action did."""
        chosen = plan or await self.plan(action, **params)
        return await Run(self.session, find_action(action), params, chosen).execute()

    async def done(self, action: str, **params: Any) -> Any:
        """The result of an action that succeeded."""
        report = await self.run(action, **params)
        assert report.error is None, report.error.message
        return report.result


@dataclass
class Operating:
    """Makes operators of servers."""

    opened: list[Session]

    def __call__(self, subject: Subject, **more: Any) -> Operator:
        given = {"data": str(subject.data), "bin": str(subject.bindir)}
        self.opened.append(Session(Target("t", subject.dsn, cluster=given, **more), LocalHost()))
        return Operator(self.opened[-1])


@pytest.fixture
async def operating() -> AsyncIterator[Operating]:
    """Makes operators of servers, and closes what they opened."""
    made = Operating([])
    yield made
    for session in made.opened:
        await session.close()
