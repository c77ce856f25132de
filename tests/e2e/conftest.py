"""The installed console in a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.terminal import Terminal

PGTUI = [sys.executable, "-m", "tui"]

Open = Callable[..., Terminal]


@pytest.fixture
def pgtui() -> Iterator[Open]:
    """Opens pgtui in a terminal: `pgtui("-t", dsn, columns=80)`."""
    opened: list[Terminal] = []

    def start(*words: str, **how: Any) -> Terminal:
        opened.append(Terminal([*PGTUI, *words], **how))
        return opened[-1]

    yield start
    for terminal in opened:
        terminal.close()
