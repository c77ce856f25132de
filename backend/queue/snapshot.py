"""Transaction snapshots as ticks hold them, and which transactions a batch between two of them has."""

from __future__ import annotations

from dataclasses import dataclass

_WRAP = 1 << 32


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a tick saw: everything below `xmin` had ended, nothing from `xmax` on, and `running` had not."""

    xmin: int
    xmax: int
    running: frozenset[int]

    @classmethod
    def parse(cls, text: str) -> Snapshot:
        """The snapshot that PostgreSQL writes as `xmin:xmax:running,…`."""
        xmin, xmax, running = text.split(":")
        return cls(int(xmin), int(xmax), frozenset(int(x) for x in running.split(",") if x))


@dataclass(frozen=True, slots=True)
class Span:
    """The transactions of a batch: `first` up to below `end` without `still_running`, and the `late` ones.

    The late ones were running at the batch's first tick and had ended by its last.
    """

    first: int
    end: int
    still_running: list[int]
    late: list[int]


def between(last: Snapshot, current: Snapshot) -> Span:
    """What became visible after `last` and up to `current`.

    One that runs for long moves `xmin` far back; looking from `xmax` on and for the late ones by name keeps a
    batch from reading everything since.
    """
    return Span(
        first=last.xmax,
        end=max(current.xmax, last.xmax),
        still_running=sorted(x for x in current.running if x >= last.xmax),
        late=sorted(x for x in last.running - current.running if x < current.xmax),
    )


def full_xid(xid: int, near: int) -> int:
    """The 64-bit number of a 32-bit transaction id that is less than 2^31 away from `near`."""
    return near + (xid - near + _WRAP // 2) % _WRAP - _WRAP // 2
