"""Feeds: views being watched. Polled while someone looks, silent otherwise.

What is due at the same moment is asked in the same tick, so that the session sends it in one round trip.
A feed never has two collections at once; when one fails or does not come back its rows stay, marked with
the reason and their age.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Protocol

from backend.core.declare import View
from backend.core.errors import AwaitsPassword, Failed, PgtuiError, Unreachable
from backend.core.facts import Facts, Query
from backend.core.host import Host
from backend.core.judge import Key, Rates, judge
from backend.core.record import record
from backend.core.snapshot import Snapshot
from backend.core.target import Target

# A statement may take this share of the server's time at most; slower ones are asked less often.
SHARE = 0.05
LONGEST_PAUSE = 60.0
PULSE_EVERY = 10.0

Listener = Callable[[Snapshot], None]


class Source(Protocol):
    """What the poller asks: a session, or in tests something that answers like one."""

    target: Target
    host: Host
    round_trip: float

    @property
    def known(self) -> bool: ...  # noqa: D102

    @property
    def facts(self) -> Facts: ...  # noqa: D102

    @property
    def awaits_password(self) -> bool: ...  # noqa: D102

    async def ready(self) -> None: ...  # noqa: D102

    def retry_now(self) -> None: ...  # noqa: D102

    async def refresh_facts(self) -> Facts: ...  # noqa: D102

    async def fetch(self, row: type[Any], query: Query, *params: Any) -> list[Any]: ...  # noqa: D102


@dataclass(slots=True)
class _Sample:
    """The counters of the last good collection, by row key, and when it was."""

    at: float
    counters: Mapping[Key, Mapping[str, float]]


@record
class Pulse:
    """Whether the server is in recovery: a change means that it was promoted or replaced."""

    standby: bool


PULSE = Query("SELECT pg_catalog.pg_is_in_recovery() AS standby")


class Feed:
    """One view with its parameters, watched by any number of listeners."""

    def __init__(self, poller: Poller, view: View[Any], params: Mapping[str, Any]) -> None:
        self.view = view
        self.params = params
        self.snapshot = Snapshot(view)
        self.listeners: dict[Listener, float] = {}
        self.due = 0.0
        self.began: float | None = None
        self.wanted = False
        self._failures = 0
        self._equipped = False
        self._facts: Facts | None = None
        self._sample: _Sample | None = None
        self._poller = poller

    @property
    def watched(self) -> bool:
        """Whether anybody looks."""
        return bool(self.listeners)

    @property
    def every(self) -> float:
        """The interval in seconds: the shortest that a listener wants, else the view's own."""
        return min(self.listeners.values(), default=self.view.every)

    def subscribe(self, listener: Listener, every: float | None = None) -> Callable[[], None]:
        """Tell the listener each snapshot from now on, the present one at once; returns how to stop.

        `every` is the interval in seconds that this listener wants; subscribing again changes it.
        """
        is_new = listener not in self.listeners
        self.listeners[listener] = every or self.view.every
        if is_new and not self.snapshot.loading:
            listener(self.snapshot)
        now = self._poller.now()
        self.due = min(self.due, now if self._is_old() else now + self.every)
        self._poller.wake()
        return lambda: self._unsubscribe(listener)

    def _unsubscribe(self, listener: Listener) -> None:
        self.listeners.pop(listener, None)

    def refresh(self) -> None:
        """Ask again as soon as possible."""
        self._failures, self.due, self.wanted = 0, 0.0, True
        self._poller.wake()

    async def collect(self) -> None:
        """Ask the view once and tell the listeners what came of it."""
        self.began = began = self._poller.now()
        self.wanted = False
        try:
            snapshot = await self._ask()
            self._failures = 0
        except PgtuiError as e:
            self._failures += 1
            snapshot = replace(self.snapshot, error=e)
        except Exception as bug:
            self.due = math.inf  # a bug shows itself once, not a hundred times a second
            broken = Failed(
                f"{self.view.name} is broken: {type(bug).__name__}", hint="this is a defect of pgtui"
            )
            self._tell(replace(self.snapshot, error=broken))
            raise
        finally:
            self.began = None
        self._plan_next(began, snapshot)
        self._tell(snapshot)
        self._poller.notice_facts()

    @property
    def late_at(self) -> float:
        """When the running collection is so late that its rows are called stale.

        Asked an interval after the last answer and given one more, that is two after the server fell silent.
        """
        usual = min(2 * self.snapshot.seconds, LONGEST_PAUSE)
        patience = 2 * self.every if self.snapshot.loading else max(self.every, usual)
        return (self.began or 0.0) + patience

    def watch_out(self, now: float) -> None:
        """Mark the rows stale when the running collection is late."""
        if self.began is None or self.snapshot.error or now < self.late_at:
            return
        self._tell(replace(self.snapshot, error=self._reason(now - self.began)))

    def _reason(self, seconds: float) -> Unreachable:
        target = self._poller.source.target
        if self.view.needs.sql and self._poller.source.awaits_password:
            return AwaitsPassword(f"{target.label} waits for a password")
        return Unreachable(f"no answer for {seconds:.0f} s")

    async def _ask(self) -> Snapshot:
        source = self._poller.source
        if self.view.needs.sql:
            await source.ready()
        began = self._poller.now()  # connecting, and typing a password, is not the statement's cost
        if missing := await self._missing():
            return Snapshot(self.view, missing=missing)
        rows = tuple(await self.view.ask(source, **self.params))
        now = self._poller.now()
        facts = source.facts if source.known else None
        if self._facts is not facts:  # a restart or another server: its counters began anew
            self._facts, self._sample = facts, None
        rates = self._rates(rows, now)
        judgement = judge(self.view, rows, source.target.limits(self.view.name), rates)
        return Snapshot(self.view, rows, datetime.now(UTC), now - began, judgement, rates)

    async def _missing(self) -> str:
        """What the view needs and the server or its host lacks; the host is asked until it has it."""
        source, needs = self._poller.source, self.view.needs
        if needs.sql and (said := needs.missing(source.facts)):
            return said
        if self._equipped or not needs.tools:
            return ""
        said = needs.absent(await source.host.which(*needs.tools))
        self._equipped = not said
        return said

    def _rates(self, rows: tuple[Any, ...], now: float) -> Rates:
        columns = [c.name for c in self.view.columns if c.col.rate]
        if not columns:
            return {}
        counters = {self.view.key(r): {c: getattr(r, c) for c in columns} for r in rows}
        last, self._sample = self._sample, _Sample(now, counters)
        if last is None or now <= last.at:
            return {}
        return {
            key: {
                c: _rate(last.counters.get(key, {}).get(c), value, now - last.at) for c, value in of.items()
            }
            for key, of in counters.items()
        }

    def _plan_next(self, began: float, snapshot: Snapshot) -> None:
        pause = self.every
        if snapshot.error is not None and not isinstance(snapshot.error, Unreachable):
            pause = min(LONGEST_PAUSE, self.every * 2**self._failures)
        else:
            cost = snapshot.seconds - self._poller.source.round_trip
            pause = max(self.every, min(LONGEST_PAUSE, cost / SHARE))
        self.due = began + pause

    def _is_old(self) -> bool:
        at = self.snapshot.collected_at
        return at is None or (datetime.now(UTC) - at).total_seconds() >= self.every

    def _tell(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        for listener in list(self.listeners):
            listener(snapshot)


def _rate(before: float | None, after: float | None, seconds: float) -> float | None:
    """The change per second; None without two samples, or when the counter was reset between them."""
    if before is None or after is None or after < before:
        return None
    return (after - before) / seconds


@dataclass(slots=True)
class Poller:
    """Collects the feeds of one target that somebody watches.

    `changed` is called when the facts have changed: a promotion, another server, a new extension.
    """

    source: Any
    changed: Callable[[Facts], None] = lambda facts: None
    now: Callable[[], float] = monotonic
    paused: bool = False
    _feeds: dict[tuple[str, tuple[Any, ...]], Feed] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _wakeup: asyncio.Event = field(default_factory=asyncio.Event)
    _next_pulse: float = 0.0
    _facts: Facts | None = None
    _loop: asyncio.Task[None] | None = None
    _is_over: bool = False

    def feed(self, view: View[Any], **params: Any) -> Feed:
        """The feed of a view with these parameters; the same one for everybody who asks."""
        key = (view.name, tuple(sorted((k, repr(v)) for k, v in params.items())))
        if key not in self._feeds:
            self._feeds[key] = Feed(self, view, params)
        return self._feeds[key]

    def start(self) -> None:
        """Begin to collect."""
        self._loop = asyncio.create_task(self._run(), name="poller")

    async def stop(self) -> None:
        """End, together with what is being collected."""
        # `wait_for` of Python 3.11 swallows a cancellation that comes together with what it waits for.
        self._is_over = True
        tasks = [*self._tasks, *([self._loop] if self._loop else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def wake(self) -> None:
        """Look again at what is due."""
        self._wakeup.set()

    def pause(self, paused: bool) -> None:
        """Stop collecting, or go on."""
        self.paused = paused
        self.wake()

    def refresh(self) -> None:
        """Collect everything that is watched now, forgetting back-offs."""
        self.source.retry_now()
        for feed in self._watched():
            feed.refresh()

    def _watched(self) -> list[Feed]:
        return [f for f in self._feeds.values() if f.watched]

    async def _run(self) -> None:
        while not self._is_over:
            self._wakeup.clear()
            self.tick()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wakeup.wait(), self._until_next())

    def tick(self) -> None:
        """Start what is due; feeds that are due within a moment go together, in one round trip."""
        now = self.now()
        watched = self._watched()
        for feed in watched:
            feed.watch_out(now)
        ready = [f for f in watched if f.began is None and f.due <= now + 0.05 * f.every]
        if self.paused:
            ready = [f for f in ready if f.snapshot.loading or f.wanted]
        for feed in ready:
            self._start(feed.collect())
        if ready and now >= self._next_pulse and not any(f.snapshot.loading for f in ready):
            self._next_pulse = now + PULSE_EVERY
            self._start(self._pulse())

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (bug := task.exception()):
            task.get_loop().call_exception_handler({"message": "a view is broken", "exception": bug})
        self.wake()

    def _until_next(self) -> float | None:
        now = self.now()
        watched = self._watched()
        waits = [f.due - now for f in watched if f.began is None and not self.paused and f.due < math.inf]
        waits += [f.late_at - now for f in watched if f.began is not None and not f.snapshot.error]
        return max(0.01, min(waits)) if waits else None

    async def _pulse(self) -> None:
        with contextlib.suppress(PgtuiError):
            [pulse] = await self.source.fetch(Pulse, PULSE)
            if pulse.standby != (self.source.facts.role == "standby"):
                await self.source.refresh_facts()
        self.notice_facts()

    def notice_facts(self) -> None:
        """Tell when the facts are others than before; a reconnect in between may have brought them."""
        facts = self.source.facts if self.source.known else None
        before, self._facts = self._facts, facts or self._facts
        if before is not None and facts is not None and facts is not before and facts != before:
            self.changed(facts)
