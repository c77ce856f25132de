"""The action that takes a partition out of its set and puts it into a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from psycopg import sql

from backend.core.clean import clean
from backend.core.declare import Ask, Danger, action
from backend.core.errors import Refused
from backend.core.facts import Query
from backend.core.plan import Plan, Sql, Step, statement
from backend.core.session import Session
from backend.partman import dumping
from backend.partman.calls import block
from backend.partman.catalog import Partition, PartitionSet, numbers
from backend.partman.found import find_partition
from backend.partman.maintaining import target
from backend.partman.place import CHANGING, ask
from backend.partman.sets import highest_of

# Proves to PostgreSQL that a table fits its bounds, so that attaching it again reads nothing.
BOUNDS = "pgtui_bounds"

_ABOUT = Query("""
SELECT pg_catalog.pg_get_partition_constraintdef(c.oid) AS condition,
       pg_catalog.pg_table_size(c.oid) AS bytes,
       EXISTS (SELECT
                 FROM pg_catalog.pg_constraint AS k
                WHERE k.conrelid = c.oid
                  AND k.conname = %s) AS proved,
       ARRAY(SELECT DISTINCT coalesce(pg_catalog.pg_describe_object(
                                          'pg_catalog.pg_class'::pg_catalog.regclass, r.ev_class, 0),
                                      pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid))
               FROM pg_catalog.pg_depend AS d
               LEFT JOIN pg_catalog.pg_rewrite AS r
                 ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
                AND r.oid = d.objid
               LEFT JOIN pg_catalog.pg_constraint AS k
                 ON d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass
                AND k.oid = d.objid
              WHERE d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
                AND d.refobjid = c.oid
                AND d.deptype = 'n'
                AND (r.ev_class <> c.oid OR k.confrelid = c.oid AND k.conparentid = 0)) AS dependents,
       ARRAY(SELECT DISTINCT pg_catalog.pg_describe_object(
                                 'pg_catalog.pg_class'::pg_catalog.regclass, k.conrelid, 0)
               FROM pg_catalog.pg_constraint AS k
              WHERE k.confrelid = i.inhparent
                AND k.conrelid <> k.confrelid) AS referencing
  FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_inherits AS i
    ON i.inhrelid = c.oid
 WHERE c.oid = %s::pg_catalog.oid
""")


@dataclass(frozen=True, slots=True)
class About:
    """What has to be known of a partition before it can leave its set."""

    condition: str | None
    bytes: int
    proved: bool
    dependents: list[str]
    referencing: list[str]


@action("partman.archive_partition", danger=Danger.CHANGE, needs=CHANGING, on="partman.partitions")
async def archive_partition(
    s: Session,
    partition: Annotated[str, Ask("Partition")],
    folder: Annotated[str, Ask("Folder", help="On the target's host; the dump becomes a file in it")],
    drop: Annotated[
        bool, Ask("Drop", help="The table too, once the dump holds all of its rows", fill=False)
    ] = False,
) -> Plan:
    """Take a partition out of its set, dump it into a file, count what the file holds, and drop it if told.

    The table is kept unless --drop is given; then it goes only when the dump holds exactly as many rows as
    the table still has. When anything fails, or the run is cancelled, the partition is attached again and a
    file that is not whole removed.
    """
    found, at = await find_partition(s, partition)
    _demand_leaf(found, at)
    unsure = await _past(s, found, at)
    [about] = await ask(s, About, _ABOUT, BOUNDS, at.oid)
    if drop and about.dependents:
        raise Refused(
            f"{clean(at.partition)} cannot be dropped: {clean(', '.join(about.dependents))} depends on it",
            hint="without --drop it is archived and kept as a table",
        )
    dump = await dumping.dump_of(s, at, folder, about.bytes)
    gently = found.at.relkind == "p" and found.default is None
    counted = statement(_count(at))
    steps: list[Step] = [
        dump.claim, *_leave(found, at, about, gently),
        *dump.steps, counted, dumping.agrees(at.partition), dump.publish,
    ]  # fmt: skip
    number = steps.index(counted)
    if drop:
        steps.append(_drop(at))
    return Plan(
        at.partition,
        tuple(steps),
        danger=Danger.DESTROY if drop else Danger.CHANGE if gently else Danger.DISRUPT,
        notes=(*unsure, *_remarks(found, at, about, drop)),
        rows=(target(found, at),),
        result=lambda answers: {
            "parent": found.at.parent,
            "partition": at.partition,
            "file": dump.file,
            "rows": answers[number].first["rows"],
            "dropped": drop,
        },
    )


def _demand_leaf(of: PartitionSet, at: Partition) -> None:
    name = clean(at.partition)
    if at.range.default:
        raise Refused(f"{name} is the default partition", hint="partman.move_data empties it")
    if at.relkind == "p":
        raise Refused(
            f"{name} is partitioned itself", hint=f"partman.partitions --parent {name} lists what to archive"
        )
    if at.relkind == "f":
        raise Refused(f"{name} is a foreign table: its rows are on another server")
    if of.at.strategy == "h":
        raise Refused(f"{clean(of.at.parent)} is partitioned by hash, so rows always come for {name}")
    if at.detaching:
        raise Refused(
            f"a detach of {name} has begun and not ended", hint=f"partman.detach --partition {name} ends it"
        )


async def _past(s: Session, of: PartitionSet, at: Partition) -> list[str]:
    """Refuse a partition for which rows still come, since pg_partman would not make it again.

    What is to be said where nobody can tell.
    """
    if not at.range.ranged:
        return []
    upper: Any = of.scale.measure(at.range.upper)
    now = await _reached(s, of)
    if at.range.upper is None or (upper is not None and now is not None and upper > now):
        raise Refused(
            f"{clean(at.partition)} still gets rows: it ends at {at.range.upper or 'no bound'}",
            hint="archive partitions that are past",
        )
    if upper is None or now is None:
        return ["whether rows still come for it cannot be told from here"]
    return []


async def _reached(s: Session, of: PartitionSet) -> Any:
    """How far the set has come: the time, or its highest number; None where that cannot be told."""
    if of.scale.timed:
        return of.clock.now
    asked = highest_of(of)
    return (await numbers(s, [asked])).get(of.at.oid) if asked is not None else None


def _remarks(of: PartitionSet, at: Partition, about: About, drop: bool) -> tuple[str, ...]:
    notes = []
    if of.config is not None and not drop:
        notes.append("pg_partman's retention and maintenance leave a detached table alone")
    if of.spans and of.spans[0].first != at.range.lower:
        notes.append("it is not the oldest partition, so a gap stays behind")
    if of.default is not None:
        notes.append(f"rows that still come for it go to {clean(of.default.partition)}")
    if about.referencing:
        notes.append(
            f"{clean(', '.join(about.referencing))} refers to the set: while its rows refer to this"
            " partition, PostgreSQL does not let it go"
        )
    return tuple(notes)


def _leave(of: PartitionSet, at: Partition, about: About, gently: bool) -> list[Step]:
    """Detach it, in steps after each of which it can be put back."""
    table, parent = at.identifier, of.at.identifier
    if of.at.relkind != "p":
        back = statement(sql.SQL("ALTER TABLE {} INHERIT {}").format(table, parent))
        return [statement(sql.SQL("ALTER TABLE {} NO INHERIT {}").format(table, parent), undo=back)]
    alter = sql.SQL("ALTER TABLE {} {} CONSTRAINT {}")
    bounds = sql.Identifier(BOUNDS)
    steps: list[Step] = []
    if not about.proved:
        proof = sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} CHECK ({}) NOT VALID").format(
            table, bounds, _as_served(about.condition)
        )
        steps.append(statement(proof, undo=statement(alter.format(table, sql.SQL("DROP"), bounds))))
    detach = sql.SQL("ALTER TABLE {} DETACH PARTITION {}{}").format(
        parent, table, sql.SQL(" CONCURRENTLY" if gently else "")
    )
    # A detach that is stopped half-way has begun, so what puts the partition back belongs to this step.
    validate = statement(alter.format(table, sql.SQL("VALIDATE"), bounds), undo=_put_back(of, at))
    return [*steps, validate, statement(detach)]


def _put_back(of: PartitionSet, at: Partition) -> Sql:
    """Attach it again, wherever the detach stopped."""
    pending = sql.SQL("""\
(SELECT i.inhdetachpending
               FROM pg_catalog.pg_inherits AS i
              WHERE i.inhrelid = {}::pg_catalog.regclass)""").format(sql.Literal(at.partition))
    back = sql.SQL("""\
BEGIN
    IF {pending} THEN
        ALTER TABLE {parent} DETACH PARTITION {table} FINALIZE;
    END IF;
    IF {pending} IS NULL THEN
        ALTER TABLE {parent} ATTACH PARTITION {table} {bound};
    END IF;
END""").format(pending=pending, parent=of.at.identifier, table=at.identifier, bound=_as_served(at.bound))
    return statement(block(back))


def _count(at: Partition) -> sql.Composable:
    # Remembered in the session, so that the drop can see whether rows came meanwhile.
    return sql.SQL("""\
SELECT r.rows,
       pg_catalog.set_config('pgtui.archived_rows', r.rows::pg_catalog.text, false) AS remembered
  FROM (SELECT pg_catalog.count(*) AS rows
          FROM ONLY {}) AS r""").format(at.identifier)


def _drop(at: Partition) -> Sql:
    """Drop the table under a lock, and only while it has the rows that were archived."""
    lock = sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(at.identifier)
    same = block(
        sql.SQL("""\
BEGIN
    IF (SELECT pg_catalog.count(*) FROM ONLY {table})
       <> pg_catalog.current_setting('pgtui.archived_rows')::pg_catalog.int8 THEN
        RAISE EXCEPTION 'rows came or went after the dump, so the table is not dropped';
    END IF;
END""").format(table=at.identifier)
    )
    return Sql((lock, same, sql.SQL("DROP TABLE {}").format(at.identifier)))


def _as_served(text: str | None) -> sql.SQL:
    """An expression as the server itself has written it."""
    return sql.SQL(text or "true")  # pyright: ignore[reportArgumentType]
