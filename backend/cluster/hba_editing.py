"""Changing pg_hba.conf so that it is right before it is loaded, and so that we still get in afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from backend.cluster.hba_file import Book, changed, open_book
from backend.cluster.hba_lint import demand_rule, remarks
from backend.cluster.hba_text import lines, written
from backend.cluster.place import SERVER, ClusterName
from backend.core.declare import Danger, action
from backend.core.errors import Refused, Usage
from backend.core.params import Ask
from backend.core.plan import Plan
from backend.core.session import Session

Type = Literal["local", "host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc"]
File = Annotated[str | None, Ask("File", help="One that pg_hba.conf includes; itself when left out")]


@action("cluster.add_hba_rule", danger=Danger.CHANGE, needs=SERVER, on="cluster.hba")
async def add_hba_rule(
    s: Session,
    type: Annotated[Type, Ask("Type")],
    database: Annotated[str, Ask("Database", help="Names with commas between, or all, replication, …")],
    user: Annotated[str, Ask("User", help="Names with commas between, +GROUP, or all")],
    method: Annotated[str, Ask("Method", help="scram-sha-256, peer, reject, …")],
    address: Annotated[str | None, Ask("Address", help="10.0.0.0/8, a host's name, samenet, all")] = None,
    options: Annotated[str | None, Ask("Options", help="Of the method: map=NAME")] = None,
    before: Annotated[int | None, Ask("Before line", help="At the end when left out", fill=False)] = None,
    file: File = None,
    cluster: ClusterName = None,
) -> Plan:
    """Add a rule to pg_hba.conf: checked by the server's own parser, loaded, and proved by connecting.

    The first rule that fits a connection decides; --before LINE puts this one before another. When the file
    has an error, or we would not get in any more, the old one is put back.
    """
    book = await open_book(s, file, cluster)
    demand_rule(type, address, method, database, user)
    line = _line(type, database, user, address, method, options)
    rows = book.text.split("\n")
    at = _place(book, rows, before)
    after = "\n".join([*rows[:at], line, *rows[at:]])
    told = await remarks(s, book, after, at + 1)
    return await changed(s, book, after, added=at + 1, notes=told)


def _line(type: str, database: str, user: str, address: str | None, method: str, options: str | None) -> str:
    """The rule in the columns of the file that initdb makes."""
    words = [f"{type:<7}", f"{_names(database):<15}", f"{_names(user):<15}", f"{address or '':<23}", method]
    line = " ".join([*words, *([options] if options else [])])
    if "\n" in line or "\0" in line:
        raise Usage("a rule is one line of text")
    return line


def _names(given: str) -> str:
    """A list of names; each that is more than a word goes in quotes, what is in quotes already stays."""
    names = [name.strip() for name in given.split(",")]
    if not all(names):
        raise Usage(f"{given!r} is no list of names with commas between")
    return ",".join(n if _is_quoted(n) else written(n) for n in names)


def _is_quoted(name: str) -> bool:
    return len(name) > 2 and name[0] == name[-1] == '"' and '"' not in name[1:-1]


def _place(book: Book, rows: list[str], before: int | None) -> int:
    """After how many rows of the file the new one goes; the empty one behind the last newline stays last."""
    if before is None:
        return len(rows) - 1 if rows[-1] == "" else len(rows)
    if not 1 <= before <= len(rows):
        raise Refused(f"{book.path} has no line {before}; it has {len(rows) - 1}")
    if any(line.first < before <= line.last for line in lines(book.text)):
        raise Refused(f"line {before} of {book.path} belongs to the line before it, which ends with a \\")
    return before - 1


@action("cluster.remove_hba_rule", danger=Danger.CHANGE, needs=SERVER, on="cluster.hba")
async def remove_hba_rule(
    s: Session, line: Annotated[int, Ask("Line")], file: File = None, cluster: ClusterName = None
) -> Plan:
    """Remove a rule from pg_hba.conf: checked, loaded and proved as when one is added."""
    book = await open_book(s, file, cluster)
    found = next((each for each in lines(book.text, book.path) if each.first == line), None)
    if found is None:
        numbers = [each.first for each in lines(book.text)]
        nearest = sorted(numbers, key=lambda n: abs(n - line))[:3]
        raise Refused(
            f"line {line} of {book.path} holds no rule",
            hint=f"the nearest are in line {', '.join(map(str, sorted(nearest)))}" if nearest else None,
        )
    rows = book.text.split("\n")
    after = "\n".join([*rows[: found.first - 1], *rows[found.last :]])
    return await changed(s, book, after, removed=found)


async def text_now(s: Session, given: Mapping[str, Any]) -> str:
    """The file as it is, for an editor to begin with."""
    return (await open_book(s, given.get("file"), given.get("cluster"))).text


@action("cluster.edit_hba", danger=Danger.CHANGE, needs=SERVER)
async def edit_hba(
    s: Session,
    text: Annotated[
        str | None, Ask("Content", lines=True, help="Of the whole file", fill=False, draft=text_now)
    ] = None,
    file: File = None,
    cluster: ClusterName = None,
) -> Plan:
    """Change pg_hba.conf as a whole: checked, loaded and proved as when a rule is added.

    On a terminal $EDITOR opens on a private copy; an editor that is killed or fails changes nothing.
    """
    book = await open_book(s, file, cluster)
    if text is None:
        raise Usage("edit_hba wants --text, or a terminal on which $EDITOR can open")
    after = text if text.endswith("\n") or not text else f"{text}\n"
    if after == book.text:
        return Plan(book.path, (), notes=(f"{book.path} is as it was",))
    return await changed(s, book, after, edited=True)
