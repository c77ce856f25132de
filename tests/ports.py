"""Ports for servers that tests start, some of them later: each is given out once."""

from __future__ import annotations

import itertools
import os
import socket
import zlib

# Below the range from which systems take ports for connections; runs side by side mostly have ports of
# their own, the workers of a run always.
_FIRST, _RUNS, _WORKERS, _EACH = 10000, 5, 8, 500

_numbers = itertools.count()


def free_port() -> int:
    """A TCP port that nobody listens on, and that no other test is given."""
    run = zlib.crc32(os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid())).encode()) % _RUNS
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
    first = _FIRST + (run * _WORKERS + worker) * _EACH
    while True:
        port = first + next(_numbers) % _EACH
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
