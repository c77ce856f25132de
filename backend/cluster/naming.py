"""What servers are called: VERSION/NAME, by postgresql-common or by what their paths say."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal

from backend.cluster.scan import Folder

if TYPE_CHECKING:
    from backend.cluster.discovery import Cluster

Kind = Literal["debian", "rpm", "plain"]

# The last part of a data folder's path when it says nothing of the server.
_DULL = {"data", "pgdata", "pgsql_data"}


def kind_of(folder: Folder) -> Kind:
    """What laid the folder out."""
    if folder.debian:
        return "debian"
    return "rpm" if re.search(r"/pgsql/(\d+/)?data$", folder.path) else "plain"


def name_of(folder: Folder, kind: Kind, major: int | None) -> str:
    """Its name, which another server may have too."""
    if kind == "debian":
        return "/".join(PurePosixPath(folder.debian).parts[-2:])
    return f"{major or '?'}/{_stem(folder.path)}"


def _stem(path: str) -> str:
    """The last part of the path that says something."""
    last, *before = [*reversed(PurePosixPath(path.removesuffix(" (deleted)")).parts), ""]
    telling = [p for p in before if not p.isdigit() and p not in ("/", "")]
    return telling[0] if last in _DULL and telling and not before[0].isdigit() else last


def told_apart(clusters: Sequence[Cluster]) -> list[Cluster]:
    """The clusters with names of their own: where two would share one, more of the path tells them apart."""
    named = list(clusters)
    for deeper in range(2, 9):
        times = Counter(c.name for c in named)
        named = [
            c if times[c.name] == 1 or c.kind == "debian" else replace(c, name=_longer(c, deeper))
            for c in named
        ]
    return named


def _longer(cluster: Cluster, depth: int) -> str:
    """The version and so many parts of the path, counted from the one that says something."""
    parts = PurePosixPath(cluster.data).parts[1:]
    telling = parts[:-1] if parts[-1] in _DULL else parts
    return f"{cluster.major or '?'}/{'/'.join(telling[-depth:])}"
