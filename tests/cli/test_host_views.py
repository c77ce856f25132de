"""What the command line says of a host whose server is down."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Pgtui
from tests.servers import OwnClusters, Server

Inventory = Callable[[Server], str]


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    """Writes an inventory with one server as target `down`."""

    def write(server: Server) -> str:
        path = tmp_path / "inventory.toml"
        path.write_text(
            f'[target.down]\ndsn = "{server.dsn()}"\n[target.down.cluster]\ndata = "{server.data}"\n'
        )
        return str(path)

    return write


def test_a_view_of_the_host_is_shown_while_the_server_is_down(
    pgtui: Pgtui, own_cluster: OwnClusters, inventory: Inventory
) -> None:
    server = own_cluster()
    server.stop()
    common = ("--inventory", inventory(server), "-t", "down", "-o", "json")
    shown = pgtui("show", "cluster.clusters", "--where", "own=true", *common)
    assert shown.code == 0
    [row] = shown.object["rows"]
    assert (row["state"], row["data"]) == ("down", str(server.data))
    assert pgtui("show", "cluster.clusters", "-d", "all", *common).code == 0
    assert pgtui("show", "activity.server", *common).code == 3


def test_a_check_tells_the_host_beside_the_server_that_is_down(
    pgtui: Pgtui, own_cluster: OwnClusters, inventory: Inventory
) -> None:
    server = own_cluster()
    server.stop()
    common = ("--inventory", inventory(server), "-t", "down", "-o", "json")
    named = pgtui("check", "cluster.storage", "activity.server", *common)
    assert named.code == 2
    told = {c["check"]: c for c in named.objects}
    assert told["cluster.storage"]["status"] == "OK"
    assert told["activity.server"]["status"] == "CRITICAL"
    assert "cannot be reached" in told["activity.server"]["message"]

    told = {c["check"]: c for c in pgtui("check", *common).objects}
    assert told["connection"]["status"] == "CRITICAL"
    assert told["cluster.clusters"]["status"] == "CRITICAL", "whatever else runs on this machine"
    assert told["cluster.storage"]["status"] == "OK"
    assert "activity.server" not in told
    everywhere = {c["check"] for c in pgtui("check", "-d", "all", *common).objects}
    assert {"connection", "cluster.clusters"} <= everywhere


def test_help_says_that_the_host_suffices(pgtui: Pgtui) -> None:
    assert "the host alone, whether the server runs or not" in pgtui("show", "cluster.control", "--help").out
