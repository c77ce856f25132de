"""Sizes and file systems, control files, services, and how the room looks as a whole."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backend.cluster.clusters import ClusterRow, cluster_verdict
from backend.cluster.services import service_verdict, services
from backend.cluster.storage import StorageRow, parsed, rate_of, storage_verdict, until_full
from backend.core.declare import Health
from backend.core.errors import Missing, Refused
from tests.rooms.cluster.conftest import Looking
from tests.rooms.cluster.kinds import Common, Operating, common, operating
from tests.servers import OwnClusters, Server, until

__all__ = ["common", "operating"]


async def test_places_have_the_size_that_the_server_tells_and_their_file_system(
    server: Server, looking: Looking
) -> None:
    rows = {r.place: r for r in await looking(server, "storage")}
    assert {"data", "wal", "log", "temporary files"} <= set(rows)
    [(size,)] = server.psql("SELECT sum(size)::int8 FROM pg_ls_waldir()")
    assert rows["wal"].size == size
    assert (rows["wal"].size or 0) < (rows["data"].size or 0)
    data = rows["data"]
    assert data.path == str(server.data)
    assert data.mount is not None
    assert str(server.data).startswith(data.mount)
    assert data.free is not None
    assert data.total is not None
    assert 0 < data.free < data.total
    assert data.used_percent is not None
    assert 0 < data.used_percent < 100


async def test_tablespaces_and_wal_elsewhere_are_places_of_their_own(
    own_cluster: OwnClusters, looking: Looking
) -> None:
    server = own_cluster()
    space = server.cluster.folder / "space"
    server.cluster.account.make_folder(space)
    server.psql(f"CREATE TABLESPACE roomy LOCATION '{space}'")
    server.stop()
    wal = server.cluster.folder / "wal"
    (server.data / "pg_wal").rename(wal)
    (server.data / "pg_wal").symlink_to(wal)
    down = {r.place: r for r in await looking(server, "storage")}
    assert (down["wal"].path, down["tablespace space"].path) == (str(wal), str(space))
    assert (down["data"].size or 0) > 1_000_000
    server.start()
    up = {r.place: r for r in await looking(server, "storage")}
    assert (up["wal"].path, up["tablespace roomy"].path) == (str(wal), str(space))
    assert up["tablespace roomy"].size == 0 or up["tablespace roomy"].size == 4096


async def test_where_the_host_is_out_of_sight_the_server_tells_sizes(
    server: Server, looking: Looking
) -> None:
    rows = await looking(server, "storage", target={"ssh": None, "cluster": {"data": "/nowhere"}})
    assert {r.place for r in rows} >= {"data", "wal"}
    assert all(r.free is None for r in rows)
    assert all(r.size for r in rows if r.place in ("data", "wal"))


def test_df_is_understood_also_where_there_are_no_inodes() -> None:
    text = (
        "/srv/a b\0/dev/vda1  1000 900 50 95% /srv\n\0/dev/vda1 100 40 60 40% /srv\n\0"
        "/btr\0/dev/vdb 2000 100 1900 5% /mnt/my disk\n\0/dev/vdb 0 0 0 - /mnt/my disk\n\0"
        "/gone\0\0\0"
    )
    found = parsed(text)
    assert set(found) == {"/srv/a b", "/btr"}
    assert (found["/srv/a b"].used_percent, found["/srv/a b"].inodes_percent) == (94.7, 40.0)
    assert (found["/btr"].mount, found["/btr"].inodes_percent, found["/btr"].free) == (
        "/mnt/my disk",
        None,
        1900 * 1024,
    )


def test_growth_is_only_told_after_a_while_and_full_only_when_it_grows() -> None:
    assert rate_of([(0.0, 100)]) is None
    assert rate_of([(0.0, 100), (10.0, 200)]) is None
    assert rate_of([(0.0, 100), (30.0, 90), (50.0, 600)]) == 10
    assert until_full(1000, 10) == timedelta(seconds=100)
    assert until_full(1000, 0) is None
    assert until_full(1000, -5) is None
    assert until_full(10**12, 0.001) is None


@pytest.mark.parametrize(
    ("full_in", "health"),
    [
        (timedelta(minutes=50), Health.CRITICAL),
        (timedelta(hours=3), Health.WARNING),
        (timedelta(hours=5), None),
        (None, None),
    ],
)
def test_a_file_system_that_will_be_full_soon_is_an_alarm(
    full_in: timedelta | None, health: Health | None
) -> None:
    row = StorageRow("wal", 1, 10.0, 1, 2, None, None, 1.0, full_in, "/srv", "/srv/wal")
    told = storage_verdict(row)
    assert (told.health if told else None) is health


async def test_the_control_file_is_told_by_the_server_and_by_the_program_alike(
    own_cluster: OwnClusters, looking: Looking
) -> None:
    server = own_cluster()
    server.psql("CHECKPOINT")
    up = {r.item: r.value for r in await looking(server, "control")}
    server.stop()
    down = {r.item: r.value for r in await looking(server, "control")}
    for item in ("Database system identifier", "Latest checkpoint's TimeLineID", "Bytes per WAL segment"):
        assert up[item] == down[item]
    assert down["Database cluster state"] == "shut down"
    assert set(up) - set(down) == {"In recovery"}


async def test_the_control_file_of_another_server_is_read_by_its_name(
    server: Server, common: Common, operating: Operating, looking: Looking
) -> None:
    other = common.make("other")
    rows = await looking(server, "control", cluster=other.name)
    assert {r.told_by for r in rows} == {"pg_controldata"}
    with pytest.raises(Refused, match="no cluster"):
        await looking(server, "control", cluster="15/othre")


async def test_a_control_file_behind_closed_doors_says_what_opens_it(
    server: Server, common: Common, looking: Looking
) -> None:
    other = common.make("closed")
    with pytest.raises(Missing, match="may not be read") as told:
        await looking(server, "control", cluster=other.name, target={"run_as": "nobody"})
    assert told.value.hint is not None
    assert "run_as" in told.value.hint


SHOWN = """\
Id=postgresql@15-main.service
Description=PostgreSQL Cluster 15-main
LoadState=loaded
ActiveState=failed
SubState=failed
UnitFileState=enabled-runtime
Result=exit-code
MainPID=0
NRestarts=0
MemoryCurrent=[not set]
StateChangeTimestamp=@1795272487

Id=pgbouncer.service
LoadState=loaded
ActiveState=active
SubState=running
UnitFileState=disabled
Result=success
MainPID=77
NRestarts=2
MemoryCurrent=18446744073709551615
StateChangeTimestamp=@1795272487

Id=pgbackrest@main.timer
LoadState=loaded
ActiveState=active
SubState=waiting
UnitFileState=enabled
StateChangeTimestamp=@0

Id=postgresql@16-x.service
LoadState=not-found
ActiveState=inactive
"""
TIMERS = (
    '[{"next":1795300000000000,"left":1795300000000000,"last":0,"passed":0,'
    '"unit":"pgbackrest@main.timer","activates":"pgbackrest@main.service"}]'
)
JOURNAL = (
    '{"UNIT":"postgresql@15-main.service","MESSAGE":[102,97,105,108,101,100,255]}\n'
    '{"_SYSTEMD_UNIT":"pgbouncer.service","MESSAGE":"up"}\nno JSON\n'
)


def test_units_timers_and_journal_are_told_together() -> None:
    timer, pooler, failed = sorted(
        services(f"{SHOWN}\0{TIMERS}\0{JOURNAL}"), key=lambda r: r.unit != "pgbackrest@main.timer"
    )
    assert (timer.unit, timer.starts) == ("pgbackrest@main.timer", "pgbackrest@main.service")
    assert timer.next_run == datetime.fromtimestamp(1795300000, UTC)
    assert (timer.last_run, timer.since, timer.pid) == (None, None, None)
    assert (pooler.unit, pooler.pid, pooler.memory, pooler.restarts) == ("pgbouncer.service", 77, None, 2)
    assert (failed.active, failed.memory, failed.journal) == ("failed", None, "failed\udcff")
    assert (told := service_verdict(failed)) is not None
    assert told.health is Health.CRITICAL
    assert (told := service_verdict(pooler)) is not None
    assert told.sentence == "it runs, and will not after the machine is started again"
    assert service_verdict(timer) is None


def test_without_systemd_there_are_none() -> None:
    assert services("") == []


def row(**more: Any) -> ClusterRow:
    given: dict[str, Any] = dict.fromkeys(ClusterRow.__dataclass_fields__)
    given |= {"cluster": "15/main", "state": "up", "own": False, "kind": "debian", "data": "/d"}
    return ClusterRow(**given | more)


@pytest.mark.parametrize(
    ("given", "health"),
    [
        ({}, None),
        ({"state": "down"}, None),
        ({"state": "down", "start_mode": "manual"}, None),
        ({"state": "down", "start_mode": "auto"}, Health.CRITICAL),
        ({"state": "down", "own": True}, Health.CRITICAL),
        ({"state": "crashed"}, Health.CRITICAL),
        ({"state": "starting"}, Health.WARNING),
        ({"state": "unknown"}, Health.UNKNOWN),
        ({"archiving": "failing"}, Health.CRITICAL),
        ({"archiving": "discarding"}, Health.WARNING),
        ({"archiving": "no command"}, Health.WARNING),
        ({"archiving": "on"}, None),
        ({"trouble": "its data folder has been deleted while it runs"}, Health.CRITICAL),
        ({"trouble": "16/x has port 5432 too", "state": "down"}, Health.WARNING),
        ({"unit_state": "failed", "unit": "u"}, Health.WARNING),
    ],
)
def test_what_is_wrong_with_a_server_has_its_weight(given: dict[str, object], health: Health | None) -> None:
    told = cluster_verdict(row(**given))
    assert (told.health if told else None) is health


async def test_two_servers_with_one_port_and_folder_of_sockets_are_told(
    common: Common, operating: Operating, looking: Looking, server: Server
) -> None:
    first, second = common.make("first"), common.make("second")
    file = common.root / str(common.major) / "second" / "postgresql.conf"
    file.write_text(file.read_text().replace(f"port = {second.port}", f"port = {first.port}"))
    rows = {r.cluster: r for r in await looking(server, "clusters", sizes=True)}
    assert rows[first.name].trouble == f"{second.name} has port {first.port} too"
    assert (rows[first.name].size or 0) > 1_000_000


async def test_archiving_that_fails_is_seen(own_cluster: OwnClusters, looking: Looking) -> None:
    server = own_cluster({"archive_mode": "on", "archive_command": "false"})
    server.psql("SELECT pg_switch_wal()")
    until(lambda: server.psql("SELECT failed_count > 0 FROM pg_stat_archiver") == [(True,)])
    [ours] = [r for r in await looking(server, "clusters") if r.own]
    assert ours.archiving == "failing"
