"""The tree of who blocks whom, from who waits for whom: a pure function."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Generic, TypeVar

from backend.core.record import record

N = TypeVar("N", bound=Hashable)
Edges = Mapping[N, Sequence[N]]
NO_TIME = timedelta()


@record
class Branch(Generic[N]):
    """One place in the tree: who, how deep, what is drawn before it, and what it costs others."""

    node: N
    depth: int
    prefix: str
    victims: int
    total_wait: timedelta
    cyclic: bool


def arrange(nodes: Iterable[N], blockers: Edges[N], waits: Mapping[N, timedelta]) -> list[Branch[N]]:
    """Every node once, below the blocker that is nearest to a root; what costs others most comes first.

    `blockers` tells whom a node waits for, `waits` for how long. Who waits for nobody is a root. A circle,
    which a deadlock makes, or a change in the middle of reading, is opened where the wait is longest.
    """
    known = list(dict.fromkeys(nodes))
    members = set(known)
    above = {n: [b for b in dict.fromkeys(blockers.get(n, ())) if b in members and b != n] for n in known}
    costs = _costs(known, above, waits)
    ranked = sorted(known, key=lambda n: (-costs[n][1], -costs[n][0], -waits.get(n, NO_TIME)))
    below, roots = _span(ranked, above, waits)
    return [
        Branch(n, depth, prefix, *costs[n], cyclic=depth == 0 and bool(above[n]))
        for n, depth, prefix in _draw(roots, below)
    ]


def _costs(
    known: Sequence[N], above: Edges[N], waits: Mapping[N, timedelta]
) -> dict[N, tuple[int, timedelta]]:
    """How many wait for each node, directly or not, and for how long together."""
    behind = _behind(known, above)
    costs: dict[N, tuple[int, timedelta]] = {}
    for n in known:
        victims = [v for i, v in enumerate(known) if behind[n] >> i & 1 and v != n]
        costs[n] = len(victims), sum((waits.get(v, NO_TIME) for v in victims), NO_TIME)
    return costs


def _behind(known: Sequence[N], above: Edges[N]) -> dict[N, int]:
    # Sets as the bits of integers: a queue of 1,000 has half a million edges.
    bits = {n: 1 << i for i, n in enumerate(known)}
    behind = dict.fromkeys(known, 0)
    changed = True
    while changed:
        changed = False
        for n in known:
            mine = behind[n] | bits[n]
            for blocker in above[n]:
                if mine & ~behind[blocker]:
                    behind[blocker] |= mine
                    changed = True
    return behind


def _span(
    ranked: Sequence[N], above: Edges[N], waits: Mapping[N, timedelta]
) -> tuple[dict[N, list[N]], list[N]]:
    """The children of each node, and the roots; level by level, so that nobody stands deeper than need be."""
    direct: dict[N, list[N]] = {n: [] for n in ranked}
    for n in ranked:
        for blocker in above[n]:
            direct[blocker].append(n)
    below: dict[N, list[N]] = {n: [] for n in ranked}
    roots = [n for n in ranked if not above[n]]
    left = dict.fromkeys(ranked)
    _descend(roots, direct, below, left)
    while left:
        start = max(_circle(next(iter(left)), above, left), key=lambda n: waits.get(n, NO_TIME))
        roots.append(start)
        _descend([start], direct, below, left)
    return below, roots


def _descend(start: Sequence[N], direct: Edges[N], below: dict[N, list[N]], left: dict[N, None]) -> None:
    level = list(start)
    for n in level:
        left.pop(n, None)
    for n in level:  # grows while it is read: a queue
        for victim in direct[n]:
            if victim in left:
                del left[victim]
                below[n].append(victim)
                level.append(victim)


def _circle(start: N, above: Edges[N], left: Mapping[N, None]) -> list[N]:
    """The circle that is met when going from blocker to blocker among those that no root reaches."""
    path: list[N] = []
    n = start
    while n not in path:
        path.append(n)
        n = next(b for b in above[n] if b in left)
    return path[path.index(n) :]


def _draw(roots: Sequence[N], below: Edges[N]) -> Iterator[tuple[N, int, str]]:
    stack = [(n, 0, "", "") for n in reversed(roots)]
    while stack:
        n, depth, prefix, indent = stack.pop()
        yield n, depth, prefix
        children = below[n]
        for child in reversed(children):
            last = child == children[-1]
            stack.append(
                (child, depth + 1, indent + ("└─ " if last else "├─ "), indent + ("   " if last else "│  "))
            )
