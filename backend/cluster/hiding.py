"""What of a host's servers we may not see, and what would show it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from backend.cluster.pidfile import Standing
from backend.cluster.scan import Folder, Scan

if TYPE_CHECKING:
    from backend.cluster.discovery import Cluster


def is_hidden(folder: Folder, how: Standing) -> bool:
    """Whether the data folder is there, but not for us.

    Where we may not even enter the folder above, only a process tells of it, whose place we may not read.
    """
    if "absent" in folder.values:
        return how.process is not None and not how.process.cwd
    return not folder.readable


def hidden(scan: Scan, where: str, clusters: Sequence[Cluster]) -> tuple[str, ...]:
    """A sentence for each account whose servers are hidden, with the sudoers line that would show them."""
    if scan.refused:
        return (
            f"{scan.refused.message}; {scan.refused.hint}" if scan.refused.hint else scan.refused.message,
        )
    user = scan.values.get("user", "")
    if user == "root":  # what root did not see has come or gone meanwhile
        return ()
    owners = sorted({c.owner for c in clusters if c.unread and c.owner and c.owner != user})
    return tuple(
        f"{user} may not read what belongs to {owner} on {where};"
        f' run_as = "{owner}" in the inventory and this sudoers line show it:'
        f" {user} ALL=({owner}) NOPASSWD: ALL"
        for owner in owners
    )


def contained(scan: Scan) -> tuple[str, ...]:
    """A sentence when containers of the host run servers, whose paths are not the host's."""
    number = scan.values.get("contained", "0")
    if number == "0":
        return ()
    return (f"what runs in containers ({number} here) has no files on the host that pgtui could look at",)
