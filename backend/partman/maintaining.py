"""Actions that pg_partman does for a set: maintenance, gaps, the default partition, privileges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, LiteralString

from psycopg import sql

from backend.core.clean import clean
from backend.core.declare import Ask, Danger, action
from backend.core.errors import Refused, Usage
from backend.core.facts import Query
from backend.core.plan import Answers, Check, Plan, Sql, Step, statement
from backend.core.session import Session
from backend.core.show import counted
from backend.partman.bounds import EPOCHS, Span
from backend.partman.calls import Target, call, children, last, select
from backend.partman.catalog import Partition, PartitionSet, configs, partition_sets
from backend.partman.children import due_of
from backend.partman.found import find_managed, literal
from backend.partman.place import ACTING, ask, declarative, schema
from backend.partman.retention import Untold
from backend.partman.strays import strays_of

ParentName = Annotated[str, Ask("Set", choices="partman.sets.parent")]
ON = ("partman.sets", "partman.gaps", "partman.default_rows", "partman.settings")
MOST_MADE = 5000

# pg_partman lets one maintenance run at a time, by an advisory lock on this number.
_RUNNING = Query("""
SELECT l.pid
  FROM pg_catalog.pg_locks AS l
 WHERE l.locktype = 'advisory'
   AND l.objsubid = 1
   AND l.database = (SELECT d.oid
                       FROM pg_catalog.pg_database AS d
                      WHERE d.datname = pg_catalog.current_database())
   AND l.objid::pg_catalog.int8 = pg_catalog.hashtext('pg_partman run_maintenance') & 4294967295
""")


@dataclass(frozen=True, slots=True)
class Running:
    """The session that maintains now."""

    pid: int


@action("partman.maintain", danger=Danger.CHANGE, needs=ACTING, on=ON)
async def maintain(
    s: Session,
    parent: Annotated[str | None, Ask("Set", choices="partman.sets.parent")] = None,
    all_sets: Annotated[bool, Ask("All sets", help="All that are maintained automatically")] = False,
    analyze: Annotated[bool, Ask("Analyze", help="After new partitions were made")] = False,
) -> Plan:
    """Make the partitions that will be needed, and let go what retention does not keep.

    Each set is maintained in a transaction of its own: one that fails does not stop the others. A set whose
    retention drops tables makes it a matter of losing data, and those tables are listed.
    """
    if (parent is None) is not all_sets:
        raise Usage("give either --parent or --all-sets")
    await _demand_nobody_maintains(s)
    chosen: list[PartitionSet]
    notes: list[str] = []
    if parent is not None:
        chosen = [await find_managed(s, parent)]
        _demand_no_undo(chosen[0])
    else:
        chosen, notes = await _automatic(s)
    gone = {f.at.oid: await _gone(s, f) for f in chosen}
    subject = chosen[0].at.parent if parent is not None else s.target.label
    if not chosen:
        return Plan(subject, (), notes=("no set is maintained automatically", *notes))
    return Plan(
        subject,
        (*(_maintain(s, f, analyze, lenient=all_sets) for f in chosen), _ran()),
        danger=max(_danger(f, gone[f.at.oid]) for f in chosen),
        notes=(*notes, *(n for f in chosen for n in _remarks(f, gone[f.at.oid]))),
        rows=tuple(target(f, p) for f in chosen for p in gone[f.at.oid] or ()),
        result=lambda answers: _told(chosen, answers),
    )


async def _demand_nobody_maintains(s: Session) -> None:
    if running := await ask(s, Running, _RUNNING):
        raise Refused(f"maintenance runs already, in process {running[0].pid}", hint="it may end soon")


def _demand_no_undo(of: PartitionSet) -> None:
    if (of.config or {}).get("undo_in_progress"):
        raise Refused(f"{clean(of.at.parent)} is being undone, so pg_partman does not maintain it")


async def _automatic(s: Session) -> tuple[list[PartitionSet], list[str]]:
    """The sets that are maintained without being named, in their order; and what is left out."""
    known = [f for f in await partition_sets(s) if f.config]
    chosen = [f for f in known if _is_automatic(f.config or {})]
    stale = [c.parent_table for c in await configs(s) if not c.present]
    notes = [f"{clean(name)} was dropped and is left out; partman.forget removes it" for name in stale]
    return sorted(chosen, key=_order), notes


def _is_automatic(config: dict[str, Any]) -> bool:
    return config.get("automatic_maintenance") == "on" and not config.get("undo_in_progress")


def _order(of: PartitionSet) -> tuple[bool, int, str]:
    order = (of.config or {}).get("maintenance_order")
    return (order is None, order or 0, of.at.plain)


async def _gone(s: Session, of: PartitionSet) -> list[Partition] | None:
    """What retention lets go; None where only pg_partman can tell."""
    try:
        return await due_of(s, of)
    except Untold:
        return None


def _danger(of: PartitionSet, gone: Sequence[Partition] | None) -> Danger:
    if gone is not None and not gone:
        return Danger.CHANGE
    return Danger.DESTROY if drops(of) else Danger.DISRUPT


def drops(of: PartitionSet) -> bool:
    """Whether retention drops the tables that it lets go."""
    config = of.config or {}
    return not config.get("retention_keep_table") and not config.get("retention_schema")


def _remarks(of: PartitionSet, gone: Sequence[Partition] | None) -> list[str]:
    what = "drops" if drops(of) else "detaches"
    if gone is None:
        return [f"which partitions retention of {clean(of.at.parent)} {what} cannot be told before"]
    if not gone:
        return []
    return [f"retention of {clean(of.at.parent)} {what} {counted(gone, 'partition')}"]


def target(of: PartitionSet, at: Partition) -> Target:
    """A partition as a plan lists it."""
    return Target(at.partition, at.range.lower, at.range.upper, of.size(at))


def _maintain(s: Session, of: PartitionSet, analyze: bool, *, lenient: bool) -> Sql:
    run = call(s.facts, "run_maintenance", p_parent_table=literal(of), p_analyze=analyze)
    # The lock is held until the transaction ends; without it pg_partman did nothing and only noticed so.
    look = sql.SQL("""\
SELECT {parent} AS parent,
       {children} AS partitions,
       EXISTS (SELECT
                 FROM pg_catalog.pg_locks AS l
                WHERE l.locktype = 'advisory'
                  AND l.pid = pg_catalog.pg_backend_pid()
                  AND l.objsubid = 1
                  AND l.objid::pg_catalog.int8
                      = pg_catalog.hashtext('pg_partman run_maintenance') & 4294967295) AS ran""").format(
        parent=sql.Literal(of.at.parent), children=children(of)
    )
    return Sql((sql.SQL("SELECT {}").format(run), look), lenient=lenient)


def _ran() -> Check:
    return Check(
        lambda answers: all(a.first.get("ran", True) for a in answers),
        that="pg_partman did not leave it to another maintenance",
        otherwise="maintenance ran elsewhere at the same time, so this one did nothing for some sets",
    )


def _told(chosen: Sequence[PartitionSet], answers: Answers) -> list[dict[str, Any]]:
    return [_outcome(f, a.first.get("partitions"), a.error) for f, a in zip(chosen, answers, strict=False)]


def _outcome(of: PartitionSet, partitions: int | None, error: str) -> dict[str, Any]:
    before = sum(not p.range.default for p in of.partitions)
    return {"parent": of.at.parent, "before": before, "partitions": partitions, "error": error or None}


@action("partman.fill_gaps", danger=Danger.CHANGE, needs=ACTING, on=ON)
async def fill_gaps(s: Session, parent: ParentName) -> Plan:
    """Make the partitions that are missing between others."""
    found = await find_managed(s, parent)
    if not found.measured:
        raise Refused(
            f"gaps in {clean(found.at.parent)} cannot be told from here",
            hint="its bounds are neither times nor numbers",
        )
    made = sum(_count(found, gap) for gap in found.gaps)
    if not made:
        return Plan(found.at.parent, (), notes=(f"{clean(found.at.parent)} has no gaps",))
    if found.scale.epoch in EPOCHS and not declarative(s.facts):
        raise Refused(
            f"{clean(found.at.parent)} counts time in numbers, and pg_partman 4 fills no gaps in such sets",
            hint="CREATE TABLE … PARTITION OF makes the partitions",
        )
    if made > MOST_MADE:
        raise Refused(f"that would make {made} partitions", hint="partman.gaps shows where they are")
    await _demand_none_stranded(s, found)
    fill = select(call(s.facts, "partition_gap_fill", p_parent_table=literal(found)), "made")
    check = Check(
        lambda answers: answers[-1].scalar == made,
        that=f"{counted(made, 'partition')} were made",
        otherwise=lambda answers: f"{answers[-1].scalar} partitions were made, not {made}",
    )
    rows = tuple(r for gap in found.gaps for r in _rows(found, gap))
    return Plan(found.at.parent, (fill, check), rows=rows, result=last)


def _count(of: PartitionSet, gap: Span) -> int:
    """How many partitions fill a gap; refused where pg_partman would never find its end."""
    width = of.spans[-1].width
    count: int = round(gap.width / width)
    # Months, and days on which the clocks change, are not all equally long.
    if count < 1 or abs(gap.width / width - count) > 0.12 * count:
        interval = (of.config or {}).get("partition_interval")
        raise Refused(
            f"the gap from {gap.first} to {gap.last} is no multiple of {interval}",
            hint="pg_partman would not find its end; CREATE TABLE … PARTITION OF makes the partition",
        )
    return count


def _rows(of: PartitionSet, gap: Span) -> list[Target]:
    count, width = _count(of, gap), of.spans[-1].width
    if gap.width != width * count:
        return [Target(counted(count, "partition"), gap.first, gap.last)]
    edges = [gap.lower + width * n for n in range(count + 1)]
    return [Target(f"from {a}", str(a), str(b)) for a, b in pairwise(edges)]


async def _demand_none_stranded(s: Session, of: PartitionSet) -> None:
    for stray in await strays_of(s, of):
        at = of.scale.measure(stray.lower)
        if at is not None and any(g.lower <= at < g.upper for g in of.gaps):
            raise Refused(
                f"the gap cannot be filled: {counted(stray.rows, 'row')} of it in {clean(stray.default)}",
                hint="partman.move_data moves them, and makes their partitions",
            )


_STALE: LiteralString = """\
SELECT p.parent_table
  FROM {config} AS p
 WHERE NOT EXISTS (SELECT
                     FROM pg_catalog.pg_class AS c
                     JOIN pg_catalog.pg_namespace AS n
                       ON n.oid = c.relnamespace
                    WHERE n.nspname || '.' || c.relname = p.parent_table)
 ORDER BY p.parent_table"""


@action("partman.check_default", danger=Danger.CHANGE, needs=ACTING)
async def check_default(
    s: Session, exact: Annotated[bool, Ask("Count all", help="Reads every default partition whole")] = True
) -> Plan:
    """Let pg_partman look for rows in the default partitions of all its sets."""
    stale = [c.parent_table for c in await configs(s) if not c.present]
    listed = statement(
        sql.SQL(_STALE).format(config=sql.Identifier(schema(s.facts), "part_config")),
    )
    sound = Check(
        lambda answers: not answers[-1].rows,
        that="no dropped table is configured still",
        otherwise=lambda answers: f"{answers[-1].scalar} was dropped and is configured still",
        hint="pg_partman cannot look while it is; partman.forget removes it",
    )
    looked = statement(
        sql.SQL("SELECT d.default_table, d.count AS rows\n  FROM {} AS d\n ORDER BY d.default_table").format(
            call(s.facts, "check_default", p_exact_count=exact)
        )
    )
    notes = tuple(f"{clean(name)} was dropped and is configured still" for name in stale)
    return Plan(f"{schema(s.facts)}.part_config", (listed, sound, looked), notes=notes)


@action("partman.reapply_privileges", danger=Danger.CHANGE, needs=ACTING, on=ON)
async def reapply_privileges(s: Session, parent: ParentName) -> Plan:
    """Give every partition the owner and the privileges of its parent."""
    found = await find_managed(s, parent)
    steps: list[Step] = [
        statement(
            sql.SQL("SELECT {}").format(call(s.facts, "reapply_privileges", p_parent_table=literal(found)))
        )
    ]
    note = f"{counted(found.partitions, 'partition')} are changed, one after the other"
    return Plan(found.at.parent, tuple(steps), notes=(note,), result=lambda _: {"parent": found.at.parent})
