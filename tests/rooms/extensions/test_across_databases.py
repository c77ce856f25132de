"""One extension in several databases of a target: versions that differ are told."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.servers import OwnClusters

TREE = Path(__file__).resolve().parents[3]


def test_versions_that_differ_are_told_beside_the_rows(own_cluster: OwnClusters) -> None:
    server = own_cluster()
    for name, version in (("a", "1.6"), ("b\nc", "1.8"), ("d", "1.8")):
        server.psql(f'CREATE DATABASE "{name}"')
        server.psql(f"CREATE EXTENSION hstore VERSION '{version}'", name)
    words = ["show", "extensions.installed", "-d", "all", "-o", "json", "-t", server.dsn()]
    done = subprocess.run(
        [sys.executable, "-m", "tui", *words], cwd=TREE, capture_output=True, text=True, check=True
    )
    assert [json.loads(line)["database"] for line in done.stdout.splitlines()] == [
        "a",
        "b\nc",
        "d",
        "postgres",
    ]
    [told] = done.stderr.splitlines()
    assert told.endswith(": extension hstore differs: 1.6 in a; 1.8 in b␊c, d"), told
