"""Views and actions that need the host alone: a server that is down is no obstacle to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest

from backend.core.declare import Action, Col, Danger, View
from backend.core.errors import Missing, Unreachable
from backend.core.facts import Needs
from backend.core.plan import Command, Plan
from backend.core.poller import Feed, Poller
from backend.core.run import Run, make_plan
from backend.core.session import Session
from tests.core.test_poller import QUERY, Counter, counters

HOST = Needs(sql=False)
TOOL = Needs(sql=False, tools=("pgtui-has-no-such-tool",))


@dataclass(frozen=True, slots=True)
class Machine:
    name: Annotated[str, Col("Name", key=True)]


async def machines(s: Session) -> list[Machine]:
    """What the host says of itself."""
    done = await s.host.run(("uname", "-n"))
    return [Machine(done.text.strip())]


async def touch(s: Session, path: str) -> Plan:
    """Make a file on the host."""
    return Plan(path, (Command(("touch", path)),))


def a_view(ask: Any, needs: Needs) -> View[Any]:
    return View("test.machines", ask, needs, 2, "nothing", None, None)


def an_action(needs: Needs) -> Action:
    return Action("test.touch", touch, Danger.CHANGE, needs, (), True)


@pytest.fixture
def down(make_session: Callable[..., Session], tmp_path: Path) -> Session:
    """A session to a server that is not there."""
    return make_session(f"host={tmp_path} dbname=postgres")


async def ask(session: Session, view: View[Any]) -> Feed:
    feed = Feed(Poller(session), view, {})
    await feed.collect()
    return feed


async def test_a_view_of_the_host_answers_while_the_server_is_down(down: Session) -> None:
    feed = await ask(down, a_view(machines, HOST))
    assert feed.snapshot.error is None
    assert len(feed.snapshot.rows) == 1
    assert not down.known


async def test_a_view_over_sql_says_that_the_server_is_down(down: Session) -> None:
    feed = await ask(down, a_view(machines, Needs()))
    assert isinstance(feed.snapshot.error, Unreachable)


async def test_a_view_of_the_host_may_ask_the_server_and_hears_that_it_is_down(down: Session) -> None:
    with pytest.raises(Unreachable):
        await down.fetch(Counter, QUERY)
    feed = await ask(down, a_view(counters, HOST))
    assert isinstance(feed.snapshot.error, Unreachable)


async def test_a_program_that_the_host_lacks_is_named(down: Session) -> None:
    feed = await ask(down, a_view(machines, TOOL))
    assert feed.snapshot.missing == "the program pgtui-has-no-such-tool is not on the host"
    with pytest.raises(Missing, match="pgtui-has-no-such-tool"):
        await make_plan(down, an_action(TOOL), {"path": "/nowhere"})


async def test_an_action_on_the_host_is_planned_and_run_while_the_server_is_down(
    down: Session, tmp_path: Path
) -> None:
    wanted, action = tmp_path / "made", an_action(HOST)
    given = {"path": str(wanted)}
    plan = await make_plan(down, action, given)
    assert not wanted.exists()
    report = await Run(down, action, given, plan).execute()
    assert (report.status, report.error, report.notices) == ("ok", None, [])
    assert wanted.exists()
    assert not down.known


async def test_an_action_over_sql_is_not_even_planned_while_the_server_is_down(down: Session) -> None:
    with pytest.raises(Unreachable):
        await make_plan(down, an_action(Needs()), {"path": "/nowhere"})
