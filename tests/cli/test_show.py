"""`pgtui show`: tables, JSON and CSV of one or several targets."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
import subprocess
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import psycopg
import pytest

from tests.cli.conftest import AWKWARD, PROGRAM, TREE, Pgtui, Terminal
from tests.servers import Server

pytestmark = pytest.mark.usefixtures("inventory")


def test_json_is_one_object_with_the_shape_of_the_contract(pgtui: Pgtui) -> None:
    ended = pgtui("show", "activity.sessions", "-o", "json")
    shown = ended.object
    assert ended.code == 0 and ended.err == ""
    assert list(shown) == ["view", "target", "collected_at", "seconds", "rows"]
    assert (shown["view"], shown["target"]) == ("activity.sessions", "a")
    assert datetime.fromisoformat(shown["collected_at"]).tzinfo is not None
    assert {"pid", "username", "query"} <= shown["rows"][0].keys()


def test_durations_are_seconds_and_times_have_a_zone(pgtui: Pgtui, bystander: psycopg.Connection) -> None:
    [row] = pgtui("show", "activity.sessions", "--where", "application=bystander", "-o", "json").object[
        "rows"
    ]
    assert isinstance(row["duration"], float)
    assert datetime.fromisoformat(row["backend_start"]).tzinfo is not None


def test_several_targets_give_a_line_each_in_their_order(pgtui: Pgtui) -> None:
    ended = pgtui("show", "activity.sessions", "-t", "b", "-t", "a", "-o", "json")
    assert [o["target"] for o in ended.objects] == ["b", "a"]


def test_a_dead_target_is_an_object_with_an_error_and_decides_the_exit_code(pgtui: Pgtui) -> None:
    ended = pgtui("show", "activity.sessions", "--all", "-o", "json")
    a, b, c = ended.objects
    assert ended.code == 3
    assert "error" not in a and "error" not in b
    assert c["rows"] == [] and c["error"]["kind"] == "unreachable"
    assert list(c["error"]) == ["kind", "message", "hint", "sqlstate"]
    assert "c cannot be reached" in ended.err


def test_tags_and_targets_add_up(pgtui: Pgtui) -> None:
    ended = pgtui("show", "activity.databases", "--tag", "dead", "-t", "a", "-o", "json")
    assert [o["target"] for o in ended.objects] == ["a", "c"]


def test_csv_has_one_head_over_several_targets(pgtui: Pgtui, bystander: psycopg.Connection) -> None:
    ended = pgtui("show", "activity.sessions", "--tag", "live", "-o", "csv")
    rows = list(csv.DictReader(io.StringIO(ended.out)))
    assert ended.out.startswith("target,pid,")
    assert ended.out.count("target,pid,") == 1
    assert {r["target"] for r in rows} == {"a", "b"}


def test_a_table_is_for_people_and_never_cropped_off_a_terminal(
    pgtui: Pgtui, bystander: psycopg.Connection
) -> None:
    query = f"SELECT 1 -- {'x' * 900}"
    bystander.execute(query.encode())
    ended = pgtui("show", "activity.sessions", "--where", "application=bystander")
    assert query in ended.out and "\x1b" not in ended.out


def test_a_terminal_is_shown_the_columns_that_matter_and_told_of_the_others(
    terminal: Callable[..., Terminal], bystander: psycopg.Connection
) -> None:
    bystander.execute(f"SELECT 1 -- {'x' * 900}".encode())
    shown = terminal("show", "activity.sessions", "--tag", "live", "--where", "application=bystander")
    assert shown.end() == 0
    head, *rows, told = clean_of_styles(shown.seen).splitlines()
    assert [w for w in ("Target", "Pid", "State", "Query") if w in head.split()] == [
        "Target", "Pid", "State", "Query",
    ]  # fmt: skip
    assert [r.split()[:2] for r in rows] == [[t, str(bystander.info.backend_pid)] for t in ("a", "b")]
    assert all(len(r) <= 100 for r in (head, *rows)) and "SELECT 1 -- xxx" in rows[0]
    assert re.fullmatch(r"pgtui: no room here: \d+ columns; a wider terminal or -o csv has all", told)


def clean_of_styles(seen: bytes) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", seen.decode())


def test_several_targets_share_one_table(pgtui: Pgtui) -> None:
    ended = pgtui("show", "activity.databases", "--tag", "live", "--where", "database=postgres")
    head, *rows = ended.out.splitlines()
    assert head.startswith("Target")
    assert [r.split()[0] for r in rows] == ["a", "b"]


def test_a_rate_stands_beside_its_counter(pgtui: Pgtui) -> None:
    ended = pgtui("show", "activity.databases", "-o", "json", "--where", "database=postgres")
    [row] = ended.object["rows"]
    assert isinstance(row["commits"], int)
    assert row["commits_per_second"] >= 0


def test_limit_keeps_the_first_rows(pgtui: Pgtui) -> None:
    assert len(pgtui("show", "activity.sessions", "--limit", "1", "-o", "json").object["rows"]) == 1


def test_a_view_takes_its_parameters_as_options(pgtui: Pgtui, bystander: psycopg.Connection) -> None:
    pid = bystander.info.backend_pid
    with bystander.transaction():
        bystander.execute("LOCK pg_catalog.pg_description IN ACCESS SHARE MODE")
        rows = pgtui("show", "activity.session_locks", "--pid", str(pid), "-o", "json").object["rows"]
    assert any("pg_description" in json.dumps(r) for r in rows)


def test_a_view_wants_its_required_parameter(pgtui: Pgtui) -> None:
    ended = pgtui("show", "activity.session_locks", "-o", "json")
    assert (ended.code, ended.out) == (2, "")
    assert "needs --pid" in ended.err


def test_an_empty_view_says_so_on_standard_error(pgtui: Pgtui) -> None:
    ended = pgtui("show", "activity.locks")
    assert (ended.code, ended.out) == (0, "")
    assert "a: nobody waits for a lock" in ended.err
    ended = pgtui("show", "activity.databases", "--where", "database=nosuch")
    assert (ended.code, ended.out) == (0, "")
    assert "a: no row is such as --where asks for" in ended.err


def test_awkward_names_are_exact_in_json_and_csv(pgtui: Pgtui, prepared: Callable[[str], str]) -> None:
    prepared(AWKWARD)
    rows = pgtui("show", "activity.prepared", "-o", "json").object["rows"]
    assert AWKWARD in [r["gid"] for r in rows]
    listed = csv.DictReader(io.StringIO(pgtui("show", "activity.prepared", "-o", "csv").out, newline=""))
    assert AWKWARD in [r["gid"] for r in listed]


def test_nothing_awkward_reaches_a_table_raw(pgtui: Pgtui, prepared: Callable[[str], str]) -> None:
    prepared(AWKWARD)
    table = pgtui("show", "activity.prepared").out
    assert "[/x] [red]␊␛[31m␛]0;title␇" in table
    assert not set(table) & {"\x1b", "\x07", "\x9b", "\u202e"}


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_nothing_awkward_reaches_a_terminal_raw(
    terminal: Callable[..., Terminal], prepared: Callable[[str], str], form: str
) -> None:
    prepared(AWKWARD)
    shown = terminal("show", "activity.prepared", "-o", form)
    assert shown.end() == 0
    assert b"\x1b]0" not in shown.seen and b"\x1b[31m" not in shown.seen
    assert "\x9b".encode() not in shown.seen and "\u202e".encode() not in shown.seen


def test_bytes_that_are_no_text_are_escapes_in_json_and_bytes_in_csv(server: Server, pgtui: Pgtui) -> None:
    server.psql("CREATE DATABASE odd ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    try:
        with psycopg.connect(server.dsn("odd"), autocommit=True, application_name="odd") as connection:
            connection.execute(b"SELECT '\xff\xfe'")
            where = ["--where", "application=odd", "-d", "odd"]
            ended = pgtui("show", "activity.sessions", *where, "-o", "json")
            assert "\udcff\udcfe" in ended.object["rows"][0]["query"]
            assert "\udcff\udcfe" in pgtui("show", "activity.sessions", *where, "-o", "csv").out
    finally:
        server.psql("DROP DATABASE odd WITH (FORCE)")


def test_dbname_is_told_and_may_be_every_database(pgtui: Pgtui) -> None:
    one = pgtui("show", "activity.server", "-d", "template1", "-o", "json").object
    assert one["database"] == "template1" and one["rows"][0]["database"] == "template1"
    every = pgtui("show", "activity.server", "-d", "all", "-o", "json", "-t", "a").objects
    assert "postgres" in [o["database"] for o in every]


def test_a_database_that_is_missing_is_told_in_the_servers_words(pgtui: Pgtui) -> None:
    ended = pgtui("show", "activity.server", "-d", "nowhere", "-o", "json")
    assert ended.code == 3
    assert 'database "nowhere" does not exist' in ended.object["error"]["message"]


def test_a_frozen_server_is_given_up_after_the_time_given(
    own_cluster: Callable[..., Server], pgtui: Pgtui
) -> None:
    frozen = own_cluster()
    frozen.freeze()
    began = time.monotonic()
    ended = pgtui("show", "activity.sessions", "-t", frozen.dsn(), "--timeout", "1", "-o", "json")
    assert ended.code == 3 and time.monotonic() - began < 3
    assert ended.object["error"]["kind"] == "unreachable"


def test_watch_prints_again_and_again_until_interrupted() -> None:
    words = ["show", "activity.sessions", "--watch", "0.2", "-o", "json"]
    process = subprocess.Popen([*PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=TREE)
    assert process.stdout
    lines = [process.stdout.readline() for _ in range(3)]
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=10)
    assert process.returncode == 130 and said == b""
    assert len({json.loads(line)["collected_at"] for line in lines}) == 3


def test_watch_goes_on_where_a_target_is_dead() -> None:
    words = ["show", "activity.sessions", "--watch", "0.1", "--all", "-o", "json"]
    process = subprocess.Popen([*PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=TREE)
    assert process.stdout
    targets = [json.loads(process.stdout.readline())["target"] for _ in range(6)]
    process.terminate()
    process.communicate(timeout=10)
    assert targets == ["a", "b", "c"] * 2 and process.returncode == 130


def test_a_reader_that_goes_away_ends_it_quietly(inventory: Path) -> None:
    line = f"{' '.join(PROGRAM)} show activity.sessions --watch 0.1 -o json | head -n 1"
    done = subprocess.run(
        ["bash", "-c", f"{line}; exit ${{PIPESTATUS[0]}}"], capture_output=True, cwd=TREE, timeout=30
    )
    assert done.returncode == 0 and done.stderr == b""
    assert done.stdout.count(b"\n") == 1


@pytest.mark.parametrize(
    ("into", "code", "said"),
    [
        ("> /dev/full", 1, b"pgtui: standard output cannot be written: No space left on device\n"),
        (">&-", 0, b""),
    ],
)
def test_output_that_cannot_be_written_is_told_in_a_sentence(
    inventory: Path, into: str, code: int, said: bytes
) -> None:
    line = f"{' '.join(PROGRAM)} show activity.server -o json {into}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, cwd=TREE, timeout=30)
    assert (done.returncode, done.stderr) == (code, said)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", "activity.sesions"], "did you mean activity.sessions?"),
        (["show", "nothing.here"], "there is no view called nothing.here"),
        (["show"], "wants the name of a view"),
        (["show", "activity.sessions", "--outptu", "json"], "did you mean --output?"),
        (["show", "activity.sessions", "--where", "pdi=3"], "did you mean pid?"),
        (["show", "activity.sessions", "--limit", "-1"], "--limit wants a whole number from 0 on, not '-1'"),
        (["show", "queue"], "queue.queues, queue.consumers"),
        (["show", "locks"], "activity.locks"),
        (["show", "xyzzy"], "pgtui views lists them"),
        (["show", "activity.sessions", "--watch", "0"], "--watch wants a time above zero"),
        (["show", "activity.sessions", "--timeout", "-1"], "--timeout"),
        (["show", "activity.sessions", "-t", "aa"], "there is no target called aa"),
        (["show", "activity.sessions", "--tag", "live2"], "did you mean live?"),
        (["show", "activity.sessions", "-o", "nagios"], "no output nagios"),
        (["show", "activity.sessions", "-o", "jsn"], "did you mean json?"),
        (["show", "activity.sessions", "extra"], "extra"),
        (["show", "activity.session_locks", "--pid", "x"], "--pid wants a whole number, not 'x'"),
        (["show", "activity.session_locks", "--pid", "1", "--pid", "2"], "--pid is given as '1' and as '2'"),
        (["show", "tables.tables", "--limit", "0", "-o", "json"], "--limit wants 1 to"),
    ],
)
def test_wrong_usage_is_a_sentence_with_the_nearest_name_and_no_data(
    pgtui: Pgtui, words: list[str], said: str
) -> None:
    ended = pgtui(*words)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err and ended.err.startswith("pgtui: ")
    assert "Traceback" not in ended.err
