"""Answers that are dear to get and change slowly: asked again only once they are old."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from backend.core.session import Session

T = TypeVar("T")


class Remembered(Generic[T]):
    """An answer for each session, at most so many seconds old.

    sizes = Remembered[Mapping[int, int]](60)
    known = await sizes.get(s, lambda: measured(s))
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._answers: WeakKeyDictionary[Session, tuple[float, T]] = WeakKeyDictionary()

    async def get(self, s: Session, ask: Callable[[], Awaitable[T]]) -> T:
        """The last answer, or a new one; an error is raised and not remembered."""
        now, last = asyncio.get_running_loop().time(), self._answers.get(s)
        if last is not None and now - last[0] <= self.seconds:
            return last[1]
        answer = await ask()
        self._answers[s] = now, answer
        return answer
