"""What is declared has all that screens, commands and the reference show of it."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest

from backend.core.declare import Action, Danger, View
from backend.core.params import Param
from backend.core.registry import actions, find_view, rooms, views
from tests.registry.golden import ROOMS

VIEWS = [pytest.param(v, id=v.name) for v in views()]
ACTIONS = [pytest.param(a, id=a.name) for a in actions()]
ALL = VIEWS + ACTIONS
KNOWN_EXTENSIONS = {"jobmon", "pg_jobmon", "pg_partman", "pgq", "pgq_node", "dblink", "pg_stat_statements"}
# Sentences end in a full stop; titles, labels and help texts are none of it.
SENTENCE = re.compile(r"[A-Z].{8,}\.")


def test_there_is_something_to_test() -> None:
    assert {r.name for r in rooms()} >= {"activity", "jobmon"}
    assert VIEWS
    assert ACTIONS


@pytest.mark.parametrize("declared", ALL)
def test_its_docstring_begins_with_a_sentence_of_one_line(declared: View[Any] | Action) -> None:
    assert SENTENCE.fullmatch(declared.doc)
    assert len(declared.doc) <= 105


@pytest.mark.parametrize("declared", ALL)
def test_its_name_is_room_and_word(declared: View[Any] | Action) -> None:
    assert re.fullmatch(r"[a-z]+\.[a-z]+(_[a-z]+)*", declared.name)
    assert declared.room in {r.name for r in rooms()}


def test_every_plan_that_is_kept_is_of_an_action() -> None:
    kept = {".".join(path.stem.split(".")[:2]) for path in ROOMS.glob("*/plans/*.txt")}
    assert kept <= {a.name for a in actions()}


@pytest.mark.parametrize("declared", ALL)
def test_every_parameter_has_a_label(declared: View[Any] | Action) -> None:
    for param in declared.params:
        assert re.match(r"[A-Z]", param.ask.label), param.name
        assert re.fullmatch(r"[a-z][a-z0-9_]*", param.name)


@pytest.mark.parametrize("declared", ALL)
def test_the_choices_of_a_parameter_are_a_column(declared: View[Any] | Action) -> None:
    for choices in [p.ask.choices for p in declared.params if p.ask.choices]:
        name, _, column = choices.rpartition(".")
        assert column in {c.name for c in find_view(name).columns}


@pytest.mark.parametrize("declared", ALL)
def test_it_needs_nothing_that_nobody_knows(declared: View[Any] | Action) -> None:
    assert set(declared.needs.extensions) <= KNOWN_EXTENSIONS


@pytest.mark.parametrize("view", VIEWS)
def test_a_row_is_named_and_every_column_titled(view: View[Any]) -> None:
    assert view.key_columns
    assert all(re.match(r"\S", c.title) for c in view.columns)
    assert len({c.title for c in view.columns if not c.col.hidden}) == sum(
        not c.col.hidden for c in view.columns
    )
    assert sum(c.col.text for c in view.columns) <= 1


@pytest.mark.parametrize("view", VIEWS)
def test_limits_are_in_order_and_in_the_columns_unit(view: View[Any]) -> None:
    for column in view.columns:
        warn, crit = column.col.warn, column.col.crit
        for limit in [v for v in (warn, crit) if v is not None]:
            assert isinstance(limit, column.type) or (column.type is float and isinstance(limit, int))
        if warn is not None and crit is not None:
            assert (warn >= crit) if column.col.low else (warn <= crit)  # type: ignore[operator]


@pytest.mark.parametrize("action", ACTIONS)
def test_the_rows_that_an_action_sits_on_fill_a_parameter(action: Action) -> None:
    for name in action.on:
        columns = {c.name for c in find_view(name).columns}
        assert columns & {p.name for p in action.params if p.ask.fill and not p.ask.instead}, name


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_does_something(action: Action) -> None:
    assert action.danger is not Danger.NONE


@pytest.mark.parametrize("declared", ALL)
def test_defaults_survive_being_written_and_read(declared: View[Any] | Action) -> None:
    for param in declared.params:
        if not param.required and param.default is not None:
            assert reread(param) == param.default


def reread(param: Param) -> Any:
    return param.parse(param.text(param.default))


def test_the_backend_loads_no_user_interface() -> None:
    script = (
        "import pkgutil, importlib, sys, backend\n"
        "for m in pkgutil.walk_packages(backend.__path__, 'backend.'): importlib.import_module(m.name)\n"
        "print(sorted({'textual', 'rich', 'typer', 'screens', 'tui'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
