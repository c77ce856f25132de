"""Declaring rooms, views and actions: the words that a room is written in.

A view is an async function that returns typed rows; an action is an async function that returns a
plan. What is said here once (titles, formats, thresholds, labels, danger) is what every screen,
command, check and reference page shows.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import KW_ONLY, dataclass, fields
from datetime import timedelta
from enum import IntEnum
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from backend.core.facts import Needs
from backend.core.hints import unannotated, without_none
from backend.core.params import Ask as Ask
from backend.core.params import Param, complete, params_of
from backend.core.record import record
from backend.core.values import Size

if TYPE_CHECKING:
    from backend.core.plan import Plan

R = TypeVar("R")
Threshold = float | timedelta
Unit = Literal["", "bytes", "percent", "time"]


class Danger(IntEnum):
    """How bad the worst outcome of an action can be."""

    NONE = 0
    CHANGE = 1
    DISRUPT = 2
    DESTROY = 3

    @property
    def word(self) -> str:
        """The word that users read: none, change, disrupt or destroy."""
        return self.name.lower()


class Health(IntEnum):
    """A check's verdict; a larger value is worse, so that the worst of several is their maximum."""

    OK = 0
    UNKNOWN = 1
    WARNING = 2
    CRITICAL = 3

    @property
    def exit_code(self) -> int:
        """The exit code that Nagios plugins give for it."""
        return {Health.OK: 0, Health.WARNING: 1, Health.CRITICAL: 2, Health.UNKNOWN: 3}[self]


@record
class Verdict:
    """A health and the sentence that explains it."""

    health: Health
    sentence: str


@record
class Col:
    """What a row's field says about its column.

    `warn` and `crit` are in the field's own unit; `low` turns them round (less is worse). `rate` marks a
    counter that is shown and judged as its change per second. `priority` 1 is always shown, 9 only where
    there is room; the `text` column takes the space that is left and is always visible.
    """

    title: str
    _: KW_ONLY
    key: bool = False
    help: str = ""
    unit: Unit = ""
    warn: Threshold | None = None
    crit: Threshold | None = None
    low: bool = False
    rate: bool = False
    priority: int = 5
    text: bool = False
    width: int = 0
    hidden: bool = False


@record
class Column:
    """One field of a row type with all that is declared about it."""

    name: str
    type: type
    optional: bool
    col: Col

    @property
    def title(self) -> str:
        """The heading, with the unit of a rate."""
        return f"{self.col.title}/s" if self.col.rate else self.col.title

    @property
    def numeric(self) -> bool:
        """Whether values are aligned to the right."""
        return self.col.rate or self.type in (int, float, timedelta, Size)

    def judge(self, value: Any, warn: Threshold | None, crit: Threshold | None) -> Health:
        """The health of a value under these thresholds; no value is no finding."""
        if value is None:
            return Health.OK
        if self._beyond(value, crit):
            return Health.CRITICAL
        return Health.WARNING if self._beyond(value, warn) else Health.OK

    def _beyond(self, value: Any, limit: Threshold | None) -> bool:
        if limit is None or value != value:  # NaN is neither more nor less
            return False
        return bool(value <= limit if self.col.low else value >= limit)


# The name of the view that the present task asks.
asking: ContextVar[str] = ContextVar("asking", default="")


@record
class Room:
    """Everything pgtui knows of one system: the word before the dot, and how it introduces itself.

    `run_log` names the module that logs every run in this system too; see `core.runlog`.
    """

    name: str
    title: str
    doc: str
    _: KW_ONLY
    order: int = 50
    per_database: bool = False
    run_log: str = ""


@dataclass(frozen=True)
class View(Generic[R]):
    """A named read-only question to a target; the answer is typed rows."""

    name: str
    fn: Callable[..., Awaitable[list[R]]]
    needs: Needs
    every: float
    empty: str
    verdict: Callable[[R], Verdict | None] | None
    overall: Callable[[Sequence[R]], Verdict | None] | None
    checked: bool = True
    across: Callable[[Mapping[str, Sequence[R]]], list[str]] | None = None

    @property
    def room(self) -> str:
        """The room it belongs to."""
        return self.name.partition(".")[0]

    @cached_property
    def doc(self) -> str:
        """What it answers, in one line."""
        return first_line(self.fn)

    @cached_property
    def row(self) -> type[R]:
        """The row type."""
        answer = typing.get_type_hints(self.fn)["return"]
        row: type[R] = typing.get_args(answer)[0]
        return row

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The columns in the order of the row's fields."""
        return columns_of(self.row)  # type: ignore[arg-type]

    @cached_property
    def key_columns(self) -> tuple[Column, ...]:
        """The columns that together name a row."""
        return tuple(c for c in self.columns if c.col.key)

    @cached_property
    def params(self) -> tuple[Param, ...]:
        """The parameters besides the session."""
        return params_of(self.fn)

    @property
    def judged(self) -> bool:
        """Whether it has a verdict, so that `check` can ask it."""
        has_limits = any(c.col.warn is not None or c.col.crit is not None for c in self.columns)
        return self.checked and bool(self.verdict or self.overall or has_limits)

    @property
    def has_rates(self) -> bool:
        """Whether a column is a rate, so that one sample is not enough."""
        return any(c.col.rate for c in self.columns)

    async def ask(self, session: Any, **params: Any) -> list[R]:
        """The rows; the session remembers which statements were sent for the view."""
        asking.set(self.name)
        return await self.fn(session, **params)

    def key(self, row: R) -> tuple[Any, ...]:
        """What names the row among the others."""
        return tuple(getattr(row, c.name) for c in self.key_columns)


@dataclass(frozen=True)
class Action:
    """A named operation; asked with parameters it returns a plan, and has done nothing yet."""

    name: str
    fn: Callable[..., Awaitable[Plan]]
    danger: Danger
    needs: Needs
    on: tuple[str, ...]
    exclusive: bool

    @property
    def room(self) -> str:
        """The room it belongs to."""
        return self.name.partition(".")[0]

    @cached_property
    def doc(self) -> str:
        """What it does, in one line."""
        return first_line(self.fn)

    @cached_property
    def details(self) -> str:
        """All that its docstring says after the first line."""
        return inspect.cleandoc(self.fn.__doc__ or "").partition("\n")[2].strip()

    @cached_property
    def params(self) -> tuple[Param, ...]:
        """The parameters besides the session."""
        return params_of(self.fn)

    def check(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The given values completed with defaults, or a usage error naming what is wrong."""
        return complete(f"action {self.name}", self.params, given)


def first_line(fn: Callable[..., Any]) -> str:
    """The first line of a docstring."""
    return inspect.cleandoc(fn.__doc__ or "").partition("\n")[0]


@cache
def columns_of(row: type) -> tuple[Column, ...]:
    """The columns that a row type declares, in order."""
    hints = typing.get_type_hints(row, include_extras=True)
    return tuple(_column(f.name, hints[f.name]) for f in fields(row))


def _column(name: str, hint: Any) -> Column:
    base, extras = unannotated(hint)
    col = next((e for e in extras if isinstance(e, Col)), Col(name.replace("_", " ").capitalize()))
    scalar, optional = without_none(base)
    return Column(name, typing.get_origin(scalar) or scalar, optional, col)


# What the rooms imported so far have declared, by name; `core.registry` imports them and finds it again.
VIEWS: dict[str, View[Any]] = {}
ACTIONS: dict[str, Action] = {}

ViewFunction = Callable[..., Awaitable[list[R]]]
ActionFunction = Callable[..., Awaitable["Plan"]]


def view(
    name: str,
    *,
    every: float = 2,
    needs: Needs | None = None,
    empty: str = "nothing to show",
    verdict: Callable[[Any], Verdict | None] | None = None,
    overall: Callable[[Sequence[Any]], Verdict | None] | None = None,
    checked: bool = True,
    across: Callable[[Mapping[str, Sequence[Any]]], list[str]] | None = None,
) -> Callable[[ViewFunction[R]], ViewFunction[R]]:
    """Declare a view; `every` is its refresh interval in seconds, `empty` says what no rows mean.

    Not `checked`, its verdicts colour the rows and are no alarm: a failed run of last week stays red.
    `across` gets the rows of each database of a target and says what differs between them.
    """

    def register(fn: ViewFunction[R]) -> ViewFunction[R]:
        VIEWS[name] = View(name, fn, needs or Needs(), every, empty, verdict, overall, checked, across)
        return fn

    return register


def action(
    name: str,
    *,
    danger: Danger,
    needs: Needs | None = None,
    on: str | tuple[str, ...] = (),
    exclusive: bool = True,
) -> Callable[[ActionFunction], ActionFunction]:
    """Declare an action; `danger` is the least, a plan may raise it.

    `on` names the views whose selected row fills parameters of the same names. Runs of `disrupt` and above
    take turns on a target, unless `exclusive` is off: ending a session must never wait for a long run.
    """

    def register(fn: ActionFunction) -> ActionFunction:
        views = (on,) if isinstance(on, str) else on
        ACTIONS[name] = Action(name, fn, danger, needs or Needs(), views, exclusive)
        return fn

    return register
