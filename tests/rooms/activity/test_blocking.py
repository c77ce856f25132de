"""The tree of blockers as a function of who waits for whom."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from backend.activity import locknames
from backend.activity.blocking import Branch, arrange
from backend.activity.locknames import LockTag, conflict
from backend.activity.locks import Involved, tree

Graph = dict[int, list[int]]
NODES = st.integers(0, 12)
MODES = st.sampled_from(locknames.MODES)
GRAPHS = st.dictionaries(NODES, st.lists(NODES, max_size=4), max_size=13)


def branches(graph: Graph) -> list[Branch[int]]:
    nodes = set(graph) | {b for blockers in graph.values() for b in blockers}
    return arrange(sorted(nodes), graph, {n: timedelta(seconds=n) for n in nodes})


def behind(graph: Graph, node: int) -> set[int]:
    found: set[int] = set()
    fresh = {node}
    while fresh:
        fresh = {n for n, blockers in graph.items() if fresh & set(blockers)} - found
        found |= fresh
    return found - {node}


@given(GRAPHS)
def test_everybody_stands_in_the_tree_once(graph: Graph) -> None:
    drawn = [b.node for b in branches(graph)]
    assert len(drawn) == len(set(drawn))
    assert set(drawn) == set(graph) | {b for blockers in graph.values() for b in blockers}


@given(GRAPHS)
def test_victims_are_all_who_wait_directly_or_not(graph: Graph) -> None:
    for branch in branches(graph):
        victims = behind(graph, branch.node)
        assert branch.victims == len(victims)
        assert branch.total_wait == timedelta(seconds=sum(victims))


@given(GRAPHS)
def test_each_stands_below_one_that_blocks_it(graph: Graph) -> None:
    path: list[int] = []
    for branch in branches(graph):
        del path[branch.depth :]
        if branch.depth:
            assert path[-1] in graph[branch.node]
        path.append(branch.node)


@given(GRAPHS)
def test_who_waits_for_nobody_is_a_root_and_only_circles_make_others(graph: Graph) -> None:
    for branch in branches(graph):
        others = set(graph.get(branch.node, ())) - {branch.node}
        if not others:
            assert branch.depth == 0
            assert not branch.cyclic
        if branch.depth == 0 and others:
            assert branch.cyclic
            assert branch.node in {n for b in others for n in behind(graph, branch.node) if n == b} | behind(
                graph, next(iter(others & behind(graph, branch.node)))
            )


@given(GRAPHS)
def test_roots_that_cost_most_come_first(graph: Graph) -> None:
    costs = [b.total_wait for b in branches(graph) if b.depth == 0 and not b.cyclic]
    assert costs == sorted(costs, reverse=True)


def test_a_queue_of_a_thousand_is_drawn() -> None:
    queue = {n: list(range(n)) for n in range(1, 300)}
    chain = {n: [n - 1] for n in range(1, 3000)}
    assert branches(queue)[0].victims == 299
    assert branches(chain)[0].victims == 2999


def test_draws_the_branches() -> None:
    drawn = branches({2: [1], 3: [1], 4: [3], 6: [5]})
    assert [b.prefix + str(b.node) for b in drawn] == ["1", "├─ 3", "│  └─ 4", "└─ 2", "5", "└─ 6"]


def test_modes_exclude_each_other_as_the_manual_says() -> None:
    assert conflict("AccessShareLock", "AccessExclusiveLock")
    assert not conflict("AccessShareLock", "ExclusiveLock")
    assert conflict("RowExclusiveLock", "ShareLock")
    assert not conflict("RowExclusiveLock", "RowExclusiveLock")
    assert not conflict("ShareLock", "ShareLock")
    assert conflict("ShareUpdateExclusiveLock", "ShareUpdateExclusiveLock")


@given(MODES, MODES)
def test_exclusion_is_mutual(one: str, other: str) -> None:
    assert conflict(one, other) == conflict(other, one)


def test_says_what_a_lock_is_on() -> None:
    assert LockTag("relation", relation="public.t").words == "public.t"
    assert LockTag("tuple", relation="public.t", page=1, tuple=2).words == "row (1,2) of public.t"
    assert LockTag("advisory", classid=0, objid=7, objsubid=1).words == "key 7"
    assert LockTag("advisory", classid=2**32 - 1, objid=2**32 - 1, objsubid=1).words == "key -1"
    assert LockTag("advisory", classid=1, objid=2**32 - 2, objsubid=2).words == "keys 1, -2"
    assert LockTag("object", classid=1262, objid=5, objsubid=0).words == "object 1262/5"
    assert LockTag(None).words is None


def test_a_blocker_that_ended_meanwhile_still_has_a_place() -> None:
    waiting = Involved(2, None, [1], [], *[None] * 20)
    assert [(r.pid, r.depth, r.victims) for r in tree([waiting])] == [(1, 0, 1), (2, 1, 0)]


def test_a_prepared_blocker_that_cannot_be_named_still_has_a_place() -> None:
    waiting = Involved(2, None, [0], [], *[None] * 20)
    assert [r.tree for r in tree([waiting])] == ["prepared transaction", "└─ 2"]
