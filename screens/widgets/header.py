"""The line that always tells which target this is, what it is, and how old the data is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from backend.core.clean import clean
from backend.core.declare import Health
from backend.core.record import record
from backend.core.show import counted, duration
from screens.widgets.bar import Bar, Word, short, total_width
from screens.widgets.cells import GLYPHS, STYLES, width_of
from screens.widgets.states import whole

OLD = 3
LONG, SHORT = 40, 20


@record
class Situation:
    """What the header shows; empty texts are left out. `interval` is in seconds.

    `running` is how many runs go on.
    """

    target: str
    role: str = ""
    version: str = ""
    database: str = ""
    guard: str = ""
    read_only: bool = False
    paused: bool = False
    interval: float = 0
    collected_at: datetime | None = None
    trouble: str = ""
    health: Health = Health.OK
    running: int = 0


class TargetHeader(Bar):
    """Target, role, version, database, guard; at the right the age of the data and the interval."""

    _shown: tuple[Situation, datetime] | None = None

    def show(self, situation: Situation, now: datetime) -> None:
        """Show the situation; repaints only when a word of it changed."""
        self._shown = situation, now
        old = max(OLD, 2 * situation.interval + 1)
        tries = [(_identity(s), _freshness(s, now, old)) for s in _shorter(situation)]
        fits = (t for t in tries if total_width(t[0]) + total_width(t[1]) < self.size.width)
        self.say(*next(fits, tries[-1]))

    def on_resize(self) -> None:
        """Fit the words again."""
        if self._shown:
            self.show(*self._shown)


def _shorter(s: Situation) -> Iterator[Situation]:
    """The situation, with less and less of what can be done without."""
    yield s
    brief = s.trouble.partition(":")[0]
    less: dict[str, Any] = {"interval": 0.0, "version": "", "trouble": "", "role": "", "database": ""}
    for name, value in less.items():
        if name == "trouble":
            yield replace(s, trouble=brief)
        s = replace(s, **{name: value})
        yield s
    yield replace(s, target=_end(s.target, SHORT))


def _end(name: str, width: int) -> str:
    """Of a long name its end, which tells more: port and database of a connection string."""
    return name if width_of(name) <= width else "…" + name[1 - width :]


def _identity(s: Situation) -> list[Word]:
    words = [Word(" "), Word(_end(clean(s.target), LONG), "strong")]
    if s.health is not Health.OK:
        words += [Word(" "), Word(GLYPHS[s.health], STYLES[s.health])]
    if s.database:
        words.append(Word(f"/{short(clean(s.database), 24)}", click="database"))
    words += [Word(f"  {short(clean(text), 24)}", "muted") for text in (s.role, s.version) if text]
    if s.read_only:
        words += [Word("  "), Word("read-only", "warning")]
    if s.guard:
        words += [Word("  "), Word(f"guard: {s.guard}", "warning")]
    return words


def _freshness(s: Situation, now: datetime, patience: float) -> list[Word]:
    words = [Word(f"  {short(clean(s.trouble), 50)}", "critical")] if s.trouble else []
    if s.running:
        words += [Word("  "), Word(f"▶ {counted(s.running, 'run')}", "strong")]
    if s.paused:
        words += [Word("  "), Word("paused", "warning")]
    age = (now - s.collected_at).total_seconds() if s.collected_at else None
    if s.collected_at is None:
        words.append(Word("  no data yet", "muted"))
    elif age is not None and age > patience:
        words.append(Word(f"  data {whole(duration(now - s.collected_at))} old", "warning"))
    else:
        words.append(Word(f"  {s.collected_at.astimezone():%H:%M:%S}", "muted"))
    return [*words, Word(f"  every {s.interval:g} s ", "muted")] if s.interval else [*words, Word(" ")]
