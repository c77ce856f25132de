"""What every command line has in common: options, parameters, secrets, complaints, the small commands."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.core import registry
from backend.core.journal import Entry, Journal
from backend.core.kept import keep
from backend.core.plan import statement
from tests.cli.conftest import AWKWARD, TREE, Pgtui
from tests.servers import Server
from tui.command import _common_params
from tui.named import act_command, show_command

pytestmark = pytest.mark.usefixtures("inventory")


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
        ([v.name for v in registry.views()], show_command),
        ([a.name for a in registry.actions()], act_command),
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


@pytest.fixture
def unfinished(server: Server) -> Iterator[Entry]:
    """A run on target `a` that was killed in its second step; the first one has an undo."""
    server.psql("CREATE TABLE public.made_by_a_run ()")
    undo = statement("DROP TABLE public.made_by_a_run")
    entry = Entry(
        "test.make",
        "a",
        "public.made_by_a_run",
        {},
        ["SELECT 1;", "SELECT 2;"],
        [undo.text, None],
        [keep(undo), None],
        danger="disrupt",
        done=1,
        is_interrupted=True,
        pid=0,
        born="1",
    )
    Journal().write(entry)
    yield entry
    server.psql("DROP TABLE IF EXISTS public.made_by_a_run")


def test_an_unfinished_run_is_undone_once_that_is_confirmed(
    pgtui: Pgtui, unfinished: Entry, server: Server
) -> None:
    there = "SELECT to_regclass('public.made_by_a_run') IS NOT NULL"
    undo = ("runs", "undo", unfinished.id)
    dry = pgtui(*undo, "--dry-run")
    assert "DROP TABLE public.made_by_a_run;" in dry.out and "to run it: add --yes" in dry.out
    assert "step 2 was under way" in dry.out
    refused = pgtui(*undo)
    assert refused.code == 4 and "--yes" in refused.err
    assert pgtui(*undo, "--read-only", "--yes").code == 4
    assert pgtui(*undo, "--target", "b", "--yes").code == 2
    assert server.psql(there) == [(True,)]
    told = pgtui(*undo, "--yes", "-o", "json").object
    assert (told["action"], told["status"], told["subject"]) == ("runs.undo", "ok", "public.made_by_a_run")
    assert server.psql(there) == [(False,)]
    assert pgtui(*undo, "--yes").code == 2, "it is forgotten"


def test_an_action_tells_that_runs_are_unfinished(pgtui: Pgtui, unfinished: Entry) -> None:
    ended = pgtui("run-action", "tables.analyze", "-t", "a", "--table", "pg_catalog.pg_class", "--dry-run")
    assert f"test.make on a (public.made_by_a_run), started {unfinished.started_at}" in ended.err
    assert f"pgtui runs undo {unfinished.id}" in ended.err


def test_the_reference_is_up_to_date(pgtui: Pgtui) -> None:
    assert pgtui("docs").out == (TREE / "docs" / "reference.md").read_text("utf-8")
