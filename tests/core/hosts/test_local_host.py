"""This machine as a host, and what is true only of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from backend.core.errors import Missing
from backend.core.host import Forward
from backend.core.hosts import host_for
from backend.core.local import LocalHost
from backend.core.ssh import SshHost
from backend.core.target import Target


def open_files() -> int:
    """How many files this process has open."""
    return len(list(Path("/dev/fd").iterdir()))


def test_a_target_is_on_this_machine_unless_it_names_another() -> None:
    assert isinstance(host_for(Target("a")), LocalHost)
    other = host_for(Target("b", ssh="db1"))
    assert isinstance(other, SshHost)
    assert (other.name, other.where) == ("db1", "host db1")


def test_commands_on_this_machine_do_not_pay_for_ssh() -> None:
    code = "import sys, backend.core.hosts; print('backend.core.ssh' in sys.modules)"

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert said.stdout == "False\n"


async def test_nothing_lies_between_a_local_server_and_us() -> None:
    assert await LocalHost().forward("/run/postgresql", 5433) == Forward("/run/postgresql", 5433)


async def test_programs_start_in_the_same_folder_wherever_we_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert (await LocalHost().run(("pwd",))).text == "/\n"


async def test_servers_in_the_system_folders_are_found_though_the_path_lacks_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    own = tmp_path / "own"
    own.write_text("#!/bin/sh\necho mine\n")
    own.chmod(0o755)
    host = LocalHost()

    assert await host.which("own", "sh", "nonesuch") == {"own", "sh"}
    assert (await host.run(("own",))).text == "mine\n"


async def test_a_program_of_our_own_account_needs_no_sudo() -> None:
    me = (await LocalHost().run(("id", "-un"))).text.strip()

    done = await LocalHost().run(("sh", "-c", "id -un; echo ${SUDO_USER-none}"), run_as=me)

    assert done.text == f"{me}\nnone\n"


async def test_a_program_that_is_missing_is_told_for_our_own_account_too() -> None:
    me = (await LocalHost().run(("id", "-un"))).text.strip()

    with pytest.raises(Missing, match="program nonesuch is not on this machine"):
        await LocalHost().run(("nonesuch",), run_as=me)


async def test_no_file_stays_open_after_a_program(tmp_path: Path) -> None:
    host = LocalHost()
    await host.run(("cat",), stdin=b"x")
    before = open_files()

    for _ in range(5):
        await host.run(("cat",), stdin=b"x")

    assert open_files() == before
