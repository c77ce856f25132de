"""Servers of every kind are found, and whether they run is not to be fooled about."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from backend.cluster.discovery import Cluster, Found, discover, understand
from backend.cluster.scan import look, read
from backend.core.errors import Failed, Refused
from backend.core.local import LocalHost
from backend.core.session import Session
from backend.core.ssh import SshHost
from backend.core.target import Target
from tests.core.hosts.test_run_as import login_account
from tests.ports import free_port
from tests.rooms.cluster.kinds import Common, Operating, Subject, common, operating, subject
from tests.servers import OwnClusters, Server, until
from tests.sshd import Options, Sshd, own_sshd, sshd

__all__ = ["common", "operating", "own_sshd", "sshd", "subject"]

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can look as somebody else")


@pytest.fixture
async def find() -> AsyncIterator[Callable[..., object]]:
    """Discovers the servers of this machine for a target."""
    opened: list[Session] = []

    async def found(dsn: str, **more: str | dict[str, str]) -> Found:
        opened.append(Session(Target("t", dsn, **more), LocalHost()))  # type: ignore[arg-type]
        return await discover(opened[-1])

    yield found
    for session in opened:
        await session.close()


def lsclusters(common: Common) -> str:
    """What pg_lsclusters says."""
    return subprocess.run(
        ["pg_lsclusters", "--no-header"], capture_output=True, text=True, check=True,
        env=os.environ | {"PG_CLUSTER_CONF_ROOT": str(common.root)},
    ).stdout  # fmt: skip


def asleep() -> subprocess.Popen[bytes]:
    """Another program that lives."""
    return subprocess.Popen(["sleep", "60"])


def at(found: Found, data: Path) -> Cluster:
    [cluster] = [c for c in found.clusters if c.data == str(data)]
    return cluster


async def test_a_server_of_each_kind_is_found_down_and_up(subject: Subject, operating: Operating) -> None:
    console = operating(subject)
    down = (await discover(console.session)).pick()
    assert re.fullmatch(subject.called, down.name)
    assert (down.kind, down.state, down.own) == (subject.kind, "down", True)
    assert (down.port, down.pid, down.role) == (subject.port, None, "primary")
    assert down.bin == str(subject.bindir)
    assert down.owner == subject.data.owner()
    assert down.start_mode == ("manual" if subject.kind == "debian" else None)

    await console.done("cluster.start")
    up = (await discover(console.session)).pick(str(subject.data))
    assert (up.state, up.own, up.pid, up.port) == ("up", True, subject.pid(), subject.port)
    [(config, hba, identifier)] = subject.ask(
        "SELECT current_setting('config_file'), current_setting('hba_file'), system_identifier::text"
        " FROM pg_control_system()"
    )
    assert (up.config_file, up.hba_file, up.system_identifier) == (config, hba, identifier)


async def test_a_server_is_recognised_as_the_targets_own_by_what_it_says(
    server: Server, find: Callable[..., object], own_cluster: OwnClusters
) -> None:
    other = own_cluster()
    found = await find(server.dsn())  # type: ignore[misc]
    assert at(found, server.data).own
    assert not at(found, other.data).own
    assert found.pick().data == str(server.data)


async def test_a_server_that_is_down_is_the_targets_own_by_its_socket(
    own_cluster: OwnClusters, find: Callable[..., object], server: Server
) -> None:
    ours = own_cluster()
    ours.stop()
    for more in ({"cluster": {"data": str(ours.data)}}, {}):
        # Named in the inventory, or found beside the servers that run.
        found = await find(ours.dsn(), **more)  # type: ignore[misc]
        assert at(found, ours.data).own
        assert at(found, ours.data).state == "down"
    assert not at(found, server.data).own
    with pytest.raises(Refused, match="cannot be told"):
        (await find(f"host={ours.socket_dir} port=1")).pick()  # type: ignore[misc]


async def test_a_running_server_that_pg_lsclusters_calls_down_is_up(
    common: Common, operating: Operating
) -> None:
    subject = common.make("orders")
    console = operating(subject)
    await console.done("cluster.start")
    file = common.root / str(common.major) / "orders" / "postgresql.conf"
    file.write_text(file.read_text().replace(f"port = {subject.port}", f"port = {free_port()}"))
    assert " down " in lsclusters(common)
    found = (await discover(console.session)).pick()
    assert (found.state, found.pid, found.port) == ("up", subject.pid(), subject.port)


async def test_a_port_that_another_server_answers_on_proves_nothing(
    common: Common, operating: Operating
) -> None:
    first, second = common.make("first"), common.make("second")
    file = common.root / str(common.major) / "second" / "postgresql.conf"
    file.write_text(file.read_text().replace(f"port = {second.port}", f"port = {first.port}"))
    console = operating(first)
    await console.done("cluster.start")
    found = await discover(console.session)
    assert found.pick(first.name).state == "up"
    assert found.pick(second.name).state == "down"


async def test_a_killed_server_is_crashed(own_cluster: OwnClusters, find: Callable[..., object]) -> None:
    server = own_cluster()
    server.kill()
    until(lambda: not server.cluster.running())
    found = at(await find(server.dsn(), cluster={"data": str(server.data)}), server.data)  # type: ignore[misc]
    assert (found.state, found.pid) == ("crashed", None)


async def test_a_pid_that_now_belongs_to_another_program_is_not_the_server(
    own_cluster: OwnClusters, find: Callable[..., object]
) -> None:
    server, other = own_cluster(), own_cluster()
    server.kill()
    until(lambda: not server.cluster.running())
    file = server.data / "postmaster.pid"
    lines = file.read_text().split("\n")
    sleeper = asleep()
    try:
        for pid in (sleeper.pid, other.cluster.pid()):
            file.write_text("\n".join([str(pid), *lines[1:]]))
            found = await find(server.dsn(), cluster={"data": str(server.data)})  # type: ignore[misc]
            assert at(found, server.data).state == "crashed"
            assert at(found, other.data).state == "up"
    finally:
        sleeper.kill()
        sleeper.wait()


async def test_a_server_without_its_pid_file_still_runs(
    own_cluster: OwnClusters, find: Callable[..., object]
) -> None:
    server = own_cluster()
    file = server.data / "postmaster.pid"
    kept = file.read_bytes()
    file.unlink()
    try:
        found = at(await find(server.dsn()), server.data)  # type: ignore[misc]
        assert (found.state, found.pid_file) == ("up", None)
    finally:
        file.write_bytes(kept)
        server.cluster.account.own(file)


async def test_a_frozen_server_is_up_and_does_not_hold_up_the_view(
    own_cluster: OwnClusters, find: Callable[..., object]
) -> None:
    server = own_cluster()
    pid = server.cluster.pid()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        found = await find(server.dsn(), cluster={"data": str(server.data)})  # type: ignore[misc]
        assert at(found, server.data).state == "up"
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_a_standby_is_told_from_a_primary(
    own_cluster: OwnClusters, find: Callable[..., object]
) -> None:
    primary = own_cluster()
    standby = own_cluster.standby(primary)
    found = await find(standby.dsn())  # type: ignore[misc]
    assert (at(found, primary.data).role, at(found, primary.data).own) == ("primary", False)
    assert (at(found, standby.data).role, at(found, standby.data).own) == ("standby", True)


async def test_the_same_is_found_over_ssh(
    common: Common, operating: Operating, own_sshd: Callable[[Options], Sshd], server: Server
) -> None:
    subject = common.make("far")
    far = own_sshd({"SetEnv": f"PG_CLUSTER_CONF_ROOT={common.root}"})
    target = Target("far", subject.dsn, ssh=far.host)
    session = Session(target, SshHost(far.host, config=far.ssh_config))
    try:
        found = await discover(session)
        assert (found.pick(subject.name).state, found.pick(subject.name).own) == ("down", True)
        assert at(found, server.data).state == "up"
        await operating(subject).done("cluster.start")
        session.retry_now()
        assert ((await discover(session)).pick().name, found.own) == (subject.name, found.pick(subject.name))
    finally:
        await session.close()


@as_root
@pytest.mark.skipif(shutil.which("sudo") is None, reason="sudo is not installed")
async def test_a_missing_sudo_rule_is_told_and_what_can_be_seen_without_it_is_shown(
    server: Server, sshd: Sshd
) -> None:
    user = login_account()
    target = Target("far", server.dsn(), ssh=sshd.host, run_as="nobody")
    session = Session(target, SshHost(sshd.host, config=sshd.client(f"as_{user}", {"User": user})))
    try:
        found = await discover(session)
        assert (at(found, server.data).state, found.user) == ("up", user)
        assert found.notes[0] == (
            f"{user} may not run sh as nobody on host db1; a sudoers line that allows it:"
            f" {user} ALL=(nobody) NOPASSWD: ALL"
        )
    finally:
        await session.close()


@as_root
async def test_without_rights_a_running_server_is_known_and_what_is_hidden_is_told(
    server: Server, own_cluster: OwnClusters, find: Callable[..., object]
) -> None:
    down = own_cluster()
    down.stop()
    found = await find(  # type: ignore[misc]
        server.dsn(), run_as="nobody", cluster={"data": str(server.data)}
    )
    seen = at(found, server.data)
    assert (seen.state, seen.pid) == ("up", server.cluster.pid())
    assert (seen.control, seen.configured) == ({}, {})
    owner = server.data.owner()
    # Other accounts may have servers here too, such as in containers.
    assert (
        f'nobody may not read what belongs to {owner} on this machine; run_as = "{owner}" in the inventory'
        f" and this sudoers line show it: nobody ALL=({owner}) NOPASSWD: ALL"
    ) in found.notes


@as_root
async def test_a_server_that_is_down_behind_closed_doors_is_unknown(
    own_cluster: OwnClusters, server: Server
) -> None:
    down = own_cluster()
    down.stop()
    target = Target("t", run_as="nobody", cluster={"data": str(down.data)})
    # Its folder lets nobody in, so that not even its name is found by a pattern.
    scan = await look(LocalHost(), target, (str(down.data.parent.parent / "*"),))
    assert str(down.data) not in [c.data for c in understand(scan).clusters]


@pytest.fixture
def contained(own_cluster: OwnClusters) -> Iterator[Server]:
    """A server among processes of its own, as in a container."""
    server = own_cluster()
    server.stop()
    account = server.cluster.account
    words = ["setpriv", f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups"]
    program = [str(server.cluster.installation.bindir / "postgres"), "-D", str(server.data)]
    running = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--kill-child", *words, *program], stderr=subprocess.DEVNULL
    )
    until(lambda: answers(server))
    yield server
    running.kill()
    running.wait()


def answers(server: Server) -> bool:
    with contextlib.suppress(psycopg.OperationalError):
        return bool(server.psql("SELECT 1"))
    return False


@as_root
async def test_what_a_container_runs_is_no_server_of_the_host(
    contained: Server, server: Server, find: Callable[..., object]
) -> None:
    found = await find(server.dsn())  # type: ignore[misc]
    assert found.own.data == str(server.data)
    assert not any(c.data == str(contained.data) and c.running for c in found.clusters)
    found = await find(contained.dsn())  # type: ignore[misc]
    assert found.own is None
    assert found.notes[-1].startswith("what runs in containers (")


async def test_an_answer_that_breaks_off_is_no_answer() -> None:
    with pytest.raises(Failed, match="breaks off"):
        read(b"user\0root\0now")
