"""Whether a server would start with its pg_hba.conf, which `postgres -C` does not read.

One that runs goes on with its old rules when the file is wrong; one that starts ends there. A file put back
from a copy is often such a file: it belongs to whoever copied it, and the server may not read it.
"""

from __future__ import annotations

from backend.cluster.discovery import Cluster
from backend.cluster.hba import rules_in_file
from backend.cluster.place import asked
from backend.cluster.reloading import HBA_ERRORS, FileError
from backend.core.errors import Failed, Refused
from backend.core.session import Session


async def demand_rules(s: Session, cluster: Cluster) -> None:
    """Refuse while the server could not read its rules: as its account on the host, and by its own parser."""
    if wrong := await _unreadable(s, cluster) or await _refused(s, cluster):
        goes_on = "it runs with the rules that it read before; " if cluster.running else ""
        raise Refused(
            f"{cluster.name} would not start with its pg_hba.conf: {wrong}",
            hint=f"{goes_on}correct the file first, and its owner and mode",
        )


async def _unreadable(s: Session, cluster: Cluster) -> str | None:
    """What is wrong with the file as it lies there; None also where it cannot be told which it is."""
    path = cluster.hba_file
    if path is None or not path.startswith("/"):
        return None
    try:
        found = await rules_in_file(s, cluster, cluster.owner)
    except Failed as e:
        return e.message
    wrong = next((f"{path} line {rule.line}: {rule.error}" for rule in found if rule.error), None)
    return wrong if found else f"{path} holds no rule"


async def _refused(s: Session, cluster: Cluster) -> str | None:
    """What the server's own parser says, where it is the target's own and lets us ask."""
    found = await asked(s, FileError, HBA_ERRORS) if cluster.own and cluster.running else []
    return found[0].sentence if found else None
