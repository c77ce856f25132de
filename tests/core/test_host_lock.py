"""Runs that never reach the server take turns on its host."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.core.declare import Action, Danger
from backend.core.errors import Refused
from backend.core.facts import Needs
from backend.core.host import Host
from backend.core.plan import Command, Plan, Step
from backend.core.run import Run
from backend.core.session import Session
from backend.core.target import Target
from tests.core.conftest import eventually
from tests.core.hosts.conftest import connect, host, own_sshd, ssh_host, sshd

__all__ = ["connect", "host", "own_sshd", "ssh_host", "sshd"]

Prepare = Callable[..., Run]


async def _nothing(session: Session) -> Plan:
    """Do nothing."""
    return Plan("x", ())


def prepared(host: Host, *steps: Step, danger: Danger = Danger.DISRUPT, port: int = 5432) -> Run:
    """A run on a host whose server is not even asked."""
    ssh = None if host.name == "localhost" else host.name
    session = Session(Target("t", f"host=/nowhere port={port}", ssh=ssh), host)
    action = Action("test.restart", _nothing, danger, Needs(sql=False), (), True)
    return Run(session, action, {}, Plan("x", steps, danger=danger))


SLEEP = Command(("sleep", "600"), deadline=3600)
TRUE = Command(("true",))


async def test_a_second_one_is_refused_naming_the_first(host: Host) -> None:
    first = prepared(host, SLEEP)
    running = asyncio.create_task(first.execute())
    await eventually(lambda: _runs(first))
    second = await prepared(host, TRUE).execute()
    assert isinstance(second.error, Refused)
    assert f"another run holds this target's host: test.restart (pid {os.getpid()}, " in second.error.message
    assert second.steps[0].status == "skipped"
    assert (await prepared(host, TRUE, danger=Danger.CHANGE).execute()).error is None
    assert (await prepared(host, TRUE, port=5433).execute()).error is None, "another server of that host"
    await first.cancel()
    await running
    assert (await prepared(host, TRUE).execute()).error is None


async def _runs(run: Run) -> bool:
    return run.report.steps[0].status == "running"


KILLED = """
import asyncio, sys
from pathlib import Path
from backend.core.hostlock import take_host_turn
from backend.core.local import LocalHost
from backend.core.session import Session
from backend.core.ssh import SshHost
from backend.core.target import Target

async def main():
    name, config = sys.argv[1:]
    host = SshHost(name, config=Path(config)) if config else LocalHost()
    session = Session(Target("t", "host=/nowhere port=5432", ssh=name if config else None), host)
    await take_host_turn(session, "test.restart")
    print("held", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


def held_elsewhere(host: Host, config: Path | str) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", KILLED, host.name, str(config)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


async def test_it_ends_with_the_pgtui_that_held_it(host: Host, request: pytest.FixtureRequest) -> None:
    config: Path | str = "" if host.name == "localhost" else request.getfixturevalue("sshd").ssh_config
    child = held_elsewhere(host, config)
    assert child.stdout
    try:
        assert await asyncio.to_thread(child.stdout.readline) == "held\n"
        report = await prepared(host, TRUE).execute()
        assert isinstance(report.error, Refused) and f"pid {child.pid}" in report.error.message
        child.send_signal(signal.SIGKILL)
    finally:
        child.kill()
        child.wait()
        child.stdout.close()

    async def free() -> bool:
        return (await prepared(host, TRUE).execute()).error is None

    await eventually(free)
