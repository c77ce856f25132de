"""Steps as the journal keeps them, so that they can be made again after pgtui was killed.

What holds a secret is not kept, nor what is code (a check) or data (a copy).
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from psycopg import sql

from backend.core.clean import mask
from backend.core.plan import Command, File, Repeat, Sql, Step, Wait
from backend.core.rendering import executable, secrets_of

Kept = dict[str, Any]


def keep(step: Step) -> Kept | None:
    """What makes the step again, as JSON takes it; None where that cannot be."""
    fields: tuple[str, ...]
    match step:
        case Sql() if not step.quiet_log:
            what: Kept = {"statements": [_text(s) for s in step.statements]}
            fields = ("dbname",)
        case Command() if step.stdin is None:
            what = {"argv": list(step.argv), "ok": list(step.ok)}
            fields = ("deadline", "long", "run_as")
        case File():
            what = {"path": str(step.path)}
            fields = ("before", "after", "run_as")
        case Wait():
            what = {"statement": _text(step.statement)}
            fields = ("until", "deadline", "every", "dbname")
        case Repeat():
            what = {"statement": _text(step.statement), "before": [_text(s) for s in step.before]}
            fields = ("until", "total", "pause", "unit", "dbname")
        case _:
            return None
    what |= {"kind": step.kind} | {name: getattr(step, name) for name in (*fields, "on", "note")}
    return what if _may_be_written(what) else None


def make_again(kept: Kept) -> Step:
    """The step that was kept."""
    more = {name: value for name, value in kept.items() if name != "kind"}
    match kept["kind"]:
        case "sql":
            return Sql(tuple(_statement(s) for s in more.pop("statements")), **more)
        case "command":
            return Command(tuple(more.pop("argv")), ok=tuple(more.pop("ok")), **more)
        case "file":
            return File(PurePosixPath(more.pop("path")), **more)
        case "wait":
            return Wait(_statement(more.pop("statement")), **more)
        case _:
            before = tuple(_statement(s) for s in more.pop("before"))
            return Repeat(_statement(more.pop("statement")), before=before, **more)


def _text(statement: sql.Composable) -> str | None:
    if secrets_of(statement):
        return None
    text, _ = executable(statement)
    try:
        return text.decode()
    except UnicodeDecodeError:  # the name of an object, in an encoding that nobody knows here
        return None


def _statement(text: str) -> sql.SQL:
    # It is what pgtui itself had composed and the user confirmed.
    return sql.SQL(text)  # pyright: ignore[reportArgumentType]


def _may_be_written(value: Any) -> bool:
    match value:
        case str():
            return mask(value) == value
        case dict():
            return all(name in _MAY_BE_NONE or v is not None for name, v in value.items()) and all(
                _may_be_written(v) for v in value.values()
            )
        case list():
            return all(v is not None and _may_be_written(v) for v in value)
        case _:
            return True


_MAY_BE_NONE = {"dbname", "on", "run_as", "before", "total"}
