"""Which commands are planned on a host with systemd, and on one without.

Nothing here is run by systemd: /run is one of the test's own, and `systemctl` answers what the test says and
keeps a record, so that these tests show plans alone.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from backend.lab.servers import find_installations
from tests.rooms.cluster.kinds import Common, Operating, Subject, common, operating, own_folder, subject
from tests.rooms.cluster.mounting import apart_from_the_machine, changed_root, mounts
from tests.servers import Workspace

__all__ = ["common", "operating", "subject"]

pytestmark = [
    pytest.mark.skipif(not mounts(), reason="file systems cannot be mounted here"),
    pytest.mark.skipif(changed_root(), reason="in a changed root servers are not seen from a name space"),
]

TREE = Path(__file__).resolve().parents[3]

SYSTEMCTL = """\
#!/bin/sh
echo "$1" >>"{folder}/asked"
case $1 in show) cat "{folder}/units" ;; esac
"""


@dataclass(frozen=True)
class Hosts:
    """Plans actions on this machine with a /run that has systemd's mark, or not."""

    folder: Path

    def plan(self, subject: Subject, *words: str, systemd: bool = True) -> tuple[int, dict[str, Any]]:
        """The exit code and the object that a dry run prints."""
        inventory = self.folder / "inventory.toml"
        inventory.write_text(
            f'default = "t"\n[target.t]\ndsn = "{subject.dsn}"\n'
            f'[target.t.cluster]\ndata = "{subject.data}"\nbin = "{subject.bindir}"\n'
        )
        mark = "mkdir -p /run/systemd/system" if systemd else ":"
        program = [sys.executable, "-m", "tui", "run-action", *words, "--dry-run", "-o", "json"]
        mounting = f'mount -t tmpfs t /run && {mark} && exec "$@"'
        around = [*apart_from_the_machine(), "sh", "-c", mounting, "sh"]
        done = subprocess.run(
            [*around, *program],
            env=os.environ
            | {"PATH": f"{self.folder}:{os.environ['PATH']}", "PGTUI_INVENTORY": str(inventory)},
            capture_output=True, text=True, cwd=TREE, check=False,
        )  # fmt: skip
        return done.returncode, json.loads(done.stdout) if done.stdout else {"error": done.stderr}

    def commands(self, subject: Subject, *words: str, systemd: bool = True) -> list[str]:
        """The first lines of the planned steps."""
        code, told = self.plan(subject, *words, systemd=systemd)
        assert code == 0, told["error"]
        return [step["text"].split("\n")[0] for step in told["steps"]]

    def units(self, **properties: str | int) -> None:
        """What systemctl shows: one unit with these properties."""
        told = {"LoadState": "loaded"} | properties
        (self.folder / "units").write_text("".join(f"{k}={v}\n" for k, v in told.items()))

    @property
    def asked(self) -> set[str]:
        """What systemctl was asked to do."""
        file = self.folder / "asked"
        return set(file.read_text().split()) if file.exists() else set()


@pytest.fixture
def hosts(state_home: Path) -> Iterator[Hosts]:
    """Plans on hosts whose systemctl only tells."""
    folder = state_home / "bin"
    folder.mkdir()
    program = folder / "systemctl"
    program.write_text(SYSTEMCTL.format(folder=folder))
    program.chmod(0o755)
    made = Hosts(folder)
    made.units()
    yield made
    assert made.asked <= {"show", "list-unit-files"}


def planned(commands: list[str], word: str) -> list[str]:
    return [c for c in commands if word in c]


async def test_a_server_of_postgresql_common_belongs_to_its_unit(
    common: Common, operating: Operating, hosts: Hosts
) -> None:
    made = common.make("orders")
    unit = f"postgresql@{common.major}-orders.service"
    assert planned(hosts.commands(made, "cluster.start"), "systemctl") == [f"systemctl start {unit}"]
    enabling = hosts.commands(made, "cluster.start_mode", "--mode", "auto")
    assert enabling[1:] == ["systemctl daemon-reload"]

    await operating(made).done("cluster.start")
    pid = made.pid()
    hosts.units(Id=unit, ActiveState="active", MainPID=pid or 0)
    for verb in ("stop", "restart"):
        found = planned(hosts.commands(made, f"cluster.{verb}"), "ctl")
        assert f"systemctl {verb} {unit}" in found
        assert not planned(found, "pg_ctlcluster")
    code, told = hosts.plan(made, "cluster.stop", "--mode", "immediate")
    assert code == 2
    assert f"systemd runs {made.name} and stops it in mode fast, not immediate" in told["error"]

    # Started beside its unit, it is not systemd's to stop, and pg_ctlcluster must not hand it over.
    hosts.units(Id=unit, ActiveState="inactive", MainPID=0)
    [stop] = planned(hosts.commands(made, "cluster.stop"), "ctl")
    assert stop == f"pg_ctlcluster --skip-systemctl-redirect -m fast {common.major} orders stop -- -t 60"
    assert made.pid() == pid


@pytest.fixture
def rpm(workspace: Workspace) -> Iterator[Subject]:
    """A server that is down, in a folder as RPM packages lay it out."""
    made, cluster = own_folder(workspace, find_installations()[0], "rpm")
    yield made
    shutil.rmtree(cluster.folder)


def test_a_server_of_the_rpm_packages_is_found_by_the_units_data_folder(rpm: Subject, hosts: Hosts) -> None:
    unit, environment = "billing.service", f"PGDATA={rpm.data}/"
    hosts.units(Id=unit, ActiveState="inactive", UnitFileState="disabled", Environment=environment)
    assert planned(hosts.commands(rpm, "cluster.start"), "systemctl") == [f"systemctl start {unit}"]
    for mode, verb in (("auto", "enable"), ("disabled", "mask")):
        assert hosts.commands(rpm, "cluster.start_mode", "--mode", mode) == [f"systemctl {verb} {unit}"]


async def test_without_systemd_nobody_is_asked_for_units(
    subject: Subject, operating: Operating, hosts: Hosts
) -> None:
    found = hosts.commands(subject, "cluster.start", systemd=False)
    assert not planned(found, "systemctl")
    await operating(subject).done("cluster.start")
    for verb in ("stop", "restart"):
        found = hosts.commands(subject, f"cluster.{verb}", systemd=False)
        assert not planned(found, "systemctl") and not planned(found, "redirect")
    assert hosts.asked == set()
