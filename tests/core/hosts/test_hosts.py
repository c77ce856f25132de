"""What every host promises, whichever way its programs are reached."""

from __future__ import annotations

import asyncio
import os
import random
import stat
from pathlib import Path

import pytest

from backend.core.errors import Failed, Missing, Usage
from backend.core.host import OUTPUT_LIMIT, Host
from tests.sshd import running, running_exactly, until, wait_until

AWKWARD = (
    "two words",
    "",
    "it's",
    'say "x"',
    "$HOME ${HOME} $(id) `id`",
    "*",
    "~",
    "-n",
    "--",
    "a\nb\n",
    "tab\tand\\n",
    "!x",
    "a;b|c&d>e<f#g",
    "{1..3}",
    "[/x]",
    "naïve ☃",
    "\x1b[31m",
    "not utf-8: \udcff",
    "x" * 10_000,
)


def unique() -> str:
    """Seconds to sleep for that no other process sleeps for."""
    return f"6{random.randrange(10**8):08}.5"


def about(path: Path) -> tuple[int, int, int, int]:
    """Mode, owner, group and inode."""
    found = path.stat()
    return found.st_mode, found.st_uid, found.st_gid, found.st_ino


def names(folder: Path) -> list[str]:
    """What lies in a folder."""
    return sorted(each.name for each in folder.iterdir())


def left(token: str) -> bool:
    """Whether a process with that word still lives."""
    return bool(running(token))


async def test_arguments_arrive_as_they_were_given(host: Host) -> None:
    done = (await host.run(("printf", "%s\\0", *AWKWARD))).demand()

    assert tuple(done.text.split("\0")[:-1]) == AWKWARD


async def test_bytes_pass_unchanged_through_both_streams(host: Host) -> None:
    data = random.randbytes(1 << 20) + b"\r\n\0\xff~.\n"

    assert (await host.run(("cat",), stdin=data)).out == data
    assert (await host.run(("sh", "-c", "cat >&2"), stdin=data)).err == data


async def test_a_program_that_is_given_nothing_reads_nothing(host: Host) -> None:
    assert (await host.run(("cat",))).out == b""
    assert (await host.run(("cat",), stdin=b"")).out == b""


async def test_input_that_nobody_reads_is_no_failure(host: Host) -> None:
    assert (await host.run(("true",), stdin=bytes(1 << 20))).code == 0


async def test_standard_input_can_be_opened_by_name(host: Host) -> None:
    assert (await host.run(("cat", "/dev/stdin"), stdin=b"hello")).out == b"hello"


@pytest.mark.parametrize("code", [0, 1, 7, 126, 127, 254, 255])
async def test_an_exit_status_is_data(host: Host, code: int) -> None:
    done = await host.run(("sh", "-c", 'printf out; printf err >&2; exit "$1"', "sh", str(code)))

    assert (done.code, done.out, done.err) == (code, b"out", b"err")


async def test_a_killed_program_has_the_status_that_shells_give_it(host: Host) -> None:
    assert (await host.run(("sh", "-c", "kill -KILL $$"))).code == 128 + 9


async def test_a_missing_program_is_named_with_the_package_that_has_it(host: Host) -> None:
    with pytest.raises(Missing) as caught:
        await host.run(("/nowhere/pgbackrest", "info"))

    assert str(caught.value) == f"program /nowhere/pgbackrest is not on {host.where}"
    assert caught.value.hint == "it comes with the package pgbackrest"


async def test_a_file_that_is_no_program_does_not_run(host: Host) -> None:
    done = await host.run(("/etc/passwd",))

    assert done.code == 126
    assert "Permission denied" in done.complaint


@pytest.mark.parametrize(
    ("argv", "said"), [((), "empty list"), (("-x",), "-x"), (("echo", "a\0b"), "zero byte")]
)
async def test_what_no_system_can_run_is_refused(host: Host, argv: tuple[str, ...], said: str) -> None:
    with pytest.raises(Usage, match=said):
        await host.run(argv)


async def test_a_program_whose_time_is_up_is_ended_with_its_children(host: Host) -> None:
    token = unique()

    with pytest.raises(Failed, match=f"sh on {host.where} was ended: it took longer than 2 s"):
        await host.run(("sh", "-c", 'sleep "$1" & sleep "$1"; :', "sh", token), timeout=2)

    wait_until(lambda: not left(token), "no process is left")


async def test_a_program_that_ignores_the_polite_signal_is_ended_too(host: Host) -> None:
    token = unique()

    with pytest.raises(Failed, match="took longer"):
        await host.run(("sh", "-c", "trap '' TERM; while :; do sleep 1; done", token), timeout=2)

    wait_until(lambda: not left(token), "no process is left")


async def test_cancelling_ends_the_program(host: Host) -> None:
    token = unique()
    task = asyncio.create_task(host.run(("sh", "-c", 'sleep "$1"; :', "sh", token), timeout=600))
    await until(lambda: bool(running_exactly(f"sleep {token}")), "the program runs")

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    wait_until(lambda: not left(token), "no process is left")


async def test_what_a_program_leaves_behind_does_not_hold_it_up(host: Host) -> None:
    token = unique()

    done = await host.run(("sh", "-c", 'sleep "$1" & echo $!', "sh", token), timeout=60)

    assert running_exactly(f"sleep {token}")
    os.kill(int(done.text), 9)


async def test_endless_output_neither_blocks_nor_fills_the_memory(host: Host) -> None:
    size = OUTPUT_LIMIT + (1 << 20)

    done = await host.run(("sh", "-c", f"head -c {size} /dev/zero; echo end >&2; exit 3"), timeout=60)

    assert (done.code, len(done.out), done.err, done.cut) == (3, OUTPUT_LIMIT, b"end\n", True)
    with pytest.raises(Failed, match="only the beginning was kept"):
        done.demand(3)


async def test_programs_speak_plain_english(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_MESSAGES", "de_DE.UTF-8")
    monkeypatch.setenv("LANGUAGE", "de")

    done = await host.run(("sh", "-c", "echo $LC_ALL $LANGUAGE"))

    assert done.text == "C\n"


async def test_a_failure_quotes_the_program_without_its_passwords(host: Host) -> None:
    done = await host.run(("sh", "-c", "echo 'no: password=secret host=x' >&2; exit 2"))

    with pytest.raises(Failed) as caught:
        done.demand()
    assert str(caught.value) == "sh ended with status 2: no: password=**** host=x"
    assert b"secret" in done.err


async def test_programs_are_found_where_they_usually_are(host: Host) -> None:
    assert await host.which("sh", "nonesuch", "ls", "two words", "$(id)") == {"sh", "ls"}
    assert await host.which() == frozenset()


async def test_many_programs_run_at_once(host: Host) -> None:
    numbers = [str(n) for n in range(30)]

    done = await asyncio.gather(*(host.run(("sh", "-c", 'sleep 0.1; echo "$1"', "sh", n)) for n in numbers))

    assert [each.text.strip() for each in done] == numbers


async def test_a_file_is_read_up_to_the_limit(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "-a 'file'\n"
    path.write_bytes(b"\0\xff\r\n" * 100)

    assert await host.read(str(path)) == path.read_bytes()
    assert await host.read(str(path), limit=6) == b"\0\xff\r\n\0\xff"


async def test_a_file_that_cannot_be_read_is_told_in_the_systems_words(host: Host, tmp_path: Path) -> None:
    with pytest.raises(Failed) as caught:
        await host.read(str(tmp_path / "none"))

    wanted = f"{tmp_path}/none on {host.where} cannot be read: No such file or directory"
    assert str(caught.value) == wanted


async def test_a_file_is_replaced_with_mode_and_owner_kept(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "it's a file.conf"
    path.write_bytes(b"old")
    path.chmod(0o642)
    if os.getuid() == 0:
        os.chown(path, 65534, 65534)
    before = about(path)

    await host.write(str(path), b"new \0\xff\n")

    after = about(path)
    assert path.read_bytes() == b"new \0\xff\n"
    assert after[:3] == before[:3]
    assert after != before
    kept = tmp_path / "it's a file.conf.pgtui~"
    assert (kept.read_bytes(), about(kept)[:3]) == (b"old", before[:3])
    assert names(tmp_path) == [path.name, kept.name]


async def test_a_new_file_is_private(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "new"

    await host.write(str(path), b"")

    assert path.read_bytes() == b""
    assert stat.S_IMODE(about(path)[0]) == 0o600
    assert names(tmp_path) == [path.name]


async def test_a_link_stays_a_link_to_the_file_that_is_replaced(host: Host, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.write_bytes(b"old")
    link = tmp_path / "folder" / "link"
    link.parent.mkdir()
    link.symlink_to("../real")

    await host.write(str(link), b"new")

    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    assert (tmp_path / "real.pgtui~").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("name", "words"), [("none/file", "No such file or directory"), ("", "Is a directory")]
)
async def test_a_file_that_cannot_be_written_is_told(
    host: Host, tmp_path: Path, name: str, words: str
) -> None:
    with pytest.raises(Failed, match=f"on {host.where} cannot be written: {words}"):
        await host.write(f"{tmp_path}/{name}", b"x")

    assert names(tmp_path) == []


async def test_a_write_that_is_cut_short_leaves_the_old_file(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    new = bytes(64 << 20)
    task = asyncio.create_task(host.write(str(path), new))
    await until(lambda: task.done() or len(names(tmp_path)) > 1, "the write has begun")

    task.cancel()
    await asyncio.wait([task])

    wait_until(lambda: not left(str(path)), "nobody writes any more")
    size = len(path.read_bytes())
    assert size in (3, len(new))
    assert size == 3 or not task.cancelled()
