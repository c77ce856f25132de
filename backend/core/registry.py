"""Finding what rooms declare: only the room that is named gets imported."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Mapping
from functools import cache
from typing import Any, Protocol, TypeVar

from backend.core.declare import ACTIONS, VIEWS, Action, Room, View
from backend.core.errors import Usage, nearest, unknown


@cache
def rooms() -> tuple[Room, ...]:
    """All rooms in the order of the navigation; imports each room's package, not its views."""
    import backend

    names = [m.name for m in pkgutil.iter_modules(backend.__path__) if m.ispkg]
    packages = [importlib.import_module(f"backend.{n}") for n in names if n not in ("core", "lab")]
    found: list[Room] = [p.ROOM for p in packages if hasattr(p, "ROOM")]
    return tuple(sorted(found, key=lambda r: (r.order, r.name)))


def room(name: str) -> Room:
    """The room of that name, or a usage error with the nearest known one."""
    for r in rooms():
        if r.name == name:
            return r
    raise unknown("room", name, [r.name for r in rooms()])


@cache
def _load(name: str, module: str) -> None:
    full = f"backend.{name}.{module}"
    if importlib.util.find_spec(full):
        importlib.import_module(full)


def views(of: str | None = None) -> list[View[Any]]:
    """The views of one room, or of all, in the order of their declaration."""
    return _declared("views", VIEWS, of)


def actions(of: str | None = None) -> list[Action]:
    """The actions of one room, or of all, in the order of their declaration."""
    return _declared("actions", ACTIONS, of)


def find_view(name: str) -> View[Any]:
    """The view of that name; only its room is imported, unless the name is unknown."""
    return _find("view", name, VIEWS)


def find_action(name: str) -> Action:
    """The action of that name; only its room is imported, unless the name is unknown."""
    return _find("action", name, ACTIONS)


class _Named(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def room(self) -> str: ...


N = TypeVar("N", bound=_Named)


def _declared(module: str, known: Mapping[str, N], of: str | None) -> list[N]:
    order = [r.name for r in rooms() if of in (None, r.name)]
    for name in order:
        _load(name, module)
    return sorted((n for n in known.values() if n.room in order), key=lambda n: order.index(n.room))


def _find(what: str, name: str, known: Mapping[str, N]) -> N:
    room = name.partition(".")[0]
    if name not in known and any(r.name == room for r in rooms()):
        _load(room, f"{what}s")
    if name not in known:
        raise _unknown(what, name, _declared(f"{what}s", known, None))
    return known[name]


def _unknown(what: str, name: str, declared: list[N]) -> Usage:
    """The usage error for such a name; half a name lists what begins or ends with it."""
    halves = [n.name for n in declared if name in n.name.split(".")]
    hint = ", ".join(halves) or nearest(name, [n.name for n in declared])
    return Usage(f"there is no {what} called {name}", hint=hint or f"pgtui {what}s lists them")
