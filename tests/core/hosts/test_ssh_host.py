"""Another machine as a host: the connection, what can be in its way, and what becomes of it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.core.errors import Failed, Missing, Refused, Unreachable, Usage
from backend.core.folders import private, runtime_folder
from backend.core.ssh import SshHost
from backend.core.sshlink import private_folder
from tests.core.hosts.conftest import Connect
from tests.core.hosts.test_hosts import left, names, unique
from tests.sshd import Options, Sshd, running_exactly, until, wait_until

OwnSshd = Callable[[Options], Sshd]


def logins(sshd: Sshd) -> int:
    """How often somebody has logged in."""
    return sshd.log().count("Accepted publickey")


@pytest.mark.parametrize(
    ("option", "value", "sentence", "hint"),
    [
        ("UserKnownHostsFile", "/dev/null", "the key of host db1 is not known here", "once by hand"),
        (
            "UserKnownHostsFile",
            "{changed}",
            "the key of host db1 is not the one it had before",
            "ask who runs",
        ),
        ("IdentityFile", "{other}", "host db1 does not let us in: it accepts none of our keys", "ssh-add"),
        ("HostName", "db1.invalid", "the name of host db1 cannot be resolved", "inventory"),
        ("Port", "1", "host db1 refuses the connection: nothing listens on its SSH port", "sshd runs"),
        ("Nonsense", "yes", "the SSH configuration for host db1 cannot be read", "ssh -G db1"),
        ("ProxyCommand", "false", "the connection to host db1 ended before", "ssh db1 true"),
    ],
)
async def test_each_thing_in_the_way_has_its_own_sentence(
    sshd: Sshd, connect: Connect, option: str, value: str, sentence: str, hint: str
) -> None:
    chosen = value.format(changed=sshd.changed_hosts, other=sshd.folder / "other_user_key")
    host = connect(sshd, sshd.client("in_the_way", {option: chosen}))

    with pytest.raises(Unreachable) as caught:
        await host.run(("true",))

    assert str(caught.value).startswith(sentence)
    assert hint in (caught.value.hint or "")


async def test_a_missing_tool_and_a_failing_command_are_no_trouble_with_the_connection(
    ssh_host: SshHost,
) -> None:
    with pytest.raises(Missing, match="program pgbackrest-x is not on host db1"):
        await ssh_host.run(("pgbackrest-x",))
    with pytest.raises(Failed, match="ls ended with status 2: ls: cannot access"):
        (await ssh_host.run(("ls", "/nowhere"))).demand()


async def test_a_host_that_is_down_is_reached_again_when_it_is_up(
    own_sshd: OwnSshd, connect: Connect
) -> None:
    server = own_sshd({})
    host = connect(server)
    server.stop()

    with pytest.raises(Unreachable, match="host db1 refuses the connection"):
        await host.run(("true",))
    server.start()

    assert (await host.run(("echo", "up"))).text == "up\n"


async def test_a_host_that_hangs_does_not_hang_us(own_sshd: OwnSshd, connect: Connect) -> None:
    server = own_sshd({})
    host = connect(server, connect_timeout=1)

    with server.frozen(), pytest.raises(Unreachable, match="host db1 does not answer"):
        await host.run(("true",))


async def test_a_host_that_lets_nobody_run_programs_is_told(own_sshd: OwnSshd, connect: Connect) -> None:
    host = connect(own_sshd({"ForceCommand": "echo This account is not available. >&2; exit 1"}))

    with pytest.raises(
        Unreachable, match=r"ended before a program could run there \(This account is not available"
    ):
        await host.run(("true",))


async def test_what_login_files_print_is_not_the_programs_output(own_sshd: OwnSshd, connect: Connect) -> None:
    noisy = "echo 'Welcome to db1'; echo 'mind the step' >&2; sh -c \"$SSH_ORIGINAL_COMMAND\""
    host = connect(own_sshd({"ForceCommand": noisy}))

    done = await host.run(("sh", "-c", "echo out; echo err >&2; exit 4"))

    assert (done.code, done.out, done.err) == (4, b"out\n", b"err\n")


async def test_settings_for_interactive_use_do_not_disturb(sshd: Sshd, connect: Connect) -> None:
    interactive = {
        "RequestTTY": "force",
        "RemoteCommand": "tmux attach",
        "LocalForward": f"127.0.0.1:{sshd.port} 127.0.0.1:1",
        "ExitOnForwardFailure": "yes",
        "ControlMaster": "auto",
        "ControlPath": "/nowhere/%C",
        "ForwardX11": "yes",
        "LogLevel": "QUIET",
    }
    host = connect(sshd, sshd.client("interactive", interactive))

    done = await host.run(("sh", "-c", "test -t 0 || echo no terminal"))

    assert (done.out, done.err) == (b"no terminal\n", b"")


async def test_all_programs_share_one_login(own_sshd: OwnSshd, connect: Connect) -> None:
    server = own_sshd({})
    host = connect(server)

    await asyncio.gather(*(host.run(("true",)) for _ in range(20)))
    await host.run(("true",))

    assert logins(server) == 1


async def test_a_host_that_takes_few_sessions_serves_all_in_turn(own_sshd: OwnSshd, connect: Connect) -> None:
    server = own_sshd({"MaxSessions": "3"})
    host = connect(server)

    done = await asyncio.gather(*(host.run(("echo", str(n)), timeout=60) for n in range(12)))

    assert [each.text for each in done] == [f"{n}\n" for n in range(12)]
    assert logins(server) == 1


async def test_a_host_that_takes_too_few_sessions_is_told(own_sshd: OwnSshd, connect: Connect) -> None:
    host = connect(own_sshd({"MaxSessions": "1"}))

    with pytest.raises(
        Failed, match="true cannot be started on host db1: it takes no more sessions"
    ) as caught:
        await host.run(("true",), timeout=1)

    assert "MaxSessions" in (caught.value.hint or "")


async def test_a_connection_that_breaks_under_a_program_is_told_and_made_again(
    own_sshd: OwnSshd, connect: Connect
) -> None:
    server = own_sshd({})
    host = connect(server)
    token = unique()
    task = asyncio.create_task(host.run(("sleep", token), timeout=600))
    await until(lambda: bool(running_exactly(f"sleep {token}")), "the program runs")

    server.drop_connections()

    with pytest.raises(Unreachable, match="the connection to host db1 broke while sleep ran there"):
        await task
    assert (await host.run(("echo", "again"))).text == "again\n"
    for pid in running_exactly(f"sleep {token}"):
        os.kill(pid, signal.SIGKILL)


async def test_a_connection_that_broke_unnoticed_is_made_again(own_sshd: OwnSshd, connect: Connect) -> None:
    server = own_sshd({})
    host = connect(server)
    await host.run(("true",))

    server.drop_connections()

    assert (await host.run(("echo", "again"))).text == "again\n"
    assert logins(server) == 2


async def test_a_program_that_is_killed_with_its_shell_is_told_from_a_broken_connection(
    ssh_host: SshHost,
) -> None:
    with pytest.raises(Failed, match="sh on host db1 was killed"):
        await ssh_host.run(("sh", "-c", "kill -KILL 0"))


async def test_closing_leaves_neither_processes_nor_files(sshd: Sshd, connect: Connect) -> None:
    host = connect(sshd)
    await host.run(("true",))
    folder = str(runtime_folder())
    assert left(folder)

    await host.close()

    wait_until(lambda: not left(folder), "the master has ended")
    assert names(runtime_folder()) == []


async def test_a_closed_host_can_be_used_again(sshd: Sshd, connect: Connect) -> None:
    host = connect(sshd)
    await host.run(("true",))
    await host.close()
    await host.close()

    assert (await host.run(("echo", "again"))).text == "again\n"


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from backend.core.ssh import SshHost

async def main():
    await SshHost("db1", config=Path(sys.argv[1])).run(("true",))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def test_a_killed_pgtui_leaves_no_connection(sshd: Sshd) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, sshd.ssh_config], check=False)

    assert done.returncode == -signal.SIGKILL
    wait_until(lambda: not left(str(runtime_folder())), "the master has ended")
    assert len(names(runtime_folder())) == 1
    fresh = private_folder().name
    assert names(runtime_folder()) == [fresh]


def test_sockets_are_not_kept_where_others_can_reach_them() -> None:
    private(runtime_folder()).chmod(0o755)

    with pytest.raises(Refused, match="the folder is open to other users"):
        private_folder()


def test_a_long_runtime_folder_is_avoided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/nowhere/" + "x" * 100)

    folder = private_folder()

    assert folder.parent == Path(f"/tmp/pgtui-{os.getuid()}")
    folder.rmdir()


@pytest.mark.parametrize("name", ["", "-oProxyCommand=touch /tmp/x", "a\0b"])
def test_what_cannot_be_a_host_is_refused(name: str) -> None:
    with pytest.raises(Usage, match="is not the name of a host"):
        SshHost(name)
