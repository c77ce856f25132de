"""The text of pg_hba.conf, read as the server reads it: lines, rules and files that include files.

The server's own parser judges a file before it is loaded. This one is for what has to be known earlier: which
rule a line is, and whom a changed file would let in.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from backend.cluster.rule import Rule

DEEPEST = 10  # the server's own limit for files that include files
BLANKS = " \t\r\f\v"
TYPES = ("local", "host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc")
_INCLUDES = ("include", "include_if_exists", "include_dir")
_KEYWORDS = ("all", "sameuser", "samerole", "samegroup", "replication")
_PLAIN = re.compile(r"[^\s\",#]+")
_IP = re.compile(r"[\d.]+|[\da-fA-F]*:[\da-fA-F:.]*")


@dataclass(frozen=True, slots=True)
class Word:
    """One word; in quotes a keyword is a name like any other."""

    text: str
    quoted: bool = False

    @property
    def name(self) -> str:
        """What it names; its quotes stay where they keep it from being a keyword or a group."""
        plain = self.quoted and (self.text in _KEYWORDS or self.text.startswith("+"))
        return f'"{self.text}"' if plain else self.text

    def is_keyword(self, *words: str) -> bool:
        """Whether it stands for one of these keywords."""
        return not self.quoted and self.text in words


@dataclass(frozen=True, slots=True)
class Line:
    """One line with its continuations: where it begins and ends, counted from 1, and its fields."""

    file: str
    first: int
    last: int
    fields: tuple[tuple[Word, ...], ...]
    text: str


@dataclass(frozen=True, slots=True)
class Unread:
    """A line that is not a rule known here, and why: it is `wrong`, or it leads to another file."""

    line: Line
    why: str
    wrong: bool = False


def lines(text: str, file: str = "") -> Iterator[Line]:
    """The lines that hold something."""
    rows, at = text.split("\n"), 0
    while at < len(rows):
        first, whole = at, rows[at]
        while whole.endswith("\\") and at + 1 < len(rows):
            at += 1
            whole = whole[:-1] + rows[at]
        at += 1
        if found := _fields(whole):
            yield Line(file, first + 1, at, found, "\n".join(rows[first:at]))


def _fields(row: str) -> tuple[tuple[Word, ...], ...]:
    """The fields, each a list of words with commas between."""
    fields: list[tuple[Word, ...]] = []
    words: list[Word] = []
    at = 0
    while True:
        word, at, comma = _word(row, at)
        if word is None:
            return (*fields, tuple(words)) if words else tuple(fields)
        words.append(word)
        if not comma:
            fields.append(tuple(words))
            words = []


def _word(row: str, at: int) -> tuple[Word | None, int, bool]:
    """The next word, where it ends, and whether a comma follows; None at the end or before a comment."""
    while at < len(row) and row[at] in BLANKS + ",":
        at += 1
    if at == len(row) or row[at] == "#":
        return None, at, False
    text, quoted, inside, was_quote = "", row[at] == '"', False, False
    while at < len(row) and (inside or row[at] not in BLANKS + ",#"):
        letter = row[at]
        if letter != '"' or was_quote:
            text += letter
        was_quote = inside and letter == '"' and not was_quote
        if letter == '"':
            inside = not inside
        at += 1
    return Word(text, quoted), at, at < len(row) and row[at] == ","


def rules(files: Mapping[str, str], main: str) -> Iterator[Rule | Unread]:
    """The rules in the order in which they are tried; `files` are the texts by path."""
    yield from _rules(files, main, 0)


def _rules(files: Mapping[str, str], path: str, depth: int) -> Iterator[Rule | Unread]:
    for line in lines(files[path], path):
        word = line.fields[0][0]
        if not word.is_keyword(*_INCLUDES):
            yield _rule(line)
            continue
        included = _included(files, line, word.text)
        if included is None or depth >= DEEPEST:
            yield Unread(line, "it includes what cannot be read here")
        for each in included or ():
            yield from _rules(files, each, depth + 1)


def _included(files: Mapping[str, str], line: Line, how: str) -> list[str] | None:
    """The paths that an include stands for; None when they are not known."""
    if len(line.fields) < 2:
        return None
    path = str(PurePosixPath(line.file).parent / line.fields[1][0].text)
    if how == "include_dir":
        return sorted(f for f in files if f.endswith(".conf") and str(PurePosixPath(f).parent) == path)
    if path in files:
        return [path]
    return [] if how == "include_if_exists" else None


def _rule(line: Line) -> Rule | Unread:
    kind = line.fields[0][0].text
    if kind not in TYPES:
        return Unread(line, f"{kind} is no type of connection", wrong=True)
    if any(not word.quoted and word.text.startswith("@") for field in line.fields[1:3] for word in field):
        return Unread(line, "it takes names from another file")
    rest = line.fields[3:]
    address = netmask = None
    if kind != "local" and rest:
        (address, netmask), rest = _address(rest)
    if len(line.fields) < 4 or not rest:
        return Unread(line, "it is not complete", wrong=True)
    databases, users = ([word.name for word in field] for field in line.fields[1:3])
    options = [word.text for field in rest[1:] for word in field] or None
    method = rest[0][0].text
    return Rule(line.file, line.first, kind, databases, users, address, netmask, method, options, None)


Fields = tuple[tuple[Word, ...], ...]


def _address(fields: Fields) -> tuple[tuple[str, str | None], Fields]:
    """The address and its mask as the server shows them, and the fields behind them."""
    word, rest = fields[0][0].text, fields[1:]
    if _IP.fullmatch(word) and rest:
        return (word, rest[0][0].text), rest[1:]
    if network := network_of(word):
        return (str(network.network_address), str(network.netmask)), rest
    return (word, None), rest


def network_of(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """The addresses that ADDRESS/LENGTH stands for; None when it is a name or a keyword."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def written(word: str) -> str:
    """A word as it is written in the file; one with blanks, commas or quotes in it goes in quotes."""
    return word if _PLAIN.fullmatch(word) else '"' + word.replace('"', '""') + '"'
