"""Taking turns where no connection to the server can hold a lock: the server may be the thing that is down.

The lock is a file on the target's host, in the state folder of the account that pgtui works as there, one
for each port that a server listens on. It is held by `flock`, so that it ends with pgtui, however that ends:
here pgtui holds it itself, over SSH a small script does that writes to pgtui and ends when nobody reads.
Two people who use different accounts of a host do not see each other's.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
from collections.abc import Awaitable, Callable

from psycopg.conninfo import conninfo_to_dict

from backend.core.audit import who
from backend.core.errors import Failed, Refused
from backend.core.folders import private, state_folder
from backend.core.host import NOT_FOUND, Host, absent, script
from backend.core.passwords import service
from backend.core.session import Session
from backend.core.target import Target

Release = Callable[[], Awaitable[None]]

# Seconds: longer than any run; the script ends with the connection.
_FOREVER = 10 * 365 * 86400
_TAKEN = 75

# The pause's own process must not hold the lock.
_HOLD = """\
umask 077
folder=${XDG_STATE_HOME:-$HOME/.local/state}/pgtui/locks
mkdir -p "$folder" && exec 9<>"$folder/$1" || exit 1
command -v flock >/dev/null || exit 127
flock -n 9 || { cat "$folder/$1"; exit 75; }
printf '%s\\n%s\\n' "$2" "$3" >"$folder/$1"
while echo; do sleep 2 9>&-; done
"""
_HOLDER = 'cat "${XDG_STATE_HOME:-$HOME/.local/state}/pgtui/locks/$1" 2>/dev/null; :'


async def take_host_turn(session: Session, action: str) -> Release:
    """Hold the target's host until what is returned is called; refused while another run does, naming who."""
    name = f"port-{_port(session.target)}.lock"
    known = who()
    holder = f"{action} (pid {known['pid']}, {known['user']} on {known['machine']})"
    if session.target.ssh:
        return await _take_there(session.host, name, holder)
    return _take_here(name, holder)


def _port(target: Target) -> int:
    given = dict(conninfo_to_dict(target.dsn))
    return int((service(given) | given).get("port") or os.environ.get("PGPORT") or 5432)


def _take_here(name: str, holder: str) -> Release:
    path = private(state_folder() / "locks") / name
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"\n{holder}\n".encode())
    except BlockingIOError:
        os.close(descriptor)
        raise _refused(path.read_text("utf-8", "replace")) from None
    except OSError as e:
        os.close(descriptor)
        raise Failed(f"the lock file {path} cannot be used: {e.strerror}") from None

    async def release() -> None:
        os.close(descriptor)

    return release


async def _take_there(host: Host, name: str, holder: str) -> Release:
    token = secrets.token_hex(8)
    holding = asyncio.ensure_future(host.run(script(_HOLD, name, token, holder), timeout=_FOREVER))

    async def release() -> None:
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)

    try:
        while not holding.done():
            if (await host.run(script(_HOLDER, name))).text.startswith(token):
                return release
            await asyncio.wait({holding}, timeout=0.1)
    except BaseException:
        await release()
        raise
    done = holding.result()
    if done.code == _TAKEN:
        raise _refused(done.text)
    if done.code == NOT_FOUND:
        raise absent("flock", host.where)
    raise Failed(f"the lock on {host.where} cannot be taken: {done.complaint}")


def _refused(written: str) -> Refused:
    lines = written.splitlines()
    holder = lines[1] if len(lines) > 1 else "it has just begun"
    return Refused(f"another run holds this target's host: {holder}", hint="wait for it to end")
