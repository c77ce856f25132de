"""Whether a server would start with a configuration: asked of its own program, without touching the server.

`postgres -C` in the data folder stops before the settings are compared with each other and before libraries
are loaded. In a scratch folder, with the real configuration and a copy of the control file, it goes on until
it knows how much shared memory it would ask for: some 30 ms, also while the server runs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from backend.core.errors import Failed, Refused
from backend.core.host import Host, script
from backend.core.plan import Command

# The names left out are the server's own; what else lies in the data folder (certificates) is linked, since
# relative paths lead there. Settings on the command line keep the complaints where they can be read.
_SCRIPT = """\
bin=$1 data=$2 config=$3 auto=$4 ask=$5
scratch=$(mktemp -d) || exit 1
trap 'rm -rf -- "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
for each in "$data"/* "$data"/.[!.]*; do
    case ${each##*/} in base|global|pg_*|PG_VERSION|postmaster.*|postgresql.auto.conf) ;;
    *) [ ! -e "$each" ] || ln -s -- "$each" "$scratch/" ;; esac
done
mkdir "$scratch/global" && cp -- "$data/PG_VERSION" "$scratch/" || exit 1
cp -- "$data/global/pg_control" "$scratch/global/" || exit 1
if [ "$auto" = given ]; then cat >"$scratch/postgresql.auto.conf" || exit 1
elif [ -e "$data/postgresql.auto.conf" ]; then cp -- "$data/postgresql.auto.conf" "$scratch/" || exit 1; fi
"$bin/postgres" -D "$scratch" -c config_file="$config" -c data_directory="$scratch" \\
    -c log_destination=stderr -c lc_messages=C -C "$ask" 2>"$scratch/said"
code=$?
sed "s|$scratch|$data|g" "$scratch/said" >&2
grep -E '^(MemTotal|SwapTotal):' /proc/meminfo 2>/dev/null
exit $code
"""

_LOG_LINE = re.compile(r"^.*?\b(?:FATAL|LOG|ERROR|WARNING):\s+", re.MULTILINE)
_SUMMARY = re.compile(r"^configuration file .* contains errors$")
MEGABYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Programs:
    """Where a server's programs and files are; `run_as` is the owner of its data folder."""

    bindir: str
    data: str
    config: str
    major: int
    run_as: str | None


def check_command(of: Programs, *, given: bool = False) -> tuple[str, ...]:
    """The program that tells whether the server would start; `given`: its input is postgresql.auto.conf."""
    # What is computed from all the others, so that it is the last thing known; new in PostgreSQL 15.
    ask = "shared_memory_size" if of.major >= 15 else "data_directory"
    return script(_SCRIPT, of.bindir, of.data, of.config, "given" if given else "own", ask)


def check_step(of: Programs) -> Command:
    """A step that fails when the server would not start with the configuration as it is."""
    return Command(check_command(of), run_as=of.run_as, note="whether the server would start")


async def obstacle(host: Host, of: Programs, auto_conf: str | None = None) -> str:
    """Why the server would not start with that postgresql.auto.conf (None: as it is), empty when it would."""
    given = None if auto_conf is None else auto_conf.encode("utf-8", "surrogateescape")
    done = await host.run(
        check_command(of, given=given is not None), stdin=given, timeout=30, run_as=of.run_as
    )
    if done.code:
        return (
            _complaint(done.err.decode("utf-8", "surrogateescape"))
            or f"postgres ended with status {done.code}"
        )
    return _too_large(done.text) if of.major >= 15 else ""


def _complaint(said: str) -> str:
    """What the server's program said was wrong, without times, levels and the summary of it."""
    lines = [_LOG_LINE.sub("", line).removeprefix("postgres: ").strip() for line in said.splitlines()]
    told = [line for line in lines if line and not _SUMMARY.match(line)]
    return "; ".join(told[:3])


def _too_large(said: str) -> str:
    """A sentence when the shared memory would not fit into the host's memory and swap."""
    words = said.split()
    kilobytes = sum(int(words[i + 1]) for i, word in enumerate(words) if word in ("MemTotal:", "SwapTotal:"))
    wanted = int(words[0]) * MEGABYTE
    if not kilobytes or wanted <= kilobytes * 1024:
        return ""
    has = f"{kilobytes // 1024} MB of memory and swap"
    return f"it would ask for {words[0]} MB of shared memory, and the host has {has}"


async def demand_startable(host: Host, of: Programs, auto_conf: str | None, *, wanted: str) -> None:
    """Refuse what would keep the server from starting; say so when it is kept from it already."""
    found = await obstacle(host, of, auto_conf)
    if not found:
        return
    if auto_conf is not None and await obstacle(host, of):
        raise Refused(
            f"the server would not start again already: {found}",
            hint="correct that first; the view cluster.file_errors shows file and line",
        )
    raise Refused(f"with {wanted} the server would not start again: {found}")


# -- postgresql.auto.conf ------------------------------------------------------------------------


def replaced(auto_conf: str, name: str, value: str | None) -> str:
    """The file as ALTER SYSTEM would leave it: with this value for the setting, or without one."""
    kept = [line for line in auto_conf.splitlines() if _name(line) != name.lower()]
    if value is not None:
        escaped = value.replace("\\", "\\\\").replace("'", "''")
        kept.append(f"{name} = '{escaped}'")
    return "".join(f"{line}\n" for line in kept)


def entry(auto_conf: str, name: str) -> str | None:
    """The setting's value in the file, None when it has none there."""
    found = [line for line in auto_conf.splitlines() if _name(line) == name.lower()]
    if not found:
        return None
    value = found[-1].partition("=")[2].strip()
    if not (len(value) > 1 and value[0] == value[-1] == "'"):
        return value
    return value[1:-1].replace("''", "'").replace("\\\\", "\\")


def _name(line: str) -> str:
    return line.partition("=")[0].strip().lower()


async def read_auto_conf(host: Host, of: Programs) -> str:
    """The file that ALTER SYSTEM writes; empty when there is none."""
    try:
        found = await host.read(f"{of.data}/postgresql.auto.conf", run_as=of.run_as)
    except Failed:
        return ""
    return found.decode("utf-8", "surrogateescape")
