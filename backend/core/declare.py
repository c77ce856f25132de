"""Declaring rooms, views and actions, and finding them again.

A view is an async function that returns typed rows; an action is an async function that returns a
plan. What is said here once (titles, formats, thresholds, labels, danger) is what every screen,
command, check and reference page shows.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import math
import pkgutil
import re
import types
import typing
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import KW_ONLY, dataclass, field, fields
from datetime import timedelta
from enum import IntEnum
from functools import cache, cached_property
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, Protocol, TypeVar

from backend.core.errors import Usage, unknown
from backend.core.facts import Needs
from backend.core.values import Interval, Size

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


@dataclass(frozen=True, slots=True)
class Verdict:
    """A health and the sentence that explains it."""

    health: Health
    sentence: str


@dataclass(frozen=True, slots=True)
class Col:
    """What a row's field says about its column.

    `warn` and `crit` are in the field's own unit; `low` turns them round (less is worse). `rate` marks a
    counter that is shown as its change per second. `priority` 1 is always shown, 9 only where there is
    room; the `text` column takes the space that is left and is always visible.
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


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Ask:
    """What a parameter says about itself: its label, and where its choices come from.

    `choices` is `room.view.column`; the parameter then offers that column's values. A `secret` never
    arrives as an option's value and is masked wherever it would be shown. `lines` asks for a text of
    several lines. `fill` off keeps a selected row from filling it: a filter beside the key.
    """

    label: str
    _: KW_ONLY
    help: str = ""
    choices: str | None = None
    secret: bool = False
    lines: bool = False
    fill: bool = True


class _Required:
    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Any = _Required()

# The name of the view that the present task asks.
asking: ContextVar[str] = ContextVar("asking", default="")


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter of a view or an action."""

    name: str
    type: type
    optional: bool
    many: bool
    words: tuple[str, ...]
    default: Any
    ask: Ask

    @property
    def option(self) -> str:
        """The parameter's command-line option."""
        return "--" + self.name.replace("_", "-")

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is REQUIRED

    def parse(self, text: str) -> Any:
        """The value written as text, or a usage error that names the option."""
        try:
            return self._convert(text)
        except (ValueError, OverflowError):
            raise Usage(f"{self.option} wants {self._wanted}, not {text!r}") from None
        except Usage as e:
            raise Usage(f"{self.option}: {e.message}", hint=e.hint) from None

    def parse_each(self, text: str) -> list[Any]:
        """The values that one mention of a repeatable option stands for; text is one value as it is."""
        if self.type is str and not self.words:
            return [text]
        values: list[Any] = self.parse(text)
        return values

    def _convert(self, text: str) -> Any:
        if self.many:
            return [self._scalar(part) for part in _words(text)]
        return self._scalar(text)

    def _scalar(self, text: str) -> Any:
        if self.words:
            return self._word(text)
        if self.type is bool:
            return parse_bool(text)
        if issubclass(self.type, (Interval, Size)):
            return self.type.parse(text)
        return _MAKERS[self.type](text)

    def _word(self, text: str) -> str:
        if text not in self.words:
            raise Usage(f"{text!r} is not one of {', '.join(self.words)}")
        return text

    @property
    def _wanted(self) -> str:
        names = {int: "a whole number", float: "a number", bool: "true or false"}
        return names.get(self.type, f"a {self.type.__name__.lower()}")

    def text(self, value: Any) -> str:
        """The value as it would be written on the command line; `parse` gives it back."""
        if isinstance(value, list):
            return ",".join(_word(str(v)) for v in value)
        if isinstance(value, bool):
            return "true" if value else "false"
        return str(value)


_WORD = re.compile(r'"((?:[^"]|"")*)"|([^,\s"]+)')


def _words(text: str) -> list[str]:
    """The words of a list: separated by commas or blanks, in double quotes where they hold such."""
    found = [m[1].replace('""', '"') if m[1] is not None else m[2] for m in _WORD.finditer(text)]
    if _WORD.sub("", text).strip(", \t\n\r"):
        raise Usage(f"{text!r} is not a list", hint='separate with commas; write "a b" in double quotes')
    return found


def _word(text: str) -> str:
    return text if _WORD.fullmatch(text) and text[0] != '"' else '"' + text.replace('"', '""') + '"'


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


_MAKERS: Mapping[type, Callable[[str], Any]] = {str: str, int: int, float: _finite}


def parse_bool(text: str) -> bool:
    """The truth value of a word, as PostgreSQL reads it."""
    words = {
        "true": True,
        "yes": True,
        "on": True,
        "1": True,
        "false": False,
        "no": False,
        "off": False,
        "0": False,
    }
    try:
        return words[text.strip().lower()]
    except KeyError:
        raise ValueError(text) from None


@dataclass(frozen=True, slots=True)
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


def complete(what: str, params: Sequence[Param], given: Mapping[str, Any]) -> dict[str, Any]:
    """The given values completed with defaults; unknown and missing ones are usage errors."""
    known = {p.name: p for p in params}
    for name in given:
        if name not in known:
            raise unknown(f"parameter of {what}", name, known)
    absent = [p.option for p in params if p.required and given.get(p.name) is None]
    if absent:
        raise Usage(f"{what} needs {' and '.join(absent)}")
    values = {p.name: p.default for p in params if not p.required}
    return values | {k: v for k, v in given.items() if v is not None}


def first_line(fn: Callable[..., Any]) -> str:
    """The first line of a docstring."""
    return inspect.cleandoc(fn.__doc__ or "").partition("\n")[0]


@cache
def columns_of(row: type) -> tuple[Column, ...]:
    """The columns that a row type declares, in order."""
    hints = typing.get_type_hints(row, include_extras=True)
    return tuple(_column(f.name, hints[f.name]) for f in fields(row))


def _column(name: str, hint: Any) -> Column:
    base, extras = _unwrap(hint)
    col = next((e for e in extras if isinstance(e, Col)), Col(name.replace("_", " ").capitalize()))
    scalar, optional = _optional(base)
    return Column(name, typing.get_origin(scalar) or scalar, optional, col)


def params_of(fn: Callable[..., Any]) -> tuple[Param, ...]:
    """The parameters of a view or an action after the session."""
    hints = typing.get_type_hints(fn, include_extras=True)
    listed = list(inspect.signature(fn).parameters.values())[1:]
    return tuple(_param(p, hints[p.name]) for p in listed)


def _param(p: inspect.Parameter, hint: Any) -> Param:
    base, extras = _unwrap(hint)
    ask = next((e for e in extras if isinstance(e, Ask)), Ask(p.name.replace("_", " ")))
    scalar, optional = _optional(base)
    many = typing.get_origin(scalar) is list
    if many:
        scalar = typing.get_args(scalar)[0]
    words: tuple[str, ...] = ()
    if typing.get_origin(scalar) is Literal:
        words, scalar = typing.get_args(scalar), str
    default = REQUIRED if p.default is inspect.Parameter.empty else p.default
    return Param(p.name, scalar, optional, many, words, default, ask)


def _unwrap(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    if typing.get_origin(hint) is Annotated:
        base, *extras = typing.get_args(hint)
        return base, tuple(extras)
    return hint, ()


def _optional(hint: Any) -> tuple[Any, bool]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        rest = [a for a in typing.get_args(hint) if a is not type(None)]
        return rest[0], True
    return hint, False


@dataclass(slots=True)
class _Registry:
    views: dict[str, View[Any]] = field(default_factory=dict)
    actions: dict[str, Action] = field(default_factory=dict)


_registry = _Registry()

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
        _registry.views[name] = View(
            name, fn, needs or Needs(), every, empty, verdict, overall, checked, across
        )
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
        _registry.actions[name] = Action(name, fn, danger, needs or Needs(), views, exclusive)
        return fn

    return register


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
    return _declared("views", _registry.views, of)


def actions(of: str | None = None) -> list[Action]:
    """The actions of one room, or of all, in the order of their declaration."""
    return _declared("actions", _registry.actions, of)


def find_view(name: str) -> View[Any]:
    """The view of that name; only its room is imported, unless the name is unknown."""
    return _find("view", name, _registry.views)


def find_action(name: str) -> Action:
    """The action of that name; only its room is imported, unless the name is unknown."""
    return _find("action", name, _registry.actions)


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
        raise unknown(what, name, [n.name for n in _declared(f"{what}s", known, None)])
    return known[name]
