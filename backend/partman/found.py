"""One set, or one partition, by the name that the user gives."""

from __future__ import annotations

from psycopg import sql

from backend.core.clean import clean
from backend.core.errors import Refused
from backend.core.session import Session
from backend.partman.catalog import Partition, PartitionSet, partition_sets


class NoSuchSet(Refused):
    """No table of that name is partitioned."""


async def find_set(s: Session, parent: str) -> PartitionSet:
    """The set of that name, written as SQL or as pg_partman has it; refused where there is none, or two."""
    known = await partition_sets(s)
    found = [f for f in known if f.at.parent == parent]
    found = found or [f for f in known if parent in (f.at.plain, f.at.name)]
    if len(found) == 1:
        return found[0]
    if found:
        names = " and ".join(clean(f.at.parent) for f in found)
        raise Refused(f"{clean(parent)} may be {names}", hint="write it with its schema, quoted as in SQL")
    raise NoSuchSet(f"there is no partition set {clean(parent)}", hint="partman.sets lists them")


async def find_managed(s: Session, parent: str) -> PartitionSet:
    """The set of that name, which pg_partman manages."""
    found = await find_set(s, parent)
    if found.config is None:
        raise Refused(
            f"pg_partman does not manage {clean(found.at.parent)}",
            hint="partman.create_parent hands it over",
        )
    return found


async def find_partition(s: Session, partition: str) -> tuple[PartitionSet, Partition]:
    """The partition of that name and the set it belongs to."""
    known = [(f, p) for f in await partition_sets(s) for p in f.partitions]
    found = [(f, p) for f, p in known if p.partition == partition]
    found = found or [(f, p) for f, p in known if partition in (f"{p.schema}.{p.name}", p.name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise Refused(f"there are several partitions {clean(partition)}", hint="write it with its schema")
    raise Refused(f"there is no partition {clean(partition)}", hint="partman.partitions lists them")


def literal(of: PartitionSet) -> sql.Literal:
    """The name of a set as pg_partman takes it."""
    return sql.Literal(of.at.plain)
