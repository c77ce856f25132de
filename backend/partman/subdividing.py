"""The action that partitions every partition of a set again."""

from __future__ import annotations

from typing import Annotated

from psycopg import sql

from backend.core.clean import clean
from backend.core.declare import Ask, Danger, action
from backend.core.errors import Refused, Usage
from backend.core.plan import Check, Plan, Step, statement
from backend.core.session import Session
from backend.core.show import counted, size
from backend.partman import bounds
from backend.partman.calls import call, find_table, select
from backend.partman.catalog import PartitionSet
from backend.partman.creating import MOST_PREMADE, WORDS, column_of
from backend.partman.found import find_managed, literal
from backend.partman.maintaining import ParentName, target
from backend.partman.place import ACTING, declarative
from backend.partman.premaking import number_ranges, time_ranges


@action("partman.create_sub_parent", danger=Danger.DESTROY, needs=ACTING, on="partman.sets")
async def create_sub_parent(
    s: Session,
    parent: ParentName,
    control: Annotated[str, Ask("Column", help="The one to partition by below", fill=False)],
    interval: Annotated[str, Ask("Interval", help="Of the partitions below", fill=False)],
    premake: Annotated[int, Ask("Premake", help="Partitions on either side of now", fill=False)] = 4,
) -> Plan:
    """Partition every partition of a set again: they are dropped, and all their rows are lost.

    PostgreSQL cannot partition a table that is there, so pg_partman drops each partition and makes it anew.
    Rows in the default partition stay.
    """
    if not 1 <= premake <= MOST_PREMADE:
        raise Usage(f"--premake wants 1 to {MOST_PREMADE}, not {premake}")
    found = await find_managed(s, parent)
    dropped = [p for p in found.partitions if not p.range.default]
    if any(p.relkind == "p" for p in dropped):
        raise Refused(f"partitions of {clean(found.at.parent)} are partitioned already")
    create = call(
        s.facts,
        "create_sub_parent",
        p_top_parent=literal(found),
        p_control=control,
        p_type="range" if declarative(s.facts) else "native",
        p_interval=await _interval(s, found, control, interval, premake),
        p_premake=premake,
        **{"p_declarative_check" if declarative(s.facts) else "p_native_check": "yes"},
    )
    known = [b for p in dropped if (b := found.size(p)) is not None]
    return Plan(
        found.at.parent,
        (select(create, "created"), *_divided(found)),
        danger=Danger.DESTROY,
        notes=(f"{counted(dropped, 'partition')}, {size(sum(known))}, are dropped with their rows",),
        rows=tuple(target(found, p) for p in dropped),
        result=lambda _: {"parent": found.at.parent, "control": control, "dropped": len(dropped)},
    )


async def _interval(s: Session, of: PartitionSet, control: str, interval: str, premake: int) -> str:
    """The interval as this version takes it; a usage error where it makes no partitions."""
    table = await find_table(s, of.at.parent, "--parent")
    column = await column_of(s, table, control)
    if column.type not in bounds.TIMES:
        await number_ranges(s, table, control, interval, premake, "0")
        return interval
    await time_ranges(s, table, WORDS.get(interval), interval, premake, None)
    return WORDS.get(interval, interval) if declarative(s.facts) else interval


def _divided(of: PartitionSet) -> tuple[Step, Step]:
    look = statement(
        sql.SQL("""\
SELECT c.relname AS partition
  FROM pg_catalog.pg_inherits AS i
  JOIN pg_catalog.pg_class AS c
    ON c.oid = i.inhrelid
 WHERE i.inhparent = {}::pg_catalog.regclass
   AND c.relkind <> 'p'
   AND pg_catalog.pg_get_expr(c.relpartbound, c.oid) <> 'DEFAULT'""").format(sql.Literal(of.at.parent))
    )
    check = Check(
        lambda answers: not answers[-1].rows,
        that="every partition is partitioned now",
        otherwise=lambda answers: f"{answers[-1].scalar} is not partitioned",
    )
    return look, check
