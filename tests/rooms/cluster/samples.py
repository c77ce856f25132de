"""A server with something wrong in its files, and parameters for the room's views and actions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.registry.samples import Samples
from tests.servers import Database, until


@contextmanager
def populate(database: Database) -> Iterator[Samples]:
    """A line in its configuration that the server cannot take, and one in pg_hba.conf."""
    cluster = database.server.cluster
    for name, line in (("postgresql.conf", "no_such_setting = 1\n"), ("pg_hba.conf", "hots all all trust\n")):
        with (cluster.data / name).open("a") as file:
            file.write(line)
    until(lambda: bool(database.execute("SELECT 1 FROM pg_file_settings WHERE error IS NOT NULL")))
    yield Samples(
        views={"cluster.hba": {"user": "dba", "database": "postgres"}},
        nothing=frozenset() if Path("/run/systemd/system").is_dir() else frozenset({"cluster.services"}),
    )
