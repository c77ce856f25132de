"""Starting, stopping and restarting servers of every kind."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from backend.core.declare import Danger
from backend.core.errors import Failed, Refused, Usage
from backend.core.values import Interval
from tests.rooms.cluster.kinds import Common, Operating, Subject, common, operating, plain, subject
from tests.servers import until

__all__ = ["common", "operating", "plain", "subject"]


async def test_a_server_is_started_restarted_and_stopped(subject: Subject, operating: Operating) -> None:
    console = operating(subject)
    plan = await console.plan("cluster.start")
    assert re.fullmatch(subject.called, plan.subject)
    assert plan.danger is Danger.CHANGE
    assert subject.pid() is None

    told = await console.done("cluster.start")
    first = subject.pid()
    assert first is not None
    assert re.fullmatch(subject.called, told.pop("cluster"))
    assert told == {"data": str(subject.data), "done": "started", "pid": first}
    assert subject.ask("SELECT 1") == [(1,)]
    error = await console.refused("cluster.start")
    assert isinstance(error, Refused)
    assert re.fullmatch(f"{subject.called} runs already, as pid {first}", error.message)

    plan = await console.plan("cluster.restart")
    assert plan.danger is Danger.DISRUPT
    assert plan.notes == ("it ends 0 sessions, 0 of them active",)
    assert subject.pid() == first
    told = await console.done("cluster.restart")
    second = subject.pid()
    assert second not in (None, first)
    assert told["pid"] == second
    assert subject.ask("SELECT 1") == [(1,)]

    plan = await console.plan("cluster.stop")
    assert plan.danger is Danger.DISRUPT
    assert subject.pid() == second
    told = await console.done("cluster.stop")
    assert told["done"] == "stopped"
    assert subject.pid() is None
    assert not (subject.data / "postmaster.pid").exists()
    for action in ("cluster.stop", "cluster.restart"):
        error = await console.refused(action)
        assert isinstance(error, Refused)
        assert re.fullmatch(f"{subject.called} does not run", error.message)


async def test_a_configuration_that_keeps_it_from_starting_is_found_before_it_is_stopped(
    plain: Subject, operating: Operating
) -> None:
    console = operating(plain)
    await console.done("cluster.start")
    before = plain.pid()
    with (plain.data / "postgresql.auto.conf").open("a") as file:
        file.write("shared_preload_libraries = 'no_such_library'\n")
    error = await console.refused("cluster.restart")
    assert isinstance(error, Refused)
    assert "no_such_library" in error.message
    assert plain.pid() == before
    await console.done("cluster.stop")
    error = await console.refused("cluster.start")
    assert isinstance(error, Refused)
    assert "no_such_library" in error.message
    assert plain.pid() is None


async def test_a_port_that_somebody_has_is_named(common: Common, operating: Operating) -> None:
    one, other = common.make("one"), common.make("other")
    main = common.root / str(common.major) / "other" / "postgresql.conf"
    main.write_text(main.read_text().replace(str(other.port), str(one.port)))
    console = operating(other)
    await operating(one).done("cluster.start")
    error = await console.refused("cluster.start")
    assert isinstance(error, Refused)
    assert error.message == f"{other.name} wants port {one.port}, which {one.name} has"
    assert other.pid() is None


async def test_a_server_that_was_killed_is_started_again(plain: Subject, operating: Operating) -> None:
    console = operating(plain)
    await console.done("cluster.start")
    pid = plain.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{pid}").exists())
    assert (plain.data / "postmaster.pid").exists()
    plan = await console.plan("cluster.start")
    assert "recovers from its WAL" in plan.notes[0]
    await console.done("cluster.start")
    assert plain.ask("SELECT 1") == [(1,)]


async def test_what_somebody_else_did_since_the_plan_is_told_and_done_to_nobody(
    subject: Subject, operating: Operating
) -> None:
    console, other = operating(subject), operating(subject)
    starting = await console.plan("cluster.start")
    await other.done("cluster.start")
    pid = subject.pid()
    report = await console.run("cluster.start", plan=starting)
    assert isinstance(report.error, Failed)
    assert "already" in report.error.message
    assert subject.pid() == pid
    assert subject.ask("SELECT 1") == [(1,)]

    stopping = await console.plan("cluster.stop")
    await other.done("cluster.stop")
    report = await console.run("cluster.stop", plan=stopping)
    assert isinstance(report.error, Failed)
    assert re.search("is not running|Is server running", report.error.message)
    await other.done("cluster.start")
    assert subject.ask("SELECT 1") == [(1,)]


async def test_postgresql_commons_mistake_about_a_running_server_does_not_matter(
    common: Common, operating: Operating
) -> None:
    made = common.make("orders")
    console = operating(made)
    await console.done("cluster.start")
    first = made.pid()
    main = common.root / str(common.major) / "orders" / "postgresql.conf"
    text = main.read_text()
    main.write_text(text.replace(f"port = {made.port}", f"port = {made.port + 1}"))
    for action in ("cluster.start", "cluster.drop"):
        error = await console.refused(action)
        assert isinstance(error, Refused)
        assert f"as pid {first}" in error.message
    assert made.ask("SELECT 1") == [(1,)]
    error = await console.refused("cluster.rename", to="sales")
    assert isinstance(error, Refused)
    assert error.message.endswith(f"is mistaken about {made.name}: it runs as pid {first}")
    assert made.pid() == first
    main.write_text(text)
    await console.done("cluster.stop")
    assert made.pid() is None


async def test_a_disabled_server_is_not_started(common: Common, operating: Operating) -> None:
    made = common.make("orders")
    console = operating(made)
    await console.done("cluster.start_mode", mode="disabled")
    error = await console.refused("cluster.start")
    assert isinstance(error, Refused)
    assert error.message == f"{made.name} is disabled"

    await console.done("cluster.start_mode", mode="manual")
    await console.done("cluster.start")
    await console.done("cluster.start_mode", mode="disabled")
    error = await console.refused("cluster.restart")
    assert error.message == f"{made.name} is disabled"
    assert made.ask("SELECT 1") == [(1,)]
    await console.done("cluster.stop")
    assert made.pid() is None


async def test_a_data_folder_that_others_may_enter_is_told(plain: Subject, operating: Operating) -> None:
    plain.data.chmod(0o755)
    error = await operating(plain).refused("cluster.start")
    assert isinstance(error, Refused)
    assert error.hint == f"chmod 700 {plain.data}"


@pytest.mark.parametrize("wait", ["0s", "2d"])
async def test_how_long_it_may_take_has_limits(common: Common, operating: Operating, wait: str) -> None:
    with pytest.raises(Usage, match="between a second and a day"):
        await operating(common.make("orders")).plan("cluster.start", wait=Interval(wait))


async def test_a_cluster_that_is_not_there_is_refused(common: Common, operating: Operating) -> None:
    made = common.make("orders")
    with pytest.raises(Refused, match="the host has no cluster 15/nothing"):
        await operating(made).plan("cluster.stop", cluster="15/nothing")
