"""How far runs are that move something step by step: one line, there while one goes on."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from backend.core.clean import clean
from backend.core.show import duration
from backend.core.values import seconds
from screens.widgets.bar import Bar, Word

if TYPE_CHECKING:
    from backend.core.run import Run
    from backend.core.surroundings import Progress

WIDTH = 16
# Seconds over which the rate is taken: the last batches tell more than the first.
LATELY = 15


class Moves(Bar):
    """The progress of runs: how much is done and left, in how many batches, how fast."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.display = False
        self._rates: dict[int, Rate] = {}

    def follow(self, runs: Sequence[Run]) -> bool:
        """Tell how far these runs are; whether there is anything to tell."""
        moving = [(run, done) for run in runs if (done := run.step_progress) is not None]
        self._rates = {id(run): self._rates.get(id(run)) or Rate() for run, _ in moving}
        self.say([w for run, done in moving for w in self._words(run, done)])
        return bool(moving)

    def _words(self, run: Run, done: Progress) -> list[Word]:
        rate = self._rates[id(run)]
        rate.note(done.done)
        share = min(done.done / done.total, 1) if done.total else None
        return [
            Word(f" ▶ {run.action.name} {clean(run.plan.subject)}  ", "strong"),
            *([] if share is None else _filled(share)),
            Word(_told(done) or f"{_amount(done)}  batch {done.rounds}{rate.said(done)}  ", ""),
        ]


class Rate:
    """How much is done per second, from what has been seen lately."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque(maxlen=LATELY)

    def note(self, done: int) -> None:
        """So much is done now."""
        self._seen.append((time.monotonic(), done))

    def said(self, done: Progress) -> str:
        """The rate and how long the rest will take; nothing before there are two samples."""
        (began, first), (now, last) = self._seen[0], self._seen[-1]
        if now - began < 1 or last <= first:
            return ""
        rate = (last - first) / (now - began)
        left = max(done.total - done.done, 0) if done.total else 0
        rest = f"  {duration(seconds(left / rate))} left" if left else ""
        return f"  {_digits(round(rate))} {done.unit}/s{rest}"


def _filled(share: float) -> list[Word]:
    full = round(share * WIDTH)
    return [Word("█" * full, "ok"), Word("░" * (WIDTH - full), "muted"), Word(f" {share:.0%}  ", "strong")]


def _told(done: Progress) -> str:
    """What the server says of a statement; nothing for what goes in batches."""
    amount = f"{_amount(done)}  " if done.unit else ""
    return f"{amount}{clean(done.phase)}  " if done.phase else ""


def _amount(done: Progress) -> str:
    of = f" of {_digits(done.total)}" if done.total else ""
    return f"{_digits(done.done)}{of} {done.unit}"


def _digits(number: int) -> str:
    return f"{number:,}".replace(",", " ")
