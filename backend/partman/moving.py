"""Actions that move rows: into the partitions they belong to, or out of a set that is given up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from psycopg import sql

from backend.core.clean import clean
from backend.core.declare import Ask, Danger, action
from backend.core.errors import Refused, Usage
from backend.core.facts import Query
from backend.core.plan import Answers, Check, Plan, Repeat, Sql, Step, statement
from backend.core.session import Session
from backend.core.show import counted
from backend.core.values import Interval
from backend.partman import batches
from backend.partman.calls import Table, call, config_table, find_table
from backend.partman.catalog import PartitionSet, numbers
from backend.partman.found import find_managed, literal
from backend.partman.maintaining import ON, ParentName, target
from backend.partman.place import ACTING, ask, declarative
from backend.partman.referring import demand_no_loss

# Counting more than this for a progress bar is not worth the wait.
MOST_COUNTED = 5_000_000
_LONGEST_WAIT = 86_400

_COLUMNS = Query("""
SELECT a.attname::pg_catalog.text AS name,
       a.attgenerated <> '' AS generated
  FROM pg_catalog.pg_attribute AS a
 WHERE a.attrelid = %s::pg_catalog.oid
   AND a.attnum > 0
   AND NOT a.attisdropped
 ORDER BY a.attnum
""")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table that rows come from."""

    name: str
    generated: bool


@action("partman.move_data", danger=Danger.CHANGE, needs=ACTING, on=ON)
async def move_data(
    s: Session,
    parent: ParentName,
    batch_interval: Annotated[
        str | None, Ask("Batch interval", help="Less than a partition, from another table only", fill=False)
    ] = None,
    pause: Annotated[float, Ask("Pause", help="Seconds between batches")] = 0,
    lock_wait: Annotated[
        float, Ask("Lock wait", help="Seconds to wait for rows or tables in use; 0 waits for ever")
    ] = 5,
    source: Annotated[str | None, Ask("Source", help="An old table; else the default partition")] = None,
) -> Plan:
    """Move rows from the default partition, or from an old table, into the partitions they belong to.

    Each batch is a transaction of its own and makes its partition where there is none; cancelled between
    two of them it leaves what was moved, and a later run goes on from there.
    """
    if not (0 <= lock_wait <= _LONGEST_WAIT and 0 <= pause <= _LONGEST_WAIT):
        raise Usage(f"--lock-wait and --pause want 0 to {_LONGEST_WAIT} seconds")
    found = await find_managed(s, parent)
    _demand_movable(s, found)
    old = None if source is None else await find_table(s, source, "--source")
    table = _source(found, old)
    _check_batch(found, batch_interval, old)
    total = await _rows(s, table)
    if not total:
        return Plan(found.at.parent, (), notes=(f"{clean(table.name)} has no rows to move",))
    told = await demand_no_loss(s, [found.at.oid, table.oid])
    *before, move = await _batch(s, found, batch_interval, old, table)
    more = " or more" if total >= MOST_COUNTED else ""
    repeat = Repeat(
        move, before=tuple(before), until="none is left", total=None if more else total, pause=pause
    )
    return Plan(
        found.at.parent,
        (_manners(lock_wait), repeat, *_emptied(table)),
        danger=Danger.CHANGE if lock_wait else Danger.DISRUPT,
        notes=(
            f"{counted(total, 'row')}{more} in {clean(table.name)}",
            *told,
            "after a crash of the server the last batches may be back where they were; no row is lost",
            "VACUUM ANALYZE is worth while afterwards",
        ),
        result=lambda answers: _moved(found, answers),
    )


def _manners(lock_wait: float) -> Sql:
    """How long to wait for others; and not to hold locks while a disk or a standby takes note of a batch."""
    wait = sql.SQL("SET lock_timeout = {}").format(sql.Literal(f"{lock_wait * 1000:.0f}ms"))
    return statement(wait, "SET synchronous_commit = off")


def _demand_movable(s: Session, of: PartitionSet) -> None:
    installed = s.facts.extensions["pg_partman"]
    if of.timed and not of.scale.timed and installed.version < (5, 3):
        raise Refused(
            f"pg_partman {installed.version_text} moves no rows of {clean(of.at.parent)}:"
            " its key encodes a time",
            hint="CREATE TABLE … PARTITION OF, after moving the rows aside, makes their partition",
        )


def _source(of: PartitionSet, old: Table | None) -> Table:
    if old is not None:
        if old.oid == of.at.oid:
            raise Refused("--source is the set itself", hint="leave it out to empty the default partition")
        return old
    if of.at.relkind == "r":  # a trigger of 4.x leaves in the parent what it does not send on
        return Table(of.at.oid, of.at.parent, of.at.plain, of.at.schema, of.at.name, of.at.relkind)
    default = of.default
    if default is None:
        raise Refused(f"{clean(of.at.parent)} has no default partition", hint="--source names an old table")
    return Table(
        default.oid, default.partition, f"{default.schema}.{default.name}",
        default.schema, default.name, default.relkind,
    )  # fmt: skip


def _check_batch(of: PartitionSet, batch: str | None, old: Table | None) -> None:
    if batch is None:
        return
    if old is None:
        raise Refused(
            "rows leave the default partition by whole partitions, since one that still has rows there"
            " cannot be made",
            hint="leave --batch-interval out",
        )
    if of.timed:
        Interval.parse(batch)
    elif not batch.isdecimal() or int(batch) < 1:
        raise Usage(f"--batch-interval {batch}: the set is partitioned by number, so it wants how many ids")


async def _rows(s: Session, table: Table) -> int:
    asked = sql.SQL(
        "SELECT {oid}::pg_catalog.oid AS oid, pg_catalog.count(*)::pg_catalog.int8 AS number"
        "  FROM (SELECT FROM ONLY {table} LIMIT {most}) AS r"
    ).format(oid=sql.Literal(table.oid), table=table.identifier, most=sql.Literal(MOST_COUNTED))
    return (await numbers(s, [asked])).get(table.oid) or 0


async def _batch(
    s: Session, of: PartitionSet, interval: str | None, old: Table | None, table: Table
) -> tuple[sql.Composable, ...]:
    """The statements that move one batch; the last one tells how many rows it had."""
    columns = await ask(s, Column, _COLUMNS, table.oid)
    if old is None and of.default is not None and batches.whole(of):
        return batches.batch(s.facts, of, of.default, [c.name for c in columns if not c.generated])
    kind = "interval" if of.timed else "int8"
    moved = call(
        s.facts,
        "partition_data_time" if of.timed else "partition_data_id",
        p_parent_table=literal(of),
        p_batch_count=1,
        p_batch_interval=interval
        and sql.SQL("{}::pg_catalog.{}").format(sql.Literal(interval), sql.Identifier(kind)),
        p_analyze=False,
        p_source_table=old and old.plain,
        p_ignored_columns=[c.name for c in columns if c.generated] or None,
    )
    return (sql.SQL("SELECT {} AS moved").format(moved),)


def _emptied(table: Table) -> tuple[Step, Step]:
    left = statement(
        sql.SQL("SELECT pg_catalog.count(*) AS rows_left\n  FROM ONLY {}").format(table.identifier)
    )
    check = Check(
        lambda answers: not answers[-1].scalar,
        that="no row is left",
        otherwise=lambda answers: f"{counted(answers[-1].scalar, 'row')} are left in {clean(table.name)}",
        hint="they came meanwhile, or have a key that no partition takes; what was moved stays",
    )
    return left, check


def _moved(of: PartitionSet, answers: Answers) -> dict[str, Any]:
    return {"parent": of.at.parent, "rows": answers[1].count, "rows_left": answers[2].scalar}


@action("partman.undo", danger=Danger.DESTROY, needs=ACTING, on="partman.sets")
async def undo(
    s: Session,
    parent: ParentName,
    into: Annotated[str, Ask("Into", help="A table with the same columns, which gets all rows")],
    keep_tables: Annotated[bool, Ask("Keep tables", help="The emptied partitions stay as tables")] = True,
    lock_wait: Annotated[float, Ask("Lock wait", help="Seconds to wait for locked rows")] = 5,
) -> Plan:
    """Give a partition set up: move all its rows into another table and forget its configuration.

    Partition after partition, each in a transaction of its own. The emptied parent stays.
    """
    found = await find_managed(s, parent)
    table = await find_table(s, into, "--into")
    if table.oid in {found.at.oid, *(p.oid for p in found.partitions)}:
        raise Refused(
            f"{clean(table.name)} is the set or a partition of it", hint="--into wants another table"
        )
    if any(p.relkind == "p" for p in found.partitions):
        raise Refused(f"partitions of {clean(found.at.parent)} are sets themselves", hint="undo those first")
    told = await demand_no_loss(s, [found.at.oid, *(p.oid for p in found.partitions)])
    return Plan(
        found.at.parent,
        (Repeat(_undo(s, found, table, keep_tables, lock_wait), until="none is left", unit="partitions"),
         *_forgotten(s, found)),
        notes=(f"all rows go to {clean(table.name)}", f"{counted(found.partitions, 'partition')} end", *told),
        rows=tuple(target(found, p) for p in found.partitions),
        result=lambda answers: {"parent": found.at.parent, "into": table.name, "undone": answers[0].count},
    )  # fmt: skip


def _undo(s: Session, of: PartitionSet, table: Table, keep: bool, lock_wait: float) -> sql.Composable:
    loops = {"p_loop_count" if declarative(s.facts) else "p_batch_count": 1}
    undone = call(
        s.facts,
        "undo_partition",
        p_parent_table=sql.SQL("p.parent_table"),
        p_target_table=table.plain,
        p_keep_table=keep,
        p_lock_wait=sql.Literal(lock_wait),
        **loops,
    )
    # Once all is undone the configuration is gone, and pg_partman would complain.
    return sql.SQL(
        "SELECT greatest(u.partitions_undone, sign(u.rows_undone)) AS partitions\n"
        "  FROM {config} AS p\n CROSS JOIN LATERAL {undone} AS u\n WHERE p.parent_table = {parent}"
    ).format(config=config_table(s.facts), undone=undone, parent=literal(of))


def _forgotten(s: Session, of: PartitionSet) -> tuple[Step, Step]:
    look = statement(
        sql.SQL("SELECT p.parent_table\n  FROM {} AS p\n WHERE p.parent_table = {}").format(
            config_table(s.facts), literal(of)
        )
    )
    check = Check(
        lambda answers: not answers[-1].rows,
        that="pg_partman manages it no more",
        otherwise=f"{clean(of.at.parent)} is not undone whole: rows stayed locked",
        hint="what was moved stays; run it again for the rest",
    )
    return look, check
