"""Names as the server could take them."""

from __future__ import annotations

from backend.core.errors import Usage


def demand_name(name: str, option: str = "--name") -> str:
    """The name, or a usage error when no server could take it."""
    if not name.strip():
        raise Usage(f"{option} is empty")
    if "\0" in name:
        raise Usage(f"{option} holds a zero byte, which no name in PostgreSQL has")
    return name
