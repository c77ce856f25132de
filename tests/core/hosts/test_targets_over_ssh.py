"""A server that listens on its socket alone, operated from another machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from backend.core.errors import PgtuiError
from backend.core.registry import find_action, find_view
from backend.core.run import Run, make_plan
from backend.core.session import Session
from backend.core.ssh import SshHost
from backend.core.target import Target
from tests.servers import Server
from tests.sshd import Sshd


@pytest.fixture
async def far(server: Server, sshd: Sshd) -> AsyncIterator[Session]:
    target = Target("far", dsn=server.dsn("postgres"), ssh=sshd.host)
    session = Session(target, SshHost(sshd.host, config=sshd.ssh_config))
    yield await session.open()
    await session.close()


async def test_shows_the_sessions_of_a_server_that_listens_on_its_socket_alone(
    far: Session, server: Server
) -> None:
    with psycopg.connect(server.dsn("postgres")) as other:
        rows = await find_view("activity.sessions").ask(far)
        assert other.info.backend_pid in [r.pid for r in rows]


async def test_runs_an_action_on_it(far: Session, server: Server) -> None:
    with psycopg.connect(server.dsn("postgres")) as victim:
        victim.execute("SELECT 1")
        action, given = find_action("activity.terminate"), {"pid": [victim.info.backend_pid]}
        report = await Run(far, action, given, await make_plan(far, action, given)).execute()
        assert (report.status, report.error) == ("ok", None)
        with pytest.raises(psycopg.errors.AdminShutdown):
            victim.execute("SELECT 1")


async def test_connects_again_after_the_way_was_cut(far: Session, sshd: Sshd) -> None:
    view = find_view("activity.server")
    await view.ask(far)
    sshd.drop_connections()
    far.retry_now()
    rows = None
    while rows is None:
        try:
            rows = await view.ask(far)
        except PgtuiError:
            far.retry_now()
    assert len(rows) == 1


def test_the_command_line_reaches_it_by_the_inventory(
    server: Server, sshd: Sshd, tmp_path: Path, state_home: Path
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    ssh = programs / "ssh"
    ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {sshd.ssh_config} "$@"\n')
    ssh.chmod(0o755)
    inventory = tmp_path / "inventory.toml"
    inventory.write_text(f'[target.far]\ndsn = "{server.dsn("postgres")}"\nssh = "{sshd.host}"\n')
    done = subprocess.run(
        [sys.executable, "-m", "tui", "show", "activity.server", "-t", "far", "-o", "json"],
        env=os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "PGTUI_INVENTORY": str(inventory)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["target"] == "far"
    assert len(json.loads(done.stdout)["rows"]) == 1
