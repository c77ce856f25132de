"""pgqd as a program on a host: its configuration file, and how a running one is told from anything else.

A process id in a file proves nothing, since ids are used again: it counts together with the program that the
process runs and the time it started.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from backend.core.clean import clean
from backend.core.errors import Failed, Refused, Usage
from backend.core.host import Host, script
from backend.core.plan import Command
from backend.core.target import Target

APPLICATION = "pgqd"
STOPPING = 30

# Seconds, each with its least and most value.
PERIODS = {
    "ticker_period": (0.05, 60.0),
    "maint_period": (1.0, 86400.0),
    "retry_period": (1.0, 86400.0),
    "check_period": (1.0, 86400.0),
}

# What leads to the server; the rest of a connection string is about this console's own connection.
_LEADS = (
    "service",
    "host",
    "hostaddr",
    "port",
    "user",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "passfile",
)
_FROM_ENVIRONMENT = {"host": "PGHOST", "hostaddr": "PGHOSTADDR", "port": "PGPORT", "service": "PGSERVICE"}

_PLACE = """\
id -un && printf '%s\\n' "${XDG_STATE_HOME:-$HOME/.local/state}/pgtui/pgqd" && command -v pgqd
[ -d /run/systemd/system ] && command -v systemctl
:
"""

# born PID: when it started; nothing when it is gone or only a zombie.
_KNOW = """\
born() {
    { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 1
    set -- ${line##*") "}
    [ "$1" = Z ] || echo "${20}"
}
runs() { basename "$(readlink "/proc/$1/exe" || cat "/proc/$1/comm")" 2>/dev/null; }
"""

_LOOK = (
    _KNOW
    + """\
read -r pid <"$1" || { echo none; exit 0; }
case $pid in ''|*[!0-9]*) echo none; exit 0;; esac
start=$(born "$pid") && [ -n "$start" ] || { echo stale "$pid"; exit 0; }
echo "$(runs "$pid")" "$pid" "$start"
"""
)

_SIGNAL = (
    _KNOW
    + """\
signal=$1 pid=$2 start=$3 left=$4
[ "$(born "$pid")" = "$start" ] && [ "$(runs "$pid")" = pgqd ] || { echo "process $pid is gone" >&2; exit 1; }
kill -s "$signal" "$pid" || exit 1
while [ "$left" -gt 0 ] && [ "$(born "$pid")" = "$start" ]; do left=$((left - 1)); sleep 0.1; done
[ "$signal" = HUP ] || [ "$(born "$pid")" != "$start" ] || { echo "process $pid goes on" >&2; exit 1; }
"""
)

_TAKE_BACK = (
    _KNOW
    + """\
read -r pid <"$1" && [ "$(runs "$pid")" = pgqd ] && kill -s INT "$pid"
"""
)


@dataclass(frozen=True, slots=True)
class Place:
    """pgqd on a host: as whom it runs, where its files go, the program, and systemctl where systemd runs."""

    user: str
    folder: PurePosixPath
    program: str
    systemctl: str | None


@dataclass(frozen=True, slots=True)
class Process:
    """A pgqd that runs: process id, and when it started as the kernel counts."""

    pid: int
    start: str

    def signal(self, name: str, run_as: str | None) -> Command:
        """A step that signals it, unless it is another one by then; except for HUP it waits for its end."""
        wait = "0" if name == "HUP" else str(STOPPING * 10)
        argv = script(_SIGNAL, name, str(self.pid), self.start, wait)
        return Command(argv, run_as=run_as, deadline=STOPPING + 10, note=f"{name} to process {self.pid}")


async def place_on(host: Host, run_as: str | None) -> Place:
    """Where pgqd is on the host; `Missing` where it is not installed."""
    found = (await host.run(script(_PLACE), run_as=run_as)).text.splitlines()
    if len(found) < 3:
        await host.run(("pgqd", "-V"), run_as=run_as)  # raises, naming the package
        raise Failed(f"{host.where} does not say where pgqd is")
    user, folder, program = found[:3]
    return Place(user, PurePosixPath(folder), program, found[3] if len(found) > 3 else None)


async def running(host: Host, pidfile: str, run_as: str | None) -> Process | None:
    """The pgqd whose process id the file holds; None where that id is nobody's or another program's."""
    word, *rest = (await host.run(script(_LOOK, pidfile), run_as=run_as)).demand().text.split() or ["none"]
    return Process(int(rest[0]), rest[1]) if word == "pgqd" and len(rest) == 2 else None


def take_back(pidfile: str, run_as: str | None) -> Command:
    """The step that ends a pgqd which was just started."""
    return Command(script(_TAKE_BACK, pidfile), run_as=run_as)


def connection(target: Target, user: str) -> str:
    """The connection string for pgqd, without database and password: how this target reaches its server."""
    given: dict[str, str | int | None] = {}
    if not target.ssh:
        given |= {k: os.environ[v] for k, v in _FROM_ENVIRONMENT.items() if os.environ.get(v)}
    given |= conninfo_to_dict(target.act or target.dsn)
    kept = {k: v for k, v in given.items() if k in _LEADS and v is not None}
    return make_conninfo("", **kept | {"user": user, "application_name": APPLICATION})


def label(target: Target) -> str:
    """What the files of this server's pgqd are named after."""
    given = conninfo_to_dict(target.act or target.dsn)
    host = str(given.get("host") or given.get("hostaddr") or given.get("service") or "local")
    return re.sub(r"[^A-Za-z0-9]+", "_", f"{host}_{given.get('port') or 5432}").strip("_")[-60:]


def period(name: str, value: float) -> str:
    """A period as pgqd reads it; usage error outside its range."""
    least, most = PERIODS[name]
    if not least <= value <= most:
        option = "--" + name.replace("_", "-")
        raise Usage(f"{option} wants {least:g} to {most:g} seconds, not {value:g}")
    return f"{value:.6f}".rstrip("0").rstrip(".")


def checked_list(databases: list[str], known: tuple[str, ...]) -> str:
    """A list of databases as pgqd reads it: it knows no quotes."""
    for name in databases:
        if name not in known:
            raise Refused(
                f"the server has no database {clean(name)}", hint="pgqd takes those that it may enter"
            )
        if name != name.strip() or "," in name or "\n" in name:
            raise Refused(
                f"database {clean(name)} cannot be listed: pgqd separates by commas and knows no quotes"
            )
    return ", ".join(databases)


def render(settings: Mapping[str, str]) -> str:
    """The configuration file."""
    lines = [f"{key} = {value}\n" for key, value in settings.items()]
    for value in settings.values():
        if "\n" in value or "\r" in value:
            raise Usage("a setting of pgqd cannot hold a line break")
    return "# Written by pgtui: queue.start_daemon, queue.reload_daemon\n[pgqd]\n" + "".join(lines)


def setting(text: str, key: str) -> str | None:
    """The value that a configuration file gives a key; the last one counts."""
    found = re.findall(rf"^[ \t]*{key}[ \t]*=[ \t]*(.*?)[ \t\r]*$", text, re.MULTILINE)
    return found[-1] if found else None


def changed(text: str, settings: Mapping[str, str]) -> str:
    """The configuration with these values, in the lines that have them or at the end."""
    for key, value in settings.items():
        line = f"{key} = {value}"
        if setting(text, key) is None:
            text = text.rstrip("\n") + f"\n{line}\n"
        else:
            literal = line.replace("\\", r"\\")
            text = re.sub(rf"^[ \t]*{key}[ \t]*=.*$", literal, text, flags=re.MULTILINE)
    return text


def unit(place: Place, config: PurePosixPath, target: str) -> str:
    """The systemd unit of a pgqd."""
    words = " ".join(_unit_word(str(w)) for w in (place.program, config))
    return (
        "# Written by pgtui: queue.start_daemon\n"
        f"[Unit]\nDescription=PgQ ticker and maintenance, {_unit_word(target, quote=False)}\n"
        "After=network.target postgresql.service\n\n"
        f"[Service]\nUser={place.user}\nExecStart={words}\nExecReload=/bin/kill -HUP $MAINPID\n"
        "KillSignal=SIGINT\nRestart=on-failure\nRestartSec=5\n\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )


def _unit_word(word: str, *, quote: bool = True) -> str:
    plain = re.sub(r"[\x00-\x1f\x7f]", "?", word).replace("%", "%%")
    if not quote:
        return plain
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$") + '"'
