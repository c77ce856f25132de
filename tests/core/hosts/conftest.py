"""Hosts for the tests: this machine, directly and through a real sshd."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from backend.core.host import Host
from backend.core.local import LocalHost
from backend.core.ssh import SshHost
from tests.sshd import Sshd, own_sshd, sshd

__all__ = ["connect", "host", "own_sshd", "ssh_host", "sshd"]

Connect = Callable[..., SshHost]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Makes hosts behind an SSH server: `connect(sshd)`, `connect(sshd, config)`."""
    made: list[SshHost] = []

    def make(server: Sshd, config: Path | None = None, connect_timeout: float = 20) -> SshHost:
        made.append(SshHost(server.host, config=config or server.ssh_config, connect_timeout=connect_timeout))
        return made[-1]

    yield make
    for each in made:
        await each.close()


@pytest.fixture
def ssh_host(sshd: Sshd, connect: Connect) -> SshHost:
    """This machine, reached over SSH."""
    return connect(sshd)


@pytest.fixture(params=["local", "ssh"])
def host(request: pytest.FixtureRequest) -> Host:
    """This machine, directly and over SSH: what holds for one host holds for the other."""
    if request.param == "local":
        return LocalHost()
    made: SshHost = request.getfixturevalue("ssh_host")
    return made
