"""The reference: every room, view and action with all that is declared about them, as Markdown."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import Any

from backend.core.declare import Action, Column, Room, View
from backend.core.measures import unit_of
from backend.core.params import Param
from backend.core.registry import actions, rooms, views
from backend.core.show import duration
from tui.explain import command_example, danger_of, needs_of
from tui.params import metavar

_HEAD = """# Reference

Every view and every action of pgtui. `pgtui docs` prints this page.

A view is shown by `pgtui show NAME`, and judged by `pgtui check NAME` where it is a check. An action is run
by `pgtui run-action NAME`; `--dry-run` prints what would run. Both know the options of `pgtui --help`: the
targets, the database, the output, the time limit.
"""

_EXIT_CODES = """## Exit codes

| code | `show`, `run-action` | `check` |
|---|---|---|
| 0 | done | OK |
| 1 | failed | WARNING |
| 2 | wrong usage | CRITICAL |
| 3 | the target cannot be reached | UNKNOWN, wrong usage |
| 4 | refused: not confirmed, guarded, or a precondition does not hold | |
| 5 | the target lacks what is needed | |
| 130 | interrupted | interrupted |

With several targets: 1 when one failed after it had started, else the highest.
"""


def reference() -> str:
    """The whole page."""
    return "\n".join([_HEAD, _EXIT_CODES, *(line for r in rooms() for line in _room(r))]).rstrip("\n") + "\n"


def _room(room: Room) -> Iterator[str]:
    yield f"## {room.title}\n"
    yield room.doc + (" It lives in each database; `-d` chooses.\n" if room.per_database else "\n")
    for view in views(room.name):
        yield from _view(view)
    for action in actions(room.name):
        yield from _action(action)


def _view(view: View[Any]) -> Iterator[str]:
    yield f"### `{view.name}`\n"
    yield f"{view.doc} Refreshed every {view.every:g} s{'; a check' if view.judged else ''}.\n"
    yield from _needs(needs_of(view.needs))
    yield from _params(view.params)
    yield "| column | type | meaning | warning | critical |"
    yield "|---|---|---|---|---|"
    yield from (_column(c) for c in view.columns)
    yield ""


def _column(column: Column) -> str:
    name = f"`{column.name}`" + (" (key)" if column.col.key else "")
    if column.col.rate:
        name += f", `{column.name}_per_second`"
    meaning = " ".join(w for w in (f"{column.col.title}.", column.col.help) if w)
    sign = "≤" if column.col.low else "≥"
    limits = [
        f"{sign} {_limit(column, v)}" if v is not None else "" for v in (column.col.warn, column.col.crit)
    ]
    return f"| {name} | {_type(column)} | {_cell(meaning)} | {limits[0]} | {limits[1]} |"


def _type(column: Column) -> str:
    names = {
        "str": "text",
        "int": "integer",
        "float": "number",
        "bool": "true or false",
        "timedelta": "seconds",
    }
    if column.col.unit == "bytes":
        return "bytes"
    name = getattr(column.type, "__name__", str(column.type))
    return names.get(
        name, {"datetime": "time", "Interval": "interval", "Literal": "word"}.get(name, name.lower())
    )


def _limit(column: Column, limit: Any) -> str:
    return duration(limit) if hasattr(limit, "total_seconds") else f"{limit:g} {unit_of(column)}".strip()


def _action(action: Action) -> Iterator[str]:
    yield f"### `{action.name}`\n"
    yield f"{action.doc}\n"
    if action.details:
        yield f"{action.details}\n"
    yield f"Danger is {danger_of(action)}\n"
    yield from _needs(needs_of(action.needs))
    yield from _params(action.params)
    yield f"```\n{command_example(action)}\n```\n"


def _needs(needs: list[str]) -> Iterator[str]:
    if needs:
        yield f"Needs {', '.join(needs)}.\n"


def _params(params: tuple[Param, ...]) -> Iterator[str]:
    if not params:
        return
    yield "| option | meaning | default |"
    yield "|---|---|---|"
    for param in params:
        option = f"`{param.option}{'-file' if param.ask.secret else ''} {_cell(metavar(param))}`"
        if param.type is bool:
            option = f"`{param.option}`, `--no-{param.option.removeprefix('--')}`"
        meaning = " ".join(w for w in (f"{param.ask.label.rstrip('.')}.", param.ask.help) if w)
        yield f"| {option} | {_cell(meaning)} | {_default(param)} |"
    yield ""


def _default(param: Param) -> str:
    if param.required:
        return "required"
    return "" if param.default in (None, "", []) else f"`{_cell(param.text(param.default))}`"


def _cell(text: str) -> str:
    return html.escape(" ".join(text.split()), quote=False).replace("|", "\\|")
