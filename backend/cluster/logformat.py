"""The three formats of a server's log, read backwards from whatever part of the file there is.

Lines that belong together become one entry: a statement over several lines, and the DETAIL, HINT, CONTEXT
and STATEMENT that a process writes after its message.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Literal

Format = Literal["stderr", "csvlog", "jsonlog"]

_FIRST = re.compile(
    r"(?P<prefix>.*?)\b(?P<word>DEBUG[1-5]?|INFO|NOTICE|WARNING|ERROR|LOG|FATAL|PANIC"
    r"|DETAIL|HINT|CONTEXT|STATEMENT|QUERY|LOCATION|BACKTRACE):  (?P<text>.*)\Z",
    re.DOTALL,
)
_ADDED = ("DETAIL", "HINT", "CONTEXT", "QUERY", "LOCATION", "BACKTRACE")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)(\.\d+)?(?: ?([A-Za-z]{1,6}|[+-]\d\d(?::?\d\d)?))?")
_EPOCH = re.compile(r"(?<!\d)(\d{10})\.(\d{3})(?!\d)")
_PID = re.compile(r"\[(\d+)(?:-\d+)?\]")
_WHO = re.compile(r"(?:user=)?([^\s,=\[\]@]+)@([^\s,=\[\]@:]+)|user=([^\s,]*),?\s*db=([^\s,]*)")
# The other formats have it beside the message.
_CURSOR = re.compile(r" at character \d+\Z")
_STATE = re.compile(r"(?<![\w.])([0-9A-Z]{2}[0-9A-Z]{3})(?![\w.])")


@dataclass(slots=True)
class Entry:
    """One message with all that belongs to it; `offset` is where it begins in the file."""

    offset: int
    severity: str
    message: str
    at: datetime | None = None
    pid: int | None = None
    user: str | None = None
    database: str | None = None
    sqlstate: str | None = None
    added: list[str] = field(default_factory=list)
    statement: str | None = None


def format_of(path: str) -> Format:
    """The format by the file's name, which the server chooses itself."""
    return "csvlog" if path.endswith(".csv") else "jsonlog" if path.endswith(".json") else "stderr"


def entries(data: bytes, start: int, form: Format, zone: tzinfo = UTC) -> list[Entry]:
    """The entries of a part of a log that begins at byte `start`; what is cut off at its head is left out."""
    if start:
        _, newline, rest = data.partition(b"\n")
        start, data = start + len(data) - len(rest), rest if newline else b""
    match form:
        case "jsonlog":
            return list(_json(data, start, zone))
        case "csvlog":
            return list(_csv(data, start, zone))
    return _plain(data, start, zone)


def _lines(data: bytes, start: int) -> Iterator[tuple[int, str]]:
    for line in data.split(b"\n"):
        if line:
            yield start, line.decode("utf-8", "surrogateescape").rstrip("\r")
        start += len(line) + 1


def _plain(data: bytes, start: int, zone: tzinfo) -> list[Entry]:
    found: list[Entry] = []
    by_pid: dict[int | None, Entry] = {}
    last: Entry | None = None
    adding = ""
    for offset, line in _lines(data, start):
        match = None if line.startswith("\t") else _FIRST.match(line)
        if match is None:
            _continue(last, adding, line)
            continue
        pid = _pid(match["prefix"])
        if match["word"] in _ADDED or match["word"] == "STATEMENT":
            last, adding = by_pid.get(pid), match["word"]
            _add(last, adding, match["text"])
            continue
        last, adding = _entry(offset, match, pid, zone), ""
        by_pid[pid] = last
        found.append(last)
    for entry in found:
        entry.message = _CURSOR.sub("", entry.message)
    return found


def _entry(offset: int, match: re.Match[str], pid: int | None, zone: tzinfo) -> Entry:
    prefix = match["prefix"]
    who = _WHO.search(prefix)
    user, database = ((who[1] or who[3] or None), (who[2] or who[4] or None)) if who else (None, None)
    rest = _PID.sub("", _TIME.sub("", prefix))
    state = next((s for s in _STATE.findall(rest) if any(c.isdigit() for c in s)), None)
    severity = "DEBUG" if match["word"].startswith("DEBUG") else match["word"]
    return Entry(offset, severity, match["text"], _moment(prefix, zone), pid, user, database, state)


def _pid(prefix: str) -> int | None:
    found = _PID.search(prefix)
    return int(found[1]) if found else None


def _add(entry: Entry | None, word: str, text: str) -> None:
    if entry is None:
        return
    if word == "STATEMENT":
        entry.statement = text
    else:
        entry.added.append(f"{word}:  {text}")


def _continue(entry: Entry | None, adding: str, line: str) -> None:
    text = line.removeprefix("\t")
    if entry is None:
        return
    if adding == "STATEMENT":
        entry.statement = f"{entry.statement}\n{text}"
    elif adding:
        entry.added[-1] += f"\n{text}"
    else:
        entry.message += f"\n{text}"


def _moment(text: str, zone: tzinfo) -> datetime | None:
    if found := _TIME.search(text):
        day, clock, fraction, name = found.groups()
        try:
            at = datetime.fromisoformat(f"{day}T{clock}{(fraction or '')[:7]}")
        except ValueError:
            return None
        return at.replace(tzinfo=_zone(name, zone))
    if found := _EPOCH.search(text):
        return datetime.fromtimestamp(int(found[1]) + int(found[2]) / 1000, UTC)
    return None


def _zone(name: str | None, zone: tzinfo) -> tzinfo:
    """The zone of a time; an abbreviation is not the same everywhere, so log_timezone says which it is."""
    if name in ("UTC", "GMT", "Z"):
        return UTC
    if name and name[0] in "+-":
        sign = -1 if name[0] == "-" else 1
        minutes = int(name[-2:]) if len(name) > 3 else 0
        return timezone(sign * timedelta(hours=int(name[1:3]), minutes=minutes))
    return zone


# log_time, user_name, database_name, process_id, …, error_severity (11), sql_state_code, message, detail,
# hint, internal_query, internal_query_pos, context, query.
def _csv(data: bytes, start: int, zone: tzinfo) -> Iterator[Entry]:
    for offset, record in _records(data, start):
        row = next(csv.reader(io.StringIO(record, newline="")), [])
        if len(row) < 20 or not row[11]:
            continue
        added = [f"{w}:  {row[n]}" for w, n in (("DETAIL", 14), ("HINT", 15), ("CONTEXT", 18)) if row[n]]
        yield Entry(
            offset, _severity(row[11]), row[13], _moment(row[0], zone), _number(row[3]),
            row[1] or None, row[2] or None, _telling(row[12]), added, row[19] or None,
        )  # fmt: skip


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def _records(data: bytes, start: int) -> Iterator[tuple[int, str]]:
    """The records of a CSV file: a line goes on while a quotation is open."""
    whole, begin, position = b"", start, start
    for line in data.split(b"\n"):
        if not whole:
            begin = position
        whole += line + b"\n"
        position += len(line) + 1
        if whole.count(b'"') % 2 == 0:
            if whole.strip():
                yield begin, whole.decode("utf-8", "surrogateescape")
            whole = b""


def _json(data: bytes, start: int, zone: tzinfo) -> Iterator[Entry]:
    for offset, line in _lines(data, start):
        try:
            told = json.loads(line)
        except ValueError:
            continue
        if not isinstance(told, dict) or "error_severity" not in told:
            continue
        names = ("DETAIL", "HINT", "CONTEXT")
        added = [f"{n}:  {told[n.lower()]}" for n in names if told.get(n.lower())]
        yield Entry(
            offset, _severity(told["error_severity"]), str(told.get("message", "")),
            _moment(str(told.get("timestamp", "")), zone), told.get("pid"), told.get("user"),
            told.get("dbname"), _telling(told.get("state_code", "")), added, told.get("statement"),
        )  # fmt: skip


def _severity(word: str) -> str:
    return "DEBUG" if word.startswith("DEBUG") else word


def _telling(state: str) -> str | None:
    return state if state and state != "00000" else None


def folded(found: list[Entry]) -> list[tuple[Entry, int, datetime | None]]:
    """Equal messages as one, where the last of them stands, with their number and when the first came."""
    known: dict[tuple[str, str], tuple[Entry, int, datetime | None]] = {}
    for entry in found:
        key = (entry.severity, entry.message)
        _, times, first = known.pop(key, (entry, 0, entry.at))
        known[key] = (replace(entry), times + 1, first)
    return list(known.values())
