"""The systemd unit of a server, where systemd runs, and whether the server starts with the machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from backend.cluster.scan import Folder, Process, Scan, pairs

_GROUP = re.compile(r"^0::.*/([^/]+\.service)$|^\d+:name=systemd:.*/([^/]+\.service)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit as `systemctl show` tells it; `active` and `enabled` are systemd's own words."""

    name: str
    active: str | None = None
    enabled: str | None = None
    pid: int | None = None
    data: str | None = None


def of(folder: Folder, process: Process | None, scan: Scan, kind: str) -> Unit | None:
    """The unit of a server: of its process, else the one that is meant for its folder."""
    if "systemd" not in scan.values:
        return None
    known = shown(scan.values.get("units", ""))
    if process and (group := _GROUP.search(process.values.get("cgroup", ""))):
        name = group[1] or group[2]
        if not name.startswith("user@"):
            return known.get(name, Unit(name))
    for unit in known.values():
        if (process and unit.pid == process.pid) or (unit.data and unit.data.rstrip("/") == folder.path):
            return unit
    return _conventional(folder, kind, known, scan.values.get("files", ""))


def _conventional(folder: Folder, kind: str, known: Mapping[str, Unit], files: str) -> Unit | None:
    if kind == "debian":
        name = "postgresql@{}-{}.service".format(*PurePosixPath(folder.debian).parts[-2:])
        return known.get(name, Unit(name, "inactive"))
    if kind != "rpm":
        return None
    installed = {line.split()[0]: line.split()[1] for line in files.splitlines() if len(line.split()) > 1}
    for name in (f"postgresql-{folder.values.get('major')}.service", "postgresql.service"):
        if name in known or name in installed:
            return known.get(name, Unit(name, "inactive", installed.get(name)))
    return None


def shown(text: str) -> dict[str, Unit]:
    """The units that `systemctl show` lists, blocks of `Key=Value` in an order of its own."""
    units: dict[str, Unit] = {}
    for block in text.split("\n\n"):
        told = dict(pairs(block))
        if told.get("LoadState") in (None, "not-found") or "Id" not in told:
            continue
        data = re.search(r"(?:^|\s)\"?PGDATA=([^\s\"]+)", told.get("Environment", ""))
        pid = told.get("MainPID", "0")
        units[told["Id"]] = Unit(
            told["Id"],
            told.get("ActiveState"),
            told.get("UnitFileState") or None,
            int(pid) if pid.isdigit() and pid != "0" else None,
            data[1] if data else None,
        )
    return units


def start_mode(
    debian: Mapping[str, str] | None, unit: Unit | None
) -> Literal["auto", "manual", "disabled"] | None:
    """Whether it starts with the machine: by start.conf, else by its unit; None when nobody says."""
    if debian is not None:
        words = [line.partition("#")[0].strip() for line in debian.get("start", "auto").splitlines()]
        word = next((w for w in words if w), "auto")
        return "manual" if word == "manual" else "disabled" if word == "disabled" else "auto"
    if unit is None or unit.enabled is None:
        return None
    if unit.enabled.startswith("masked"):
        return "disabled"
    return "auto" if unit.enabled.startswith("enabled") else "manual"
