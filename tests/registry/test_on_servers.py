"""Every view is asked and every action planned, on every server, and nothing is changed by it."""

from __future__ import annotations

import types
import typing
from dataclasses import fields
from typing import Any

import pytest

from backend.core.declare import Action, View
from backend.core.errors import Missing
from backend.core.judge import judge
from backend.core.registry import actions, views
from backend.core.run import dry_run, make_plan
from tests.registry import golden
from tests.registry.conftest import Sessions, Stage
from tests.registry.reviewed import FUNCTIONS
from tui.telling import told_report

VIEWS = [pytest.param(v, id=v.name) for v in views()]
VIEWS_OVER_SQL = [pytest.param(v, id=v.name) for v in views() if v.needs.sql]
ACTIONS = [pytest.param(a, id=a.name) for a in actions()]


def given(stage: Stage, view: View[Any]) -> dict[str, Any]:
    return dict(stage.samples[view.room].views.get(view.name, {}))


async def answer(view: View[Any], session: Any, params: dict[str, Any]) -> list[Any]:
    rows: list[Any] = await view.fn(session, **params)
    for row in rows:
        check_types(row)
    judge(view, rows)
    assert len({view.key(row) for row in rows}) == len(rows), "two rows have the same key"
    return rows


def check_types(row: Any) -> None:
    hints = typing.get_type_hints(type(row))
    for field in fields(row):
        value = getattr(row, field.name)
        assert suits(value, hints[field.name]), f"{field.name} is {value!r}, not {hints[field.name]}"


def suits(value: Any, hint: Any) -> bool:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(suits(value, a) for a in args)
    if origin is typing.Literal:
        return value in args
    if origin in (list, tuple):
        return isinstance(value, origin) and all(suits(v, args[0]) for v in value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


@pytest.mark.parametrize("view", VIEWS)
async def test_a_view_answers_on_a_populated_database_by_looking_alone(
    view: View[Any], stage: Stage, look: Sessions
) -> None:
    samples = stage.samples[view.room]
    samples.skip_without(view.needs)
    session, start = await look(view.room), stage.position
    assert not view.needs.missing(session.facts)
    rows = await answer(view, session, given(stage, view))
    assert bool(rows) is (view.name not in samples.nothing), "the samples show nothing in it"
    demand_looking(stage, start, over_sql=view.needs.sql)


@pytest.mark.parametrize("role", ["monitor", "plain"])
@pytest.mark.parametrize("view", VIEWS)
async def test_a_view_answers_a_role_with_few_rights_or_says_what_it_lacks(
    view: View[Any], role: str, stage: Stage, look: Sessions
) -> None:
    session = await look(view.room, role)
    if view.needs.missing(session.facts):
        return
    try:
        await answer(view, session, given(stage, view))
    except Missing as e:
        assert e.sqlstate == "42501"
        assert e.hint


@pytest.mark.parametrize("view", VIEWS_OVER_SQL)
async def test_a_view_answers_on_an_empty_database(view: View[Any], stage: Stage, look: Sessions) -> None:
    session = await look("empty")
    if not view.needs.missing(session.facts):
        await answer(view, session, given(stage, view))


@pytest.mark.parametrize("action", ACTIONS)
async def test_a_plan_is_made_by_looking_alone_and_reads_as_it_is_kept(
    action: Action, stage: Stage, look: Sessions, pytestconfig: pytest.Config
) -> None:
    samples = stage.samples[action.room]
    samples.skip_without(action.needs)
    samples.skip_absent(action.name)
    params = samples.actions.get(action.name, {})
    session = await look("empty" if action.name in samples.on_empty else action.room)
    start = stage.position
    plan = await make_plan(session, action, params)
    assert plan.steps, "the samples give it nothing to do"
    assert all(step.text for step in plan.steps)
    assert plan.subject
    assert plan.danger >= action.danger
    assert (await make_plan(session, action, params)).shape == plan.shape
    demand_looking(stage, start)
    if name := golden.name_of(action, samples, session.facts.major):
        text = told_report(session.target, dry_run(action, session, plan), on_terminal=False)
        update = bool(pytestconfig.getoption("update_snapshots"))
        golden.compare(name, golden.settled(text, samples), update)


def demand_looking(stage: Stage, start: int, *, over_sql: bool = True) -> None:
    heard = stage.heard(start)
    assert heard or not over_sql, "the log shows no question"
    for asked in heard:
        assert asked.application == "pgtui", f"it was not the looking connection: {asked}"
        assert asked.only_looks, asked.statement
        assert asked.functions <= FUNCTIONS, asked.functions - FUNCTIONS
