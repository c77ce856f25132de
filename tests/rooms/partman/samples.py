"""A database with partition sets, and parameters for the room's views and actions."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.registry.samples import Samples
from tests.rooms.partman.conftest import everything, gap, has_partman, major, stale, unmanaged
from tests.servers import Database

# Nothing here writes into a folder: plans alone are made.
ACTIONS: dict[str, dict[str, Any]] = {
    "partman.maintain": {"all_sets": True},
    "partman.fill_gaps": {"parent": "public.gappy"},
    "partman.check_default": {},
    "partman.reapply_privileges": {"parent": "public.events"},
    "partman.configure": {"parent": "public.events", "premake": 7},
    "partman.forget": {"parent": "public.dropped"},
    "partman.apply_retention": {"parent": "public.old"},
    "partman.archive_partition": {"partition": "public.archived_1", "folder": "/tmp"},
    "partman.create_parent": {"parent": "public.raw", "control": "at", "interval": "1 week"},
    "partman.create_sub_parent": {"parent": "public.events", "control": "at", "interval": "1 hour"},
    "partman.move_data": {"parent": "public.events"},
    "partman.schedule": {"by": "crontab"},
    "partman.undo": {"parent": "public.events", "into": "public.flat"},
    "partman.detach": {"partition": "public.logs_a"},
}


@contextmanager
def populate(database: Database) -> Iterator[Samples]:
    """Sets that pg_partman manages, where the server has it, and one that nobody does."""
    present = has_partman(database)
    (everything if present else unmanaged)(database)
    database.execute("CREATE TABLE archived (at date NOT NULL) PARTITION BY RANGE (at)")
    database.execute(
        "CREATE TABLE archived_1 PARTITION OF archived FOR VALUES FROM ('2020-01-01') TO ('2020-02-01')"
    )
    if present:
        gap(database)
        stale(database)
        database.execute("CREATE TABLE raw (at date NOT NULL) PARTITION BY RANGE (at)")
        database.execute("CREATE TABLE flat (LIKE events)")
        database.execute("INSERT INTO events VALUES (now() + interval '60 days')")
    server = database.server
    yield Samples(
        views={"partman.partitions": {"parent": "public.logs"}},
        actions=ACTIONS,
        without=frozenset() if present else frozenset({"pg_partman"}),
        varying={
            shutil.which("pgtui") or str(Path(sys.executable).with_name("pgtui")): "PGTUI",
            str(server.installation.bindir): "BINDIR",
            str(server.socket_dir): "SOCKET",
            f"port={server.port}": "port=PORT",
            f":{server.port}/": ":PORT/",
            "note: no cron daemon seems to run on this machine\n": "",
        },
        edition=f"pg_partman-{major(database)}" if present else "",
    )
