"""What the lines of postgresql.conf and the files that it includes say, read as the server reads them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

DEEPEST = 10  # the server's own limit for files that include files

_LINE = re.compile(
    r"""\s*(?P<name>[A-Za-z_][\w$]*(?:\.[A-Za-z_][\w$]*)*)\s*=?\s*
        (?:'(?P<quoted>(?:[^'\\]|''|\\.)*)'|(?P<bare>[^\s'\#=]+))\s*(?:\#.*)?$""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"''|\\([0-7]{1,3}|.)")
_LETTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


@dataclass(frozen=True, slots=True)
class Line:
    """One line that sets something: the name in lower case, the value as the server reads it."""

    name: str
    value: str
    file: str
    number: int


def lines(files: Mapping[str, str], main: str) -> Iterator[Line]:
    """The lines of a file with those that it includes in their place; `files` are the texts by path."""
    yield from _lines(files, main, 0)


def _lines(files: Mapping[str, str], path: str, depth: int) -> Iterator[Line]:
    for number, text in enumerate(files.get(path, "").splitlines(), 1):
        match = _LINE.match(text)
        if match is None:
            continue
        name, value = match["name"].lower(), _value(match)
        if name in ("include", "include_if_exists", "include_dir"):
            for included in _included(files, name, str(PurePosixPath(path).parent / value)):
                if depth < DEEPEST:
                    yield from _lines(files, included, depth + 1)
        else:
            yield Line(name, value, path, number)


def _value(match: re.Match[str]) -> str:
    if match["quoted"] is None:
        return match["bare"]
    return _ESCAPE.sub(_unescaped, match["quoted"])


def _unescaped(match: re.Match[str]) -> str:
    if match[0] == "''":
        return "'"
    letter = match[1]
    return chr(int(letter, 8)) if letter[0] in "01234567" else _LETTERS.get(letter, letter)


def _included(files: Mapping[str, str], how: str, path: str) -> list[str]:
    if how != "include_dir":
        return [path]
    inside = [f for f in files if str(PurePosixPath(f).parent) == path.rstrip("/")]
    return sorted(f for f in inside if f.endswith(".conf") and not PurePosixPath(f).name.startswith("."))


def settings(files: Mapping[str, str], main: str, auto: str = "") -> dict[str, str]:
    """The value of each setting in the files; the last line wins, and ALTER SYSTEM's file over all."""
    return {line.name: line.value for path in (main, auto) if path for line in lines(files, path)}
