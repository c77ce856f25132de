"""Reloads that are proved, and refused while a file is wrong."""

from __future__ import annotations

import re

import pytest

from backend.core.errors import Refused, Unreachable
from tests.rooms.cluster.kinds import Operating, Subject, operating, plain, subject
from tests.rooms.jobmon.conftest import Consoles, consoles
from tests.servers import OwnClusters

__all__ = ["consoles", "operating", "plain", "subject"]

RELOAD = "cluster.reload"


async def test_files_are_read_again_and_what_waits_is_named(
    own_cluster: OwnClusters, consoles: Consoles
) -> None:
    server = own_cluster()
    console = await consoles(server.dsn())
    file, whole = server.data / "pgtui.conf", (server.data / "pgtui.conf").read_text()
    file.write_text(f"{whole}work_mem = 9MB\nmax_connections = 40\n")
    before = server.psql("SELECT pg_conf_load_time()")
    await console.plan(RELOAD)
    assert server.psql("SELECT pg_conf_load_time()") == before
    told = await console.done(RELOAD)
    assert told["pending_restart"] == ["max_connections"]
    assert server.psql("SHOW work_mem") == [("9MB",)]

    file.write_text(f"{whole}work_mem = 10MB\nno_such = 1\n")
    with pytest.raises(Refused, match=r"would not apply everything: .*pgtui\.conf line \d+: no_such"):
        await console.plan(RELOAD)
    file.write_text(f"{whole}work_mem = 10MB\nwal_level = minimal\n")
    plan = await console.plan(RELOAD)
    assert plan.notes[0].startswith("the server would not start again with these files: WAL streaming")
    file.write_text(whole)
    with (server.data / "pg_hba.conf").open("a") as hba:
        hba.write("hots all all trust\n")
    with pytest.raises(
        Refused, match=r"would not apply everything: .*pg_hba\.conf line \d+: invalid connect"
    ):
        await console.plan(RELOAD)
    assert server.psql("SHOW work_mem") == [("9MB",)]


async def test_a_server_of_every_kind_is_reloaded_by_name(
    subject: Subject, plain: Subject, operating: Operating
) -> None:
    other, named = operating(plain), {"cluster": str(subject.data)}
    error = await other.refused(RELOAD, **named)
    assert isinstance(error, Refused)
    known = subject.kind != "rpm"  # of the others one that is down is found beside one that runs
    wanted = f"{subject.called} does not run" if known else f"the host has no cluster {subject.data}"
    assert re.fullmatch(wanted, error.message)
    with pytest.raises(Unreachable):
        await other.plan(RELOAD)
    await operating(subject).done("cluster.start")
    file = subject.data / "postgresql.auto.conf"
    file.write_text(f"{file.read_text()}work_mem = '9MB'\n")
    told = await other.done(RELOAD, **named)
    assert re.fullmatch(subject.called, told["cluster"])
    assert told["said"].startswith(("read at", "whether it took is not known"))
    assert subject.ask("SHOW work_mem") == [("9MB",)]
    file.write_text(f"{file.read_text()}no_such = 1\n")
    error = await other.refused(RELOAD, **named)
    assert "no_such" in error.message
