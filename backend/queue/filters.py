"""The condition of a trigger, read as PgQ reads it: before it is too late.

PgQ puts the row's values where the condition has the names of columns, written as they are, without quotes
and minding upper and lower case, and asks the server. It does so only when the trigger fires.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import sql

from backend.core.errors import PgtuiError, Usage
from backend.core.facts import Query
from backend.core.session import Session
from backend.queue.ground import ask

_TOKEN = re.compile(r"'(?:[^']|'')*'|[^\W\d][\w$]*|.", re.DOTALL)
_TRIED = Query("{asked}")


@dataclass(frozen=True, slots=True)
class Tried:
    """Whether the condition holds; it is asked of no row."""

    holds: bool


async def try_filter(s: Session, condition: str, types: Mapping[str, str]) -> None:
    """Raise `Usage` for what PgQ could not read; `types` are the columns' types by name."""
    if not condition.strip() or "\0" in condition:
        raise Usage("--filter is empty or holds a zero byte")
    tokens: list[str] = _TOKEN.findall(condition)
    if '"' in tokens:
        raise Usage(
            "--filter has a name in double quotes, which PgQ does not read",
            hint="write columns without quotes, with their upper and lower case",
        )
    filled = "".join(f"(NULL::{types[t]})" if t in types else t for t in tokens)
    # The line break ends a comment, so that the limit stays outside.
    asked = sql.SQL("SELECT true AS holds\n WHERE ({}\n)\n LIMIT 0").format(
        sql.SQL(filled)  # pyright: ignore[reportArgumentType]
    )
    try:
        await ask(s, Tried, _TRIED, asked=asked)
    except PgtuiError as e:
        raise Usage(f"--filter cannot be read: {e.message}", hint=e.hint) from None
