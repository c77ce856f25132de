"""Programs of another account: with sudo, without it, and when it is not allowed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest

from backend.core.errors import Failed, Missing, Usage
from backend.core.host import Done, Host, become, refused
from backend.core.local import LocalHost
from tests.core.hosts.conftest import Connect
from tests.core.hosts.test_hosts import left, names, unique
from tests.servers import Workspace
from tests.sshd import Sshd, wait_until

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root may become somebody else without a rule")
with_sudo = pytest.mark.skipif(shutil.which("sudo") is None, reason="sudo is not installed")


PROGRAMS = ("sh", "id", "env", "setpriv", "true")


def folder_for(account: str, workspace: Workspace) -> Path:
    """A new folder of that account."""
    folder = workspace.new_folder("theirs")
    folder.mkdir(mode=0o700)
    os.chown(folder, pwd.getpwnam(account).pw_uid, -1)
    return folder


def owner(path: Path) -> str:
    """Whose file it is."""
    return path.owner()


def without_sudo(workspace: Workspace) -> str:
    """A search path that has what every system has, but no sudo."""
    folder = workspace.new_folder("bin")
    folder.mkdir(mode=0o755)
    for name in PROGRAMS:
        (folder / name).symlink_to(str(shutil.which(name)))
    return str(folder)


def ended(argv: tuple[str, ...], path: str, user: str) -> Done:
    """The program, run to its end by that user with that search path."""
    done = subprocess.run(argv, env={"PATH": path}, user=user, cwd="/", capture_output=True, check=False)
    return Done(("true",), done.returncode, done.stdout, done.stderr)


def login_account() -> str:
    """An account without rights that can log in, and has no sudo rule."""
    for entry in pwd.getpwall():
        if entry.pw_uid and entry.pw_shell.endswith("sh") and Path(entry.pw_dir).is_dir():
            listed = subprocess.run(
                ["sudo", "-n", "-l", "-U", entry.pw_name], capture_output=True, check=False
            )
            if b"may run" not in listed.stdout:
                return entry.pw_name
    pytest.skip("no account of this machine can log in without having a sudo rule")


@pytest.fixture
def other() -> str:
    """An account that is not ours."""
    for name in ("postgres", "nobody"):
        try:
            if pwd.getpwnam(name).pw_uid != os.getuid():
                return name
        except KeyError:
            continue
    pytest.skip("this machine has neither an account postgres nor nobody")


@as_root
async def test_a_program_runs_as_the_account_asked_for(host: Host, other: str) -> None:
    done = await host.run(
        ("sh", "-c", 'id -un; cat; printf "%s" "$1"', "sh", "a 'b' $c"), stdin=b"x\n", run_as=other
    )

    assert done.text == f"{other}\nx\na 'b' $c"


@as_root
async def test_its_exit_status_and_its_own_complaints_are_its_own(host: Host, other: str) -> None:
    done = await host.run(("sh", "-c", "echo 'sudo: a mention'; exit 1"), run_as=other)

    assert done.code == 1
    assert done.argv[0] == "sh"


@as_root
async def test_a_program_missing_for_the_other_account_is_told(host: Host, other: str) -> None:
    with pytest.raises(Missing, match=f"program nonesuch is not on {host.where}"):
        await host.run(("nonesuch",), run_as=other)


@as_root
async def test_an_account_that_is_not_there_is_told(host: Host) -> None:
    with pytest.raises(Failed, match=f"there is no account nosuchuser on {host.where}"):
        await host.run(("true",), run_as="nosuchuser")


@as_root
async def test_its_time_limit_holds(host: Host, other: str) -> None:
    token = unique()

    with pytest.raises(Failed, match="took longer than 2 s"):
        await host.run(("sh", "-c", 'sleep "$1"; :', "sh", token), run_as=other, timeout=2)

    wait_until(lambda: not left(token), "no process is left")


@as_root
async def test_files_are_read_and_replaced_as_the_other_account(
    host: Host, other: str, workspace: Workspace
) -> None:
    theirs = folder_for(other, workspace)

    await host.write(f"{theirs}/file", b"theirs", run_as=other)
    assert owner(theirs / "file") == other
    await host.write(f"{theirs}/file", b"changed", run_as=other)

    assert await host.read(f"{theirs}/file", run_as=other) == b"changed"
    assert owner(theirs / "file") == owner(theirs / "file.pgtui~") == other


@as_root
async def test_an_owner_that_cannot_be_kept_stops_the_write(
    host: Host, other: str, workspace: Workspace
) -> None:
    theirs = folder_for(other, workspace)
    (theirs / "file").write_bytes(b"root's")

    with pytest.raises(Failed, match="its owner cannot be kept"):
        await host.write(f"{theirs}/file", b"changed", run_as=other)

    assert names(theirs) == ["file"]
    assert await host.read(f"{theirs}/file") == b"root's"


@as_root
def test_root_needs_no_sudo(workspace: Workspace, other: str) -> None:
    said = subprocess.run(
        become(("sh", "-c", 'id -un; echo "$HOME"'), other),
        env={"PATH": without_sudo(workspace)}, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert said.stdout == f"{other}\n{pwd.getpwnam(other).pw_dir}\n"


@as_root
async def test_where_sudo_is_missing_the_sentence_says_so(workspace: Workspace, other: str) -> None:
    done = ended(become(("true",), "root"), without_sudo(workspace), other)

    assert str(await refused(LocalHost(), done, "root")) == "program sudo is not on this machine"


@with_sudo
@as_root
async def test_a_missing_rule_is_answered_with_the_sudoers_line(sshd: Sshd, connect: Connect) -> None:
    user = login_account()
    host = connect(sshd, sshd.client(f"as_{user}", {"User": user}))

    with pytest.raises(Missing) as caught:
        await host.run(("head", "-c", "1", "/etc/passwd"), run_as="nobody")

    path = shutil.which("head")
    assert str(caught.value) == f"{user} may not run head as nobody on host db1"
    assert caught.value.hint == f"a sudoers line that allows it: {user} ALL=(nobody) NOPASSWD: {path}"


@with_sudo
@as_root
async def test_a_long_program_without_a_rule_is_not_started(sshd: Sshd, connect: Connect) -> None:
    user = login_account()
    host = connect(sshd, sshd.client(f"as_{user}", {"User": user}))

    with pytest.raises(Missing, match=f"{user} may not run sleep as nobody on host db1"):
        await host.start(("sleep", "1"), run_as="nobody")


@pytest.mark.parametrize("name", ["", "-u"])
async def test_what_cannot_be_an_account_is_refused(host: Host, name: str) -> None:
    with pytest.raises(Usage, match="is not the name of an account"):
        await host.run(("true",), run_as=name)
