"""What can go wrong, as sentences for a tired person.

PgtuiError
├── Failed        something that had started did not succeed              exit 1
├── Usage         the words given make no sense                            exit 2
├── Unreachable   the target or its host does not answer                   exit 3
├── Refused       not confirmed, guarded, or a precondition does not hold  exit 4
├── Missing       a tool, an extension or a privilege is not there         exit 5
└── Interrupted   the user ended it                                        exit 130
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class PgtuiError(Exception):
    """A sentence saying what was wanted and what is in the way; a hint saying what to do."""

    kind: ClassVar[str] = "failed"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.sqlstate = sqlstate

    def to_json(self) -> dict[str, str | None]:
        """The error as scripts read it: kind, message, hint and sqlstate."""
        return {"kind": self.kind, "message": self.message, "hint": self.hint, "sqlstate": self.sqlstate}


class Failed(PgtuiError):
    """Something that had started did not succeed."""


class Usage(PgtuiError):
    """The words given make no sense together."""

    kind = "usage"
    exit_code = 2


class Unreachable(PgtuiError):
    """The target or its host does not answer, or does not let us in."""

    kind = "unreachable"
    exit_code = 3


class AwaitsPassword(Unreachable):
    """The user is being asked for the target's password; it is not known what the target would say."""


class Refused(PgtuiError):
    """Not confirmed, guarded, or a precondition does not hold; nothing was changed."""

    kind = "refused"
    exit_code = 4


class Missing(PgtuiError):
    """A tool, an extension or a privilege that is needed is not there."""

    kind = "missing"
    exit_code = 5


class Interrupted(PgtuiError):
    """The user ended it."""

    kind = "interrupted"
    exit_code = 130


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint naming the nearest known word, or the empty string when none is near."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"did you mean {found[0]}?" if found else ""


def unknown(what: str, word: str, known: Iterable[str]) -> Usage:
    """The usage error for a name that is not among the known ones."""
    names = sorted(known)
    hint = nearest(word, names) or (f"known: {', '.join(names[:12])}" if names else None)
    return Usage(f"there is no {what} called {word}", hint=hint)
