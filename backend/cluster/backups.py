"""What pgBackRest has of the servers of a host: which stanza is whose, their last backups, the repositories.

A stanza belongs to the server whose data folder is one of its pg-paths, or that the inventory names it for.
`pgbackrest info` ends with 0 whatever is wrong; it only reads, and takes some 20 ms where the repository is
on a disk, longer where it is elsewhere.
"""

from __future__ import annotations

import configparser
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from backend.cluster.discovery import Cluster, Found
from backend.core.errors import PgtuiError
from backend.core.host import script
from backend.core.remembered import Remembered
from backend.core.session import Session

# Seconds: what is asked of a repository that may be far away is not asked again at once, nor waited for long.
AGAIN_AFTER = 60.0
PATIENCE = 8.0

# Its own files and what it says, each ended by a zero byte; without the program, nothing.
_LOOK = """\
command -v pgbackrest >/dev/null 2>&1 || exit 0
config=$1
if [ "$config" ]; then set -- "$config"
else
    set -- /etc/pgbackrest/pgbackrest.conf
    [ -e "$1" ] || set -- /etc/pgbackrest.conf
    set -- "$1" /etc/pgbackrest/conf.d/*.conf
fi
for each; do [ ! -r "$each" ] || cat -- "$each"; echo; done | tr -d '\\0'
printf '\\0'
quiet='--log-level-console=off --log-level-stderr=off --log-level-file=off'
pgbackrest ${config:+"--config=$config"} $quiet --output=json info
"""
_DEFAULT_REPOSITORY = "/var/lib/pgbackrest"
_NUMBER = re.compile(r"(pg|repo)(\d+)-(.+)")


@dataclass(frozen=True, slots=True)
class Stanza:
    """A stanza: its data folders on this host, and when its last backups ended.

    `incremental` is the last incremental or differential one.
    """

    name: str
    paths: tuple[str, ...]
    full: datetime | None = None
    incremental: datetime | None = None
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository in a folder of this host; `bytes` is what its backups take, without the archive."""

    number: int
    path: str
    bytes: int | None

    @property
    def place(self) -> str:
        """What it is called."""
        return "repository" if self.number == 1 else f"repository {self.number}"


@dataclass(frozen=True, slots=True)
class Backups:
    """All that pgBackRest of a host tells; `named` is the stanza that the inventory names."""

    stanzas: tuple[Stanza, ...] = ()
    repositories: tuple[Repository, ...] = ()
    named: str | None = None

    def of(self, cluster: Cluster) -> Stanza | None:
        """The stanza of that server."""
        for stanza in self.stanzas:
            if (cluster.own and stanza.name == self.named) or cluster.data in stanza.paths:
                return stanza
        return None


_told = Remembered[Backups](AGAIN_AFTER)


async def backups(s: Session, found: Found) -> Backups:
    """What pgBackRest tells, at most a minute old; nothing where it is not, or does not answer."""
    return await _told.get(s, lambda: _asked(s, found))


async def _asked(s: Session, found: Found) -> Backups:
    words = script(_LOOK, s.target.backup.get("config", ""))
    try:
        done = await s.host.run(words, timeout=PATIENCE, run_as=_account(s, found))
    except PgtuiError:
        return Backups()
    return read(done.text, s.target.backup.get("stanza"))


def _account(s: Session, found: Found) -> str | None:
    """Who asks: pgBackRest's files belong to the servers' account, and newer versions refuse root."""
    if s.target.run_as or found.user != "root":
        return s.target.run_as
    own = found.own.owner if found.own else None
    return own or next((c.owner for c in found.clusters if c.owner), None)


def read(text: str, named: str | None = None) -> Backups:
    """What the configuration, a zero byte and the answer of `info --output=json` mean."""
    config, _, answer = text.partition("\0")
    try:
        told = json.loads(answer or "[]")
    except ValueError:
        told = []
    sections = _sections(config)
    known = {stanza["name"]: stanza for stanza in told}
    names = dict.fromkeys([*(n for n in sections if n != "global"), *known])
    stanzas = tuple(_stanza(name, sections.get(name, {}), known.get(name)) for name in names)
    return Backups(stanzas, tuple(_repositories(sections.get("global", {}), told)), named)


def _sections(config: str) -> dict[str, dict[str, str]]:
    """The options by stanza, those of single commands left out; `global` is for all."""
    parser = configparser.RawConfigParser(
        strict=False, delimiters=("=",), comment_prefixes=("#",), interpolation=None
    )
    try:
        parser.read_string(config)
    except configparser.Error:
        return {}
    return {name: dict(parser[name]) for name in parser.sections() if ":" not in name}


def _stanza(name: str, options: Mapping[str, str], told: Mapping[str, Any] | None) -> Stanza:
    paths = [
        path.rstrip("/")
        for key, path in options.items()
        if (m := _NUMBER.fullmatch(key))
        and (m[1], m[3]) == ("pg", "path")
        and f"pg{m[2]}-host" not in options
    ]
    made = told["backup"] if told else []
    ended = {
        kind: max((b["timestamp"]["stop"] for b in made if (b["type"] == "full") is kind), default=None)
        for kind in (True, False)
    }
    return Stanza(
        name, tuple(paths), _time(ended[True]), _time(ended[False]),
        _trouble(name, made, told),
    )  # fmt: skip


def _trouble(name: str, made: Sequence[Mapping[str, Any]], told: Mapping[str, Any] | None) -> str | None:
    if made and made[-1].get("error"):
        return f"the last backup of stanza {name} has pages with wrong checksums"
    if made:
        return None
    why = (told or {}).get("status", {}).get("message")
    return f"stanza {name} has no backup" + (f": {why}" if why and why != "no valid backups" else "")


def _time(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _repositories(options: Mapping[str, str], told: Sequence[Mapping[str, Any]]) -> list[Repository]:
    """Those that are folders of this host."""
    about: dict[int, dict[str, str]] = {1: {}} if told or options else {}
    for key, value in options.items():
        if (m := _NUMBER.fullmatch(key)) and m[1] == "repo":
            about.setdefault(int(m[2]), {})[m[3]] = value
    return [
        Repository(number, given.get("path", _DEFAULT_REPOSITORY), _bytes(number, told))
        for number, given in sorted(about.items())
        if given.get("type", "posix") in ("posix", "cifs") and "host" not in given
    ]


def _bytes(number: int, told: Sequence[Mapping[str, Any]]) -> int | None:
    sizes = [
        b["info"]["repository"].get("delta")
        for stanza in told
        for b in stanza["backup"]
        if b["database"].get("repo-key", 1) == number
    ]
    return sum(size or 0 for size in sizes) if sizes else None
