"""SQL to servers that listen only on another machine."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from backend.core.errors import Unreachable, Usage
from backend.core.folders import runtime_folder
from backend.core.host import Forward
from backend.core.ssh import SshHost
from tests.core.hosts.conftest import Connect
from tests.core.hosts.test_hosts import names
from tests.core.hosts.test_run_as import login_account
from tests.core.hosts.test_ssh_host import OwnSshd
from tests.ports import free_port
from tests.servers import OwnClusters, Server, Workspace
from tests.sshd import Sshd


async def answer(way: Forward, question: str = "SELECT 42") -> object:
    """What the server says at the end of the way."""
    dsn = make_conninfo("user=dba dbname=postgres", **way.conninfo)
    connection = await psycopg.AsyncConnection.connect(dsn)
    async with connection:
        row = await (await connection.execute(question.encode())).fetchone()
        return row[0] if row else None


def mode(path: Path) -> int:
    """Who may use it."""
    return path.stat().st_mode & 0o777


async def test_a_server_that_listens_only_on_its_socket_is_reached(ssh_host: SshHost, server: Server) -> None:
    way = await ssh_host.forward(str(server.socket_dir), server.cluster.port)

    assert await answer(way, "SHOW listen_addresses") == ""
    assert way.hostaddr is None
    assert way.host != str(server.socket_dir)
    assert mode(Path(way.host)) == 0o700


async def test_asking_again_answers_the_same_way(ssh_host: SshHost, server: Server) -> None:
    first = await ssh_host.forward(str(server.socket_dir), server.cluster.port)

    assert await ssh_host.forward(str(server.socket_dir), server.cluster.port) == first


async def test_a_way_is_laid_again_at_the_same_place_when_the_connection_broke(
    own_sshd: OwnSshd, connect: Connect, server: Server
) -> None:
    sshd = own_sshd({})
    host = connect(sshd)
    first = await host.forward(str(server.socket_dir), server.cluster.port)
    sshd.drop_connections()

    second = await host.forward(str(server.socket_dir), server.cluster.port)

    assert second == first
    assert await answer(second) == 42


async def test_closing_takes_the_ways_away(connect: Connect, sshd: Sshd, server: Server) -> None:
    host = connect(sshd)
    await host.forward(str(server.socket_dir), server.cluster.port)

    await host.close()

    assert names(runtime_folder()) == []


async def test_a_server_on_a_port_keeps_its_name(ssh_host: SshHost, own_cluster: OwnClusters) -> None:
    server = own_cluster({"listen_addresses": "127.0.0.1"})

    way = await ssh_host.forward("localhost", server.cluster.port)

    assert (way.host, way.hostaddr) == ("localhost", "127.0.0.1")
    assert way.port != server.cluster.port
    assert await answer(way, "SELECT pg_catalog.inet_server_port()") == server.cluster.port


async def test_two_servers_have_two_ways(ssh_host: SshHost, server: Server, own_cluster: OwnClusters) -> None:
    other = own_cluster({})

    ways = [await ssh_host.forward(str(s.socket_dir), s.cluster.port) for s in (server, other)]

    assert [await answer(way, "SHOW port") for way in ways] == [
        str(server.cluster.port),
        str(other.cluster.port),
    ]


async def test_a_socket_folder_with_an_awkward_name_is_reached(
    ssh_host: SshHost, server: Server, tmp_path: Path
) -> None:
    folder = tmp_path / "a:b %h 'c' \\d"
    folder.symlink_to(server.socket_dir)

    assert await answer(await ssh_host.forward(str(folder), server.cluster.port)) == 42


async def test_a_missing_socket_is_told(ssh_host: SshHost, tmp_path: Path) -> None:
    with pytest.raises(Unreachable) as caught:
        await ssh_host.forward(str(tmp_path), 5999)

    assert str(caught.value) == f"no server listens on host db1 at port 5999 in {tmp_path}"
    assert "unix_socket_directories" in (caught.value.hint or "")


async def test_the_usual_folders_are_searched_when_none_is_given(ssh_host: SshHost) -> None:
    with pytest.raises(Unreachable, match="no server listens on host db1 at port 1 in the usual folders"):
        await ssh_host.forward("", 1)


async def test_a_socket_that_nobody_serves_is_told(ssh_host: SshHost, workspace: Workspace) -> None:
    folder = workspace.new_folder("stale")
    folder.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(f"{folder}/.s.PGSQL.5432")

    with pytest.raises(Unreachable, match=r"no server answers at .*/.s.PGSQL.5432 on host db1"):
        await ssh_host.forward(str(folder), 5432)


async def test_a_server_that_comes_later_is_reached_then(ssh_host: SshHost, own_cluster: OwnClusters) -> None:
    server = own_cluster({})
    server.cluster.stop("immediate")
    with pytest.raises(Unreachable):
        await ssh_host.forward(str(server.socket_dir), server.cluster.port)

    server.cluster.start()

    way = await ssh_host.forward(str(server.socket_dir), server.cluster.port)
    assert await answer(way) == 42


async def test_a_port_where_nobody_listens_is_told(ssh_host: SshHost) -> None:
    port = free_port()

    with pytest.raises(Unreachable, match=f"no server answers at localhost port {port} on host db1"):
        await ssh_host.forward("localhost", port)


async def test_an_sshd_that_forbids_forwards_is_told(
    own_sshd: OwnSshd, connect: Connect, server: Server
) -> None:
    host = connect(own_sshd({"DisableForwarding": "yes"}))

    with pytest.raises(Unreachable, match=r"no server answers at .*open failed\)") as caught:
        await host.forward(str(server.socket_dir), server.cluster.port)

    assert "AllowStreamLocalForwarding" in (caught.value.hint or "")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can log in as somebody else here")
async def test_a_folder_that_is_closed_to_us_is_told(
    sshd: Sshd, connect: Connect, workspace: Workspace
) -> None:
    folder = workspace.new_folder("closed")
    folder.mkdir(mode=0o700)
    user = login_account()
    host = connect(sshd, sshd.client("closed", {"User": user}))

    with pytest.raises(Unreachable, match=f"{user} may not use {folder} on host db1"):
        await host.forward(str(folder), 5432)


@pytest.mark.parametrize("port", [0, 65536])
async def test_what_is_no_port_is_refused(ssh_host: SshHost, port: int) -> None:
    with pytest.raises(Usage, match=f"{port} is not a port"):
        await ssh_host.forward("", port)
