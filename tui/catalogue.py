"""The catalogues and the small commands: `views`, `actions`, `targets`, `runs`, `docs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backend.core.declare import Action, View
from backend.core.params import Param
from backend.core.registry import actions, room, views
from backend.core.report import csv_line, line
from backend.core.values import Interval
from tui.options import FORMATS, Options
from tui.out import out


def list_views(options: Options) -> int:
    """Print every view."""
    form = options.format(*FORMATS)
    print_objects([view_object(v, detailed=form == "json") for v in views()], form)
    return 0


def list_actions(options: Options) -> int:
    """Print every action."""
    form = options.format(*FORMATS)
    print_objects([action_object(a, detailed=form == "json") for a in actions()], form)
    return 0


def view_object(view: View[Any], *, detailed: bool) -> dict[str, Any]:
    """A view as the catalogue lists it."""
    told: dict[str, Any] = {"view": view.name, "check": view.judged, "help": view.doc}
    if detailed:
        told |= {
            "room": view.room,
            "per_database": room(view.room).per_database,
            "params": [param_object(p) for p in view.params],
            "columns": [{"name": c.name, "title": c.title, "key": c.col.key} for c in view.columns],
        }
    return told


def action_object(action: Action, *, detailed: bool) -> dict[str, Any]:
    """An action as the catalogue lists it."""
    told: dict[str, Any] = {"action": action.name, "danger": action.danger.word, "help": action.doc}
    if detailed:
        params = [param_object(p) for p in action.params]
        told |= {"room": action.room, "on": action.on, "params": params}
    return told


def param_object(param: Param) -> dict[str, Any]:
    """A parameter as the catalogues list it."""
    return {
        "option": param.option,
        "label": param.ask.label,
        "required": param.required,
        "default": None if param.required or param.default is None else param.text(param.default),
        "secret": param.ask.secret,
        "many": param.many,
        "words": list(param.words),
    }


def print_objects(objects: Sequence[Mapping[str, Any]], form: str) -> None:
    """Objects with the same names: one JSON object a line, CSV with a head, or a table."""
    if form == "json":
        for each in objects:
            out.line(line(each))
        return
    head = list(objects[0]) if objects else []
    rows = [list(each.values()) for each in objects]
    if form == "csv":
        for values in [head, *rows]:
            out.line(csv_line(values, for_terminal=out.is_terminal))
    elif objects:
        # Rich costs 50 ms that the other forms need not pay.
        from tui.tables import plain_table

        shown = [[_word(v) for v in row] for row in rows]
        out.write(plain_table([h.replace("_", " ").capitalize() for h in head], shown, out.is_terminal))


def _word(value: Any) -> Any:
    return {True: "yes", False: ""}.get(value, value) if isinstance(value, bool) else value


def print_reference() -> int:
    """Print the reference as Markdown."""
    from tui.reference import reference

    out.write(reference())
    return 0


def example(param: Param) -> str:
    """A value for an example of the command line."""
    if param.words:
        return param.words[0]
    if issubclass(param.type, Interval):
        return "5min"
    names = {"int": "4711", "float": "0.5", "bool": "true", "Size": "10MB"}
    return names.get(param.type.__name__, param.name.upper())
