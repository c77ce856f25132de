"""Servers of another account on another host: all goes through one SSH connection and sudo."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from backend.cluster.discovery import discover
from backend.core.errors import Missing
from backend.core.session import Session
from backend.core.ssh import SshHost
from backend.core.target import Target
from backend.lab.servers import find_installations
from tests.rooms.cluster.kinds import Common, Operator, Subject
from tests.servers import Workspace
from tests.sshd import Options, Sshd, own_sshd

__all__ = ["own_sshd"]

RULES = Path("/etc/sudoers.d")
PGTUI = Path(sys.executable).with_name("pgtui")


def lacking() -> str:
    """What this machine lacks for such a test; empty when it has everything."""
    if os.getuid() != 0:
        return "only root can make an account that logs in, and a sudo rule for it"
    programs = ("sudo", "sshd", "useradd", "userdel")
    missing = [name for name in programs if shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") is None]
    return f"not installed: {', '.join(missing)}" if missing else ""


@pytest.fixture(scope="module")
def operator_account() -> Iterator[str]:
    """An account that owns nothing, can log in, and has no sudo rule."""
    if reason := lacking():
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    name = f"pgtuitest{os.environ.get('PYTEST_XDIST_WORKER', '')}"
    with contextlib.suppress(KeyError):  # a run that was killed has left it
        pwd.getpwnam(name)
        subprocess.run(["userdel", "--force", name], check=True, capture_output=True)
    words = ("useradd", "--system", "--no-create-home", "--home-dir", "/", "--shell", "/bin/sh", name)
    subprocess.run(words, check=True, capture_output=True)
    yield name
    subprocess.run(["userdel", "--force", name], check=True, capture_output=True)


@pytest.fixture
def rules(operator_account: str) -> Iterator[Callable[[str], None]]:
    """Makes a line of the sudoers file the account's only rule, once visudo finds it right."""
    file = RULES / operator_account

    def write(line: str) -> None:
        # Private servers of postgresql-common are found by this variable, which sudo takes away.
        kept = f'Defaults:{operator_account} env_keep += "PG_CLUSTER_CONF_ROOT"\n'
        fresh = RULES / f"{operator_account}.new"  # names with a dot are not read
        fresh.write_text(f"{kept}{line}\n")
        fresh.chmod(0o440)
        subprocess.run(["visudo", "-c", "-q", "-f", fresh], check=True)
        fresh.rename(file)

    yield write
    file.unlink(missing_ok=True)


@pytest.fixture
def allow(operator_account: str, rules: Callable[[str], None]) -> Callable[[str], None]:
    """Gives the account the rule that lets it run all programs of another account."""
    return lambda owner: rules(f"{operator_account} ALL=({owner}) NOPASSWD: ALL")


@dataclass
class Far:
    """A server that is down, on a host where we are somebody without rights."""

    subject: Subject
    owner: str
    console: Operator
    user: str
    client: Path


@pytest.fixture(params=["debian", "plain"])
async def far(
    request: pytest.FixtureRequest,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    operator_account: str,
    own_sshd: Callable[[Options], Sshd],
) -> AsyncIterator[Far]:
    """The server as the account sees it, for each kind."""
    with contextlib.ExitStack() as cleanup:
        environment = _state(workspace, operator_account)
        if request.param == "debian":
            common = Common(workspace)
            cleanup.callback(common.remove)
            monkeypatch.setenv("PG_CLUSTER_CONF_ROOT", str(common.root))
            environment += f" PG_CLUSTER_CONF_ROOT={common.root}"
            subject = common.make("orders")
        else:
            subject = _plain(workspace, cleanup)
        there = own_sshd({"SetEnv": environment})
        owner = subject.data.owner()
        target = Target(
            "far",
            make_conninfo(subject.dsn, host="127.0.0.1"),
            ssh=there.host,
            run_as=owner,
            cluster={"data": str(subject.data), "bin": str(subject.bindir)},
        )
        client = there.client("as_account", {"User": operator_account})
        session = Session(target, SshHost(there.host, config=client))
        yield Far(subject, owner, Operator(session), operator_account, client)
        await session.close()


def _state(workspace: Workspace, account: str) -> str:
    """A state folder of the account's own, as sshd's SetEnv wants it."""
    folder = workspace.new_folder("state")
    folder.mkdir(mode=0o700)
    os.chown(folder, pwd.getpwnam(account).pw_uid, -1)
    return f"XDG_STATE_HOME={folder}"


def _plain(workspace: Workspace, cleanup: contextlib.ExitStack) -> Subject:
    """A server of initdb's; nobody but its owner can enter the folder of its socket."""
    installation = find_installations()[0]
    cluster = workspace.cluster(installation, {"listen_addresses": "127.0.0.1"})
    cleanup.callback(shutil.rmtree, cluster.folder, ignore_errors=True)
    cleanup.callback(cluster.end)
    cluster.configure()
    cluster.account.make_folder(cluster.socket_dir)
    name = f"{installation.major}/{cluster.folder.name}"
    bindir = cluster.installation.bindir
    return Subject("plain", name, cluster.data, cluster.dsn(), bindir, cluster.port)


@dataclass(frozen=True)
class AsItIs:
    """All of a file that a change must keep."""

    content: bytes
    owner: str
    mode: int


def as_it_is(path: str) -> AsItIs:
    """The file now."""
    return AsItIs(Path(path).read_bytes(), Path(path).owner(), Path(path).stat().st_mode)


async def test_a_server_of_another_account_is_found_started_restarted_and_stopped(
    far: Far, allow: Callable[[str], None]
) -> None:
    allow(far.owner)
    subject, console = far.subject, far.console
    found = await discover(console.session)
    down = found.pick()
    assert re.fullmatch(subject.called, down.name)
    assert (found.user, down.kind, down.state) == (far.owner, subject.kind, "down")
    assert not [note for note in found.notes if f"belongs to {far.owner} " in note]

    told = await console.done("cluster.start")
    first = subject.pid()
    assert first is not None
    assert (told["done"], told["pid"]) == ("started", first)
    assert subject.ask("SELECT 1") == [(1,)]
    assert (await discover(console.session)).pick().state == "up"

    told = await console.done("cluster.restart")
    second = subject.pid()
    assert second not in (None, first)
    assert (told["done"], told["pid"]) == ("restarted", second)

    told = await console.done("cluster.stop")
    assert told["done"] == "stopped"
    assert subject.pid() is None
    assert not (subject.data / "postmaster.pid").exists()


async def test_its_settings_are_tried_changed_and_loaded(far: Far, allow: Callable[[str], None]) -> None:
    allow(far.owner)
    subject, console = far.subject, far.console
    await console.done("cluster.start")

    told = await console.done("cluster.set", name="work_mem", value="7MB")
    assert (told["value"], told["restart"]) == ("7168", False)
    assert subject.ask("SHOW work_mem") == [("7MB",)]
    error = await console.refused("cluster.set", name="shared_preload_libraries", value="no_such_library")
    assert "the server would not start again" in error.message
    assert "no_such_library" in error.message
    await console.done("cluster.reset", name="work_mem")
    assert subject.ask("SHOW work_mem") == [("4MB",)]

    with (subject.data / "postgresql.auto.conf").open("a") as file:
        file.write("maintenance_work_mem = '77MB'\n")
    await console.done("cluster.reload")
    assert subject.ask("SHOW maintenance_work_mem") == [("77MB",)]


async def test_its_rules_of_access_are_changed_and_stay_its_owners(
    far: Far, allow: Callable[[str], None]
) -> None:
    allow(far.owner)
    subject, console = far.subject, far.console
    await console.done("cluster.start")
    [(name,)] = subject.ask("SHOW hba_file")
    before = as_it_is(name)
    assert before.owner == far.owner

    told = await console.done(
        "cluster.add_hba_rule",
        type="host", database="all", user="shop", address="10.1.0.0/16", method="scram-sha-256",
    )  # fmt: skip
    assert subject.ask(
        f"SELECT user_name, address FROM pg_hba_file_rules WHERE line_number = {told['line']}"
    ) == [(["shop"], "10.1.0.0")]
    changed = as_it_is(name)
    assert (changed.owner, changed.mode) == (before.owner, before.mode)

    await console.done("cluster.remove_hba_rule", line=told["line"])
    assert as_it_is(name) == before


async def test_without_the_rule_nothing_is_done_and_the_sudoers_line_is_told(far: Far) -> None:
    error = await far.console.refused("cluster.start")
    assert isinstance(error, Missing)
    told = f"{error.message}; {error.hint}"
    assert f"{far.user} ALL=({far.owner}) NOPASSWD: ALL" in told
    assert far.subject.pid() is None


@dataclass
class CommandLine:
    """pgtui as somebody types it who reaches the host over SSH."""

    far: Far
    folder: Path

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        """What it answers."""
        ssh = self.folder / "ssh"
        ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {self.far.client} "$@"\n')
        ssh.chmod(0o755)
        target = self.far.console.session.target
        inventory = self.folder / "inventory.toml"
        inventory.write_text(
            f'default = "far"\n[target.far]\ndsn = "{target.dsn}"\nssh = "{target.ssh}"\n'
            f'run_as = "{target.run_as}"\n[target.far.cluster]\n'
            f'data = "{target.cluster["data"]}"\nbin = "{target.cluster["bin"]}"\n'
        )
        changed = {"PATH": f"{self.folder}:{os.environ['PATH']}", "PGTUI_INVENTORY": str(inventory)}
        return subprocess.run(
            [PGTUI, *words], env=os.environ | changed, cwd="/", stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False,
        )  # fmt: skip


async def test_the_line_that_a_refused_stop_prints_is_all_that_it_takes(
    far: Far, allow: Callable[[str], None], rules: Callable[[str], None], tmp_path: Path
) -> None:
    allow(far.owner)
    await far.console.done("cluster.start")
    pid = far.subject.pid()
    pgtui = CommandLine(far, tmp_path)
    rules("")

    refused = pgtui("run-action", "cluster.stop", "--yes")
    assert refused.returncode == 5
    [line] = re.findall(rf"sudoers line.*: ({far.user} ALL=.*)$", refused.stderr, re.MULTILINE)
    assert far.subject.pid() == pid

    rules(line)
    stopped = pgtui("run-action", "cluster.stop", "--yes")
    assert stopped.returncode == 0, stopped.stderr
    assert far.subject.pid() is None


@pytest.mark.parametrize("far", ["debian"], indirect=True)
def test_what_takes_root_is_done_once_the_line_for_root_is_there_too(
    far: Far, allow: Callable[[str], None], rules: Callable[[str], None], tmp_path: Path
) -> None:
    allow(far.owner)
    pgtui, drop = CommandLine(far, tmp_path), ("run-action", "cluster.drop", "--confirm", far.subject.name)
    upgrade = pgtui("run-action", "cluster.upgrade", "--to", "99", "--dry-run")
    assert (upgrade.returncode, f"{far.user} ALL=(root) NOPASSWD: ALL" in upgrade.stderr) == (5, True)
    refused = pgtui(*drop)
    assert refused.returncode == 5
    [line] = re.findall(rf"sudoers line.*: ({far.user} ALL=\(root\).*)$", refused.stderr, re.MULTILINE)
    assert far.subject.data.is_dir()

    rules(f"{far.user} ALL=({far.owner}) NOPASSWD: ALL\n{line}")
    dropped = pgtui(*drop)
    assert dropped.returncode == 0, dropped.stderr
    assert not far.subject.data.exists()
