"""Files of events: JSON lines or CSV, read piece by piece and translated into rows for COPY.

A line of JSON is an object with the keys `ev_type`, `ev_data`, `ev_extra1` to `ev_extra4`; a CSV file has
them in its head, and an empty field is NULL. What `queue.export_events` writes beside them is left out, since
the queue gives it anew.
"""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path
from typing import Any

from backend.core.clean import clean
from backend.core.errors import Failed, Refused, Usage, nearest
from backend.core.plan import Chunk

KEYS = ("ev_type", "ev_data", "ev_extra1", "ev_extra2", "ev_extra3", "ev_extra4")
GIVEN_ANEW = ("ev_id", "ev_time", "ev_txid", "ev_retry")
COLUMNS = ("ev_time", *KEYS)

LONGEST = 128 << 20  # of a line; PostgreSQL takes no text above 1 GB, and this is held several times
_AT_ONCE = 1 << 18
_MARK = codecs.BOM_UTF8
_KNOWN = frozenset((*KEYS, *GIVEN_ANEW))

Block = tuple[list[str], int]


@dataclass(frozen=True, slots=True)
class EventFile:
    """A file of events as it was when it was looked at; `first_line` is where reading begins."""

    path: Path
    bytes: int
    changed: datetime
    encoding: str = "utf-8"
    first_line: int = 1
    longest: int = LONGEST

    @classmethod
    def at(cls, path: str, encoding: str = "utf-8", first_line: int = 1) -> EventFile:
        """The file, refused where it is none, is empty, or its beginning is no list of events."""
        file = Path(path)
        if file.suffix.lower() not in (".jsonl", ".csv"):
            raise Usage(f"--file {clean(path)}: its name has to end in .jsonl or .csv")
        if first_line < 1:
            raise Usage(f"--from-line wants 1 or more, not {first_line}")
        size, changed = _look(file)
        found = cls(file.absolute(), size, changed, _codec(encoding), first_line)
        found.try_beginning()
        return found

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return self.bytes

    @property
    def text(self) -> str:
        """Path, length, time of the last change, and how it is read."""
        encoding = "" if self.encoding == "utf-8" else f", {self.encoding}"
        start = f", from line {self.first_line} on" if self.first_line > 1 else ""
        return f"{self.path}, {self.bytes} bytes of {self.changed.isoformat()}{encoding}{start}"

    def try_beginning(self) -> None:
        """Raise for what can be seen to be wrong in the first lines; `Refused` when there is no event."""
        try:
            with self.path.open("rb") as file:
                next(replace(self, first_line=1)._blocks(file))
        except StopIteration:
            raise Refused(f"{clean(str(self.path))} has no events") from None
        except OSError as e:
            raise Refused(f"{clean(str(self.path))} cannot be read: {e.strerror}") from None
        except Failed as e:
            raise Refused(e.message, hint=e.hint) from None

    def chunks(self, every: int | None) -> Iterator[Chunk]:
        """All events as rows for COPY; `Failed` names the line of what is none."""
        if _look(self.path) != (self.bytes, self.changed):
            raise Refused(
                f"{clean(str(self.path))} has changed since the plan was made", hint="plan it again"
            )
        try:
            with self.path.open("rb") as file:
                yield from _split(self._blocks(file), every)
        except OSError as e:
            raise Failed(f"{clean(str(self.path))} cannot be read: {e.strerror}") from None

    def _blocks(self, file: BufferedReader) -> Iterator[Block]:
        lines = _decoded(_pieces(file, self.longest), self.encoding)
        read = _csv_blocks if self.path.suffix.lower() == ".csv" else _json_blocks
        return read(lines, self.first_line, self.longest)


def _look(path: Path) -> tuple[int, datetime]:
    try:
        about = path.stat()
    except OSError as e:
        raise Refused(f"{clean(str(path))} cannot be read: {e.strerror}") from None
    except ValueError:
        raise Usage("the name of a file cannot hold a zero byte") from None
    if not path.is_file():
        raise Refused(f"{clean(str(path))} is no regular file")
    return about.st_size, datetime.fromtimestamp(about.st_mtime_ns / 1e9, UTC)


def _codec(name: str) -> str:
    """The usual name of a text encoding in which a line ends as in ASCII."""
    try:
        found = codecs.lookup(name).name
        suits = "\n{".encode(found) == b"\n{"
    except (LookupError, ValueError, UnicodeError):
        raise Usage(f"--encoding {clean(name)}: there is no text encoding of that name") from None
    if not suits:
        raise Usage(
            f"--encoding {clean(name)} has no plain line ends", hint="convert the file with iconv first"
        )
    return found


def _split(blocks: Iterator[Block], every: int | None) -> Iterator[Chunk]:
    """The rows in chunks that end at every multiple of `every`."""
    room = every
    for rows, read in blocks:
        while rows:
            part, rows = (rows, []) if room is None else (rows[:room], rows[room:])
            yield Chunk("".join(part).encode(), len(part), read)
            if room is not None:
                room = (room - len(part)) or every


def _pieces(file: BufferedReader, longest: int) -> Iterator[tuple[int, list[bytes]]]:
    """Lines in pieces of bounded size, with the number of the first of each."""
    number, lines, size = 1, list[bytes](), 0
    while line := file.readline(longest + 1):
        if len(line) > longest:
            raise Failed(f"line {number + len(lines)} is longer than {longest} bytes")
        lines.append(line)
        size += len(line)
        if size >= _AT_ONCE:
            yield number, lines
            number, lines, size = number + len(lines), [], 0
    if lines:
        yield number, lines


def _decoded(
    pieces: Iterator[tuple[int, list[bytes]]], encoding: str
) -> Iterator[tuple[int, int, list[str]]]:
    """Number of the first line, bytes read so far, and the lines as text."""
    read = 0
    for number, raw in pieces:
        read += sum(map(len, raw))
        if number == 1 and encoding == "utf-8":
            raw[0] = raw[0].removeprefix(_MARK)
        try:
            yield number, read, [line.decode(encoding) for line in raw]
        except UnicodeDecodeError:
            bad = next(n for n, line in enumerate(raw, number) if not _decodes(line, encoding))
            raise Failed(
                f"line {bad} is not {encoding}", hint="--encoding says how the file is encoded"
            ) from None


def _decodes(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _json_blocks(
    pieces: Iterator[tuple[int, int, list[str]]], first_line: int, longest: int
) -> Iterator[Block]:
    for number, read, lines in pieces:
        numbered = [
            (n, line) for n, line in enumerate(lines, number) if n >= first_line and not line.isspace()
        ]
        if numbered:
            yield [_row(_object(line, n), n) for n, line in numbered], read


def _object(line: str, number: int) -> Mapping[str, Any]:
    try:
        found = json.loads(line)
    except ValueError as e:
        said = e.msg if isinstance(e, json.JSONDecodeError) else str(e)
        raise Failed(f"line {number} is no JSON: {said}") from None
    except RecursionError:
        raise Failed(f"line {number} is nested too deeply") from None
    if not isinstance(found, dict):
        raise Failed(f"line {number} is no JSON object", hint=f"its keys are {', '.join(KEYS)}")
    return found


def _csv_blocks(
    pieces: Iterator[tuple[int, int, list[str]]], first_line: int, longest: int
) -> Iterator[Block]:
    progress = [0]
    csv.field_size_limit(longest)
    reader = csv.reader(_told(pieces, progress), strict=True)
    try:
        names = next(reader, [])
        _check_head(names)
        yield from _csv_rows(reader, names, first_line, progress)
    except csv.Error as e:
        raise Failed(f"line {reader.line_num} is no CSV: {e}") from None


def _told(pieces: Iterator[tuple[int, int, list[str]]], progress: list[int]) -> Iterator[str]:
    for _, read, lines in pieces:
        progress[0] = read
        yield from lines


def _csv_rows(reader: Any, names: Sequence[str], first_line: int, progress: Sequence[int]) -> Iterator[Block]:
    rows, size, number = list[str](), 0, reader.line_num + 1
    for values in reader:
        if number >= first_line and values:
            rows.append(_csv_row(values, names, number))
            size += len(rows[-1])
        number = reader.line_num + 1
        if size >= _AT_ONCE:
            yield rows, progress[0]
            rows, size = [], 0
    if rows:
        yield rows, progress[0]


def _csv_row(values: Sequence[str], names: Sequence[str], number: int) -> str:
    if len(values) != len(names):
        raise Failed(f"line {number} has {len(values)} fields, and the head {len(names)}")
    return _row({name: value or None for name, value in zip(names, values, strict=True)}, number)


def _check_head(names: Sequence[str]) -> None:
    if not names:
        return
    if len(set(names)) < len(names):
        raise Failed("the head of the file names a column twice")
    if not set(names) & set(KEYS):
        raise Failed("line 1 is no head", hint=f"it has names among {', '.join(KEYS)}")
    _check_keys(names, 1)


def _check_keys(names: Sequence[str], number: int) -> None:
    for name in names:
        if name not in _KNOWN:
            hint = nearest(name, KEYS) or f"the keys are {', '.join(KEYS)}"
            raise Failed(f"line {number} has an unknown key {clean(name)}", hint=hint)


def _row(event: Mapping[str, Any], number: int) -> str:
    """The event as a line of COPY's text format; its time is that of the transaction."""
    if not event.keys() <= _KNOWN:
        _check_keys(list(event), number)
    try:
        row = "now\t" + "\t".join([_field(event.get(key)) for key in KEYS]) + "\n"
        sendable = "\0" not in row and (row.isascii() or row.encode())
    except AttributeError:
        raise _no_text(event, number) from None
    except UnicodeEncodeError:
        raise Failed(f"line {number} holds half a surrogate pair, which is no character") from None
    if not sendable:
        raise Failed(f"line {number} holds a zero byte, which PostgreSQL cannot store")
    return row


def _field(value: Any) -> str:
    if value is None:
        return "\\N"
    text: str = value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    return text


def _no_text(event: Mapping[str, Any], number: int) -> Failed:
    key = next(k for k in KEYS if not isinstance(event.get(k), str | None))
    return Failed(
        f"line {number}: {key} is no text", hint="write numbers, objects and lists as text in quotes"
    )
