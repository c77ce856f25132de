"""Programs that outlive the connection: a base backup must not end because somebody's laptop went to sleep.

Such a program runs on the host under a small wrapper, both in sessions of their own, so that nothing that
happens to the connection reaches them. What is known of it is a folder there, its record, that only its
user can enter:

    about     the user it runs as ('' for our own) and its name
    wrapper   process id and start time of the wrapper
    pid       process id, which is its process group too, and start time of the program
    log       what it writes, both streams
    status    its exit status, once there is one

The folder's path is all that is needed to find the program again, from another connection or another
pgtui. A process id alone proves nothing, since ids are used again: it counts only together with the start
time.
"""

from __future__ import annotations

import os
import re
import time

from backend.core.errors import Failed, Missing, Refused
from backend.core.host import NOT_FOUND, Done, Host, absent, basename, become, refused, script

START_LIMIT = 30
END_LIMIT = 30
CHUNK = 8 << 20

# born PID: when the process started; nothing when it is gone or only a zombie.
_BORN = """\
born() {
    if [ ! -r /proc/self/stat ]; then ps -o lstart= -p "$1"; return; fi
    { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 1
    set -- ${line##*") "}
    [ "$1" = Z ] || echo "${20}"
}
"""

# leader COMMAND...: become it, in a session and a process group of its own.
_LEADER = """\
leader() {
    if command -v setsid >/dev/null 2>&1; then exec setsid "$@"; fi
    exec perl -MPOSIX -e 'POSIX::setsid(); exec { $ARGV[0] } @ARGV' "$@"
}
"""

_START = (
    _LEADER
    + """\
wrap=$1 inner=$2 id=$3 owner=$4 name=$5; shift 5
if [ -z "$owner" ]; then
    command -v "$name" >/dev/null 2>&1 || exit 127
elif [ "$(id -un)" != "$owner" ] && command -v sudo >/dev/null 2>&1; then
    # Behind the five words of `become` is the program itself.
    (shift 5; sudo -n -u "$owner" -l -- "$@") >/dev/null || { echo "sudo: not allowed" >&2; exit 1; }
fi
umask 077
base=${XDG_STATE_HOME:-$HOME/.local/state}/pgtui/programs
mkdir -p "$base" && cd "$base" || exit 3
find . -name status -mtime +30 | while read -r old; do rm -rf "${old%/status}"; done
mkdir "$id" && cd "$id" || exit 3
printf '%s\\n%s\\n' "$owner" "$name" >about && : >log && cat >input || exit 3
(leader sh -c "$wrap" sh "$inner" "$@") </dev/null >/dev/null 2>&1 &
until [ -s pid ] || [ -s status ]; do
    kill -0 $! 2>/dev/null || [ -s pid ] || [ -s status ] || { echo "its wrapper ended at once" >&2; exit 3; }
    sleep 0.02
done
pwd -P
"""
)

_WRAP = (
    _BORN
    + _LEADER
    + """\
inner=$1; shift
echo "$$ $(born $$)" >wrapper
exec 3<input
rm input
(leader sh -c "$inner" sh "$@" 3<&-) <&3 >>log 2>&1 &
exec 3<&-
wait $!
echo $? >status.new && mv status.new status
"""
)

_INNER = (
    _BORN
    + """\
echo "$$ $(born $$)" >pid.new && mv pid.new pid && cd / && exec "$@"
"""
)

_STATUS = (
    _BORN
    + """\
cd "$1" 2>/dev/null || { echo gone; exit; }
ended() { [ ! -s status ] || { echo "ended $(cat status)"; exit; }; }
ended
for file in wrapper pid; do
    read -r pid start <"$file" && [ "$(born "$pid")" = "$start" ] && { echo "running $pid $start"; exit; }
done 2>/dev/null
ended
echo vanished
"""
)

# sudo may have given the program a session of its own, so its descendants are signalled beside its group.
_END = (
    _BORN
    + """\
group=$1 start=$2 owner=$3 left=$4
tree() { for child in $(cat "/proc/$1/task/$1/children"); do echo "$child"; tree "$child"; done; }
alive() {
    if [ ! -r /proc/self/stat ]; then kill -s 0 -- "-$group"; return; fi
    for file in /proc/[0-9]*/stat; do
        read -r line <"$file" || continue
        set -- ${line##*") "}
        [ "$3" != "$group" ] || [ "$1" = Z ] || return 0
    done
    return 1
}
send() {
    kill -s "$1" -- "-$group"
    [ -n "$owner" ] && [ "$(id -u)" != 0 ] && [ "$(id -un)" != "$owner" ] || return 0
    set -- "$1" "-$group" $(tree "$group")
    sudo -n -u "$owner" -- kill -s "$1" -- "$@" || sudo -n -u "$owner" -- sh -c 'kill -s "$@"' sh "$1" -- "$@"
}
over() {
    while alive; do
        [ "$left" -gt 0 ] || return 1
        left=$((left - 1))
        sleep 0.1
    done
}
exec 2>/dev/null
[ -z "$start" ] || [ "$(born "$group")" = "$start" ] || exit 0
send TERM
over && exit 0
send KILL
left=50
over
"""
)

_FOLLOW = 'cd "$1" && tail -c "+$2" log | head -c "$3"'
_ABOUT = 'cd "$1" && [ -O . ] && cat about'
_PID = 'cd "$1" && cat pid'

_RECORD = re.compile(r"/.*/pgtui/programs/[0-9a-f-]+")


class Detached:
    """A program that runs on a host by itself, known by its record."""

    def __init__(self, host: Host, reference: str, name: str, run_as: str | None) -> None:
        self._host = host
        self._reference = reference
        self._name = name
        self._run_as = run_as

    @property
    def reference(self) -> str:
        """Its record folder on the host."""
        return self._reference

    async def follow(self, since: int = 0) -> tuple[bytes, int]:
        """What it wrote after byte `since`, 8 MB at most, and where that ends."""
        words = script(_FOLLOW, self._reference, str(since + 1), str(CHUNK))
        fresh = (await self._host.run(words, timeout=60)).demand().out
        return fresh, since + len(fresh)

    async def status(self) -> int | None:
        """Its exit status, or None while it runs."""
        word, *rest = (await self._host.run(script(_STATUS, self._reference))).demand().text.split()
        if word == "running":
            return None
        if word == "ended":
            return int(rest[0])
        raise Failed(
            f"{self._name} vanished from {self._host.where} without an exit status",
            hint=f"it was killed, or the machine was restarted; what it wrote is in {self._reference}",
        )

    async def cancel(self, grace: float = 5) -> None:
        """End its process group: TERM, then KILL after the grace period; nothing when it has ended."""
        words = script(_PID, self._reference)
        done = await self._host.run(words)
        group, _, start = done.text.strip().partition(" ")
        if done.code or not start:
            return
        words = end(group, start, self._run_as, grace)
        if (await self._host.run(words, timeout=grace + END_LIMIT)).code:
            raise self._unstoppable(group)

    async def forget(self) -> None:
        """Remove its record once it has ended."""
        if (await self._host.run(script(_STATUS, self._reference))).text.startswith("running"):
            raise Refused(f"the record of {self._name} is still needed: it runs on {self._host.where}")
        (await self._host.run(("rm", "-rf", "--", self._reference))).demand()

    def _unstoppable(self, group: str) -> Missing:
        who = f" as {self._run_as}" if self._run_as else ""
        return Missing(
            f"{self._name} on {self._host.where} goes on: its process group {group} cannot be signalled{who}",
            hint=f"a sudoers line that allows it: USER ALL=({self._run_as}) NOPASSWD: /usr/bin/kill"
            if self._run_as
            else None,
        )


async def start(host: Host, argv: tuple[str, ...], stdin: bytes | None, run_as: str | None) -> Detached:
    """Start a program under its wrapper and return when it runs."""
    words = script(_START, _WRAP, _INNER, _new_id(), run_as or "", argv[0], *become(argv, run_as))
    done = await host.run(words, stdin=stdin or b"", timeout=START_LIMIT)
    if done.code == NOT_FOUND:
        raise absent(argv[0], host.where)
    if done.code:
        await _explain(host, Done(argv, done.code, b"", done.err), run_as)
    return Detached(host, done.text.rstrip("\n"), basename(argv), run_as)


async def attach(host: Host, reference: str) -> Detached:
    """The program whose record that is."""
    if not _RECORD.fullmatch(reference):
        raise Failed(f"{reference} is not the record of a program")
    done = await host.run(script(_ABOUT, reference))
    if done.code:
        raise Failed(f"{host.where} has no record {reference} of a program that this user started")
    run_as, name = [*done.text.split("\n"), ""][:2]
    return Detached(host, reference, basename((name,)), run_as or None)


def end(group: str, start: str, run_as: str | None, grace: float) -> tuple[str, ...]:
    """The argument list that ends a process group; a start time proves that it is the one meant."""
    return script(_END, group, start, run_as or "", str(int(grace * 10)))


async def _explain(host: Host, done: Done, run_as: str | None) -> None:
    refusal = await refused(host, done, run_as) if run_as and done.code == 1 else None
    raise refusal or Failed(
        f"{basename(done.argv)} cannot be started on {host.where}: {done.complaint or 'it said nothing'}"
    )


def _new_id() -> str:
    return f"{int(time.time()):x}-{os.urandom(4).hex()}"
