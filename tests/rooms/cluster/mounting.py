"""Mounts that the machine does not see: programs with a name space of their own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def apart_from_the_machine() -> list[str]:
    """The program that gives another a name space of its own, whose mounts are seen nowhere else.

    Where nothing is shared there is nothing to change about that, which a changed root would not let it do.
    """
    shared = " shared:" in Path("/proc/self/mountinfo").read_text()
    return ["unshare", "--mount", *([] if shared else ["--propagation", "unchanged"])]


def mounts() -> bool:
    """Whether this process may mount file systems; containers often may not."""
    probe = subprocess.run([*apart_from_the_machine(), "true"], capture_output=True, check=False)
    return os.getuid() == 0 and probe.returncode == 0


def changed_root() -> bool:
    """Whether our root is a folder of the machine's: processes of other name spaces have other paths then."""
    places = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return "/" not in places
