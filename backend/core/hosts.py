"""Which host a target's programs and files are on."""

from __future__ import annotations

from backend.core.host import Host
from backend.core.local import LocalHost
from backend.core.target import Target


def host_for(target: Target) -> Host:
    """The host of a target: this machine, or the one that its `ssh` names; nothing is connected yet."""
    if not target.ssh:
        return LocalHost()
    # 4 ms that commands on this machine need not pay.
    from backend.core.ssh import SshHost

    return SshHost(target.ssh)
