"""`pgtui run-action`: plans, confirmations, results, exit codes."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import psycopg
import pytest

from backend.core.audit import Audit
from tests.cli.conftest import AWKWARD, TREE, Pgtui, Terminal
from tests.servers import Server

pytestmark = pytest.mark.usefixtures("inventory")

Prepare = Callable[[str], str]


@pytest.fixture
def victim(server: Server) -> Iterator[psycopg.Connection]:
    """A session to end, which will not mind."""
    connection = psycopg.connect(server.dsn(), autocommit=True, application_name="victim")
    yield connection
    connection.close()


Started = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def started() -> Iterator[Started]:
    """Starts an action as a program."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> subprocess.Popen[bytes]:
        program = [sys.executable, "-m", "tests.cli.samples", "run-action", *words]
        processes.append(subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=TREE))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def gone(victim: psycopg.Connection) -> bool:
    try:
        victim.execute("SELECT 1")
    except psycopg.OperationalError:
        return True
    return False


def test_json_is_one_object_with_the_shape_of_the_contract(pgtui: Pgtui, victim: psycopg.Connection) -> None:
    pid = victim.info.backend_pid
    ended = pgtui("run-action", "activity.terminate", "--pid", str(pid), "--yes", "-o", "json")
    done = ended.object
    assert (ended.code, ended.err) == (0, "")
    assert list(done) == [
        "action", "target", "status", "subject", "danger", "started_at", "seconds", "steps", "result",
        "notices", "error",
    ]  # fmt: skip
    assert (done["action"], done["target"], done["status"]) == ("activity.terminate", "a", "ok")
    assert (done["subject"], done["danger"], done["error"]) == (str(pid), "disrupt", None)
    assert datetime.fromisoformat(done["started_at"]).tzinfo is not None
    assert all(list(s) == ["kind", "text", "status", "seconds"] for s in done["steps"])
    assert gone(victim)


def test_without_yes_what_disrupts_is_refused_and_says_how(pgtui: Pgtui, victim: psycopg.Connection) -> None:
    pid = str(victim.info.backend_pid)
    ended = pgtui("run-action", "activity.terminate", "--pid", pid, "-o", "json")
    assert ended.code == 4 and "--yes" in ended.err
    assert ended.object["status"] == "refused" and ended.object["error"]["kind"] == "refused"
    assert not gone(victim)


def test_dry_run_shows_the_plan_and_changes_nothing(pgtui: Pgtui, victim: psycopg.Connection) -> None:
    words = ["run-action", "activity.terminate", "--pid", str(victim.info.backend_pid), "--dry-run"]
    shown, told = pgtui(*words, "-o", "json"), pgtui(*words)
    assert shown.code == told.code == 0
    assert shown.object["status"] == "dry-run" and len(shown.object["plan"]) == 16
    assert f"plan: {shown.object['plan']}" in told.out
    assert "pg_terminate_backend" in told.out and "to run it: add --yes" in told.out
    assert not gone(victim)


def test_expect_runs_only_the_plan_that_was_seen(pgtui: Pgtui, victim: psycopg.Connection) -> None:
    words = ["run-action", "activity.terminate", "--pid", str(victim.info.backend_pid), "--yes", "-o", "json"]
    plan = pgtui(*words, "--dry-run").object["plan"]
    refused = pgtui(*words, "--expect", "0123456789abcdef")
    assert refused.code == 4 and plan in refused.err and not gone(victim)
    assert pgtui(*words, "--expect", plan).code == 0 and gone(victim)


def test_what_changes_runs_without_asking(pgtui: Pgtui, victim: psycopg.Connection) -> None:
    ended = pgtui("run-action", "activity.cancel", "--pid", str(victim.info.backend_pid), "-o", "json")
    assert ended.code == 0 and ended.object["status"] == "ok"


def test_an_empty_selection_is_ok_with_no_steps(pgtui: Pgtui) -> None:
    words = ["activity.terminate", "--application", "x" * 10_000, "--yes"]
    ended = pgtui("run-action", *words, "-o", "json")
    assert ended.code == 0 and ended.object["steps"] == [] and ended.object["status"] == "ok"


def test_no_such_object_is_refused(pgtui: Pgtui) -> None:
    ended = pgtui("run-action", "activity.cancel", "--pid", "1", "-o", "json")
    assert (ended.code, ended.object["status"], ended.object["error"]["kind"]) == (4, "refused", "refused")


def test_yes_does_not_confirm_what_may_lose_data(pgtui: Pgtui, prepared: Prepare) -> None:
    gid = prepared("order 1")
    ended = pgtui("run-action", "activity.rollback_prepared", "--gid", gid, "--yes")
    assert ended.code == 4 and "--confirm 'order 1'" in ended.err


def test_the_subject_confirms_what_may_lose_data(server: Server, pgtui: Pgtui, prepared: Prepare) -> None:
    gid = prepared("order 2")
    ended = pgtui("run-action", "activity.rollback_prepared", "--gid", gid, "--confirm", gid, "-o", "json")
    assert ended.code == 0 and ended.object["danger"] == "destroy"
    assert (gid,) not in server.psql("SELECT gid FROM pg_prepared_xacts")


def test_one_of_several_targets_wants_its_own_word(server: Server, pgtui: Pgtui, prepared: Prepare) -> None:
    gid = prepared("order 3")
    words = ["run-action", "activity.rollback_prepared", "--gid", gid, "--tag", "live", "-o", "json"]
    refused = pgtui(*words, "--confirm", gid)
    assert refused.code == 4 and "--confirm 'a/order 3'" in refused.err
    done = pgtui(*words, "--confirm", f"a/{gid}", "--confirm", f"b/{gid}")
    assert [o["status"] for o in done.objects] == ["ok", "refused"]
    assert "there is no prepared transaction" in done.objects[1]["error"]["message"]


@pytest.mark.parametrize("name", [AWKWARD, "-t", "--all", "x" * 190, "[/x]", "''", "%s {} $1"])
def test_awkward_names_are_parameters_and_subjects(
    server: Server, pgtui: Pgtui, prepared: Prepare, name: str
) -> None:
    prepared(name)
    words = ["run-action", "activity.rollback_prepared", f"--gid={name}", f"--confirm={name}", "-o", "json"]
    ended = pgtui(*words)
    assert ended.code == 0 and ended.object["subject"] == name
    assert ended.object["result"] == {"gid": name}
    assert (name,) not in server.psql("SELECT gid FROM pg_prepared_xacts")


@pytest.mark.parametrize("form", ["table", "csv"])
def test_nothing_awkward_reaches_a_terminal_raw(
    terminal: Callable[..., Terminal], prepared: Prepare, form: str
) -> None:
    prepared(AWKWARD)
    words = ["activity.rollback_prepared", "--gid", AWKWARD, "--confirm", AWKWARD, "-o", form]
    shown = terminal("run-action", *words)
    assert shown.end() == 0
    for raw in (b"\x1b]0", b"\x1b[31m", "\x9b".encode(), "\u202e".encode()):
        assert raw not in shown.seen


def test_csv_is_the_result_with_the_target_first(pgtui: Pgtui, victim: psycopg.Connection) -> None:
    words = ["activity.terminate", "--application", "victim", "--yes", "-o", "csv"]
    [row] = csv.DictReader(io.StringIO(pgtui("run-action", *words).out))
    assert row["target"] == "a" and row["pid"] == str(victim.info.backend_pid)


def test_people_see_steps_and_their_result(pgtui: Pgtui, victim: psycopg.Connection) -> None:
    ended = pgtui("run-action", "activity.terminate", "--application", "victim", "--yes")
    assert "activity.terminate on a: done" in ended.out and "✔ sql" in ended.out
    assert str(victim.info.backend_pid) in ended.out


def test_read_only_refuses_whatever_changes_something(pgtui: Pgtui, victim: psycopg.Connection) -> None:
    pid = str(victim.info.backend_pid)
    for words in (["--read-only", "run-action"], ["run-action", "--read-only"]):
        ended = pgtui(*words, "activity.terminate", "--pid", pid, "--yes")
        assert ended.code == 4 and "--read-only" in ended.err
    assert pgtui("run-action", "activity.terminate", "--pid", pid, "--read-only", "--dry-run").code == 0
    assert not gone(victim)


@pytest.mark.parametrize(
    ("guard", "words", "code"),
    [
        ("read-only", ["--yes", "--confirm", "guarded"], 4),
        ("name", ["--yes"], 4),
        ("name", ["--confirm", "guarded"], 0),
    ],
)
def test_a_guard_holds(
    inventory: Path,
    server: Server,
    pgtui: Pgtui,
    victim: psycopg.Connection,
    guard: str,
    words: list[str],
    code: int,
) -> None:
    with inventory.open("a") as file:
        file.write(f'[target.guarded]\ndsn = "{server.dsn()}"\nguard = "{guard}"\n')
    pid = str(victim.info.backend_pid)
    ended = pgtui("run-action", "activity.terminate", "--pid", pid, "-t", "guarded", *words)
    assert ended.code == code and gone(victim) == (code == 0)


def test_a_dead_target_has_an_object_too_and_the_others_still_run(
    pgtui: Pgtui, victim: psycopg.Connection
) -> None:
    words = ["run-action", "activity.terminate", "--application", "nobody", "--yes", "--all", "-o", "json"]
    ended = pgtui(*words)
    assert ended.code == 3
    assert [(o["target"], o["status"]) for o in ended.objects] == [("a", "ok"), ("b", "ok"), ("c", "failed")]
    assert ended.objects[2]["error"]["kind"] == "unreachable" and ended.objects[2]["steps"] == []


def test_a_missing_privilege_exits_5(server: Server, pgtui: Pgtui, victim: psycopg.Connection) -> None:
    server.psql("CREATE ROLE nobody_special LOGIN")
    try:
        dsn = f"{server.dsn()} user=nobody_special"
        ended = pgtui(
            "run-action", "activity.cancel", "--pid", str(victim.info.backend_pid), "-t", dsn, "-o", "json"
        )
        assert ended.code == 5 and ended.object["error"]["kind"] == "missing"
        assert ended.object["status"] == "refused"
    finally:
        server.psql("DROP ROLE nobody_special")


def test_lists_are_repeatable(pgtui: Pgtui, server: Server, victim: psycopg.Connection) -> None:
    with psycopg.connect(server.dsn()) as other:
        pids = [str(c.info.backend_pid) for c in (victim, other)]
        ended = pgtui(
            "run-action", "activity.terminate", "--pid", pids[0], "--pid", pids[1], "--yes", "-o", "json"
        )
        assert ended.code == 0 and len(ended.object["result"]) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_cancels_the_run_and_says_what_was_done(
    server: Server, started: Started, number: signal.Signals
) -> None:
    process = started("activity.nap", "--seconds", "50", "--before", "-o", "json", "-t", "a", "-t", "b")
    until_running(server, "pg_sleep(50")
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    done = json.loads(out)
    assert process.returncode == 130
    assert done["status"] == "failed" and done["error"]["kind"] == "interrupted"
    assert done["error"]["message"] == "cancelled; 1 of 2 steps had been done"
    assert [s["status"] for s in done["steps"]] == ["done", "cancelled"]
    assert b"not begun: b" in err and b"Traceback" not in err


def test_an_interrupt_while_planning_ends_with_nothing_done(started: Started) -> None:
    process = started("activity.dawdle", "-o", "json", "--debug")
    assert process.stderr
    assert b"dawdling" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=10)
    assert process.returncode == 130
    assert json.loads(out)["error"]["message"] == "cancelled; nothing had been done"


def test_a_second_interrupt_ends_at_once(own_cluster: Callable[..., Server], started: Started) -> None:
    frozen = own_cluster()
    process = started("activity.nap", "--seconds", "50", "-t", frozen.dsn())
    until_running(frozen, "pg_sleep(50")
    frozen.freeze()
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 130


def test_planning_that_takes_too_long_is_given_up(sample: Pgtui) -> None:
    ended = sample("run-action", "activity.dawdle", "--timeout", "0.5", "-o", "json")
    assert ended.code == 3 and ended.object["error"]["kind"] == "unreachable"


def until_running(server: Server, query: str) -> None:
    running = "SELECT pid FROM pg_stat_activity WHERE strpos(query, %s) > 0 AND pid <> pg_backend_pid()"
    for _ in range(200):
        if server.psql(running, params=[query]):
            return
        time.sleep(0.05)
    pytest.fail(f"{query} does not run")


def test_what_the_target_lacks_exits_5(sample: Pgtui) -> None:
    ended = sample("run-action", "activity.unlikely", "-o", "json")
    assert (ended.code, ended.object["status"], ended.object["error"]["kind"]) == (5, "refused", "missing")


def test_every_database_is_acted_on_where_it_can_be(sample: Pgtui, server: Server) -> None:
    ended = sample("run-action", "activity.nap", "--seconds", "0", "-d", "all", "-o", "json", "-t", "a")
    assert [o["database"] for o in ended.objects] == [
        name for (name,) in server.psql("SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY 1")
    ]


def test_each_database_wants_its_own_word(
    sample: Pgtui, own_cluster: Callable[..., Server], server: Server
) -> None:
    both = own_cluster()
    both.psql("CREATE DATABASE other")
    dsn = both.dsn()
    words = ["run-action", "activity.ruin", "-t", dsn, "-d", "all", "-o", "json"]
    refused = sample(*words, "--confirm", "ruin")
    assert [o["status"] for o in refused.objects] == ["refused", "refused"]
    wanted = refused.objects[0]["error"]["hint"].removeprefix("add --confirm ").strip("'")
    assert wanted.endswith("/other/ruin")
    assert [o["status"] for o in sample(*words, "--confirm", wanted).objects] == ["ok", "refused"]


def test_a_failing_step_exits_1_with_the_servers_words(sample: Pgtui) -> None:
    ended = sample("run-action", "activity.refused_by_server", "-o", "json")
    assert ended.code == 1 and ended.object["status"] == "failed"
    assert ended.object["steps"][-1]["status"] == "failed"
    assert ended.object["error"]["sqlstate"] == "22012"
    assert "division by zero" in ended.object["error"]["message"]


def test_the_audit_tells_what_ran(pgtui: Pgtui, prepared: Prepare) -> None:
    gid = prepared("order 9")
    pgtui("run-action", "activity.rollback_prepared", "--gid", gid, "--confirm", gid)
    records = [json.loads(line) for line in Audit().path.read_text().splitlines()]
    assert records[-1]["event"] == "run-end" and records[-1]["status"] == "ok"
    assert any("ROLLBACK PREPARED 'order 9'" in r.get("text", "") for r in records)


def test_help_explains_an_action(pgtui: Pgtui) -> None:
    ended = pgtui("run-action", "activity.terminate_idle", "--help")
    assert ended.code == 0
    assert "15min or 2h. Required." in " ".join(ended.out.split())
    for part in ("--longer-than", "Required.", "disrupt", "--yes", "Example:", "--dry-run", "--target"):
        assert part in ended.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["activity.terminat"], "did you mean activity.terminate?"),
        ([], "wants the name of an action"),
        (["activity.cancel"], "needs --pid"),
        (["activity.cancel", "--pdi", "3"], "did you mean --pid?"),
        (["activity.cancel", "--pid", "three"], "--pid wants a whole number, not 'three'"),
        (["activity.cancel", "--pid", "1", "--pid", "2"], "--pid is given as '1' and as '2'"),
        (["activity.terminate_idle", "--longer-than", "5"], "is not a duration"),
        (["activity.terminate", "--state", "sleepy"], "is not one of"),
        (["activity.cancel", "--pid"], "--pid"),
        (["activity.cancel", "--pid", "1", "--lock-wait", "soon"], "is not a duration"),
        (["tables.vacuum", "--table", "pg_class", "--full", "--truncate"], "says nothing beside it"),
    ],
)
def test_wrong_usage_is_a_sentence_and_prints_no_json(pgtui: Pgtui, words: list[str], said: str) -> None:
    ended = pgtui("-o", "json", "run-action", *words)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err and "Traceback" not in ended.err
