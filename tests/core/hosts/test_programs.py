"""Programs that outlive the connection: started, followed, found again, ended."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
from pathlib import Path

import pytest

from backend.core.errors import Failed, Missing, Refused
from backend.core.host import Host, Program
from backend.core.local import LocalHost
from tests.core.hosts.conftest import Connect
from tests.core.hosts.test_hosts import AWKWARD, left, names, unique
from tests.core.hosts.test_run_as import as_root, other
from tests.core.hosts.test_ssh_host import OwnSshd
from tests.sshd import running_exactly, until, wait_until

__all__ = ["other"]

# Waits for a file and says so: a test decides when it goes on.
GATED = 'echo begun; until [ -e "$1" ]; do sleep 0.02; done; echo done; exit "$2"'
STUBBORN = "trap '' TERM; echo ready; while :; do sleep 0.1; done"


async def ended(program: Program) -> int:
    """Its exit status, as soon as there is one."""
    while True:
        status = await program.status()
        if status is not None:
            return status
        await asyncio.sleep(0.02)


async def said(program: Program, word: bytes) -> None:
    """Return when it has written that word."""
    while True:
        written, _ = await program.follow()
        if word in written:
            return
        await asyncio.sleep(0.02)


def record(program: Program, name: str) -> Path:
    """A file of its record."""
    return Path(program.reference) / name


def alter(path: Path, old: str, new: str) -> None:
    """Change a file of a record."""
    text = path.read_text()
    path.write_text(text.replace(old, new))


def fields(path: Path) -> list[str]:
    """The words in a file of a record."""
    return path.read_text().split()


async def test_it_is_followed_to_its_end(host: Host, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    program = await host.start(("sh", "-c", GATED, "sh", str(gate), "7"))
    await said(program, b"begun\n")

    first, position = await program.follow()
    assert (first, position, await program.status()) == (b"begun\n", 6, None)
    gate.touch()

    assert await ended(program) == 7
    assert await program.follow(position) == (b"done\n", 11)
    assert await program.follow(11) == (b"", 11)


async def test_both_its_streams_are_kept_in_order_and_unchanged(host: Host) -> None:
    program = await host.start(("sh", "-c", "printf 'a\\0\\377'; printf 'b\\r\\n' >&2; printf c"))

    await ended(program)

    assert (await program.follow())[0] == b"a\0\xffb\r\nc"


async def test_its_arguments_and_input_arrive_as_given(host: Host) -> None:
    program = await host.start(("sh", "-c", 'cat; printf "%s\\0" "$@"', "sh", *AWKWARD), stdin=b"in\0\xff\n")

    assert await ended(program) == 0
    wanted = b"in\0\xff\n" + b"".join(os.fsencode(word) + b"\0" for word in AWKWARD)
    assert (await program.follow())[0] == wanted
    assert "input" not in names(Path(program.reference))


async def test_without_input_it_reads_nothing(host: Host) -> None:
    program = await host.start(("cat",))

    assert await ended(program) == 0


@pytest.mark.parametrize("code", [0, 1, 127, 255])
async def test_its_exit_status_is_data(host: Host, code: int) -> None:
    program = await host.start(("sh", "-c", f"exit {code}"))

    assert await ended(program) == code


async def test_a_missing_program_is_not_started(host: Host) -> None:
    with pytest.raises(Missing, match=f"program nonesuch is not on {host.where}"):
        await host.start(("nonesuch", "x"))


async def test_its_record_is_private_and_goes_when_it_is_forgotten(host: Host, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    program = await host.start(("sh", "-c", GATED, "sh", str(gate), "0"))
    assert stat.S_IMODE(os.lstat(program.reference).st_mode) == 0o700

    with pytest.raises(Refused, match="still needed"):
        await program.forget()
    gate.touch()
    await ended(program)
    await program.forget()

    with pytest.raises(Failed, match="has no record"):
        await host.attach(program.reference)


async def test_it_is_found_again_by_its_reference(host: Host, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    started = await host.start(("sh", "-c", GATED, "sh", str(gate), "3"))

    found = await host.attach(started.reference)
    gate.touch()

    assert await ended(found) == 3
    assert (await found.follow())[0] == b"begun\ndone\n"


@pytest.mark.parametrize("reference", ["/etc", "relative", "/x/pgtui/programs/../../etc", ""])
async def test_what_is_no_record_is_not_attached(host: Host, reference: str) -> None:
    with pytest.raises(Failed, match="is not the record of a program"):
        await host.attach(reference)


async def test_it_outlives_the_connection_that_started_it(
    own_sshd: OwnSshd, connect: Connect, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    server = own_sshd({})
    program = await connect(server).start(("sh", "-c", GATED, "sh", str(gate), "5"))

    server.drop_connections()
    found = await connect(server).attach(program.reference)

    assert await found.status() is None
    gate.touch()
    assert await ended(found) == 5
    assert await ended(program) == 5


async def test_cancelling_works_from_another_connection(own_sshd: OwnSshd, connect: Connect) -> None:
    token = unique()
    server = own_sshd({})
    program = await connect(server).start(("sh", "-c", 'sleep "$1" & sleep "$1"; :', "sh", token))
    server.drop_connections()

    found = await connect(server).attach(program.reference)
    await found.cancel()

    assert await ended(found) == 128 + signal.SIGTERM
    assert not left(token)


STARTER = """
import asyncio, os, signal, sys
from backend.core.local import LocalHost

async def main():
    program = await LocalHost().start(sys.argv[1:])
    print(program.reference, flush=True)
    os.killpg(0, signal.SIGKILL)

asyncio.run(main())
"""


async def test_it_outlives_the_pgtui_that_started_it(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    words = [sys.executable, "-c", STARTER, "sh", "-c", GATED, "sh", str(gate), "9"]
    killed = await LocalHost().run(words)

    found = await LocalHost().attach(killed.text.strip())

    assert killed.code == 128 + signal.SIGKILL
    assert await found.status() is None
    gate.touch()
    assert await ended(found) == 9


async def test_cancelling_ends_its_whole_group(host: Host) -> None:
    token = unique()
    program = await host.start(("sh", "-c", 'sleep "$1" & sleep "$1"; :', "sh", token))
    await until(lambda: len(running_exactly(f"sleep {token}")) == 2, "both run")

    await program.cancel()

    assert await ended(program) == 128 + signal.SIGTERM
    assert not left(token)


async def test_what_ignores_the_polite_signal_is_killed_after_the_grace(host: Host) -> None:
    token = unique()
    program = await host.start(("sh", "-c", STUBBORN, token))
    await said(program, b"ready")

    await program.cancel(grace=0.3)

    assert await ended(program) == 128 + signal.SIGKILL
    assert not left(token)


async def test_what_cleans_up_when_told_to_end_may_do_so(host: Host) -> None:
    program = await host.start(
        ("sh", "-c", "trap 'echo cleaned; exit 4' TERM; echo ready; while :; do sleep 0.1; done")
    )
    await said(program, b"ready")

    await program.cancel(grace=20)

    assert await ended(program) == 4
    assert (await program.follow())[0].endswith(b"cleaned\n")


async def test_cancelling_what_has_ended_does_nothing(host: Host) -> None:
    program = await host.start(("true",))
    await ended(program)

    await program.cancel()

    assert await program.status() == 0


async def test_a_process_id_that_now_belongs_to_another_is_left_alone(host: Host) -> None:
    token = unique()
    program = await host.start(("sleep", token))
    pid, start = fields(record(program, "pid"))
    alter(record(program, "pid"), start, "1")

    await program.cancel()

    assert running_exactly(f"sleep {token}") == [int(pid)]
    os.kill(int(pid), signal.SIGKILL)


async def test_one_that_vanished_is_told(host: Host) -> None:
    program = await host.start(("sleep", unique()))
    for name in ("wrapper", "pid"):
        os.kill(int(fields(record(program, name))[0]), signal.SIGKILL)

    with pytest.raises(Failed, match=f"sleep vanished from {host.where} without an exit status"):
        await ended(program)


async def test_one_that_lost_its_wrapper_still_counts_as_running(host: Host) -> None:
    token = unique()
    program = await host.start(("sleep", token))
    wrapper = int(fields(record(program, "wrapper"))[0])
    os.kill(wrapper, signal.SIGKILL)
    await until(lambda: not Path(f"/proc/{wrapper}/exe").exists(), "the wrapper is gone")

    assert await program.status() is None
    await program.cancel()

    assert not left(token)


@as_root
async def test_it_runs_and_ends_as_another_account(host: Host, other: str) -> None:
    token = unique()
    program = await host.start(("sh", "-c", 'id -un; sleep "$1"; :', "sh", token), run_as=other)
    await until(lambda: bool(running_exactly(f"sleep {token}")), "it runs")

    found = await host.attach(program.reference)
    await found.cancel()

    assert await ended(found) != 0
    assert (await found.follow())[0].startswith(f"{other}\n".encode())
    wait_until(lambda: not left(token), "no process is left")


@as_root
async def test_a_program_that_the_other_account_lacks_is_told(host: Host, other: str) -> None:
    with pytest.raises(Missing, match=f"program nonesuch is not on {host.where}"):
        await host.start(("nonesuch",), run_as=other)
