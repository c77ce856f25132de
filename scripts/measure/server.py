"""The private server that is looked at, the sessions that keep it busy, and what each role cost it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from backend.lab.account import clean_environment, server_account
from backend.lab.cluster import PrivateCluster, free_port
from backend.lab.servers import find_installations, preferred

SESSIONS = 200
VICTIM = "victim"
# Role names cannot begin with pg_.
ROLES = {"pg_activity": "by_pg_activity", "pgtui": "by_pgtui"}
SETTINGS = {
    "fsync": "off",
    "max_connections": "250",
    "shared_buffers": "128MB",
    "shared_preload_libraries": "pg_stat_statements",
    "autovacuum": "off",
}
# Each session is nearly always inside a transaction that waits; about 200 of them end in a second.
SCRIPT = """\\set aid random(1, 100000)
\\set pause random(200, 1800)
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = :aid;
SELECT pg_sleep(:pause / 1000.0);
END;
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a role's statements cost the server."""

    statements: int
    milliseconds: float


class Server:
    """A running server with a role for each console."""

    def __init__(self, cluster: PrivateCluster) -> None:
        self.cluster = cluster
        self._fill()

    @property
    def version(self) -> str:
        """Its version and where it comes from."""
        return f"{self.cluster.installation.version} ({self.cluster.installation.origin})"

    @property
    def address(self) -> tuple[str, str]:
        """Its socket folder and its port."""
        return str(self.cluster.socket_dir), str(self.cluster.port)

    def dsn(self, user: str) -> str:
        """How that role connects."""
        folder, port = self.address
        return f"host={folder} port={port} user={user} dbname=postgres"

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Hold 200 sessions within short transactions."""
        script = self.cluster.folder / "load.sql"
        script.write_text(SCRIPT)
        folder, port = self.address
        pgbench = subprocess.Popen(
            [str(self.cluster.installation.program("pgbench")), "-h", folder, "-p", port, "-U", "dba", "-n",
             "-c", str(SESSIONS), "-j", "2", "-T", "36000", "-f", str(script), "postgres"],
            env=clean_environment({}) | {"PATH": "/usr/bin:/bin"}, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            self._await_sessions()
            yield
        finally:
            pgbench.terminate()
            pgbench.wait()

    @contextlib.contextmanager
    def victim(self) -> Iterator[int]:
        """A session whose statement can be cancelled again and again; its process id."""
        with tempfile.TemporaryFile() as lines:
            # psql goes on with the next line when the statement of the one before was cancelled.
            lines.write(b"SELECT pg_sleep(3600);\n" * 1000)
            lines.seek(0)
            sleeper = subprocess.Popen(
                [
                    str(self.cluster.installation.program("psql")),
                    "-qX",
                    self.dsn(f"dba application_name={VICTIM}"),
                ],
                stdin=lines,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        try:
            yield self._victim_pid()
        finally:
            sleeper.kill()
            sleeper.wait()

    def forget_costs(self) -> None:
        """Begin to count anew."""
        self.execute("SELECT pg_stat_statements_reset()")

    def cost(self, console: str) -> Cost:
        """What the console's statements have cost since then."""
        [(calls, spent)] = self.execute(
            "SELECT coalesce(sum(s.calls), 0)::int8, coalesce(sum(s.total_exec_time), 0)::float8"
            "  FROM pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid WHERE r.rolname = %s",
            ROLES[console],
        )
        return Cost(calls, spent)

    def execute(self, statement: str, *params: object) -> list[tuple[Any, ...]]:
        """The rows that a statement answers with, if it does."""
        with psycopg.connect(self.cluster.dsn(), autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), params or None)
            return cursor.fetchall() if cursor.description else []

    def _fill(self) -> None:
        self.execute("CREATE EXTENSION pg_stat_statements")
        with psycopg.connect(self.cluster.dsn(), autocommit=True) as connection:
            for role in ROLES.values():
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
                connection.execute(sql.SQL("GRANT pg_monitor TO {}").format(sql.Identifier(role)))
        folder, port = self.address
        self.cluster.account.run(
            [
                self.cluster.installation.program("pgbench"),
                "-h",
                folder,
                "-p",
                port,
                "-U",
                "dba",
                "-i",
                "-q",
                "postgres",
            ]
        )

    def _victim_pid(self) -> int:
        while True:
            found = self.execute("SELECT pid FROM pg_stat_activity WHERE application_name = %s", VICTIM)
            if found:
                return int(found[0][0])
            time.sleep(0.05)

    def _await_sessions(self) -> None:
        while True:
            [(count, _)] = self.execute(
                "SELECT count(*), 0 FROM pg_stat_activity"
                " WHERE application_name = 'pgbench' AND state <> 'idle'"
            )
            if count > SESSIONS * 0.9:
                return
            time.sleep(0.2)


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """A server in a folder of its own, gone afterwards."""
    installation = preferred(find_installations())
    if installation is None:
        raise SystemExit("there is no PostgreSQL server on this machine; make setup brings one")
    account = server_account()
    home = Path(tempfile.mkdtemp(prefix="pgtui-bench-"))
    home.chmod(0o711)
    if not account.reaches(installation.bindir):
        installation = installation.relocated(home)
    folder = home / "server"
    cluster = PrivateCluster(folder, installation, free_port(), home / "s", SETTINGS, account=account)
    try:
        cluster.create()
        cluster.start()
        yield Server(cluster)
    finally:
        cluster.end()
        shutil.rmtree(home, ignore_errors=True)
