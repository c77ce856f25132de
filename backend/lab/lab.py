"""Starting, stopping and describing the lab as a whole."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.lab import primary
from backend.lab.parts import Maker, Part
from backend.lab.place import Place, write_whole
from backend.lab.primary import Primary
from backend.lab.sides import SIDES
from backend.lab.ticker import Ticker
from backend.lab.workload import Workload

# In the order of starting; stopping goes backwards.
MAKERS: tuple[Maker, ...] = (Primary(), Ticker(), Workload(), *SIDES)


@dataclass(frozen=True, slots=True)
class Lab:
    """A lab as it is; the notes are what a person should be told about it."""

    folder: Path
    inventory: Path
    parts: tuple[Part, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The lab as scripts read it."""
        return {
            "folder": str(self.folder),
            "inventory": str(self.inventory),
            "parts": [part.to_json() for part in self.parts],
        }


def up(folder: Path | None = None) -> Lab:
    """Make and start whatever of the lab is missing; one that runs is left as it is."""
    place = Place.find(folder)
    place.prepare()
    with place.locked():
        for maker in MAKERS:
            maker.up(place)
        write_whole(_inventory(place), _inventory_text(place))
    return _look(place)


def down(folder: Path | None = None) -> Lab:
    """Stop whatever of the lab runs; its data stays."""
    place = Place.find(folder)
    if place.exists():
        with place.locked():
            for maker in reversed(MAKERS):
                maker.down(place)
    return _look(place)


def status(folder: Path | None = None) -> Lab:
    """The lab as it is, changing nothing."""
    return _look(Place.find(folder))


def _look(place: Place) -> Lab:
    parts = tuple(part for maker in MAKERS if (part := maker.look(place)) is not None)
    return Lab(place.folder, _inventory(place), parts, place.notes)


def _inventory(place: Place) -> Path:
    return place.folder / "inventory.toml"


def _inventory_text(place: Place) -> str:
    # A JSON string of ASCII is a TOML string too.
    lines = ['default = "lab"\n', _target("lab", primary.dsn(place), "demo")]
    for side in SIDES:
        if cluster := side.existing(place):
            lines.append(_target(side.name, cluster.dsn(), "side"))
            bindir = cluster.installation.bindir
            lines.append(
                f"[target.{side.name}.cluster]\ndata = {_quoted(cluster.data)}\nbin = {_quoted(bindir)}\n"
            )
    return "\n".join(lines)


def _target(name: str, dsn: str, tag: str) -> str:
    return f'[target.{name}]\ndsn = {json.dumps(dsn)}\ntags = ["{tag}"]\n'


def _quoted(path: Path) -> str:
    return json.dumps(str(path))
