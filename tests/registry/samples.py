"""What a room hands to the registry's tests: a populated database, and parameters that fit it.

A room has them in `tests/rooms/ROOM/samples.py` as `populate(database)`, a context manager that yields
`Samples`; the database keeps its sessions and contents while it is open.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import pytest

from backend.core.facts import Needs
from tests.servers import Database

Populate = Callable[[Database], AbstractContextManager["Samples"]]


@dataclass(frozen=True, slots=True)
class Samples:
    """Parameters by view and action; actions in `on_empty` are planned on an empty database instead.

    `without` names the extensions that this server cannot have: what needs one is skipped; `absent` the
    actions for which this machine lacks a package; `nothing` the views that have nothing to show on this
    machine. For the plans that are kept, `varying` says what in them is another one each time and how it is
    written instead, and `edition` is the version of the extension that decides what they are, such as
    `pg_partman-4`. `environment` is what views and planners of all rooms find set.
    """

    views: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    actions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    on_empty: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()
    absent: frozenset[str] = frozenset()
    nothing: frozenset[str] = frozenset()
    varying: Mapping[str, str] = field(default_factory=dict)
    edition: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    def skip_without(self, needs: Needs) -> None:
        """Skip a test whose subject needs an extension that this server cannot have."""
        if lacking := self.without & set(needs.extensions):
            pytest.skip(f"this server has no {', '.join(sorted(lacking))}")

    def skip_absent(self, action: str) -> None:
        """Skip a test of an action for which this machine lacks a package."""
        if action in self.absent:
            pytest.skip("this machine lacks the package that it is about")


def populate_of(room: str) -> Populate:
    """The room's own `populate`."""
    found: Populate = importlib.import_module(f"tests.rooms.{room}.samples").populate
    return found
