"""Passwords that were typed, kept in memory only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

Ask = Callable[[str], Awaitable[str | None]]


class Passwords:
    """Asks once a target; another database of it gets the same answer, a refused one is asked again."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._given: dict[str, str] = {}
        self._target = ""
        self._is_offered = False

    def begin(self, target: str) -> None:
        """That target is opened, perhaps with another database: what was given may be right again."""
        self._target, self._is_offered = target, False

    async def ask(self, prompt: str) -> str | None:
        """The password of the target; None when the user gives up."""
        if self._is_offered or self._target not in self._given:
            password = await self._ask(prompt)
            if not password:
                return None
            self._given[self._target] = password
        self._is_offered = True
        return self._given[self._target]
