"""What a type hint says: the type itself, what annotates it, and whether there may be no value."""

from __future__ import annotations

import types
import typing
from typing import Annotated, Any


def unannotated(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """The bare hint, and what `Annotated` adds to it."""
    if typing.get_origin(hint) is Annotated:
        base, *extras = typing.get_args(hint)
        return base, tuple(extras)
    return hint, ()


def without_none(hint: Any) -> tuple[Any, bool]:
    """The hint without None, and whether None was in it."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        rest = [a for a in typing.get_args(hint) if a is not type(None)]
        return rest[0], True
    return hint, False
