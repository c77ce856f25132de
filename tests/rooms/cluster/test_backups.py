"""Whose stanza a stanza is, when its last backups were made, and what its repository takes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backend.cluster.backups import read
from backend.cluster.clusters import ClusterRow, cluster_verdict
from backend.core.declare import Health
from backend.core.errors import Failed
from tests.rooms.cluster.conftest import Looking
from tests.servers import OwnClusters, Server

HERE = shutil.which("pgbackrest") is not None
real = pytest.mark.skipif(not HERE, reason="pgbackrest is not on this machine")


class Stanza:
    """A stanza `x` of a server that is down, with a repository of its own."""

    def __init__(self, server: Server) -> None:
        self.server, self.folder = server, server.cluster.folder
        self.repository, self.config = self.folder / "repo", self.folder / "pgbackrest.conf"
        for each in (self.repository, self.folder / "lock"):
            server.cluster.account.make_folder(each)
        self.config.write_text(
            f"[global]\nrepo1-path={self.repository}\nlock-path={self.folder}/lock\n"
            f"log-path={self.folder}/lock\nlog-level-file=off\n\n"
            f"# of this server\n[x]\npg1-path={server.data}\n[x:archive-push]\ncompress-level=3\n"
        )
        self.config.chmod(0o644)

    @property
    def target(self) -> dict[str, Any]:
        return {"backup": {"config": str(self.config)}}

    def run(self, *words: str) -> None:
        program = ["pgbackrest", f"--config={self.config}", "--stanza=x", "--no-online", *words]
        self.server.cluster.account.run(program)


def write(path: Path, text: str) -> None:
    path.write_text(text)


def size_of(folder: Path) -> int:
    return int(subprocess.run(["du", "-sb", folder], capture_output=True, check=True).stdout.split()[0])


def of(rows: list[ClusterRow], server: Server) -> ClusterRow:
    return next(r for r in rows if r.data == str(server.data.resolve()))


@real
async def test_the_last_full_and_incremental_backup_of_a_server_are_told(
    own_cluster: OwnClusters, looking: Looking
) -> None:
    server, other = own_cluster(), own_cluster()
    stanza = Stanza(server)
    server.stop()
    row = of(await looking(other, "clusters", target=stanza.target), server)
    assert (row.stanza, row.full_backup, row.incremental_backup) == ("x", None, None)
    assert row.backup_trouble == "stanza x has no backup"
    verdict = cluster_verdict(row)
    assert verdict is not None
    assert verdict.health is Health.WARNING

    try:
        stanza.run("stanza-create")
    except Failed as e:
        if "is this version of PostgreSQL supported" not in e.message:
            raise
        pytest.skip(f"this pgbackrest does not know PostgreSQL {server.cluster.installation.major}")
    stanza.run("--type=full", "backup")
    row = of(await looking(other, "clusters", target=stanza.target), server)
    assert row.full_backup is not None
    assert abs(datetime.now(UTC) - row.full_backup) < timedelta(minutes=5)
    assert (row.incremental_backup, row.backup_trouble) == (None, None)

    (server.data / "new").write_text("changed")
    os.chown(server.data / "new", server.data.stat().st_uid, server.data.stat().st_gid)
    stanza.run("--type=incr", "backup")
    rows = await looking(other, "clusters", target=stanza.target)
    row = of(rows, server)
    assert row.incremental_backup is not None
    assert row.incremental_backup >= (row.full_backup or datetime.now(UTC))
    assert of(rows, other).stanza is None

    given: dict[str, Any] = {"target": stanza.target, "cluster": str(server.data)}
    places = {r.place: r for r in await looking(other, "storage", **given)}
    repository = places["repository"]
    assert repository.path == str(stanza.repository)
    assert repository.used_percent is not None
    assert 0 < (repository.size or 0) <= size_of(stanza.repository / "backup")
    assert "repository" not in {r.place for r in await looking(other, "storage", target=stanza.target)}


@real
async def test_a_stanza_that_the_inventory_names_is_the_targets_own(
    own_cluster: OwnClusters, looking: Looking
) -> None:
    server = own_cluster()
    stanza = Stanza(server)
    stanza.config.write_text(stanza.config.read_text().replace(str(server.data), "/elsewhere"))
    target = {"backup": {"tool": "pgbackrest", "stanza": "x", "config": str(stanza.config)}}
    assert of(await looking(server, "clusters", target=target), server).stanza == "x"
    target = {"backup": {"tool": "pgbackrest", "stanza": "y", "config": str(stanza.config)}}
    assert of(await looking(server, "clusters", target=target), server).stanza is None


async def test_a_configuration_that_is_none_is_no_trouble(own_cluster: OwnClusters, looking: Looking) -> None:
    server = own_cluster()
    config = server.cluster.folder / "pgbackrest.conf"
    write(config, "pg1-path=/no/section\n")
    row = of(await looking(server, "clusters", target={"backup": {"config": str(config)}}), server)
    assert (row.stanza, row.backup_trouble) == (None, None)


def test_repositories_elsewhere_are_no_places_of_this_host() -> None:
    config = (
        "[global]\nrepo1-host=backup.example.net\nrepo2-type=s3\nrepo2-path=/b\nrepo3-path=/mnt/repo\n"
        "[main]\npg1-path=/a\npg2-path=/b/\npg2-host=standby\n"
    )
    backup = {"label": "f", "type": "full", "error": True, "timestamp": {"start": 1, "stop": 60},
              "database": {"id": 1, "repo-key": 3}, "info": {"repository": {"delta": 7}}}  # fmt: skip
    told = json.dumps([{"name": "main", "status": {"code": 0, "message": "ok"}, "backup": [backup]}])
    found = read(f"{config}\0{told}")
    assert [(r.place, r.path, r.bytes) for r in found.repositories] == [("repository 3", "/mnt/repo", 7)]
    [stanza] = found.stanzas
    assert stanza.paths == ("/a",)
    assert stanza.full == datetime(1970, 1, 1, 0, 1, tzinfo=UTC)
    assert stanza.trouble == "the last backup of stanza main has pages with wrong checksums"
    assert read("").stanzas == ()
