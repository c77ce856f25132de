"""Standard output is data, and nothing else; what people are told goes to standard error."""

from __future__ import annotations

import os
import sys

from backend.core.clean import clean, mask
from backend.core.errors import Failed, PgtuiError


class Output:
    """Standard output; when its reader has gone, or there never was one, what is written goes nowhere."""

    def __init__(self) -> None:
        self.closed = sys.stdout is None

    @property
    def is_terminal(self) -> bool:
        """Whether a person looks."""
        return not self.closed and sys.stdout.isatty()

    def line(self, text: str) -> None:
        """Write a line at once."""
        self.write(f"{text}\n")

    def write(self, text: str) -> None:
        """Write text at once; bytes that were no UTF-8 leave as they came. A full disk is an error."""
        if self.closed:
            return
        try:
            sys.stdout.flush()
            sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            self._give_up()
        except OSError as e:
            self._give_up()
            raise Failed(f"standard output cannot be written: {e.strerror}") from None

    def _give_up(self) -> None:
        self.closed = True
        # Python flushes once more when it ends, and would complain then.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


out = Output()


def say(text: str) -> None:
    """Tell a person something, on standard error."""
    _tell(f"pgtui: {clean(mask(text))}")


def complain(error: PgtuiError, about: str = "") -> None:
    """Tell what went wrong in a sentence, and the hint in another line."""
    say(f"{about}: {error.message}" if about and not error.message.startswith(about) else error.message)
    if error.hint:
        _tell(f"       {clean(mask(error.hint))}")


def _tell(line: str) -> None:
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except (BrokenPipeError, UnicodeEncodeError, ValueError):
        return
