"""Which of a host's servers is the target's own.

A wrong answer here would stop or drop somebody else's server, so a running one is recognised by what it
says of itself over SQL and what its process says, together; one that is down by where the target connects.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from psycopg.conninfo import conninfo_to_dict

from backend.cluster.place import asked
from backend.core.facts import Query
from backend.core.passwords import service
from backend.core.session import Session
from backend.core.target import Target

if TYPE_CHECKING:
    from backend.cluster.discovery import Cluster

_LOOPBACK = ("", "localhost", "127.0.0.1", "::1")
_USUAL_SOCKETS = ("/var/run/postgresql", "/run/postgresql", "/tmp")  # noqa: S108

# A server says when it was ready to begin, the system when its process began: loading libraries lies between.
BETWEEN = 120.0
# Where nothing but the time tells, another server that began about then must not be taken for it.
ALONE = 10.0


@dataclass(frozen=True, slots=True)
class Self:
    """What a server says of itself; the data folder is None for a role that may not read it."""

    data: str | None
    port: int
    started: datetime
    system_identifier: str | None


SELF = Query("""
SELECT (SELECT setting
          FROM pg_catalog.pg_settings
         WHERE name = 'data_directory') AS data,
       pg_catalog.current_setting('port')::pg_catalog.int4 AS port,
       pg_catalog.pg_postmaster_start_time() AS started,
       (SELECT system_identifier::pg_catalog.text
          FROM pg_catalog.pg_control_system()) AS system_identifier
""")


async def own_folder(s: Session, clusters: Sequence[Cluster], given: Sequence[str] = ()) -> str | None:
    """The data folder of the target's own server; None when no server of the host is surely it."""
    if named := s.target.cluster.get("data"):
        return next((c.data for c in clusters if c.data == named.rstrip("/")), None) or _only(
            [c for c in clusters if named in given and c.data.endswith(named.rpartition("/")[2])]
        )
    if answer := await asked(s, Self, SELF):
        possible = [c for c in clusters if is_it(c, answer[0])]
        return _only(possible) or _only([c for c in possible if is_surely_it(c, answer[0])])
    return _only([c for c in clusters if listens_there(c, s.target)])


def _only(found: Sequence[Cluster]) -> str | None:
    return found[0].data if len(found) == 1 else None


def is_it(cluster: Cluster, told: Self) -> bool:
    """Whether the running server is the one that answered; what is not known contradicts nothing."""
    if not cluster.running or cluster.since is None:
        return False
    between = (told.started - cluster.since).total_seconds()
    known = cluster.system_identifier and told.system_identifier
    return (
        -2 <= between <= (BETWEEN if known or cluster.port else ALONE)
        and cluster.port in (None, told.port)
        and (not known or cluster.system_identifier == told.system_identifier)
    )


def is_surely_it(cluster: Cluster, told: Self) -> bool:
    """Whether all that a server says of itself is known of it too, and the same.

    It tells the server from those that show little of themselves, such as one in a container.
    """
    return told.system_identifier is not None and (
        (cluster.data, cluster.port, cluster.system_identifier)
        == (told.data, told.port, told.system_identifier)
    )


def listens_there(cluster: Cluster, target: Target) -> bool:
    """Whether the server, which does not answer, is the one that the target would connect to."""
    own = dict(conninfo_to_dict(target.dsn))
    given = {**service(own), **own}
    host = str(given.get("hostaddr") or given.get("host") or os.environ.get("PGHOST") or "")
    port = str(given.get("port") or os.environ.get("PGPORT") or "5432")
    if not target.ssh and host not in _LOOPBACK and not host.startswith("/"):
        return False
    if str(cluster.port) != port:
        return False
    return not host.startswith("/") or _same_sockets(cluster.sockets, host)


def _same_sockets(configured: str | None, host: str) -> bool:
    if configured is None:
        return host in _USUAL_SOCKETS
    return configured == host or {configured, host} <= set(_USUAL_SOCKETS[:2])
