"""The target's own server as its host knows it, for what changes its configuration."""

from __future__ import annotations

from dataclasses import dataclass

from backend.cluster.discovery import Cluster, discover
from backend.cluster.offline import Programs
from backend.core.errors import Missing, PgtuiError, Refused
from backend.core.session import Session


@dataclass(frozen=True, slots=True)
class Own:
    """The target's own server; without one, `why` says what keeps us from its host."""

    cluster: Cluster | None = None
    why: PgtuiError | None = None

    @property
    def programs(self) -> Programs | None:
        """Its programs and files; None when they are not all known."""
        c = self.cluster
        if c is None or c.bin is None or c.config_file is None or c.major is None:
            return None
        return Programs(c.bin, c.data, c.config_file, c.major, c.owner)


async def own_server(s: Session, cluster: str | None = None) -> Own:
    """The target's own server; refused when `cluster` is another, or a manager such as Patroni runs it."""
    try:
        found = await discover(s)
    except PgtuiError as e:
        if cluster is not None:
            raise
        return Own(why=e)
    if cluster is not None and not (chosen := found.pick(cluster)).own:
        where = f"'host={chosen.sockets or 'localhost'} port={chosen.port or 5432} dbname=postgres'"
        raise Refused(
            f"{chosen.name} is not the server of {s.target.name}; what this changes takes a connection to it",
            hint=f"pgtui -t {where} makes one",
        )
    if found.own is None:
        return Own(why=_elsewhere(s, found.notes))
    if manager := found.own.manager:
        raise Refused(
            f"{manager} manages this server and would undo what is changed behind its back",
            hint=f"change it through {manager}",
        )
    return Own(found.own)


def _elsewhere(s: Session, notes: tuple[str, ...]) -> Missing:
    """Why none of the host's servers is known to be the target's own, and what would help."""
    hint = notes[0] if notes else "name its host in the inventory: ssh = …, and run_as where another owns it"
    return Missing(f"on {s.host.where} the server of {s.target.name} cannot be found", hint=hint)
