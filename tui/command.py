"""Commands and groups of the command line: Typer's, with the common options, and quick to start."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from backend.core.errors import Usage
from backend.core.params import parse_bool
from tui.common import common_signature
from tui.options import Options

_COMMON = ("target", "tag", "everything", "dbname", "output", "inventory", "timeout", "read_only", "debug")


class _AsWritten:
    """Takes values as they were written; the registry's parameters read them."""

    @staticmethod
    def coerce(value: Any, param: Any, ctx: Any) -> Any:
        """The value itself."""
        return value if value is not None or not param.multiple else ()


@cache
def _common_params() -> tuple[Any, ...]:
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(_signed(list(common_signature().values()), lambda **given: None))
    return tuple(get_command(app).params)


@cache
def valued_options() -> frozenset[str]:
    """The common options that are followed by a value."""
    return frozenset(o for p in _common_params() if not p.is_flag for o in p.opts)


def _quick(params: list[Any]) -> list[Any]:
    # Typer makes a pydantic adapter for every option, used or not: 110 ms of CPU for its import alone.
    for param in params:
        param._runtime_param = _AsWritten
    return params


def _take_common(ctx: typer.Context) -> None:
    given = {name: ctx.params.pop(name) for name in _COMMON}
    before = ctx.obj if isinstance(ctx.obj, Options) else Options()
    ctx.obj = before.merged(given)


class Command(TyperCommand):
    """A command that takes the common options besides its own."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its own options, then the common ones."""
        own = super().get_params(ctx)
        return _quick([*own[:-1], *_common_params(), *own[-1:]])

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words; a boolean option may be followed by true or false."""
        return super().parse_args(ctx, args if ctx.resilient_parsing else self._spelled(ctx, args))

    def invoke(self, ctx: Any) -> Any:
        """Merge the common options, then run."""
        _take_common(ctx)
        return super().invoke(ctx)

    def _spelled(self, ctx: Any, args: list[str]) -> list[str]:
        """The words with `--x true` and `--x=false` as `--x` and `--no-x`."""
        options = [p for p in self.get_params(ctx) if p.param_type_name == "option"]
        switches = {o: p.secondary_opts[0] for p in options if p.secondary_opts for o in p.opts}
        valued = {o for p in options if not p.is_flag for o in p.opts}
        spelled: list[str] = []
        rest = list(args)
        while rest:
            word = rest.pop(0)
            name, equals, value = word.partition("=")
            if word == "--":
                return [*spelled, word, *rest]
            if name in switches and (equals or (rest and _is_bool(rest[0]))):
                word = name if _truth(name, value if equals else rest.pop(0)) else switches[name]
            spelled.append(word)
            if word in valued and rest:
                spelled.append(rest.pop(0))
        return spelled


def _is_bool(word: str) -> bool:
    try:
        parse_bool(word)
    except ValueError:
        return False
    return True


def _truth(option: str, word: str) -> bool:
    try:
        return parse_bool(word)
    except ValueError:
        raise Usage(f"{option} wants true or false, not {word!r}") from None


class Group(TyperGroup):
    """A group of commands that takes the common options itself."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its own options, then the common ones."""
        own = super().get_params(ctx)
        return _quick([*own[:-1], *_common_params(), *own[-1:]])

    def invoke(self, ctx: Any) -> Any:
        """Merge the common options, then run."""
        _take_common(ctx)
        return super().invoke(ctx)


Body = Callable[..., int | None]


def _signed(parameters: Sequence[Any], body: Callable[..., Any]) -> Callable[..., Any]:
    """The function with another signature: the parameters by name."""
    named = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
    body.__signature__ = inspect.Signature(named)  # type: ignore[attr-defined]
    return body


def make_command(
    name: str, parameters: Sequence[Any], body: Body, *, help: str = "", epilog: str = ""
) -> Any:
    """A command whose options are these parameters; `body` gets the context and them by name."""

    def run(ctx: typer.Context, **given: Any) -> int | None:
        return body(ctx, **given)

    context = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(name, cls=Command, help=help, epilog=epilog)(_signed([context, *parameters], run))
    return get_command(app)


def options_of(ctx: typer.Context) -> Options:
    """The common options of a command's context."""
    return ctx.obj if isinstance(ctx.obj, Options) else Options()


def given_of(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Those of the values whose name has the prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}
