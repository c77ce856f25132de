"""What an event says, by the encoding that its producer chose.

PgQ's triggers write a row change as urlencoded text, as the rest of an SQL statement or as JSON; all other
producers write what they like, and that is shown as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote_plus

Encoding = Literal["urlencoded", "sql", "json", "plain"]
Operation = Literal["insert", "update", "delete", "truncate"]

_TYPE = re.compile(r"([IUDR])(?::(.*))?\Z", re.DOTALL)
_OPERATIONS: Mapping[str, Operation] = {"I": "insert", "U": "update", "D": "delete", "R": "truncate"}
_NAMED: Mapping[str, Operation] = {o.upper(): o for o in _OPERATIONS.values()}
_BARE = re.compile(r"[\w.:+/@-]+\Z")


@dataclass(frozen=True, slots=True)
class Decoded:
    """An event understood: for a row change the operation, the table, the key's columns and the rows.

    `row` is the new row, of a deletion the old one; `before` the row as it was, where the trigger keeps it.
    Values are text as PostgreSQL writes it, with JSON what JSON has; NULL is None. `text` is one line that
    says it all.
    """

    encoding: Encoding
    text: str
    operation: Operation | None = None
    table: str | None = None
    key: tuple[str, ...] = ()
    row: Mapping[str, Any] = field(default_factory=dict)
    before: Mapping[str, Any] = field(default_factory=dict)


def decode(kind: str | None, data: str | None, extra1: str | None, extra2: str | None) -> Decoded:
    """The event of type `kind`; one that only looks like a row change is plain."""
    kind, data = kind or "", data or ""
    if kind.startswith('{"') and (found := _json(kind, data, extra1, extra2)):
        return found
    change = _TYPE.match(kind)
    # Every trigger names its table; without one it is somebody's own event of type "I".
    if change is None or not extra1:
        return Decoded("plain", data)
    operation = _OPERATIONS[change[1]]
    if operation == "truncate":
        return Decoded("urlencoded", f"truncate {extra1}", operation, extra1)
    if change[2] is None:
        return Decoded("sql", _statement(operation, extra1, data), operation, extra1, (), {}, pairs(extra2))
    row, before = pairs(data), pairs(extra2)
    key = tuple(name for name in change[2].split(",") if name)
    return Decoded("urlencoded", _told(operation, row, before, key), operation, extra1, key, row, before)


def pairs(text: str | None) -> dict[str, str | None]:
    """The columns of an urlencoded row; a name without `=` is NULL."""
    if not text:
        return {}
    parts = (part.partition("=") for part in text.split("&"))
    return {_unquoted(name): _unquoted(value) if equals else None for name, equals, value in parts}


def _unquoted(text: str) -> str:
    return unquote_plus(text, errors="surrogateescape")


def _statement(operation: Operation, table: str, data: str) -> str:
    words = {"insert": "insert into {} {}", "update": "update {} set {}", "delete": "delete from {} where {}"}
    return words[operation].format(table, data)


def _json(kind: str, data: str, extra1: str | None, extra2: str | None) -> Decoded | None:
    told, row = _object(kind), _object(data)
    operation = _NAMED.get(str((told or {}).get("op")))
    if told is None or row is None or operation is None:
        return None
    table = extra1 or ".".join(_texts(told.get("table")))
    if operation == "truncate":
        return Decoded("json", f"truncate {table}", operation, table)
    key, before = _texts(told.get("pkey")), _object(extra2 or "") or {}
    return Decoded("json", _told(operation, row, before, key), operation, table, key, row, before)


def _object(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(str(v) for v in value) if isinstance(value, list) else ()


def _told(
    operation: Operation, row: Mapping[str, Any], before: Mapping[str, Any], key: tuple[str, ...]
) -> str:
    """The row; of an update whose old row is known, the key and what it changed."""
    if operation != "update" or not before:
        return ", ".join(f"{name}={_value(value)}" for name, value in row.items())
    changed = [n for n in row if n not in key and row[n] != before.get(n)]
    return ", ".join(
        [f"{n}={_value(row[n])}" for n in key if n in row]
        + [f"{n}={_value(before.get(n))} → {_value(row[n])}" for n in changed]
    )


def _value(value: Any) -> str:
    if value is None:
        return "NULL"
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return value if _BARE.match(value) else "'" + value.replace("'", "''") + "'"
