"""Feeds with a fake clock and source, for any sequence of events; and on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from backend.core.declare import Col, Health, View
from backend.core.errors import AwaitsPassword, Failed, PgtuiError, Unreachable
from backend.core.facts import Facts, Needs, Query
from backend.core.poller import Feed, Poller
from backend.core.session import Session
from backend.core.snapshot import Snapshot
from backend.core.target import Limits, Target
from tests.core.conftest import eventually
from tests.servers import OwnClusters


@dataclass(frozen=True, slots=True)
class Counter:
    name: Annotated[str, Col("Name", key=True)]
    total: Annotated[int, Col("Total", rate=True)]


def facts(**more: Any) -> Facts:
    given: dict[str, Any] = {
        "version_num": 170000, "version": "17.0", "role": "primary", "database": "d", "user": "u",
        "superuser": True, "member_of": frozenset(), "extensions": {}, "databases": (),
        "system_identifier": "1", "encoding": "UTF8",
    }  # fmt: skip
    return Facts(**(given | more))


QUERY = Query("SELECT 1")


async def counters(source: Any) -> list[Counter]:
    """Counters."""
    rows: list[Counter] = await source.fetch(Counter, QUERY)
    return rows


def a_view(name: str = "test.counters", every: float = 2) -> View[Counter]:
    return View(name, counters, Needs(), every, "nothing", None, None)


class FakeSource:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.target = Target("t")
        self.round_trip = 0.0
        self.awaits_password = False
        self.known = True
        self.facts = facts()
        self.asked: list[asyncio.Future[list[Any]]] = []
        self.most = 0

    async def ready(self) -> None: ...

    def retry_now(self) -> None: ...

    async def refresh_facts(self) -> Facts:
        return self.facts

    async def fetch(self, row: type[Any], query: Query, *params: Any) -> list[Any]:
        if row is not Counter:
            raise Unreachable("no pulse here")
        answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self.asked.append(answer)
        self.most = max(self.most, len(self.waiting))
        return await answer

    @property
    def waiting(self) -> list[asyncio.Future[list[Any]]]:
        return [a for a in self.asked if not a.done()]


class Feeds(RuleBasedStateMachine):
    """Any order of time passing, answers, failures, and people who come and go."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = 100.0
        self.source = FakeSource()
        self.poller = Poller(self.source, now=lambda: self.clock)
        self.feed: Feed = self.loop.run_until_complete(self._make())
        self.seen: list[Snapshot] = []
        self.stops: list[Callable[[], None]] = []
        self.total = 0
        self.answers: list[tuple[float, int]] = []
        self.silent_since: float | None = None

    async def _make(self) -> Feed:
        return self.poller.feed(a_view())

    def settle(self) -> None:
        async def spin() -> None:
            for _ in range(8):
                await asyncio.sleep(0)

        self.loop.run_until_complete(spin())

    def tick(self) -> None:
        async def tick() -> None:
            self.poller.tick()

        self.loop.run_until_complete(tick())
        self.settle()

    @rule()
    def somebody_comes(self) -> None:
        def listener(snapshot: Snapshot) -> None:
            self.seen.append(snapshot)

        self.stops.append(self.feed.subscribe(listener))
        self.tick()

    @precondition(lambda self: self.stops)
    @rule()
    def somebody_goes(self) -> None:
        self.stops.pop()()

    @rule(seconds=st.sampled_from([0.1, 1, 2, 5]))
    def time_passes(self, seconds: float) -> None:
        waited = self.source.waiting and self.feed.watched
        self.clock += seconds
        self.tick()
        if waited and self.feed.began is not None and self.clock >= self.feed.late_at:
            assert self.feed.snapshot.error, "late, and nobody was told"

    @precondition(lambda self: self.source.waiting)
    @rule(step=st.integers(-5, 50))
    def it_answers(self, step: int) -> None:
        self.total = max(0, self.total + step)
        self.source.waiting[0].set_result([Counter("a", self.total)])
        self.settle()
        self.check_rate()
        self.answers.append((self.clock, self.total))
        assert self.feed.snapshot.error is None

    def check_rate(self) -> None:
        rate = self.feed.snapshot.rates.get(("a",), {}).get("total")
        if not self.answers or self.answers[-1][0] == self.clock:
            assert rate is None
            return
        at, before = self.answers[-1]
        wanted = (self.total - before) / (self.clock - at) if self.total >= before else None
        assert rate == wanted

    @precondition(lambda self: self.source.waiting)
    @rule(error=st.sampled_from([Failed("no"), Unreachable("away")]))
    def it_fails(self, error: PgtuiError) -> None:
        self.source.waiting[0].set_exception(error)
        self.settle()
        assert self.feed.snapshot.error is error

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        self.poller.pause(paused)

    @rule()
    def refresh(self) -> None:
        self.poller.refresh()
        self.tick()
        if self.feed.watched:
            assert self.feed.began is not None, "who asks for a refresh gets one, also in a pause"

    @invariant()
    def one_collection_at_a_time(self) -> None:
        assert self.source.most <= 1

    @invariant()
    def rows_never_vanish(self) -> None:
        if self.answers:
            assert self.feed.snapshot.rows == (Counter("a", self.answers[-1][1]),)

    @invariant()
    def nothing_begins_when_nobody_looks(self) -> None:
        if not self.feed.watched:
            before = len(self.source.asked)
            self.clock += 100
            self.tick()
            assert len(self.source.asked) == before

    def teardown(self) -> None:
        self.loop.run_until_complete(self.poller.stop())
        assert asyncio.all_tasks(self.loop) == set()
        self.loop.close()


TestFeeds = Feeds.TestCase
TestFeeds.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


class Clocked:
    """A poller with a fake clock, and what a listener saw."""

    def __init__(self, view: View[Counter] | None = None) -> None:
        self.clock = 100.0
        self.source = FakeSource()
        self.poller = Poller(self.source, now=lambda: self.clock)
        self.feed = self.poller.feed(view or a_view())
        self.seen: list[Snapshot] = []
        self.stop = self.feed.subscribe(self.seen.append)

    async def step(self, seconds: float = 0) -> None:
        self.clock += seconds
        self.poller.tick()
        for _ in range(8):
            await asyncio.sleep(0)

    async def answer(self, total: int = 0) -> None:
        self.source.waiting[0].set_result([Counter("a", total)])
        for _ in range(8):
            await asyncio.sleep(0)


async def test_rows_are_stale_two_intervals_after_the_server_fell_silent() -> None:
    it = Clocked()
    await it.step()
    await it.answer()
    await it.step(2)
    await it.step(1.9)
    assert it.feed.snapshot.error is None
    await it.step(0.1)
    assert str(it.feed.snapshot.error) == "no answer for 2 s"
    assert it.feed.snapshot.rows
    await it.answer(5)
    assert it.feed.snapshot.error is None


async def test_a_slow_view_is_asked_less_often_and_connecting_does_not_count() -> None:
    it = Clocked()
    await it.step()
    it.clock += 1
    await it.answer()
    assert it.feed.due == pytest.approx(100 + 1 / 0.05)
    it.source.round_trip = 1.0
    await it.step(30)
    it.clock += 1
    await it.answer()
    assert it.feed.due == pytest.approx(131 + 2)

    async def slow_to_connect() -> None:
        it.clock += 50

    it.source.ready = slow_to_connect  # type: ignore[method-assign]
    await it.step(2)
    await it.answer()
    assert it.feed.due == pytest.approx(134 + 2)


async def test_a_failing_view_is_asked_less_and_less_often() -> None:
    it = Clocked()
    pauses = []
    for _ in range(8):
        await it.step(max(0.0, it.feed.due - it.clock))
        it.source.waiting[0].set_exception(Failed("no"))
        await it.step()
        pauses.append(it.feed.due - it.clock)
    assert pauses == [4, 8, 16, 32, 60, 60, 60, 60]


async def test_a_reset_or_another_server_gives_no_rate() -> None:
    it = Clocked()
    rates = []
    for total in (10, 30, 5, 7):
        await it.step(2)
        await it.answer(total)
        rates.append(it.feed.snapshot.rates.get(("a",), {}).get("total"))
    assert rates == [None, 10, None, 1]
    it.source.facts = facts(role="standby")
    await it.step(2)
    await it.answer(1000)
    assert it.feed.snapshot.rates == {}


async def test_the_targets_limits_on_a_rate_judge_the_rate() -> None:
    it = Clocked()
    it.source.target = Target("t", checks={"test.counters": Limits({"total": (5, 50)})})
    found = []
    for total in (1000, 1004, 1024, 1224):
        await it.step(2)
        await it.answer(total)
        found.append(it.feed.snapshot.judgement.overall.health)
    assert found == [Health.OK, Health.OK, Health.WARNING, Health.CRITICAL]


async def test_while_the_password_is_asked_for_it_is_said_and_not_that_nothing_answers() -> None:
    it = Clocked()
    it.source.awaits_password = True
    await it.step(2)
    await it.step(4)
    assert isinstance(it.feed.snapshot.error, AwaitsPassword)
    assert str(it.feed.snapshot.error) == "t waits for a password"
    it.source.awaits_password = False
    await it.answer(1)
    assert it.feed.snapshot.error is None


async def test_the_shortest_interval_wanted_counts() -> None:
    it = Clocked()
    assert it.feed.every == 2
    stop = it.feed.subscribe(lambda s: None, 0.5)
    assert it.feed.every == 0.5
    stop()
    assert it.feed.every == 2


async def test_a_bug_in_a_view_shows_itself_once() -> None:
    async def broken(source: Any) -> list[Counter]:
        """Break."""
        raise ZeroDivisionError

    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["exception"]))
    it = Clocked(View("test.broken", broken, Needs(), 2, "", None, None))
    for _ in range(5):
        await it.step(2)
    assert [type(e) for e in told] == [ZeroDivisionError]
    assert it.feed.snapshot.error and "test.broken is broken" in it.feed.snapshot.error.message


async def test_new_facts_are_told_also_when_a_reconnect_brought_them() -> None:
    it = Clocked()
    told: list[str] = []
    it.poller.changed = lambda new: told.append(new.role)
    await it.step()
    await it.answer()
    it.source.facts = facts(role="standby")
    await it.step(2)
    await it.answer()
    await it.step(2)
    await it.answer()
    assert told == ["standby"]


async def test_a_promotion_is_noticed_and_a_freeze_outlived(
    own_cluster: OwnClusters, make_session: Callable[..., Session]
) -> None:
    async def ones(session: Any) -> list[Counter]:
        """One."""
        rows: list[Counter] = await session.fetch(Counter, Query("SELECT 'a' AS name, 1 AS total"))
        return rows

    primary = own_cluster()
    standby = own_cluster.standby(primary)
    session = make_session(standby.dsn(), timeout=1)
    told: list[Facts] = []
    poller = Poller(session, changed=told.append)
    feed = poller.feed(View("test.ones", ones, Needs(), 0.1, "", None, None))
    snapshots: list[Snapshot] = []
    feed.subscribe(snapshots.append)
    poller.start()

    async def fresh() -> bool:
        at = feed.snapshot.collected_at
        return feed.snapshot.error is None and at is not None and at > since

    async def stale() -> bool:
        return feed.snapshot.error is not None

    since = datetime.now(UTC)
    await eventually(fresh)
    standby.freeze()
    await eventually(stale)
    assert feed.snapshot.rows
    standby.thaw()
    since = datetime.now(UTC)
    await eventually(fresh)
    standby.promote()
    poller._next_pulse = 0

    async def promoted() -> bool:
        return bool(told) and told[-1].role == "primary"

    await eventually(promoted)
    await poller.stop()
