"""What else runs a server: an agent that would undo, or be confused by, a start or stop behind its back."""

from __future__ import annotations

import re

from backend.cluster.scan import Folder, Process, Scan

_PARENTS = {
    "patroni": "Patroni",
    "pg_autoctl": "pg_auto_failover",
    "pgautofailover": "pg_auto_failover",
    "repmgrd": "repmgr",
    "stolon-keeper": "Stolon",
}
_GROUPS = re.compile(r"patroni|pacemaker|pgautofailover|stolon|kubepods")
_GROUP_NAMES = {
    "patroni": "Patroni",
    "pacemaker": "Pacemaker",
    "pgautofailover": "pg_auto_failover",
    "stolon": "Stolon",
    "kubepods": "Kubernetes",
}


def manager_of(folder: Folder, process: Process | None, preloaded: str, scan: Scan) -> str | None:
    """The program that manages the server, by the name its users know; None when nobody does."""
    if process:
        if found := _PARENTS.get(process.values.get("parent", "")):
            return found
        if group := _GROUPS.search(process.values.get("cgroup", "")):
            return _GROUP_NAMES[group[0]]
    if "patroni.dynamic.json" in folder.has:
        return "Patroni"
    if "postgresql-auto-failover.conf" in folder.has:
        return "pg_auto_failover"
    if "repmgr" in preloaded:
        return "repmgr"
    return "Kubernetes" if "kubernetes" in scan.values else None
