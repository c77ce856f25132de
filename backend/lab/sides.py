"""Servers beside the lab's primary, each with something that a console has to show.

`spare` is down, `pending` waits for a restart, `broken` has a line in pg_hba.conf that no server can read.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psycopg

from backend.lab.cluster import PrivateCluster, free_port
from backend.lab.parts import Part, status_of
from backend.lab.place import Place
from backend.lab.primary import NAME as PRIMARY
from backend.lab.primary import major_of
from backend.lab.servers import Installation

Name = Literal["spare", "pending", "broken"]

# They are there to be looked at: the less they take, the better.
SETTINGS = {"fsync": "off", "shared_buffers": "1MB", "max_connections": "10", "autovacuum": "off"}
WRONG = "hots all all 10.0.0.0/8 scram-sha-256\n"


@dataclass(frozen=True, slots=True)
class Side:
    """Makes one of them; the programs are the primary's."""

    name: Name

    def up(self, place: Place) -> None:
        """Create it, and start it unless it is the one that is down."""
        cluster = self._new(place)
        place.remember(self.name, {"wanted": self.name != "spare"})
        if major_of(cluster.data) != cluster.installation.major:
            shutil.rmtree(cluster.data, ignore_errors=True)  # the primary's programs are others now
        if not cluster.data.exists():
            self._create(place, cluster)
        if self.name == "spare" or cluster.running():
            return
        if self.name == "pending":
            cluster.start()
            _let_wait(cluster)
        else:
            _mend(cluster)  # no server starts with such a line
            cluster.start()
            _break(cluster)

    def down(self, place: Place) -> None:
        """Stop it; its data stays."""
        place.remember(self.name, {"wanted": False})
        if (cluster := self.existing(place)) is not None:
            cluster.end()
            place.forget_sockets(cluster.socket_dir)

    def look(self, place: Place) -> Part:
        """Whether it runs, and how to connect to it."""
        cluster = self.existing(place)
        pid = cluster.pid() if cluster else None
        status = status_of(alive=pid is not None, wanted=bool(place.memory(self.name).get("wanted")))
        return Part(self.name, "postgres", status, cluster.dsn() if cluster else None, pid)

    def existing(self, place: Place) -> PrivateCluster | None:
        """The server, where it has been made."""
        known, programs = place.memory(self.name), place.memory(PRIMARY)
        if "port" not in known or "bindir" not in programs:
            return None
        bindir = Path(programs["bindir"])
        installation = Installation(programs["major"], programs["version"], bindir, programs["origin"])
        return PrivateCluster(
            place.folder / self.name,
            installation,
            known["port"],
            Path(known["socket_folder"]),
            SETTINGS,
            account=place.account,
        )

    def _new(self, place: Place) -> PrivateCluster:
        if (known := self.existing(place)) is not None and known.data.exists():
            place.remember(self.name, {"socket_folder": str(place.socket_folder(self.name))})
        else:
            sockets = str(place.socket_folder(self.name))
            place.remember(self.name, {"port": free_port(), "socket_folder": sockets})
        made = self.existing(place)
        assert made is not None  # noqa: S101  the primary comes first
        return made

    def _create(self, place: Place, cluster: PrivateCluster) -> None:
        """Make the data folder: of the first by initdb, of the others as copies of that one."""
        first = place.folder / SIDES[0].name / "data"
        if self is SIDES[0] or not first.exists():
            cluster.create()
            cluster.configure()
            return
        place.account.make_folder(cluster.folder)
        partial = cluster.folder / "data.partial"
        subprocess.run(["cp", "-a", "--", str(first), str(partial)], check=True)
        partial.rename(cluster.data)


def _let_wait(cluster: PrivateCluster) -> None:
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET max_connections = 20")
        connection.execute("SELECT pg_reload_conf()")


def _mend(cluster: PrivateCluster) -> None:
    file = _rules(cluster)
    file.write_text(file.read_text().replace(WRONG, ""))


def _break(cluster: PrivateCluster) -> None:
    """Add the line while the server runs, which goes on with the rules that it has."""
    with _rules(cluster).open("a") as rules:
        rules.write(WRONG)


def _rules(cluster: PrivateCluster) -> Path:
    return cluster.data / "pg_hba.conf"


SIDES = (Side("spare"), Side("pending"), Side("broken"))
