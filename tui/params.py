"""Parameters of views and actions as options: declared once in a signature, spelled out here for Typer."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from backend.core.errors import Usage
from backend.core.params import Param

PREFIX = "param_"


def option_parameters(params: Sequence[Param]) -> list[inspect.Parameter]:
    """The parameters of a command that has these options."""
    return [_option(p) for p in params]


def _option(param: Param) -> inspect.Parameter:
    annotation: Any = bool | None if _is_switch(param) else list[str] | None
    return inspect.Parameter(
        PREFIX + param.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[annotation, _declared(param)],
    )


def _is_switch(param: Param) -> bool:
    return param.type is bool and not param.many


def _declared(param: Param) -> Any:
    if _is_switch(param):
        negative = "--no-" + param.option.removeprefix("--")
        return typer.Option(f"{param.option}/{negative}", help=help_of(param), show_default=False)
    option = f"{param.option}-file" if param.ask.secret else param.option
    return typer.Option(option, metavar=metavar(param), help=help_of(param), show_default=False)


def metavar(param: Param) -> str:
    """What stands for the value in help."""
    if param.ask.secret:
        return "FILE"
    if param.words:
        return "|".join(param.words)
    names = {"int": "N", "float": "NUMBER", "str": "TEXT", "bool": "true|false"}
    return names.get(param.type.__name__, param.type.__name__.upper())


def help_of(param: Param) -> str:
    """Label, help, and whether it may be left out, a sentence each."""
    said = [param.ask.label, param.ask.help]
    if param.ask.secret:
        said.append("Asked for on a terminal, else read from standard input; - is standard input too.")
    if param.many:
        said.append("May be repeated.")
    said.append(_need(param))
    return " ".join(f"{s.rstrip('.')}." for s in said if s)


def _need(param: Param) -> str:
    if param.required:
        return "Required."
    if param.default in (None, False, "", []):
        return ""
    return f"Default: {param.text(param.default)}."


def read(params: Sequence[Param], given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the options, by parameter; secrets are asked for or read where they are needed."""
    values = {p.name: _value(p, given.get(PREFIX + p.name)) for p in params}
    return {name: value for name, value in values.items() if value is not None}


def _value(param: Param, given: Any) -> Any:
    if param.ask.secret:
        return _secret(param, _single(f"{param.option}-file", given))
    if given is None or isinstance(given, bool):
        return given
    if param.many:
        return [value for text in given for value in param.parse_each(text)]
    word = _single(param.option, given)
    return None if word is None else param.parse(word)


def _single(option: str, given: list[str] | None) -> str | None:
    """The one value; two different ones are a mistake that must not be settled silently."""
    if not given:
        return None
    if len(set(given)) > 1:
        raise Usage(f"{option} is given as {given[0]!r} and as {given[1]!r}", hint="give it once")
    return given[0]


def _secret(param: Param, file: str | None) -> str | None:
    if file is not None and file != "-":
        try:
            return _without_end(Path(file).read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as e:
            why = e.strerror if isinstance(e, OSError) else "it is not UTF-8 text"
            raise Usage(f"{param.option}-file {file} cannot be read: {why}") from None
    if file is None and not param.required:
        return None
    if file is None and sys.stdin.isatty():
        from getpass import getpass

        return getpass(f"{param.ask.label}: ")
    return _without_end(sys.stdin.read()) or None


def _without_end(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r")
