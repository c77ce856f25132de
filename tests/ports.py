"""Ports for servers that tests start, some of them later: each is given out once."""

from __future__ import annotations

import contextlib
import functools
import itertools
import socket

# Below the range from which systems take ports for connections.
_FIRST, _RANGES, _EACH = 10000, 40, 500

_numbers = itertools.count()


def free_port() -> int:
    """A port that nobody listens on and that no other test is given, on this machine.

    A server that listens on its socket alone shows nobody its port, so each process has a range of its own.
    """
    _, first = _range()
    while True:
        port = first + next(_numbers) % _EACH
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port


@functools.cache
def _range() -> tuple[socket.socket, int]:
    """What claims a range of ports until this process ends, and the first of them."""
    for number in range(_RANGES):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0ports of pgtui's tests {number}")
        except OSError:
            claim.close()
        else:
            return claim, _FIRST + number * _EACH
    raise OSError("too many processes run tests on this machine")
