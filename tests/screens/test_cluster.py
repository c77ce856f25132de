"""The room `cluster` on screen: servers, what a view is asked with, and how full disks are."""

from __future__ import annotations

from typing import Any

from textual.pilot import Pilot

from backend.cluster.storage import StorageRow
from backend.core.declare import Health
from backend.core.judge import judge
from backend.core.registry import find_view
from backend.core.snapshot import Snapshot
from screens.cluster import ClustersPane, shares_of
from screens.modals.form import Form
from screens.widgets.shares import SharesView
from tests.screens.samples import text
from tests.screens.samples import until as until_soon
from tests.screens.test_partman import base, console
from tests.servers import Database, OwnClusters
from tui.app import PgtuiApp


async def until(pilot: Pilot[Any], holds: Any) -> None:
    await until_soon(pilot, holds, 30)


async def opened(pilot: Pilot[Any], app: PgtuiApp) -> ClustersPane:
    """The room, once its first rows are there."""
    await until(pilot, lambda: app.is_running and base(app).pane)
    base(app).show_room(next(r for r in base(app).rooms if r.name == "cluster"))
    await until(pilot, lambda: isinstance(base(app).pane, ClustersPane))
    found = base(app).pane
    assert isinstance(found, ClustersPane)
    await until(pilot, lambda: found.table.rows)
    return found


async def test_the_servers_log_and_disks_follow_the_cursor(database: Database) -> None:
    app = console(database)
    async with app.run_test(size=(140, 44)) as pilot:
        room = await opened(pilot, app)
        own = next(r for r in room.table.rows if r.own)
        room.table.move_to((own.cluster,))
        await until(pilot, lambda: room.detail.rows)
        assert room.detail.rows[0].at >= room.detail.rows[-1].at
        await until(pilot, lambda: room.query_one(SharesView).shares)
        await until(pilot, lambda: "free" in text(app))

        assert ("v", "who would match") not in room.keys
        await pilot.press("/", *f"cluster={own.cluster}", "enter")
        await until(pilot, lambda: len(room.table.rows) == 1)
        await until(pilot, lambda: room.table.size.height == 2)
        assert room.detail.size.height > 20
        room.look_at("cluster.hba")
        await until(pilot, lambda: room.table.size.height > 20)
        assert ("v", "who would match") in room.keys


async def test_a_view_is_asked_with_what_the_user_chooses(database: Database) -> None:
    app = console(database)
    async with app.run_test(size=(140, 44)) as pilot:
        room = await opened(pilot, app)
        room.look_at("cluster.hba")
        await until(pilot, lambda: room.table.rows)
        assert {r.match for r in room.table.rows} == {None}
        await pilot.press("v")
        await until(pilot, lambda: isinstance(app.screen, Form) and app.focused)
        await pilot.press("d", "b", "a", "tab", *"postgres", "enter")
        await until(pilot, lambda: [r.match for r in room.table.rows].count("first") == 1)
        assert room.note == "user dba, database postgres"
        await pilot.press("S")
        await until(pilot, lambda: "pgtui show cluster.hba" in text(app))
        assert "--user dba --database postgres" in text(app)
        await pilot.press("escape")

        room.look_at("cluster.settings")
        await until(pilot, lambda: len(room.table.rows) > 100)
        room.choose_options({"changed": True})
        await until(pilot, lambda: 0 < len(room.table.rows) < 100)
        assert all(r.changed for r in room.table.rows)
        room.choose_options({})
        await until(pilot, lambda: len(room.table.rows) > 100)
        assert room.note == ""


def place(name: str, mount: str | None, used: float | None) -> StorageRow:
    """A place on a file system that is so full."""
    return StorageRow(
        place=name, size=10, used_percent=used, free=1024, total=4096, inodes_percent=None, inodes_free=None,
        growth=None, full_in=None, mount=mount, path=f"/{name}",
    )  # fmt: skip


def test_places_on_one_file_system_share_a_bar_and_the_fullest_comes_first() -> None:
    view = find_view("cluster.storage")
    rows = (place("data", "/", 50.0), place("wal", "/wal", 95.0), place("log", "/", 50.0))
    shares = shares_of(Snapshot(view, rows, judgement=judge(view, rows)))
    assert [(s.name, s.used, s.health) for s in shares] == [
        ("wal", 0.95, Health.CRITICAL),
        ("data, log", 0.5, Health.OK),
    ]


async def test_what_is_under_the_cursor_is_what_the_other_views_tell_of(
    database: Database, own_cluster: OwnClusters
) -> None:
    other = own_cluster({"work_mem": "7MB"})
    app = console(database)
    async with app.run_test(size=(140, 44)) as pilot:
        room = await opened(pilot, app)
        await until(pilot, lambda: str(other.data) in {r.data for r in room.table.rows})
        name = next(r.cluster for r in room.table.rows if r.data == str(other.data))
        room.table.move_to((name,))
        await until(pilot, lambda: room.detail.rows)
        room.detail.focus()
        await pilot.press("S")
        await until(pilot, lambda: f"pgtui show cluster.logs --target lab --cluster {name}" in text(app))
        await pilot.press("escape")
        room.look_at("cluster.settings")
        await until(pilot, lambda: any(r.value == "7MB" for r in room.table.rows))
        assert room.note == f"cluster {name}"
        room.look_at("cluster.hba")
        await until(pilot, lambda: {r.cluster for r in room.table.rows} == {name})
        room.look_at("cluster.services")
        room.look_at("cluster.control")
        assert room.options == {"cluster": name}

        room.look_at("cluster.clusters")
        own = next(r for r in room.table.rows if r.own)
        room.table.move_to((own.cluster,))
        room.look_at("cluster.settings")
        assert room.options == {}
        await until(pilot, lambda: len(room.table.rows) > 100)
