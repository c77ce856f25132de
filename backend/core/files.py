"""Files of a host, read and replaced by programs that every system has, so that all hosts do it alike.

A file is replaced in one rename: whoever looks sees the old bytes or the new ones, also when the
connection breaks or the machine stops half-way. The new file starts as a copy of the old one, which is
how it comes to have the same owner, mode and access list; when that cannot be kept, nothing is changed.
"""

from __future__ import annotations

from backend.core.errors import Failed, PgtuiError
from backend.core.host import OUTPUT_LIMIT, Done, Host, script

# mktemp makes 0600, which is right for a new file: it may hold a password.
_REPLACE = """\
path=$(readlink -f -- "$1") && [ -n "$path" ] || { echo "$1: No such file or directory" >&2; exit 1; }
[ ! -d "$path" ] || { echo "$path: Is a directory" >&2; exit 1; }
folder=${path%/*}; folder=${folder:-/}
fresh= kept=
trap 'rm -f -- "$fresh" "$kept"' EXIT
trap 'exit 1' HUP INT TERM
fresh=$(mktemp "$folder/.${path##*/}.pgtui-XXXXXX") || exit 1
owned() { ls -nd -- "$1" | { read -r mode _ user group _ && echo "${mode%[.+@]} $user $group"; }; }
if [ -e "$path" ]; then
    cp -p -- "$path" "$fresh" || exit 1
    [ "$(owned "$path")" = "$(owned "$fresh")" ] || { echo "$path: its owner cannot be kept" >&2; exit 1; }
    kept=$(mktemp "$folder/.${path##*/}.pgtui-XXXXXX") && cp -p -- "$path" "$kept" || exit 1
fi
cat >"$fresh" || exit 1
[ "$(wc -c <"$fresh")" -eq "$2" ] || { echo "$path: only a part of the new content arrived" >&2; exit 1; }
sync "$fresh" 2>/dev/null || sync
[ -z "$kept" ] || mv -f -- "$kept" "$path.pgtui~" || exit 1
mv -f -- "$fresh" "$path" || exit 1
sync "$folder" 2>/dev/null || sync
"""

_WHICH = 'for name; do command -v "$name" >/dev/null 2>&1 && printf "%s\\0" "$name"; done; :'

SECONDS = 60


async def which(host: Host, programs: tuple[str, ...]) -> frozenset[str]:
    """Those of the programs that the host's search path has."""
    if not programs:
        return frozenset()
    done = (await host.run(script(_WHICH, *programs))).demand()
    return frozenset(done.text.split("\0")) - {""}


async def read(host: Host, path: str, run_as: str | None, limit: int) -> bytes:
    """The file's first bytes, at most `limit`."""
    # `head`, and not a script, so that the sudoers line this needs does not allow everything.
    count = str(min(limit, OUTPUT_LIMIT))
    done = await host.run(("head", "-c", count, "--", path), timeout=SECONDS, run_as=run_as)
    if done.code:
        raise _failed(f"{path} on {host.where} cannot be read", done)
    return done.out


async def write(host: Host, path: str, data: bytes, run_as: str | None) -> None:
    """Replace the file in one rename and keep its old bytes beside it."""
    if not path.startswith("/"):
        raise Failed(f"{path} on {host.where} cannot be written: its path does not begin with a slash")
    replace = script(_REPLACE, path, str(len(data)))
    done = await host.run(replace, stdin=data, timeout=SECONDS, run_as=run_as)
    if done.code:
        raise _failed(f"{path} on {host.where} cannot be written", done)


def _failed(what: str, done: Done) -> PgtuiError:
    """The system's words, without the program that passed them on."""
    reason = done.complaint.rsplit(": ", 1)[-1] or f"{done.argv[0]} ended with status {done.code}"
    return Failed(f"{what}: {reason}")
