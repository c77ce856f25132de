"""What every command line has in common: options, parameters, secrets, complaints, the small commands."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backend.core import declare
from backend.core.journal import Entry, Journal
from tests.cli.conftest import AWKWARD, TREE, Pgtui, Terminal
from tests.servers import Server
from tui.command import _common_params
from tui.program import act_command, show_command

pytestmark = pytest.mark.usefixtures("inventory")

OWN_OPTIONS = {"--help"}


def test_common_options_stand_before_and_after_the_command(pgtui: Pgtui, inventory: Path) -> None:
    before = ["-t", "b", "-o", "json", "--timeout", "5", "--inventory", str(inventory)]
    for words in (
        [*before, "show", "activity.sessions"],
        ["show", *before, "activity.sessions"],
        ["show", "activity.sessions", *before],
        ["-t", "b", "show", "-o", "json", "activity.sessions", "--timeout", "5s"],
    ):
        assert pgtui(*words).object["target"] == "b"


def test_targets_before_and_after_add_up(pgtui: Pgtui) -> None:
    ended = pgtui("-t", "a", "show", "activity.sessions", "-t", "b", "-o", "json")
    assert [o["target"] for o in ended.objects] == ["a", "b"]


@pytest.mark.parametrize(
    "words",
    [
        ["-o", "json", "show", "activity.sessions", "-o", "csv"],
        ["--timeout", "1", "show", "activity.sessions", "--timeout", "2"],
        ["-d", "x", "show", "activity.sessions", "-d", "y"],
        ["show", "activity.sessions", "--inventory", "x", "--inventory", "y"],
    ],
)
def test_contradictions_are_usage_errors(pgtui: Pgtui, words: list[str]) -> None:
    ended = pgtui(*words)
    assert (ended.code, ended.out) == (2, "") and "give it once" in ended.err


def test_the_same_said_twice_is_no_contradiction(pgtui: Pgtui) -> None:
    assert pgtui("-o", "json", "show", "activity.sessions", "-o", "json").code == 0


def test_no_parameter_is_called_like_an_option_of_the_command_itself() -> None:
    common = {o for p in _common_params() for o in p.opts}
    for names, make in (
        ([v.name for v in declare.views()], show_command),
        ([a.name for a in declare.actions()], act_command),
    ):
        for name in names:
            options = [o for p in make(name).params for o in (*p.opts, *p.secondary_opts)]
            assert len(options) == len(set(options)), name
            assert not common & set(options), name


def test_every_kind_of_parameter_arrives(sample: Pgtui) -> None:
    words = ["--name", AWKWARD, "--count", "7", "--size", "10MB", "--wait", "1 day 2 hours", "--mode", "slow"]
    more = ["--column", "a, b", "--column", "c", "--cascade"]
    result = sample("run-action", "activity.everything", *words, *more, "-o", "json").object["result"]
    assert result == {
        "name": AWKWARD,
        "count": 7,
        "size": 10 * 1024 * 1024,
        "wait": "1 day 2 hours",
        "mode": "slow",
        "cascade": True,
        "column": ["a, b", "c"],
    }


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ([], None),
        (["--cascade"], True),
        (["--no-cascade"], False),
        (["--cascade", "true"], True),
        (["--cascade", "false"], False),
        (["--cascade=off"], False),
        (["--cascade=yes"], True),
    ],
)
def test_a_boolean_is_a_switch_or_a_word_and_absent_means_unchanged(
    sample: Pgtui, words: list[str], value: bool | None
) -> None:
    ended = sample("run-action", "activity.everything", "--name", "x", *words, "-o", "json")
    assert ended.object["result"]["cascade"] is value


def test_a_boolean_that_is_neither_is_a_usage_error(sample: Pgtui) -> None:
    ended = sample("run-action", "activity.everything", "--name", "x", "--cascade=maybe")
    assert ended.code == 2 and "--cascade wants true or false" in ended.err


def test_a_value_may_look_like_an_option(sample: Pgtui) -> None:
    ended = sample("run-action", "activity.everything", "--name", "--cascade=off", "-o", "json")
    assert ended.object["result"]["name"] == "--cascade=off" and ended.object["result"]["cascade"] is None


@pytest.mark.parametrize("name", ["x" * 10_000, "'; DROP TABLE x; --", "[/x]", "\t", " lead"])
def test_long_and_odd_texts_arrive_exactly(sample: Pgtui, name: str) -> None:
    ended = sample("run-action", "activity.everything", f"--name={name}", "-o", "json")
    assert ended.object["result"]["name"] == name and ended.object["subject"] == name
    told = sample("run-action", "activity.everything", f"--name={name}")
    assert told.code == 0 and "\t" not in told.out


def test_help_shows_parameters_with_defaults_and_the_rest_of_the_docstring(sample: Pgtui) -> None:
    said = sample("run-action", "activity.everything", "--help").out
    for part in (
        "Take every kind",
        "And say what came.",
        "Default: 3.",
        "fast|slow",
        "--no-cascade",
        "repeated",
    ):
        assert part in said


# -- secrets -----------------------------------------------------------------------------------------

SECRET = "hunter2 'quoted'"


def state_files(home: Path) -> str:
    return "".join(p.read_text("utf-8") for p in (home / ".local").rglob("*") if p.is_file())


def test_a_secret_comes_from_a_file_and_shows_nowhere(sample: Pgtui, state_home: Path) -> None:
    file = state_home / "secret"
    file.write_text(SECRET + "\n")
    for form in ("json", "table"):
        ended = sample("run-action", "activity.rekey", "--secret-file", str(file), "-o", form)
        assert ended.code == 0
        assert "hunter2" not in ended.out + ended.err and "****" in ended.out
    assert sample("run-action", "activity.rekey", "--secret-file", str(file), "-o", "json").object[
        "result"
    ] == len(SECRET)
    assert "rekey" in state_files(state_home) and "hunter2" not in state_files(state_home)


def test_a_secret_comes_from_standard_input(state_home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.cli.samples", "run-action", "activity.rekey", "-o", "json"],
        input=SECRET,
        capture_output=True,
        text=True,
        cwd=TREE,
        timeout=30,
    )
    assert json.loads(done.stdout)["result"] == len(SECRET)


def test_a_secret_is_no_option_value(sample: Pgtui) -> None:
    for words in (["--secret", "hunter2"], ["--secret=hunter2"]):
        ended = sample("run-action", "activity.rekey", *words)
        assert ended.code == 2 and "--secret-file" in ended.err
        assert "hunter2" not in ended.err


def test_a_secret_in_a_servers_error_is_masked(sample: Pgtui, state_home: Path) -> None:
    file = state_home / "secret"
    file.write_text("hunter2")
    ended = sample("run-action", "activity.boast", "--secret-file", str(file), "-o", "json", "--debug")
    assert ended.code == 1
    assert "hunter2" not in ended.out + ended.err + state_files(state_home)


def test_a_secret_file_that_is_not_there_is_a_usage_error(sample: Pgtui) -> None:
    ended = sample("run-action", "activity.rekey", "--secret-file", "/nowhere/x")
    assert ended.code == 2 and "/nowhere/x cannot be read: No such file or directory" in ended.err


# -- passwords ---------------------------------------------------------------------------------------


@pytest.fixture
def locked(own_cluster: Callable[..., Server]) -> Server:
    """A server whose role `locked` has a password."""
    server = own_cluster()
    server.psql("CREATE ROLE locked LOGIN SUPERUSER PASSWORD 'open sesame'")
    hba = server.data / "pg_hba.conf"
    hba.write_text("local all locked scram-sha-256\n" + hba.read_text())
    server.psql("SELECT pg_reload_conf()")
    return server


def as_locked(server: Server, **more: str) -> str:
    return server.dsn("postgres", **({"user": "locked"} | more))


def test_a_missing_or_wrong_password_exits_3_and_is_shown_nowhere(pgtui: Pgtui, locked: Server) -> None:
    missing = pgtui("show", "activity.server", "-t", as_locked(locked), "-o", "json")
    assert missing.code == 3 and "password" in missing.err
    wrong = pgtui(
        "show", "activity.server", "-t", as_locked(locked, password="hunter2"), "-o", "json", "--debug"
    )
    assert wrong.code == 3 and "password authentication failed" in wrong.object["error"]["message"]
    assert "hunter2" not in wrong.out + wrong.err


def test_a_password_in_a_dsn_is_in_no_output_and_no_file(
    pgtui: Pgtui, locked: Server, state_home: Path
) -> None:
    dsn = as_locked(locked, password="open sesame")
    pid = "1"
    for words in (
        ["show", "activity.sessions"],
        ["check", "activity.locks"],
        ["run-action", "activity.cancel", "--pid", pid],
        ["targets", "test"],
    ):
        for form in ("table", "json"):
            ended = pgtui(*words, "-t", dsn, "-o", form, "--debug")
            assert "sesame" not in ended.out + ended.err
    assert "sesame" not in state_files(state_home)


def test_a_missing_password_is_asked_for_once_on_a_terminal(
    locked: Server, terminal: Callable[..., Terminal]
) -> None:
    shown = terminal("show", "activity.server", "-t", as_locked(locked), "-d", "all")
    shown.wait_for("Password for ")
    shown.send("open sesame\n")
    assert shown.end() == 0
    assert shown.seen.count(b"Password for") == 1 and b"sesame" not in shown.seen


def test_an_interrupt_while_asked_for_a_password_ends_it(
    locked: Server, terminal: Callable[..., Terminal]
) -> None:
    shown = terminal("show", "activity.server", "-t", as_locked(locked))
    shown.wait_for("Password for ")
    shown.process.send_signal(2)
    assert shown.end() == 130


# -- complaints --------------------------------------------------------------------------------------


def test_a_word_that_is_no_command_is_a_target(pgtui: Pgtui) -> None:
    ended = pgtui("nobody")
    assert ended.code == 2 and "there is no target called nobody" in ended.err
    assert "did you mean show?" in pgtui("shwo").err


def test_the_console_wants_a_terminal(pgtui: Pgtui) -> None:
    for words in ([], ["a"], ["a", "--read-only"], ["host=/nowhere"]):
        ended = pgtui(*words)
        assert ended.code == 2 and "wants a terminal" in ended.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[target.a\n", "is not valid TOML"),
        ("[target.a]\ndns = 'x'\n", "unknown key 'dns'"),
        ("defualt = 'x'\n", "did you mean default?"),
        ("default = 'x'\n", "names 'x', which is no target"),
        ("[target.a]\nguard = 'nam'\n", "did you mean name?"),
    ],
)
def test_a_bad_inventory_names_file_and_key(pgtui: Pgtui, inventory: Path, text: str, said: str) -> None:
    inventory.write_text(text)
    for command in (
        ["show", "activity.sessions"],
        ["targets"],
        ["run-action", "activity.cancel", "--pid", "1"],
    ):
        ended = pgtui(*command)
        assert (ended.code, ended.out) == (2, "")
        assert said in ended.err and str(inventory) in ended.err


def test_a_bug_is_a_sentence_and_with_debug_a_masked_traceback(sample: Pgtui) -> None:
    quiet = sample("run-action", "activity.buggy")
    assert quiet.code == 1 and "Traceback" not in quiet.err and "--debug" in quiet.err
    loud = sample("run-action", "activity.buggy", "--debug")
    assert "Traceback" in loud.err and "hunter2" not in loud.err


# -- the small commands ------------------------------------------------------------------------------


def test_catalogues_are_an_object_a_row(pgtui: Pgtui) -> None:
    views = {o["view"]: o for o in pgtui("views", "-o", "json").objects}
    assert views["activity.sessions"]["check"] is True
    assert views["activity.session_locks"]["params"][0]["option"] == "--pid"
    actions = {o["action"]: o for o in pgtui("actions", "-o", "json").objects}
    assert actions["activity.terminate"]["danger"] == "disrupt"
    assert "activity.sessions" in pgtui("views").out
    assert pgtui("actions", "-o", "csv").out.startswith("action,danger,help\n")


def test_targets_are_listed_without_passwords(pgtui: Pgtui, inventory: Path) -> None:
    with inventory.open("a") as file:
        file.write('[target.p]\ndsn = "host=x password=hunter2"\n')
    for form in ("json", "csv", "table"):
        ended = pgtui("targets", "-o", form)
        assert ended.code == 0 and "hunter2" not in ended.out and "****" in ended.out
    listed = pgtui("targets", "list", "-o", "json").objects
    assert [o["target"] for o in listed] == ["a", "b", "c", "p"]
    assert listed[0]["default"] is True and listed[0]["tags"] == ["live"]


def test_targets_are_tried(pgtui: Pgtui, server: Server) -> None:
    ended = pgtui("targets", "test", "-o", "json")
    assert ended.code == 3
    assert [o["status"] for o in ended.objects] == ["ok", "ok", "failed"]
    assert ended.objects[0]["version"].startswith(str(server.major)) and ended.objects[0]["role"] == "primary"


def test_a_target_is_added_and_the_file_stays_as_it_was(pgtui: Pgtui, inventory: Path) -> None:
    before = inventory.read_text()
    words = ["targets", "add", 'odd "name"', "service=x", "--tag", "new", "--ssh", "h", "--guard", "name"]
    ended = pgtui(*words)
    assert (ended.code, ended.out) == (0, "") and inventory.read_text().startswith(before)
    added = tomllib.loads(inventory.read_text())["target"]['odd "name"']
    assert added == {"dsn": "service=x", "ssh": "h", "tags": ["new"], "guard": "name"}


def test_the_first_target_makes_the_inventory(
    pgtui: Pgtui, state_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGTUI_INVENTORY")
    assert pgtui("targets", "add", "first", "host=x", "--default").code == 0
    made = state_home / ".config" / "pgtui" / "inventory.toml"
    assert tomllib.loads(made.read_text()) == {"default": "first", "target": {"first": {"dsn": "host=x"}}}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a", "host=x"], "lists a target a already"),
        (["new", "host=x password=hunter2"], "holds a password"),
        (["new", "host"], "is not a connection string"),
        (["new", "host=x", "--guard", "nam"], "did you mean name?"),
        (["new"], "missing argument"),
    ],
)
def test_what_cannot_be_added_is_refused_and_changes_nothing(
    pgtui: Pgtui, inventory: Path, words: list[str], said: str
) -> None:
    before = inventory.read_text()
    ended = pgtui("targets", "add", *words)
    assert ended.code == 2 and said in ended.err and "hunter2" not in ended.err
    assert inventory.read_text() == before


def test_unfinished_runs_are_listed_and_forgotten(pgtui: Pgtui) -> None:
    assert "no run was left unfinished" in pgtui("runs").err
    entry = Entry("activity.terminate", "a", "4711", {}, ["SELECT 1;"], [None], pid=0, born="1")
    Journal().write(entry)
    assert pgtui("runs", "-o", "json").object["id"] == entry.id
    assert entry.id in pgtui("runs", "list").out
    assert pgtui("runs", "forget", "nothing").code == 2
    assert pgtui("runs", "forget", entry.id).code == 0
    assert pgtui("runs", "-o", "json").out == ""


def test_the_reference_is_up_to_date(pgtui: Pgtui) -> None:
    assert pgtui("docs").out == (TREE / "docs" / "reference.md").read_text("utf-8")


# -- completion --------------------------------------------------------------------------------------


def completed(line: str) -> list[str]:
    words = line.split(" ")
    env = {"_PGTUI_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    program = [sys.executable, "-m", "tui"]
    done = subprocess.run(program, capture_output=True, text=True, env=os.environ | env, cwd=TREE, timeout=30)
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("pgtui sh", ["show"]),
        ("pgtui show activity.sessi", ["activity.session_locks", "activity.sessions"]),
        ("pgtui -o json run-action activity.terminate_", ["activity.terminate_idle"]),
        ("pgtui run-action activity.cancel --p", ["--pid"]),
        ("pgtui check activity.lo", ["activity.locks"]),
        ("pgtui show activity.sessions -t ", ["a", "b", "c"]),
        ("pgtui b", ["b"]),
        ("pgtui targets te", ["test"]),
    ],
)
def test_names_are_completed(line: str, offered: list[str]) -> None:
    assert sorted(completed(line)) == offered


def test_the_completion_script_for_bash_is_valid(state_home: Path) -> None:
    env = {"_PGTUI_COMPLETE": "source_bash"}
    program = [sys.executable, "-m", "tui"]
    script = subprocess.run(program, capture_output=True, text=True, env=os.environ | env, cwd=TREE).stdout
    checked = subprocess.run(["bash", "-n"], input=script, text=True)
    assert "complete" in script and checked.returncode == 0


# -- imports -----------------------------------------------------------------------------------------

LOADED = """
import sys
from tui.cli import main
main(sys.argv[1:])
print(sorted(sys.modules), file=sys.stderr)
"""


def python(code: str, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    options: dict[str, Any] = {"cwd": TREE} | more
    command = [sys.executable, "-P", "-c", code, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, **options)


def modules(*words: str) -> list[str]:
    path = f"import sys; sys.path.insert(0, {str(TREE)!r})"
    names: list[str] = ast.literal_eval(python(path + LOADED, *words).stderr.splitlines()[-1])
    return names


def loaded(*words: str) -> set[str]:
    return {name.partition(".")[0] for name in modules(*words)}


@pytest.mark.parametrize(
    "words",
    [
        ["run-action", "activity.cancel", "--pid", "1"],
        ["run-action", "activity.terminate", "--application", "nobody", "--yes", "-o", "json"],
        ["show", "activity.sessions", "-o", "json"],
        ["show", "activity.sessions", "-o", "csv"],
        ["check", "activity.locks", "-o", "nagios"],
        ["check", "-o", "openmetrics"],
    ],
)
def test_headless_commands_import_neither_textual_nor_rich_nor_pydantic(words: list[str]) -> None:
    assert "psycopg" in loaded(*words)
    assert not {"textual", "rich", "pydantic", "humanize"} & loaded(*words)


@pytest.mark.parametrize("words", [["--help"], ["show", "--help"], ["run-action", "--help"], ["targets"]])
def test_help_and_small_commands_import_no_driver(words: list[str]) -> None:
    assert not {"psycopg", "textual", "pydantic", "asyncio"} & loaded(*words)


def test_only_the_room_named_is_imported() -> None:
    names = modules("show", "activity.sessions", "-o", "json")
    assert "backend.activity.views" in names and "backend.jobmon.views" not in names


def test_packages_that_shadow_ours_are_noticed(state_home: Path) -> None:
    other = state_home / "other" / "backend"
    other.mkdir(parents=True)
    (other / "__init__.py").touch()
    code = f"import sys; sys.path.insert(0, {str(other.parent)!r}); sys.path.append({str(TREE)!r})\n"
    code += "from tui.cli import main; sys.exit(main(['views']))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, cwd=state_home, timeout=30
    )
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "install pgtui in an environment of its own" in done.stderr
