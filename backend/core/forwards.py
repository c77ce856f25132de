"""Ways for libpq to reach a server that listens only on another machine.

A remote Unix socket becomes a socket here, in a folder that only this user can enter: no port to clash,
nobody else on this machine gets in, and peer authentication there sees the SSH user. A remote port
becomes a port on 127.0.0.1; libpq still gets the server's own name as `host`, so certificates and pgpass
entries match, and `hostaddr` says where to connect. Ways belong to one connection: when it has broken,
the next question lays them again, at the same place here.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from backend.core.errors import Failed, PgtuiError, Unreachable, Usage
from backend.core.host import Forward, script

if TYPE_CHECKING:
    from backend.core.ssh import SshHost
    from backend.core.sshlink import Link

_Laid = tuple["Link", Forward]

LOOPBACK = "127.0.0.1"
PATIENCE = 5
_TRIES = 5

# Length and code of the one message that every server answers with one byte before it knows anything of us.
_SSL_REQUEST = (8).to_bytes(4) + (80877103).to_bytes(4)

# Prints the socket's path, or what is in the way.
_SOCKET = """\
name=.s.PGSQL.$1; shift
for folder; do
    [ -S "$folder/$name" ] || continue
    [ -w "$folder/$name" ] && { echo "found $folder/$name"; exit; }
    echo "closed $(id -un) $folder/$name"; exit
done
for folder; do
    [ -d "$folder" ] && [ ! -x "$folder" ] && { echo "closed $(id -un) $folder"; exit; }
done
echo none
"""
_USUAL = ("/var/run/postgresql", "/run/postgresql", "/tmp")  # noqa: S108


class Forwards:
    """The ways laid through one host's connection."""

    def __init__(self, host: SshHost) -> None:
        self._host = host
        self._laid: dict[tuple[str, int], _Laid] = {}
        self._lock = asyncio.Lock()

    async def find(self, address: str, port: int) -> Forward:
        """The way to a server there; laid if need be."""
        if not 0 < port < 65536:
            raise Usage(f"{port} is not a port")
        async with self._lock:
            link, folder = await self._host.link()
            # The master may have died this moment; whether it serves its socket costs 5 ms to know.
            known = self._laid.get((address, port))
            if known and known[0] is link and await link.answers():
                return known[1]
            fresh = folder / f"f{len(self._laid)}"
            self._laid[address, port] = laid = await self._lay(address, port, fresh, known and known[1])
            return laid[1]

    async def _lay(self, address: str, port: int, folder: Path, before: Forward | None) -> _Laid:
        if address and not address.startswith("/"):
            return await self._to_port(address, port, before)
        return await self._to_socket(address, port, Path(before.host) if before else folder)

    async def _to_socket(self, address: str, port: int, folder: Path) -> _Laid:
        remote = await self._socket(address, port)
        local = _place(folder, port)
        spec = f"{_escaped(local)}:{_escaped(remote)}"
        link, said = await self._order(spec)
        if said is not None:
            raise self._refused(remote, said)
        found = Forward(str(folder), port)
        return await self._proved(link, found, remote, spec)

    async def _to_port(self, address: str, port: int, before: Forward | None) -> _Laid:
        said: str | None = None
        for turn in range(_TRIES):
            # Between finding a free port and taking it, somebody else may take it.
            here = before.port if before and turn == 0 else _free_port()
            spec = f"{LOOPBACK}:{here}:[{_escaped(address)}]:{port}"
            link, said = await self._order(spec)
            if said is None:
                found = Forward(address, here, LOOPBACK)
                return await self._proved(link, found, f"{address} port {port}", spec)
        raise self._refused(f"{address} port {port}", said or "")

    async def _order(self, spec: str) -> tuple[Link, str | None]:
        """Lay it; through which connection, and what that said when it would not."""
        link, _ = await self._host.link()
        code, said = await link.control("forward", "-L", spec)
        return link, said if code else None

    async def _proved(self, link: Link, found: Forward, what: str, spec: str) -> _Laid:
        """The way, once a server has answered at its end; ssh lays it without looking where it leads."""
        if await _leads_somewhere(found):
            return link, found
        await link.control("cancel", "-L", spec)
        raise Unreachable(
            f"no server answers at {what} on {self._host.where}{link.refused_channel()}",
            hint="see that it runs; where it does, sshd_config may forbid the way: AllowTcpForwarding, "
            "AllowStreamLocalForwarding, PermitOpen",
        )

    async def _socket(self, address: str, port: int) -> str:
        """The path of the server's socket there; `Unreachable` saying what is in the way."""
        folders = (address,) if address else _USUAL
        done = (await self._host.run(script(_SOCKET, str(port), *folders))).demand()
        word, _, rest = done.text.rstrip("\n").partition(" ")
        if word == "found":
            return rest
        if word == "closed":
            user, _, path = rest.partition(" ")
            raise Unreachable(
                f"{user} may not use {path} on {self._host.where}",
                hint="log in as a user who may, such as the server's owner",
            )
        place = address or "the usual folders"
        raise Unreachable(
            f"no server listens on {self._host.where} at port {port} in {place}",
            hint="see that it runs, and compare port and unix_socket_directories",
        )

    def _refused(self, what: str, said: str) -> PgtuiError:
        words = said.splitlines()[-1] if said else "it said nothing"
        return Failed(f"no way could be laid to {what} on {self._host.where} ({words})")


async def _leads_somewhere(way: Forward) -> bool:
    """Whether a server answers a request for encryption; a slow one gets the benefit of the doubt."""
    try:
        async with asyncio.timeout(PATIENCE):
            if way.hostaddr:
                reader, writer = await asyncio.open_connection(way.hostaddr, way.port)
            else:
                reader, writer = await asyncio.open_unix_connection(f"{way.host}/.s.PGSQL.{way.port}")
            try:
                writer.write(_SSL_REQUEST)
                return bool(await reader.read(1))
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError:
        return True
    except OSError:
        return False


def _place(folder: Path, port: int) -> str:
    """The path for a socket here, cleared of what a master that ended without a farewell left behind."""
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f".s.PGSQL.{port}"
    path.unlink(missing_ok=True)
    return str(path)


def _escaped(path: str) -> str:
    """The path as ssh's -L reads it: colons separate, and % begins a token."""
    return path.replace("\\", "\\\\").replace(":", "\\:").replace("%", "%%")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
