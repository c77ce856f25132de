"""What would keep a server from starting with a new value although the value itself is a good one.

`postgres -C` judges values, their combination and libraries. It opens no socket, reads no pg_hba.conf and
does no recovery, where these settings are met again.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from backend.cluster.guc import Setting, elements, in_unit
from backend.cluster.offline import Programs
from backend.core.errors import Refused
from backend.core.facts import Query
from backend.core.host import Host, script
from backend.core.session import Session

_STOCK = Query("""\
SELECT (SELECT pg_catalog.count(*)
          FROM pg_catalog.pg_replication_slots
         WHERE NOT temporary) AS slots,
       (SELECT pg_catalog.count(*)
          FROM pg_catalog.pg_replication_slots
         WHERE slot_type = 'logical'
           AND NOT temporary) AS logical,
       (SELECT pg_catalog.count(*)
          FROM pg_catalog.pg_prepared_xacts) AS prepared""")


@dataclass(frozen=True, slots=True)
class Stock:
    """What a server keeps over a restart and has to have room for."""

    slots: int
    logical: int
    prepared: int


async def demand_room(s: Session, setting: Setting, value: str) -> None:
    """Refuse a value with which the server could not take up again what it keeps."""
    if setting.name not in ("max_replication_slots", "max_prepared_transactions", "wal_level"):
        return
    [stock] = await s.fetch(Stock, _STOCK)
    number = in_unit(value, None) or 0
    if setting.name == "max_replication_slots" and stock.slots > number:
        raise _no_start(setting, value, f"it has {stock.slots} replication slots")
    if setting.name == "max_prepared_transactions" and stock.prepared > number:
        raise _no_start(setting, value, f"it holds {stock.prepared} prepared transactions")
    if setting.name == "wal_level" and value.lower() != "logical" and stock.logical:
        raise _no_start(setting, value, f"it has {stock.logical} logical replication slots")
    if setting.name == "wal_level" and value.lower() == "minimal" and stock.slots:
        raise _no_start(setting, value, f"it has {stock.slots} replication slots")


def _no_start(setting: Setting, value: str, why: str) -> Refused:
    return Refused(f"with {setting.name} = {value} the server would not start again: {why}")


Judge = Callable[[Host, Programs, Setting, str], Awaitable[None]]


async def demand_reachable(host: Host, of: Programs, setting: Setting, value: str) -> None:
    """Refuse a value that names a port, folder or file which the server could not use."""
    judges: dict[str, Judge] = {
        "port": _port,
        "unix_socket_directories": _folders,
        "hba_file": _file,
        "ident_file": _file,
    }
    if judge := judges.get(setting.name):
        await judge(host, of, setting, value)
    if setting.name in _AT_LEAST_ON_STANDBY:
        await _as_on_the_primary(host, of, setting, value)
    if setting.name == "shared_preload_libraries" and of.major < 15:
        await _libraries(host, of, setting, value)


async def _port(host: Host, of: Programs, setting: Setting, value: str) -> None:
    number = int(in_unit(value, None) or 0)
    if number < 1024:
        raise _no_start(setting, value, "ports below 1024 are for root, as which it never runs")
    if str(number) != setting.value and await in_use(host, number):
        raise _no_start(setting, value, f"something listens on port {number} already")


# 0A is the state of a socket that listens.
_SOCKETS = """\
cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
    sed -n 's/^ *[0-9]*: [0-9A-F]*:\\([0-9A-F]*\\) [^ ]* 0A .*/\\1/p'
sed -n 's|.*/\\.s\\.PGSQL\\.\\([0-9]*\\)$|socket \\1|p' /proc/net/unix 2>/dev/null
:
"""


async def in_use(host: Host, port: int) -> bool:
    """Whether a program of the host listens on the port, or a server's socket has its number."""
    said = (await host.run(script(_SOCKETS))).demand().text.splitlines()
    return f"{port:04X}" in said or f"socket {port}" in said


async def _folders(host: Host, of: Programs, setting: Setting, value: str) -> None:
    for folder in elements(setting, value):
        test = 'case $1 in @*) exit 0 ;; esac; cd "$2" && [ -d "$1" ] && [ -w "$1" ]'
        done = await host.run(script(test, folder, of.data), run_as=of.run_as)
        if done.code:
            raise _no_start(setting, value, f"{folder} is no folder in which it can make its socket")


async def _file(host: Host, of: Programs, setting: Setting, value: str) -> None:
    test = 'cd "$2" && [ -f "$1" ] && [ -r "$1" ]'
    if (await host.run(script(test, value, of.data), run_as=of.run_as)).code:
        raise _no_start(setting, value, "it cannot read that file")


_AT_LEAST_ON_STANDBY = (
    "max_connections",
    "max_worker_processes",
    "max_wal_senders",
    "max_prepared_transactions",
    "max_locks_per_transaction",
)


async def _as_on_the_primary(host: Host, of: Programs, setting: Setting, value: str) -> None:
    """A hot standby stops recovery when it has room for less than its primary."""
    tell = '[ -e "$2/standby.signal" ] || exit 0; LC_ALL=C exec "$1/pg_controldata" "$2"'
    done = (await host.run(script(tell, of.bindir, of.data), run_as=of.run_as)).demand()
    label = "max_locks_per_xact" if setting.name == "max_locks_per_transaction" else setting.name
    label = "max_prepared_xacts" if setting.name == "max_prepared_transactions" else label
    found = re.search(rf"^{label} setting:\s+(\d+)$", done.text, re.MULTILINE)
    if found and (in_unit(value, None) or 0) < int(found[1]):
        raise _no_start(setting, value, f"it is a standby, and its primary has {found[1]}")


async def _libraries(host: Host, of: Programs, setting: Setting, value: str) -> None:
    """PostgreSQL 14 cannot be asked to load them without being started; that a file is there has to do."""
    home = (await host.run((f"{of.bindir}/pg_config", "--pkglibdir"))).demand().text.strip()
    for name in elements(setting, value):
        path = name.replace("$libdir", home) if "/" in name else f"{home}/{name}"
        test = '[ -f "$1" ] || [ -f "$1.so" ]'
        if (await host.run(script(test, path), run_as=of.run_as)).code:
            raise _no_start(setting, value, f"there is no library {path}.so")
