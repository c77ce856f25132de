"""Views of the room `partman`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from backend.core.declare import Ask, Col, Health, Verdict, view
from backend.core.session import Session
from backend.partman import children, sets, settings, strays
from backend.partman.bounds import missing
from backend.partman.catalog import partition_sets
from backend.partman.place import MANAGED, READING

NO_SETS = "no table of this database is partitioned"


@view("partman.sets", every=10, needs=READING, verdict=sets.set_verdict, empty=NO_SETS)
async def all_sets(s: Session) -> list[sets.SetRow]:
    """Every partition set: how long its partitions last, retention, and what is wrong with it."""
    return await sets.set_rows(s)


@view("partman.partitions", every=10, needs=READING, verdict=children.partition_verdict, checked=False,
      empty="the set has no partitions, or there is no such set")  # fmt: skip
async def partitions(
    s: Session,
    parent: Annotated[str, Ask("Set", choices="partman.sets.parent")],
    exact: Annotated[bool, Ask("Count rows", help="Reads every partition whole")] = False,
) -> list[children.PartitionRow]:
    """The partitions of one set, and tables that were detached from it."""
    return await children.partition_rows(s, parent, exact)


@dataclass(frozen=True, slots=True)
class Gap:
    """A range between two partitions that belongs to none."""

    parent: Annotated[str, Col("Set", key=True, text=True, priority=1)]
    lower: Annotated[str, Col("From", key=True, priority=1)]
    upper: Annotated[str, Col("To", priority=1)]
    missing: Annotated[int, Col("Missing", priority=2, help="Partitions that would fill it")]
    managed: Annotated[bool, Col("Managed", priority=3, help="partman.fill_gaps fills it")]


def _gap_verdict(row: Gap) -> Verdict | None:
    return Verdict(Health.WARNING, f"no partition from {row.lower} to {row.upper}")


@view("partman.gaps", every=30, needs=READING, verdict=_gap_verdict, empty="no set has a gap")
async def gaps(s: Session) -> list[Gap]:
    """Ranges between partitions that belong to none."""
    return [
        Gap(f.at.parent, g.first, g.last, missing(g, f.spans[-1].width), f.config is not None)
        for f in await partition_sets(s)
        for g in f.gaps
    ]


@view("partman.default_rows", every=60, needs=READING, verdict=strays.stray_verdict,
      empty="no default partition holds rows")  # fmt: skip
async def default_rows(s: Session) -> list[strays.Stray]:
    """Rows in default partitions, by the range that they belong to."""
    return await strays.stray_rows(s)


@view("partman.settings", every=30, needs=MANAGED, verdict=settings.setting_verdict, checked=False,
      empty="pg_partman manages no set here; partman.create_parent hands one over")  # fmt: skip
async def all_settings(s: Session) -> list[settings.Setting]:
    """All that pg_partman's configuration says of its sets."""
    return await settings.setting_rows(s)
