"""Settings that a server runs with otherwise than it would be started with, as far as its files tell."""

from __future__ import annotations

from collections.abc import Mapping

from backend.cluster import pidfile

# What a primary runs with is in its control file, in these words.
_RUNNING_WITH = {
    "max_connections": "max_connections setting",
    "max_worker_processes": "max_worker_processes setting",
    "max_wal_senders": "max_wal_senders setting",
    "max_prepared_transactions": "max_prepared_xacts setting",
    "max_locks_per_transaction": "max_locks_per_xact setting",
    "wal_level": "wal_level setting",
    "wal_log_hints": "wal_log_hints setting",
    "track_commit_timestamp": "track_commit_timestamp setting",
}
_BOOLEANS = {"true": "on", "yes": "on", "1": "on", "false": "off", "no": "off", "0": "off"}


def waiting(how: pidfile.Standing, told: Mapping[str, str], control: Mapping[str, str]) -> tuple[str, ...]:
    """The names of those of a primary, from `told` (its files and its command line) and its control file."""
    if how.state != "up":
        return ()
    now = {name: control[words] for name, words in _RUNNING_WITH.items() if words in control}
    if how.file and how.file.port:
        now["port"] = str(how.file.port)
    then = {name: told[name].lower() for name in now if name in told}
    boolean = {"wal_log_hints", "track_commit_timestamp"}
    return tuple(
        name
        for name, value in sorted(then.items())
        if (_BOOLEANS.get(value, value) if name in boolean else value) != now[name]
    )
