"""Real servers for the tests: made once per version, copied for each worker, gone when pytest is."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import psycopg
from filelock import FileLock
from psycopg import sql
from psycopg.conninfo import make_conninfo

from backend.lab.account import Account, server_account
from backend.lab.cluster import PrivateCluster, fits_a_socket
from backend.lab.servers import Installation, find_installations
from tests.ports import free_port

SUPPORTED = (14, 15, 16, 17, 18)
ROOT_VARIABLE = "TESTS_OF_PGTUI_ROOT"
SPACE_NEEDED = 2**30

# Tests make and drop much and keep nothing.
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "shared_buffers": "16MB",
    "autovacuum": "off",
    "wal_level": "logical",
    "max_connections": "100",
    "max_prepared_transactions": "10",
    "track_io_timing": "on",
}

Rows = list[tuple[Any, ...]]
Statement = str | sql.SQL | sql.Composed


class Workspace:
    """The folder of one test run, shared by its workers; a watchdog ends and removes what is left."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.account: Account = server_account()
        self._numbers = itertools.count(1)

    @classmethod
    def open(cls) -> tuple[Workspace, Watchdog | None]:
        """The workspace of this run; who comes first makes it and gets the watchdog to end it with."""
        if ROOT_VARIABLE in os.environ:
            return cls(Path(os.environ[ROOT_VARIABLE])), None
        folder = Path(tempfile.mkdtemp(prefix="pgtui-", dir=_roomy_folder()))
        folder.chmod(0o711)
        os.environ[ROOT_VARIABLE] = str(folder)
        return cls(folder), Watchdog(folder)

    def new_folder(self, stem: str) -> Path:
        """The path of a folder that nobody uses yet, short enough for sockets."""
        worker = os.environ.get("PYTEST_XDIST_WORKER", "")
        return self.folder / f"{stem}{worker}-{next(self._numbers)}"

    def cluster(
        self, installation: Installation, settings: Mapping[str, str] | None = None
    ) -> PrivateCluster:
        """A cluster copied from its version's template, not started."""
        template = self._template(installation)
        folder = self.new_folder(f"pg{installation.major}")
        self.account.make_folder(folder)
        cluster = replace(
            template,
            folder=folder,
            port=free_port(),
            socket_dir=folder / "s",
            settings=SETTINGS | dict(settings or {}),
        )
        subprocess.run(["cp", "-a", template.data, cluster.data], check=True)
        return cluster

    def within_reach(self, installation: Installation) -> Installation:
        """The same server, where the account that servers run as can get at its programs."""
        if self.account.reaches(installation.bindir):
            return installation
        with FileLock(self.folder / f"programs{installation.major}.lock"):
            return installation.relocated(self.folder)

    def _template(self, installation: Installation) -> PrivateCluster:
        stem = self.folder / f"template{installation.major}"
        installation = self.within_reach(installation)
        with FileLock(f"{stem}.lock"):
            template = PrivateCluster(
                stem, installation, 0, stem, initdb_options=("--wal-segsize=1",), account=self.account
            )
            if not template.data.exists():
                template.create()
        return template


class Watchdog:
    """Ends every server below a folder and removes it, when told to or when this process is gone."""

    SCRIPT = """
        cat >/dev/null
        for file in $(find "$1" -name '*.pid'); do
            pid=$(head -n 1 "$file")
            kill -CONT "$pid"; kill -QUIT "$pid"
        done 2>/dev/null
        for attempt in 1 2 3 4 5 6 7 8 9 10; do
            [ "$(find "$1" -name postmaster.pid)" ] || break
            sleep 0.1
        done 2>/dev/null
        rm -rf "$1"
    """

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", self.SCRIPT, "watchdog", str(folder)],
            stdin=subprocess.PIPE,
            cwd="/",
            start_new_session=True,
        )

    def end(self) -> None:
        """End what is left, and wait for it."""
        self._process.communicate()


class Server:
    """A running server of one version."""

    def __init__(self, cluster: PrivateCluster) -> None:
        self.cluster = cluster

    @property
    def installation(self) -> Installation:
        """The programs that it runs from."""
        return self.cluster.installation

    @property
    def major(self) -> int:
        """Its major version."""
        return self.cluster.installation.major

    @property
    def socket_dir(self) -> Path:
        """The folder of its socket."""
        return self.cluster.socket_dir

    @property
    def port(self) -> int:
        """The port that its socket is named after."""
        return self.cluster.port

    @property
    def data(self) -> Path:
        """Its data folder."""
        return self.cluster.data

    def dsn(self, dbname: str = "postgres", **more: str | int) -> str:
        """How the superuser connects; further words of a connection string can be given."""
        return make_conninfo(self.cluster.dsn(dbname), **more)

    def psql(
        self, statement: Statement, dbname: str = "postgres", params: Sequence[Any] | None = None
    ) -> Rows:
        """The rows that a statement answers with; each statement is a transaction of its own."""
        return execute(self.dsn(dbname), statement, params)

    def start(self) -> None:
        """Start it again."""
        self.cluster.start()

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Stop it."""
        self.cluster.stop(mode)

    def restart(self) -> None:
        """Stop and start it."""
        self.stop()
        self.start()

    def configure(self, **settings: str) -> None:
        """Change settings and reload them."""
        self.cluster = replace(self.cluster, settings=dict(self.cluster.settings) | settings)
        self.cluster.reload()

    def promote(self) -> None:
        """Make this standby a primary."""
        self.cluster.promote()

    def freeze(self) -> None:
        """Stop all its processes where they are; connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let its processes go on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill the postmaster, as the kernel does when memory is short."""
        if (pid := self.cluster.pid()) is not None:
            os.kill(pid, signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        pid = self.cluster.pid()
        assert pid is not None, "the server does not run"
        children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout
        for each in [pid, *map(int, children.split())]:
            with contextlib.suppress(ProcessLookupError):  # a backend may end meanwhile
                os.kill(each, number)


@dataclass(frozen=True, slots=True)
class Database:
    """A database of a test's own."""

    server: Server
    name: str

    @property
    def dsn(self) -> str:
        """How the superuser connects to it."""
        return self.server.dsn(self.name)

    def execute(self, statement: Statement, params: Sequence[Any] | None = None) -> Rows:
        """The rows that a statement answers with."""
        return self.server.psql(statement, self.name, params)


class Databases:
    """Makes databases on one server and drops them again."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._numbers = itertools.count(1)
        self._templates: set[str] = set()

    def new(self, template: str = "template1") -> Database:
        """A fresh database."""
        made = Database(self.server, f"t{next(self._numbers)}")
        self.server.psql(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(made.name), sql.Identifier(template)
            )
        )
        return made

    def from_template(self, name: str, setup: Callable[[Database], None]) -> Database:
        """A fresh copy of the database that `setup` prepared under this name once."""
        if name not in self._templates:
            self.server.psql(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            setup(Database(self.server, name))
            self._templates.add(name)
        return self.new(name)

    def drop(self, database: Database) -> None:
        """Drop a database, whoever is connected and whatever a test left prepared or replicating."""
        for (gid,) in self.server.psql(
            "SELECT gid FROM pg_prepared_xacts WHERE database = %s", params=[database.name]
        ):
            database.execute(sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(gid)))
        self.server.psql(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots"
            " WHERE database = %s AND active_pid IS NOT NULL",
            params=[database.name],
        )
        self.server.psql(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = %s",
            params=[database.name],
        )
        self.server.psql(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database.name)))


class OwnClusters:
    """Makes servers that a test may do anything to."""

    def __init__(self, workspace: Workspace, installation: Installation) -> None:
        self._workspace = workspace
        self._installation = installation
        self._made: list[Server] = []

    def __call__(self, settings: Mapping[str, str] | None = None) -> Server:
        """A running server with these settings besides the usual ones."""
        return self._started(self._workspace.cluster(self._installation, settings))

    def standby(self, primary: Server, settings: Mapping[str, str] | None = None) -> Server:
        """A running standby that streams from `primary`."""
        folder = self._workspace.new_folder("standby")
        primary.cluster.account.make_folder(folder)
        cluster = replace(
            primary.cluster,
            folder=folder,
            port=free_port(),
            socket_dir=folder / "s",
            settings=dict(primary.cluster.settings) | dict(settings or {}),
        )
        cluster.account.run([
            cluster.installation.program("pg_basebackup"), "--dbname", primary.dsn(),
            "--pgdata", cluster.data, "--write-recovery-conf", "--checkpoint=fast", "--no-sync",
        ])  # fmt: skip
        return self._started(cluster)

    def remove(self) -> None:
        """End and remove them all."""
        for server in self._made:
            if server.cluster.running():
                server.thaw()
                server.stop("immediate")
            shutil.rmtree(server.cluster.folder, ignore_errors=True)

    def _started(self, cluster: PrivateCluster) -> Server:
        server = Server(cluster)
        self._made.append(server)
        cluster.start()
        return server


def execute(dsn: str, statement: Statement, params: Sequence[Any] | None = None) -> Rows:
    """The rows that a statement answers with, on a connection of its own that commits."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        query = statement.encode() if isinstance(statement, str) else statement
        cursor = connection.execute(query, params)
        return cursor.fetchall() if cursor.description else []


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Return when the condition holds; fail when it does not for long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def chosen_installations(everything: bool) -> list[Installation]:
    """The servers to test on, newest first: the newest and the oldest found, or all."""
    found = [each for each in find_installations() if each.major in SUPPORTED]
    return found if everything or len(found) < 3 else [found[0], found[-1]]


def _roomy_folder() -> Path:
    for folder in (Path("/dev/shm"), Path(tempfile.gettempdir()), Path("/var/tmp")):
        if _suits(folder):
            return folder
    raise OSError("no temporary folder has 1 GB free and may hold programs")


def _suits(folder: Path) -> bool:
    if not os.access(folder, os.W_OK | os.X_OK) or not fits_a_socket(
        folder / "pgtui-12345678" / "standbygw00-000" / "s"
    ):
        return False
    space = os.statvfs(folder)
    return space.f_bavail * space.f_frsize >= SPACE_NEEDED and not space.f_flag & os.ST_NOEXEC
