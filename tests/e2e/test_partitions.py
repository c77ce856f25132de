"""The room `partman` in a terminal."""

from __future__ import annotations

import re

from tests.e2e.conftest import Open
from tests.rooms.partman.conftest import unmanaged
from tests.servers import Database


def test_sets_are_above_and_the_partitions_of_one_below(database: Database, pgtui: Open) -> None:
    unmanaged(database)
    terminal = pgtui(database.dsn, columns=120, lines=40)
    terminal.wait_for("3 Partitions")
    terminal.send("3")
    terminal.wait_for(re.compile(r"public\.logs$", re.M))
    terminal.wait_for("public.logs_default")
    terminal.wait_for("public.logs_a")
    terminal.resize(80, 12)
    terminal.wait_until_gone("public.logs_a")
    terminal.send("q")
    assert terminal.ended() == 0
