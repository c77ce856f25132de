"""Values of settings and options that nobody should read over a shoulder."""

from __future__ import annotations

import re

from backend.core.clean import mask

MASKED = "****"
_SECRET = re.compile(r"passphrase|passw|secret|token|credential|salt|api_?key|private_?key")


def hidden(name: str, value: str, *, text: bool = True) -> str:
    """The value without what is secret in it; only a `text` can hold a secret, a number or word cannot."""
    if text and value and _SECRET.search(name.lower()):
        return MASKED
    return mask(value)


def option(text: str) -> str:
    """An option of a pg_hba.conf line, `name=value`."""
    name, equals, value = text.partition("=")
    return f"{name}={hidden(name, value)}" if equals else text
