"""What goes wrong on a host: files out of reach, full disks, taken ports, rights that are missing."""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from backend.cluster.discovery import discover
from backend.core.declare import Health
from backend.core.errors import Failed, PgtuiError, Refused
from backend.core.local import LocalHost
from backend.core.registry import find_view
from backend.core.session import Session
from backend.core.target import Target
from backend.core.values import Interval
from backend.lab.servers import find_installations
from tests.ports import free_port
from tests.rooms.cluster.kinds import (
    Common,
    Operating,
    Operator,
    Subject,
    common,
    operating,
    own_folder,
    plain,
    subject,
)
from tests.servers import Workspace, until

__all__ = ["common", "operating", "plain", "subject"]

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")

RULE: dict[str, Any] = {"type": "local", "database": "all", "user": "bob", "method": "reject"}


def as_it_is(name: str) -> tuple[bytes, int, int, int]:
    """Content, mode, owner and group of a file."""
    about = Path(name).stat()
    return Path(name).read_bytes(), about.st_mode, about.st_uid, about.st_gid


async def lives_on(subject: Subject, console: Operator) -> None:
    """The server, once it has been started again, lets the DBA in."""
    await console.done("cluster.restart" if subject.pid() else "cluster.start")
    assert subject.ask("SELECT 1") == [(1,)]


# -- pg_hba.conf that the server cannot use ------------------------------------------------------


def taken(file: Path) -> None:
    """As a copy made by root is: nobody else may read it."""
    os.chown(file, 0, 0)
    file.chmod(0o600)


def broken(file: Path) -> None:
    file.write_text(f"{file.read_text()}hots all all trust\n")


def emptied(file: Path) -> None:
    file.write_text("# nothing\n")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        pytest.param(taken, "cannot be read: Permission denied", marks=as_root),
        (broken, "hots is no type of connection"),
        (emptied, "holds no rule"),
        (Path.unlink, "cannot be read: No such file or directory"),
    ],
)
async def test_rules_with_which_it_would_not_start_are_found_before_it_is_stopped(
    plain: Subject, operating: Operating, spoil: Callable[[Path], None], said: str
) -> None:
    console = operating(plain)
    await console.done("cluster.start")
    before, file = plain.pid(), plain.data / "pg_hba.conf"
    about, text = file.stat(), file.read_bytes()
    spoil(file)
    for action in ("cluster.restart", "cluster.reload"):
        error = await console.refused(action)
        assert isinstance(error, PgtuiError)
        if action == "cluster.restart":
            assert isinstance(error, Refused)
            assert f"{plain.data.parent.name} would not start with its pg_hba.conf: {file}" in error.message
            assert said in error.message
            assert str(error.hint).startswith("it runs with the rules that it read before")
    assert plain.pid() == before
    await console.done("cluster.stop")
    error = await console.refused("cluster.start")
    assert said in error.message
    assert plain.pid() is None
    file.write_bytes(text)
    os.chown(file, about.st_uid, about.st_gid)
    file.chmod(0o600)
    await lives_on(plain, console)


async def test_what_only_the_servers_own_parser_finds_wrong_keeps_it_from_being_stopped_too(
    plain: Subject, operating: Operating
) -> None:
    console = operating(plain)
    await console.done("cluster.start")
    file = plain.data / "pg_hba.conf"
    text = file.read_text()
    file.write_text(f"{text}host all all 127.0.0.1/32 radius\n")
    error = await console.refused("cluster.restart")
    assert isinstance(error, Refused)
    assert 'authentication method "radius" requires argument' in error.message
    file.write_text(text)
    await lives_on(plain, console)


async def test_a_server_is_neither_renamed_nor_upgraded_with_rules_that_are_wrong(
    common: Common, operating: Operating
) -> None:
    made = common.make("orders")
    console = operating(made)
    await console.done("cluster.start")
    before, file = made.pid(), common.root / made.name / "pg_hba.conf"
    text = file.read_text()
    broken(file)
    for action, given in (("rename", {"to": "sales"}), ("upgrade", {"to": common.major + 1})):
        error = await console.refused(f"cluster.{action}", **given)
        assert isinstance(error, Refused)
        assert error.message.endswith("hots is no type of connection")
    assert made.pid() == before
    file.write_text(text)
    await lives_on(made, console)


@as_root
async def test_a_file_whose_owner_cannot_be_kept_is_left_alone(plain: Subject, operating: Operating) -> None:
    console = operating(plain)
    await console.done("cluster.start")
    file = plain.data / "pg_hba.conf"
    text = file.read_bytes()
    os.chown(file, 0, file.stat().st_gid)
    file.chmod(0o640)
    report = await console.run("cluster.add_hba_rule", **RULE)
    assert isinstance(report.error, Failed)
    assert report.error.message.endswith("its owner cannot be kept")
    assert (file.read_bytes(), file.owner(), file.stat().st_mode & 0o777) == (text, "root", 0o640)
    assert [p.name for p in plain.data.iterdir() if "pgtui" in p.name] == ["pgtui.conf"]
    await lives_on(plain, console)


@as_root
async def test_a_rule_that_is_taken_back_leaves_owner_and_mode(
    subject: Subject, operating: Operating
) -> None:
    console = operating(subject)
    await console.done("cluster.start")
    [(name,)] = subject.ask("SHOW hba_file")
    before = as_it_is(name)
    us = subject.ask("SELECT current_user")[0][0]
    report = await console.run(
        "cluster.add_hba_rule", type="local", database="all", user=us, method="scram-sha-256", before=1
    )
    assert report.error is not None
    assert as_it_is(name) == before
    await lives_on(subject, console)


@as_root
async def test_a_configuration_that_the_server_may_not_read_is_found_before_it_is_stopped(
    plain: Subject, operating: Operating
) -> None:
    console = operating(plain)
    await console.done("cluster.start")
    before, file = plain.pid(), plain.data / "postgresql.conf"
    about = file.stat()
    taken(file)
    error = await console.refused("cluster.restart")
    assert isinstance(error, Refused)
    assert "Permission denied" in error.message
    assert plain.pid() == before
    os.chown(file, about.st_uid, about.st_gid)
    await lives_on(plain, console)


async def test_a_data_folder_without_its_configuration_says_what_brings_it(
    plain: Subject, operating: Operating
) -> None:
    console, file = operating(plain), plain.data / "postgresql.conf"
    kept = file.rename(plain.data / "kept")
    error = await console.refused("cluster.start")
    assert isinstance(error, Refused)
    assert re.fullmatch(f"the configuration of {plain.called}, {file}, is not there", error.message)
    assert "cluster.create" in str(error.hint)
    kept.rename(file)
    await lives_on(plain, console)


async def test_programs_of_another_major_are_told_before_they_are_tried(
    plain: Subject, operating: Operating
) -> None:
    newest, oldest = find_installations()[0], find_installations()[-1]
    if newest.major == oldest.major:
        pytest.skip("there is only one major version")
    right, plain.bindir = plain.bindir, oldest.bindir
    error = await operating(plain).refused("cluster.start")
    assert isinstance(error, Refused)
    wanted = f"the programs in {oldest.bindir} are PostgreSQL {oldest.version}, and the data folder of"
    assert re.fullmatch(f"{re.escape(wanted)} {plain.called} is of {newest.major}", error.message)
    plain.bindir = right
    await lives_on(plain, operating(plain))


async def test_a_control_file_that_is_damaged_is_critical_and_nothing_starts_with_it(
    plain: Subject, operating: Operating
) -> None:
    console, file = operating(plain), plain.data / "global" / "pg_control"
    view = find_view("cluster.control")
    whole = file.read_bytes()
    assert view.verdict is not None
    assert not any(view.verdict(row) for row in await view.ask(console.session))
    file.write_bytes(whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])
    told = [verdict.health for row in await view.ask(console.session) if (verdict := view.verdict(row))]
    assert told == [Health.CRITICAL]
    error = await console.refused("cluster.start")
    assert isinstance(error, Refused)
    assert "incorrect checksum in control file" in error.message
    file.write_bytes(whole)
    await lives_on(plain, console)


# -- ports, folders, sessions --------------------------------------------------------------------


async def test_a_port_on_which_another_program_listens_is_named(plain: Subject, operating: Operating) -> None:
    console = operating(plain)
    with socket.create_server(("127.0.0.1", plain.port)):
        error = await console.refused("cluster.start")
    assert isinstance(error, Refused)
    wanted = f"{plain.called} wants port {plain.port}, on which another program listens"
    assert re.fullmatch(wanted, error.message)
    assert plain.pid() is None
    await lives_on(plain, console)


async def test_a_folder_that_somebody_filled_since_the_plan_is_left_alone(
    common: Common, operating: Operating
) -> None:
    console = operating(common.make("first"))
    data = common.folder / "data" / "filled"
    given = {"version": common.major, "name": "filled", "port": free_port(), "data": str(data)}
    plan = await console.plan("cluster.create", **given)
    data.mkdir()
    (data / "somebody's").write_text("file")
    report = await console.run("cluster.create", plan=plan)
    assert isinstance(report.error, Failed)
    assert [p.name for p in data.iterdir()] == ["somebody's"]
    assert not (common.root / str(common.major) / "filled" / "postgresql.conf").exists()
    (data / "somebody's").unlink()
    await console.done("cluster.create", **given)
    for action in ("stop", "drop"):
        await console.done(f"cluster.{action}", cluster=f"{common.major}/filled")


async def test_a_smart_stop_waits_for_sessions_but_not_for_those_that_look_for_pgtui(
    common: Common, operating: Operating
) -> None:
    made = common.make("orders")
    console = operating(made)
    await console.done("cluster.start")
    given: dict[str, Any] = {"mode": "smart", "wait": Interval("1s")}
    with psycopg.connect(made.dsn) as working:
        plan = await console.plan("cluster.stop", **given)
        assert plan.notes[-1].startswith("nobody new gets in from then on")
        report = await console.run("cluster.stop", **given)
        assert isinstance(report.error, Failed)
        assert f"still runs in {made.data}" in report.error.message
        assert working.execute("SELECT 1").fetchall() == [(1,)]
    until(lambda: made.pid() is None)
    await lives_on(made, console)
    await console.done("cluster.stop", mode="smart")
    assert made.pid() is None
    await lives_on(made, console)


async def test_servers_that_share_a_port_are_told_apart(workspace: Workspace) -> None:
    one, first = own_folder(workspace, find_installations()[0], "plain")
    _, second = own_folder(workspace, find_installations()[0], "plain")
    second = replace(second, port=first.port)
    for cluster in (first, second):
        cluster.start()
    session = Session(Target("t", one.dsn), LocalHost())
    try:
        assert (await discover(session)).pick().data == str(first.data)
    finally:
        await session.close()
        for cluster in (first, second):
            cluster.end()
            shutil.rmtree(cluster.folder)
