"""What is a file of events, and what is wrong with one that is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.core.errors import Failed, Refused, Usage
from backend.queue.eventfile import KEYS, EventFile, _row


def rows(path: Path, every: int | None = None, **more: Any) -> list[str]:
    chunks = EventFile.at(str(path), **more).chunks(every)
    return [line for chunk in chunks for line in chunk.data.decode().split("\n")[:-1]]


def written(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl", b'{"ev_type":"t","ev_data":"x\\ty"}\n\n{"ev_type":null,"ev_extra4":"\\u00e9"}\n'),
        ("a.JSONL", b'\xef\xbb\xbf{"ev_data":"x\\ty","ev_type":"t"}\r\n{"ev_extra4":"\xc3\xa9"}'),
        ("a.csv", b"ev_type,ev_data,ev_extra4\nt,x\ty,\n,,\xc3\xa9\n"),
        ("b.csv", b'\xef\xbb\xbf"ev_extra4","ev_type","ev_data","ev_id"\r\n,t,"x\ty",7\r\n\xc3\xa9,,,8\r\n'),
    ],
)
def test_reads_json_lines_and_csv_alike(tmp_path: Path, name: str, data: bytes) -> None:
    assert rows(written(tmp_path, name, data)) == [
        "now\tt\tx\\ty\t\\N\t\\N\t\\N\t\\N",
        "now\t\\N\t\\N\t\\N\t\\N\t\\N\té",
    ]


def test_reads_other_encodings_and_lines_within_fields(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", 'ev_type,ev_data\nt,"zwei\nZeilen, ""é"""\n'.encode("latin-1"))
    assert rows(path, encoding="latin1") == ['now\tt\tzwei\\nZeilen, "é"\t\\N\t\\N\t\\N\t\\N']


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("a.jsonl", b'{"ev_type":"t"}\n{"ev_type":\n', "line 2 is no JSON"),
        ("a.jsonl", b'{"ev_type":"t"}\n[1]\n', "line 2 is no JSON object"),
        ("a.jsonl", b'{"ev_type":"t","ev_dta":"x"}\n', "line 1 has an unknown key ev_dta"),
        ("a.jsonl", b'{"ev_type":"t","ev_data":{"a":1}}\n', "line 1: ev_data is no text"),
        ("a.jsonl", b'{"ev_type":"t","ev_data":7}\n', "line 1: ev_data is no text"),
        ("a.jsonl", b'\n{"ev_type":"t","ev_data":"\\u0000"}\n', "line 2 holds a zero byte"),
        ("a.jsonl", b'{"ev_data":"\\ud800"}\n', "line 1 holds half a surrogate pair"),
        ("a.jsonl", b'{"ev_data":"x"}\n{"ev_data":"\xe9"}\n', "line 2 is not utf-8"),
        ("a.jsonl", b"[" * 100_000, "line 1 is nested too deeply"),
        ("a.csv", b"ev_type,ev_data\nt\n", "line 2 has 1 fields, and the head 2"),
        ("a.csv", b'ev_type,ev_data\nt,"a\nb"\nt,"x"y\n', "line 4 is no CSV"),
        ("a.csv", b"type,data\nt,x\n", "line 1 is no head"),
        ("a.csv", b"ev_type,data\nt,x\n", "line 1 has an unknown key data"),
        ("a.csv", b"ev_type,ev_type\nt,x\n", "names a column twice"),
        ("a.csv", b"ev_type\nt\0\n", "line 2 holds a zero byte"),
        ("a.csv", b"ev_type\nt\n\xff\n", "line 3 is not utf-8"),
        ("a.jsonl", b"\n \n", "has no events"),
        ("a.csv", b"ev_type,ev_data\n", "has no events"),
        ("a.jsonl", b"", "has no events"),
    ],
)
def test_what_is_wrong_at_the_beginning_is_refused_with_its_line(
    tmp_path: Path, name: str, data: bytes, sentence: str
) -> None:
    with pytest.raises(Refused, match=sentence):
        EventFile.at(str(written(tmp_path, name, data)))


def test_a_line_too_long_to_be_held_is_an_error(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", b'{"ev_type":"t"}\n{"ev_data":"' + b"x" * 1000 + b'"}\n')
    with pytest.raises(Failed, match="line 2 is longer than 100 bytes"):
        list(replace(EventFile.at(str(path)), longest=100).chunks(None))


def test_a_long_line_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", b"ev_type,ev_data\nt," + b"x" * 3_000_000 + b"\n")
    [row] = rows(path)
    assert len(row) > 3_000_000


@pytest.mark.parametrize(
    ("name", "more", "error", "sentence"),
    [
        ("a.txt", {}, Usage, r"has to end in \.jsonl or \.csv"),
        ("none.jsonl", {}, Refused, "No such file"),
        ("a\0.jsonl", {}, Usage, "zero byte"),
        ("folder.jsonl", {}, Refused, "no regular file"),
        ("a.jsonl", {"encoding": "nonsense"}, Usage, "no text encoding of that name"),
        ("a.jsonl", {"encoding": "base64"}, Usage, "no text encoding of that name"),
        ("a.jsonl", {"encoding": "utf-16"}, Usage, "has no plain line ends"),
        ("a.jsonl", {"first_line": 0}, Usage, "--from-line wants 1 or more"),
    ],
)
def test_what_is_no_file_of_events_is_refused(
    tmp_path: Path, name: str, more: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    written(tmp_path, "a.jsonl", b'{"ev_type":"t"}\n')
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(error, match=sentence):
        EventFile.at(f"{tmp_path}/{name}", **more)


def test_a_file_that_has_changed_is_not_read(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", b'{"ev_type":"t"}\n')
    file = EventFile.at(str(path))
    written(tmp_path, "a.jsonl", b'{"ev_type":"other"}\n')
    with pytest.raises(Refused, match="has changed since the plan was made"):
        next(file.chunks(None))


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_chunks_end_at_every_multiple_and_tell_how_far_they_are(tmp_path: Path, name: str) -> None:
    lines = [f'{{"ev_type":"{n}"}}' if name == "a.jsonl" else str(n) for n in range(40_000)]
    head = [] if name == "a.jsonl" else ["ev_type"]
    path = written(tmp_path, name, "\n".join([*head, *lines]).encode())
    chunks = list(EventFile.at(str(path)).chunks(15_000))
    at, ends = 0, set()
    for chunk in chunks:
        at += chunk.rows
        ends.add(at)
    assert at == 40_000
    assert {15_000, 30_000} <= ends
    assert [c.read for c in chunks] == sorted(c.read for c in chunks)
    assert chunks[-1].read == path.stat().st_size
    first = 30_001 + len(head)
    assert rows(path, first_line=first)[0].startswith("now\t30000\t")


@given(st.dictionaries(st.sampled_from(KEYS), st.none() | st.text()))
def test_any_event_is_a_row_of_seven_fields_or_an_error(event: dict[str, str | None]) -> None:
    try:
        row = _row(event, 1)
    except Failed:
        joined = "".join(v or "" for v in event.values())
        assert "\0" in joined or any("\ud800" <= c <= "\udfff" for c in joined)
        return
    assert row.count("\n") == 1
    assert row.endswith("\n")
    fields = row[:-1].split("\t")
    assert len(fields) == 7
    for key, field in zip(KEYS, fields[1:], strict=True):
        assert event.get(key) == (None if field == "\\N" else unescaped(field))


def unescaped(field: str) -> str:
    letters, text, characters = {"t": "\t", "n": "\n", "r": "\r", "\\": "\\"}, "", iter(field)
    for c in characters:
        text += letters[next(characters)] if c == "\\" else c
    return text
