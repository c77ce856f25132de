"""Events put into a queue: one, or a file of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from backend.core.declare import Danger
from backend.core.errors import Missing, Refused, Usage
from tests.rooms.jobmon.conftest import Console, Consoles, until
from tests.rooms.queue.conftest import ODD, Hand
from tests.servers import Database

EVENTS = (
    "SELECT ev_type, ev_data, ev_extra1, ev_extra2, ev_extra3, ev_extra4 FROM pgq.event_{} ORDER BY ev_id"
)


def events(database: Database, queue: int = 1) -> list[tuple[Any, ...]]:
    return database.execute(EVENTS.format(queue))


def file_of(folder: Path, lines: Iterable[dict[str, Any]], name: str = "events.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def many(folder: Path, number: int) -> Path:
    return file_of(folder, ({"ev_type": "t", "ev_data": str(n)} for n in range(number)))


async def test_inserts_one_event(console: Console, hand: Hand) -> None:
    before = events(hand.database)
    plan = await console.plan("queue.insert", queue="orders", type="t", data="it's 100% \\")
    assert (plan.subject, plan.danger) == ("orders", Danger.CHANGE)
    assert events(hand.database) == before
    result = await console.done(
        "queue.insert", queue="orders", type="t", data="it's 100% \\", extra1="1", extra4="4"
    )
    assert events(hand.database)[-1] == ("t", "it's 100% \\", "1", None, None, "4")
    hand.tick("orders")
    assert (result["event"], "t", "it's 100% \\") in hand.consume("orders", "good")


async def test_inserts_into_a_queue_of_any_name(console: Console, hand: Hand, tmp_path: Path) -> None:
    hand.create(ODD)
    hand.subscribe(ODD, "c")
    await console.done("queue.insert", queue=ODD, type=ODD, data=ODD)
    await console.done("queue.insert", queue=ODD, file=str(many(tmp_path, 3)))
    hand.tick(ODD)
    assert [(t, d) for _, t, d in hand.consume(ODD, "c")] == [(ODD, ODD), ("t", "0"), ("t", "1"), ("t", "2")]


async def test_inserts_a_file_that_is_then_delivered_whole_and_in_order(
    console: Console, hand: Hand, tmp_path: Path
) -> None:
    hand.consume("orders", "good")
    lines: list[dict[str, str | None]] = [{"ev_type": "t", "ev_data": f"{n}\t\\N\n\\."} for n in range(5000)]
    lines += [{"ev_data": None, "ev_extra1": "a", "ev_extra2": "", "ev_extra3": "é", "ev_extra4": ODD}]
    path = file_of(tmp_path, lines)
    plan = await console.plan("queue.insert", queue="orders", file=str(path))
    assert "COPY" in plan.steps[0].text
    assert str(path) in plan.steps[0].text
    assert "all events in one transaction, or none" in plan.notes
    assert len(events(hand.database)) == 1
    result = await console.done("queue.insert", queue="orders", file=str(path))
    assert result == {"queue": "orders", "events": 5001, "transactions": 1}
    assert events(hand.database)[-1] == (None, None, "a", "", "é", ODD)
    hand.tick("orders")
    assert [d for _, _, d in hand.consume("orders", "good")] == [line["ev_data"] for line in lines]


async def test_a_queue_is_left_as_its_own_inserts_leave_it(
    console: Console, hand: Hand, tmp_path: Path
) -> None:
    hand.insert("idle", ("t", "by hand"))
    await console.done("queue.insert", queue="idle", file=str(many(tmp_path, 2)))
    hand.insert("idle", ("t", "by hand"))
    rows = hand.database.execute(
        "SELECT ev_id, ev_owner, ev_retry, ev_txid = xmin::text::int8, now() - ev_time < '1 min',"
        "       tableoid::regclass::text"
        " FROM pgq.event_2 ORDER BY ev_id"
    )
    first = rows[0][0]
    assert rows == [(first + n, None, None, True, True, "pgq.event_2_0") for n in range(4)]


async def test_commits_in_parts_and_says_where_it_stopped(
    console: Console, hand: Hand, tmp_path: Path
) -> None:
    path = many(tmp_path, 25)
    result = await console.done("queue.insert", queue="idle", file=str(path), commit_every=10)
    assert result == {"queue": "idle", "events": 25, "transactions": 3}
    assert hand.value("SELECT count(DISTINCT ev_txid) FROM pgq.event_2") == 3
    result = await console.done("queue.insert", queue="idle", file=str(path), from_line=21)
    assert result["events"] == 5


@pytest.mark.parametrize(
    ("commit_every", "stay", "told"),
    [(None, 0, "no events were inserted"), (10_000, 20_000, "the 20000 events before this transaction stay")],
)
async def test_a_bad_line_takes_back_its_own_transaction(
    console: Console, hand: Hand, tmp_path: Path, commit_every: int | None, stay: int, told: str
) -> None:
    path = many(tmp_path, 25_000)
    with path.open("a") as file:
        file.write('{"ev_type": "t", "ev_data": 7}\n')
    report = await console.run("queue.insert", queue="idle", file=str(path), commit_every=commit_every)
    assert report.error is not None
    assert report.error.message == f"line 25001: ev_data is no text; {told}"
    assert report.error.exit_code == 1
    assert len(events(hand.database, 2)) == stay


async def test_the_server_says_which_event_it_does_not_take(
    console: Console, hand: Hand, consoles: Consoles, tmp_path: Path
) -> None:
    hand.database.execute("ALTER TABLE pgq.event_2_0 ADD CHECK (length(ev_data) < 4)")
    path = many(tmp_path, 1001)
    report = await console.run("queue.insert", queue="idle", file=str(path), commit_every=400)
    assert report.error is not None
    assert "(number 1001 of the events); the 800 events before this transaction stay" in report.error.message
    assert len(events(hand.database, 2)) == 800


async def test_rotation_between_plan_and_run_does_not_matter(
    console: Console, hand: Hand, tmp_path: Path
) -> None:
    hand.database.execute("SELECT pgq.unregister_consumer('idle', 'good')")
    run = await console.start("queue.insert", queue="idle", file=str(many(tmp_path, 3)))
    hand.age_rotation("idle", "3 hours")
    hand.maintain("idle")
    assert hand.current_table("idle") == 1
    assert (await run.execute()).error is None
    assert hand.value("SELECT count(*) FROM pgq.event_2_1") == 3


async def test_an_import_that_rotation_overtakes_is_delivered(hand: Hand) -> None:
    """The transaction has its id before it looks which table is written to."""
    with psycopg.connect(hand.database.dsn) as importing:
        importing.execute("SELECT pg_current_xact_id()")
        table = importing.execute("SELECT pgq.current_event_table('idle')").fetchone()
        assert table == ("pgq.event_2_0",)
        hand.age_rotation("idle", "3 hours")
        hand.tick("idle")
        hand.consume("idle", "good")
        hand.maintain("idle")
        assert hand.current_table("idle") == 1
        with importing.cursor().copy("COPY pgq.event_2_0 (ev_time, ev_data) FROM STDIN") as copy:
            copy.write("now\tovertaken\n")
        hand.tick("idle")
        hand.consume("idle", "good")
        hand.age_rotation("idle", "3 hours")
        hand.maintain("idle")
        assert hand.current_table("idle") == 1, "a second rotation waits for the import"
    hand.tick("idle")
    assert [d for _, _, d in hand.consume("idle", "good")] == ["overtaken"]


async def test_keeps_to_what_a_queue_takes_from_one_transaction(
    console: Console, hand: Hand, tmp_path: Path
) -> None:
    hand.database.execute("UPDATE pgq.queue SET queue_per_tx_limit = 10 WHERE queue_name = 'idle'")
    path = str(many(tmp_path, 25))
    assert (await console.done("queue.insert", queue="idle", file=path))["transactions"] == 3
    with pytest.raises(Refused, match="takes 10 events from one transaction, not 11"):
        await console.plan("queue.insert", queue="idle", file=path, commit_every=11)


async def test_a_disabled_queue_takes_nothing(console: Console, hand: Hand, tmp_path: Path) -> None:
    path = str(many(tmp_path, 5))
    run = await console.start("queue.insert", queue="idle", file=path)
    hand.database.execute("UPDATE pgq.queue SET queue_disable_insert = true")
    report = await run.execute()
    assert report.error is not None
    assert report.error.message == "the server says: Writing to queue disabled; no events were inserted"
    for params in ({"file": path}, {"type": "t"}):
        with pytest.raises(Refused, match="inserts into queue idle are disabled"):
            await console.plan("queue.insert", queue="idle", **params)


async def test_a_cancelled_import_leaves_nothing(console: Console, hand: Hand, tmp_path: Path) -> None:
    run = await console.start("queue.insert", queue="idle", file=str(many(tmp_path, 50_000)))
    run.changed = lambda r: r.cancelled.set() if r.step_progress else None
    report = await run.execute()
    assert report.error is not None
    assert report.error.exit_code == 130
    assert events(hand.database, 2) == []


@pytest.mark.parametrize("commit_every", [None, 1000])
def test_killed_in_the_middle_it_leaves_whole_transactions(
    hand: Hand, tmp_path: Path, commit_every: int | None
) -> None:
    path = many(tmp_path, 400_000)
    words = ["--commit-every", str(commit_every)] if commit_every else []
    program = subprocess.Popen(
        [
            *(sys.executable, "-m", "tui", "run-action", "queue.insert", "-t", hand.database.dsn),
            *("--queue", "idle", "--file", str(path), *words),
        ],
        cwd=Path(__file__).resolve().parents[3],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        progress = "SELECT coalesce(max(tuples_processed), 0) > 0 FROM pg_stat_progress_copy"
        done = "SELECT count(*) FROM pgq.event_2"
        until(lambda: hand.value(progress) and (commit_every is None or hand.value(done) > 0))
    finally:
        os.kill(program.pid, signal.SIGKILL)
        program.wait()
    acting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgtui: queue.insert'"
    until(lambda: hand.value(acting) == 0)
    left = hand.value(done)
    assert left < 400_000, "it had ended before it was killed"
    assert left % commit_every == 0 if commit_every else left == 0


@pytest.mark.parametrize(
    ("params", "error", "sentence"),
    [
        ({"queue": "order", "type": "t"}, Refused, "has no queue order"),
        ({"data": "x"}, Usage, "give --type"),
        ({"type": "t\0"}, Usage, "zero byte"),
        ({"type": "t", "file": "a.jsonl"}, Usage, "give either --type and --data or --file"),
        ({"file": "/nowhere/a.jsonl"}, Refused, "No such file"),
        ({"file": "/etc/passwd"}, Usage, r"has to end in \.jsonl"),
    ],
)
async def test_nonsense_is_not_inserted(
    console: Console, params: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        await console.plan("queue.insert", **({"queue": "orders"} | params))


@pytest.mark.parametrize("number", [0, -1])
async def test_an_impossible_size_is_not_taken(console: Console, tmp_path: Path, number: int) -> None:
    with pytest.raises(Usage, match="--commit-every wants 1 or more"):
        await console.plan("queue.insert", queue="idle", file=str(many(tmp_path, 1)), commit_every=number)


async def test_says_which_role_may_insert(
    role_in: Callable[..., str], consoles: Consoles, tmp_path: Path
) -> None:
    path = str(many(tmp_path, 3))
    with pytest.raises(Missing, match="GRANT pgq_writer TO"):
        await (await consoles(role_in("pgq_reader"))).plan("queue.insert", queue="idle", type="t")
    writer = await consoles(role_in("pgq_writer"))
    assert (await writer.done("queue.insert", queue="idle", type="t"))["event"]
    with pytest.raises(Missing, match="GRANT pgq_admin TO"):
        await writer.plan("queue.insert", queue="idle", file=path)
    admin = await consoles(role_in("pgq_admin"))
    assert (await admin.done("queue.insert", queue="idle", file=path))["events"] == 3
