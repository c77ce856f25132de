"""The parameters of views and actions: what is asked, what a text means, and what is missing.

A parameter is declared in the function's signature, once; forms, options, help and checks come from it.
"""

from __future__ import annotations

import inspect
import math
import re
import typing
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import KW_ONLY
from typing import Any, Literal

from backend.core.errors import Usage, unknown
from backend.core.hints import unannotated, without_none
from backend.core.record import record
from backend.core.values import Interval, Size

# What a text to be edited begins as, from the session and the parameters given.
Draft = Callable[[Any, Mapping[str, Any]], Awaitable[str]]


@record
class Ask:
    """What a parameter says about itself: its label, and where its choices come from.

    `choices` is `room.view.column`; the parameter then offers that column's values. A `secret` never
    arrives as an option's value and is masked wherever it would be shown. `lines` asks for a text of
    several lines. `fill` off keeps a selected row from filling it, so that it is always asked for. One that
    selects in another way stands `instead` of a row, and beside a row it is left out. One with a `draft` is,
    on a terminal, made from that text in the user's editor.
    """

    label: str
    _: KW_ONLY
    help: str = ""
    choices: str | None = None
    secret: bool = False
    lines: bool = False
    fill: bool = True
    instead: bool = False
    draft: Draft | None = None


class _Required:
    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Any = _Required()


@record
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


def params_of(fn: Callable[..., Any]) -> tuple[Param, ...]:
    """The parameters of a view or an action after the session."""
    hints = typing.get_type_hints(fn, include_extras=True)
    listed = list(inspect.signature(fn).parameters.values())[1:]
    return tuple(_param(p, hints[p.name]) for p in listed)


def _param(p: inspect.Parameter, hint: Any) -> Param:
    base, extras = unannotated(hint)
    ask = next((e for e in extras if isinstance(e, Ask)), Ask(p.name.replace("_", " ")))
    scalar, optional = without_none(base)
    many = typing.get_origin(scalar) is list
    if many:
        scalar = typing.get_args(scalar)[0]
    words: tuple[str, ...] = ()
    if typing.get_origin(scalar) is Literal:
        words, scalar = typing.get_args(scalar), str
    default = REQUIRED if p.default is inspect.Parameter.empty else p.default
    return Param(p.name, scalar, optional, many, words, default, ask)
