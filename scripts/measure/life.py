"""Starting, restarting and stopping a server: pg_ctl and pg_ctlcluster beside pgtui, as whole processes.

`PYTHONPATH=scripts:. python -m measure.life` measures it alone and prints it.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.lab.account import server_account
from backend.lab.cluster import PrivateCluster, free_port
from backend.lab.servers import find_installations, preferred
from measure.processes import whole
from measure.programs import Console, consoles
from measure.report import Row
from measure.trials import median

VERBS = ("start", "restart", "stop")
TIMES = 5
NAME = "measured"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A server that is down, and the commands of its own program and of pgtui for each verb."""

    what: str
    program: str
    theirs: Mapping[str, Sequence[str]]
    ours: Mapping[str, Sequence[str]]
    environment: Mapping[str, str]


def rows(console: Console, times: int = TIMES) -> list[Row]:
    """What is found, as lines of the report's table, for each kind of server that the machine can have."""
    with _home() as home:
        told = _measured(_plain(home, console), times)
        if os.geteuid() == 0 and shutil.which("pg_createcluster"):
            told += _measured(_common(home, console), times)
    return told


def _measured(candidate: Candidate, times: int) -> list[Row]:
    """Both take turns; the first time only warms the caches."""
    found: dict[tuple[str, str], list[float]] = {}
    for attempt in range(times + 1):
        for who, commands in (("theirs", candidate.theirs), ("ours", candidate.ours)):
            for verb in VERBS:
                once = whole(commands[verb], candidate.environment)
                if attempt:
                    found.setdefault((who, verb), []).append(once.wall_ms)
    return [
        Row(
            f"{verb} of {candidate.what}, whole process",
            f"{candidate.program} {median(found['theirs', verb]):.0f} ms",
            f"{median(found['ours', verb]):.0f} ms",
        )
        for verb in VERBS
    ]


def _plain(home: Path, console: Console) -> Candidate:
    """A server of initdb's."""
    installation = preferred(find_installations())
    if installation is None:
        raise SystemExit("there is no PostgreSQL server on this machine; make setup brings one")
    account = server_account()
    if not account.reaches(installation.bindir):
        installation = installation.relocated(home)
    cluster = PrivateCluster(home / "plain", installation, free_port(), home / "s", account=account)
    cluster.create()
    cluster.configure()
    for folder in (cluster.socket_dir, cluster.log.parent):
        account.make_folder(folder)
    # Root does not run a server itself.
    become = ["setpriv", f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups"]
    pg_ctl = [
        *(become if account.dropped else []),
        str(installation.program("pg_ctl")), "-D", str(cluster.data), "-l", str(cluster.log), "-w",
    ]  # fmt: skip
    theirs = {verb: [*pg_ctl, verb] for verb in VERBS}
    target = {"data": str(cluster.data), "bin": str(installation.bindir)}
    ours = _ours(home / "plain.toml", console, cluster.dsn(), target)
    return Candidate("a server", "pg_ctl", theirs, ours, console.environment)


def _common(home: Path, console: Console) -> Candidate:
    """A server of postgresql-common, in a configuration root of its own."""
    account, port = server_account(), free_port()
    for folder in ("etc", "data"):
        (home / folder).mkdir()
        account.own(home / folder)
    installation = next(i for i in find_installations() if i.bindir.is_relative_to("/usr/lib/postgresql"))
    version = str(installation.major)
    environment = {**console.environment, "PG_CLUSTER_CONF_ROOT": str(home / "etc")}
    user = pwd.getpwuid(account.uid).pw_name
    subprocess.run(
        ["pg_createcluster", "--user", user, "--port", str(port), "--datadir", home / "data" / NAME,
         "--socketdir", home / "s", "--logfile", home / "common.log", "--start-conf", "manual",
         version, NAME, "--", "--auth=trust"],
        env=environment, cwd="/", check=True, capture_output=True,
    )  # fmt: skip
    theirs = {verb: ["pg_ctlcluster", version, NAME, verb] for verb in VERBS}
    dsn = f"host={home / 's'} port={port} user={user} dbname=postgres"
    ours = _ours(home / "common.toml", console, dsn, {"data": str(home / "data" / NAME)})
    return Candidate("a server of Debian's", "pg_ctlcluster", theirs, ours, environment)


def _ours(
    inventory: Path, console: Console, dsn: str, cluster: Mapping[str, str]
) -> dict[str, Sequence[str]]:
    """The commands of pgtui, and the inventory that tells it where the server is."""
    lines = [f'[target.{NAME}]\ndsn = "{dsn}"\n[target.{NAME}.cluster]\n']
    inventory.write_text("".join([*lines, *(f'{key} = "{value}"\n' for key, value in cluster.items())]))
    program = str(console.python.with_name("pgtui"))
    given = ["-t", NAME, "--inventory", str(inventory), "-o", "json", "--yes"]
    return {verb: [program, "run-action", f"cluster.{verb}", *given] for verb in VERBS}


@contextlib.contextmanager
def _home() -> Iterator[Path]:
    """A folder for both, gone afterwards with what still runs there."""
    home = Path(tempfile.mkdtemp(prefix="pgtui-bench-"))
    home.chmod(0o711)
    try:
        yield home
    finally:
        for file in [*home.glob("plain/data/postmaster.pid"), *home.glob("data/*/postmaster.pid")]:
            subprocess.run(["kill", "-QUIT", file.read_text().split("\n")[0]], check=False)
        shutil.rmtree(home, ignore_errors=True)


def main() -> int:
    """Measure it alone."""
    print(*rows(consoles()[-1]), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
