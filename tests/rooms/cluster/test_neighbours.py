"""What is told of a server of the host that is not the target's own, and of one that is down."""

from __future__ import annotations

from typing import Any

import pytest

from backend.cluster.clusters import ClusterRow, cluster_verdict
from backend.cluster.settings import SettingRow
from backend.core.declare import Health
from backend.core.errors import Refused, Unreachable
from tests.rooms.cluster.conftest import Looking
from tests.rooms.cluster.test_settings import reload, write
from tests.rooms.jobmon.conftest import Consoles, consoles
from tests.servers import OwnClusters, Server, until

__all__ = ["consoles"]

WRONG = "hots all all 10.0.0.0/8 md5\n"
STRAY = 'work_mem = 7MB\nshared_buffers = "\n'


def of(rows: list[ClusterRow], server: Server) -> ClusterRow:
    return next(r for r in rows if r.data == str(server.data.resolve()))


def values(rows: list[SettingRow]) -> dict[str, str]:
    return {r.name: r.value for r in rows}


async def test_another_running_server_is_asked_by_its_own_psql(
    server: Server, own_cluster: OwnClusters, looking: Looking
) -> None:
    other = own_cluster({"work_mem": "7MB"})
    other.psql("ALTER SYSTEM SET max_connections = 123")
    other.psql("""CREATE ROLE "it's 100%s" """)
    write(other, WRONG, "pg_hba.conf")
    reload(other)
    given: dict[str, Any] = {"cluster": str(other.data)}
    rows = {r.name: r for r in await looking(server, "settings", **given)}
    assert (rows["work_mem"].value, rows["work_mem"].cluster) == ("7MB", str(other.data))
    assert (rows["max_connections"].value, rows["max_connections"].pending) == ("100", "123")
    # What pgtui sets for its own looking is no setting of the server's.
    assert [rows[n].value for n in ("statement_timeout", "application_name")] == ["0", ""]
    assert values(await looking(server, "settings"))["work_mem"] == "4MB"
    rules = await looking(server, "hba", **given)
    assert [r.error for r in rules if r.error] == ['invalid connection type "hots"']
    who = await looking(server, "hba", user="it's 100%s", database="postgres", **given)
    assert [r.match for r in who].count("first") == 1
    [wrong] = await looking(server, "file_errors", **given)
    assert (wrong.file, wrong.kind) == (str(other.data / "pg_hba.conf"), "hba")


async def test_a_server_that_does_not_let_its_account_ask_says_so(
    server: Server, own_cluster: OwnClusters, looking: Looking
) -> None:
    other = own_cluster()
    rules = other.data / "pg_hba.conf"
    rules.write_text("local all all reject\n")
    other.psql("SELECT pg_reload_conf()")
    until(lambda: "reject" in refused(other))
    with pytest.raises(Unreachable) as caught:
        await looking(server, "settings", cluster=str(other.data))
    assert "does not answer postgres" in caught.value.message
    assert "pg_hba.conf rejects connection" in caught.value.message
    assert f"port={other.port}" in (caught.value.hint or "")


async def test_a_server_that_is_frozen_is_named(
    server: Server, own_cluster: OwnClusters, looking: Looking
) -> None:
    other = own_cluster()
    other.freeze()
    try:
        with pytest.raises(Unreachable, match=r"does not answer postgres: .*timeout expired"):
            await looking(server, "settings", cluster=str(other.data))
    finally:
        other.thaw()


def refused(server: Server) -> str:
    try:
        server.psql("SELECT 1")
    except Exception as e:
        return str(e)
    return ""


@pytest.mark.parametrize("named", [True, False])
async def test_of_a_server_that_is_down_its_files_tell(
    server: Server, own_cluster: OwnClusters, looking: Looking, named: bool
) -> None:
    other = own_cluster()
    write(other, "work_mem = 7MB\n")
    write(other, WRONG, "pg_hba.conf")
    other.stop()
    asked = server if named else other
    given: dict[str, Any] = {"cluster": str(other.data)} if named else {}
    rows = {r.name: r for r in await looking(asked, "settings", **given)}
    main = (other.data / "postgresql.conf").read_text().splitlines()
    found = rows["work_mem"]
    assert (found.value, found.file) == ("7MB", str(other.data / "postgresql.conf"))
    assert found.line == main.index("work_mem = 7MB") + 1
    assert (found.takes, found.category) == ("session", "Resource Usage / Memory")
    assert "maintenance_work_mem" not in rows
    [wrong] = [r for r in await looking(asked, "hba", **given) if r.error]
    assert (wrong.error, wrong.type) == ("hots is no type of connection", None)
    [error] = await looking(asked, "file_errors", **given)
    assert (error.kind, error.line) == ("hba", wrong.line)
    with pytest.raises(Refused, match="which is down"):
        await looking(asked, "hba", user="dba", **given)


async def test_what_keeps_a_server_that_is_down_from_starting_is_told_with_its_line(
    server: Server, own_cluster: OwnClusters, looking: Looking
) -> None:
    other = own_cluster()
    other.stop()
    write(other, "wrk_mem = 7MB\n")
    [error] = await looking(server, "file_errors", cluster=str(other.data))
    assert error.file == str(other.data / "postgresql.conf")
    assert error.line == len((other.data / "postgresql.conf").read_text().splitlines())
    assert 'unrecognized configuration parameter "wrk_mem"' in error.error


async def test_settings_in_files_are_compared_with_those_in_force_elsewhere(
    server: Server, own_cluster: OwnClusters, looking: Looking
) -> None:
    other = own_cluster()
    write(other, "work_mem = 7MB\n")
    other.stop()
    rows = await looking(server, "settings", cluster=str(other.data), against=server.dsn())
    differing = {r.name: (r.value, r.other) for r in rows}
    assert differing["work_mem"] == ("7MB", "4MB")
    assert differing["port"] == (str(other.port), str(server.port))
    assert "maintenance_work_mem" not in differing
    assert "autovacuum_naptime" not in differing


async def test_the_list_shows_what_waits_and_what_is_wrong_without_connecting(
    server: Server, own_cluster: OwnClusters, looking: Looking
) -> None:
    other = own_cluster({"log_connections": "on"})
    row = of(await looking(server, "clusters"), other)
    assert (row.restart_due, row.wrong_lines, cluster_verdict(row)) == (None, 0, None)
    other.psql("ALTER SYSTEM SET max_connections = 123")
    other.psql("ALTER SYSTEM SET wal_log_hints = 'yes'")
    reload(other)
    row = of(await looking(server, "clusters"), other)
    assert (row.restart_due, row.waiting) == (2, "max_connections, wal_log_hints")
    verdict = cluster_verdict(row)
    assert verdict is not None
    assert verdict.health is Health.WARNING
    assert verdict.sentence == "max_connections, wal_log_hints wait for a restart"
    write(other, WRONG, "pg_hba.conf")
    row = of(await looking(server, "clusters"), other)
    verdict = cluster_verdict(row)
    assert verdict is not None
    assert verdict.health is Health.CRITICAL
    assert verdict.sentence == "a line of its files is wrong: it goes without, and may not start again"
    other.stop()
    row = of(await looking(server, "clusters"), other)
    assert (row.restart_due, row.wrong_lines) == (0, 1)
    assert (cluster_verdict(row) or verdict).sentence == "a line of its files is wrong: it will not start"


async def test_the_size_of_the_targets_own_server_is_told_at_once(
    server: Server, own_cluster: OwnClusters, looking: Looking
) -> None:
    other = own_cluster()
    [(size,)] = server.psql("SELECT sum(pg_database_size(oid))::int8 FROM pg_database")
    rows = await looking(server, "clusters")
    assert size * 0.5 < (of(rows, server).size or 0) < size * 2
    assert of(rows, other).size is None
    measured = await looking(server, "clusters", sizes=True)
    assert (of(measured, other).size or 0) > 10_000_000


async def test_the_targets_own_server_tells_by_itself(own_cluster: OwnClusters, looking: Looking) -> None:
    server = own_cluster()
    server.psql("ALTER SYSTEM SET shared_buffers = '20MB'")
    reload(server)
    row = of(await looking(server, "clusters"), server)
    assert (row.waiting, row.wrong_lines) == ("shared_buffers", 0)
    write(server, "wrk_mem = 1\n")
    write(server, WRONG, "pg_hba.conf")
    row = of(await looking(server, "clusters"), server)
    assert (row.waiting, row.wrong_lines) == ("shared_buffers", 2)


async def test_the_configuration_of_another_server_is_changed_over_a_connection_to_it(
    server: Server, own_cluster: OwnClusters, consoles: Consoles
) -> None:
    other = own_cluster()
    console = await consoles(server.dsn(), cluster={"data": str(server.data)})
    actions: dict[str, dict[str, Any]] = {
        "set": {"name": "work_mem", "value": "8MB"},
        "reset": {"name": "work_mem"},
        "add_hba_rule": {"type": "local", "database": "all", "user": "all", "method": "peer"},
        "remove_hba_rule": {"line": 1},
        "edit_hba": {"text": "local all all trust"},
    }
    for action, given in actions.items():
        with pytest.raises(Refused) as caught:
            await console.plan(f"cluster.{action}", cluster=str(other.data), **given)
        assert "is not the server of" in caught.value.message
        assert f"port={other.port}" in (caught.value.hint or "")
