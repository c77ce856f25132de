"""Statements as they are shown and as they are sent: the same bytes, but for secrets.

psycopg's own rendering without a connection depends on the last connection made, and refuses names that are
no UTF-8; a plan is made before there is a connection, and must be what runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from psycopg import sql

from backend.core.clean import mask
from backend.core.errors import Usage


class SecretLiteral(sql.Literal):
    """A value that is sent as a parameter and shown as '****'."""


def preview(composable: sql.Composable) -> str:
    """The statement as text with secrets masked."""
    return mask(_render(composable, lambda secret: b"'****'").decode("utf-8", "surrogateescape"))


def executable(composable: sql.Composable) -> tuple[bytes, list[Any] | None]:
    """The statement as it is sent, and its parameters: the secrets, which never stand in the text."""
    secrets: list[Any] = []

    def parameter(secret: SecretLiteral) -> bytes:
        secrets.append(secret._obj)
        return b"%s"

    text = _render(composable, parameter, escape=secrets_of(composable) != [])
    return (text, secrets) if secrets else (text, None)


def inlined(composable: sql.Composable) -> bytes:
    """The statement with its secrets in the text: utility statements take no parameters."""
    return _render(composable, lambda secret: _literal(secret._obj))


def filled(statement: bytes, params: Sequence[Any]) -> str:
    """A query with its parameters in the place of their marks, as psql takes it."""
    left = iter(params)
    told = re.sub(rb"%([%sbt])", lambda m: b"%" if m[1] == b"%" else _literal(next(left)), statement)
    return told.decode("utf-8", "replace")


def secrets_of(composable: sql.Composable) -> list[str]:
    """The secret values that a statement holds."""
    if isinstance(composable, sql.Composed):
        return [secret for part in composable for secret in secrets_of(part)]
    return [str(composable._obj)] if isinstance(composable, SecretLiteral) else []


def _render(
    composable: sql.Composable, secret: Callable[[SecretLiteral], bytes], escape: bool = False
) -> bytes:
    """The bytes that are both shown and sent; with parameters, percent signs are doubled."""
    match composable:
        case sql.Composed():
            return b"".join(_render(part, secret, escape) for part in composable)
        case SecretLiteral():
            return secret(composable)
        case sql.Identifier():
            text = b".".join(_identifier(name) for name in composable._obj)
        case sql.Literal():
            text = _literal(composable._obj)
        case _:
            text = composable.as_bytes(None)
    return text.replace(b"%", b"%%") if escape else text


def _identifier(name: str) -> bytes:
    return b'"' + _sendable(name).replace(b'"', b'""') + b'"'


def _literal(value: Any) -> bytes:
    if not isinstance(value, str):
        return sql.Literal(value).as_bytes(None)
    text = _sendable(value).replace(b"'", b"''")
    return b" E'" + text.replace(b"\\", b"\\\\") + b"'" if b"\\" in text else b"'" + text + b"'"


def _sendable(text: str) -> bytes:
    """The bytes of a name or value from a server, which need not be UTF-8."""
    if "\0" in text:
        raise Usage("a name or text for PostgreSQL cannot hold a zero byte")
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise Usage("a name or text for PostgreSQL cannot hold half a surrogate pair") from None
