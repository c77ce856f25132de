"""The action that hands a table over to pg_partman, with the partitions that it will make."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from psycopg import sql

from backend.core.clean import clean
from backend.core.declare import Ask, Danger, action
from backend.core.errors import PgtuiError, Refused, Usage
from backend.core.facts import Query
from backend.core.plan import Check, Plan, Step, statement
from backend.core.session import Session
from backend.core.show import counted
from backend.partman import bounds
from backend.partman.bounds import Bound
from backend.partman.calls import Table, Target, call, find_table, select
from backend.partman.catalog import PartitionSet, partition_sets
from backend.partman.place import ACTING, ask, declarative
from backend.partman.premaking import number_ranges, time_ranges

MOST_PREMADE = 1000
MOST_MADE = 5000
Kind = Literal["range", "list"]

_COLUMN = Query("""
SELECT pg_catalog.format_type(a.atttypid, NULL) AS type,
       a.attnotnull AS filled
  FROM pg_catalog.pg_attribute AS a
 WHERE a.attrelid = %s::pg_catalog.oid
   AND a.attname = %s
   AND a.attnum > 0
   AND NOT a.attisdropped
""")


@dataclass(frozen=True, slots=True)
class Column:
    """The column that tells rows apart."""

    type: str
    filled: bool


@action("partman.create_parent", danger=Danger.CHANGE, needs=ACTING, on="partman.sets")
async def create_parent(
    s: Session,
    parent: Annotated[str, Ask("Table", help="With its schema; it has to be partitioned already")],
    control: Annotated[str, Ask("Column", help="The one that it is partitioned by")],
    interval: Annotated[
        str, Ask("Interval", help="Such as 1 day; of ids, how many each partition holds", fill=False)
    ],
    premake: Annotated[int, Ask("Premake", help="Partitions on either side of now", fill=False)] = 4,
    start: Annotated[str | None, Ask("Start", help="A time or id in the first partition")] = None,
    template: Annotated[str | None, Ask("Template", help="A table that new partitions are like")] = None,
    type: Annotated[Kind, Ask("Type", help="list from pg_partman 5.1 on")] = "range",
) -> Plan:
    """Hand a partitioned table over to pg_partman, which makes its first partitions.

    A plain table has to become partitioned first, and its rows move afterwards; what to do is told. The
    preview lists the partitions that will be made.
    """
    if not 1 <= premake <= MOST_PREMADE:
        raise Usage(f"--premake wants 1 to {MOST_PREMADE}, not {premake}")
    table = await find_table(s, parent, "--parent")
    of = await _partitioned(s, table, control, type)
    column = await column_of(s, table, control)
    made = await _ranges(s, table, column, (control, interval, premake, start), listed=type == "list")
    _demand_room(of, column, made)
    like = None if template is None else (await find_table(s, template, "--template")).plain
    create = call(
        s.facts,
        "create_parent",
        p_parent_table=table.plain,
        p_control=control,
        p_type=type if declarative(s.facts) else "native",
        p_interval=_interval(s, column, interval),
        p_premake=premake,
        p_start_partition=start,
        p_template_table=like,
    )
    return Plan(
        table.name,
        (select(create, "created"), *_look(table, made)),
        notes=(f"{counted(made, 'partition')} and a default partition are made", *_remarks(column)),
        rows=tuple(made),
        result=lambda answers: {"parent": table.name, "partitions": len(answers[-1].rows)},
    )


async def _partitioned(s: Session, table: Table, control: str, kind: Kind) -> PartitionSet:
    """The set as it is; refused where pg_partman could not take it over, saying what to do first."""
    if "." in table.schema or "." in table.relation:
        raise Refused(f"{clean(table.name)} has a dot in its name, which pg_partman does not know")
    if table.relkind != "p":
        raise Refused(f"{clean(table.name)} is a plain table", hint=_what_first(table, control))
    [of] = [f for f in await partition_sets(s) if f.at.oid == table.oid]
    if of.config is not None:
        raise Refused(f"pg_partman manages {clean(table.name)} already")
    _demand_strategy(s, of, kind)
    if of.at.columns != 1 or of.at.control != control:
        raise Refused(
            f"{clean(table.name)} is partitioned by {clean(of.at.key or '')}, not by {clean(control)} alone"
        )
    if of.default is not None:
        raise Refused(
            f"{clean(table.name)} has a default partition, and pg_partman makes its own",
            hint=f"detach {clean(of.default.partition)} first, then move its rows with --source",
        )
    return of


def _demand_strategy(s: Session, of: PartitionSet, kind: Kind) -> None:
    name = clean(of.at.parent)
    if of.at.strategy == "h":
        raise Refused(f"{name} is partitioned by hash, which pg_partman does not manage")
    if (of.at.strategy == "l") is not (kind == "list"):
        is_now = "list" if of.at.strategy == "l" else "range"
        raise Refused(f"{name} is partitioned by {is_now}, not by {kind}", hint=f"give --type {is_now}")
    if kind == "list" and s.facts.extensions["pg_partman"].version < (5, 1):
        raise Refused("partitions by list need pg_partman 5.1 or newer")


def _what_first(table: Table, control: str) -> str:
    old = sql.Identifier(f"{table.relation}_old")
    text = sql.SQL(
        "first BEGIN; ALTER TABLE {table} RENAME TO {old}; CREATE TABLE {table}"
        " (LIKE {whole} INCLUDING ALL) PARTITION BY RANGE ({control}); COMMIT;"
        " then this, then partman.move_data --source {whole}; a primary key has to contain the column"
    ).format(
        table=table.identifier,
        old=old,
        whole=sql.Identifier(table.schema, f"{table.relation}_old"),
        control=sql.Identifier(control),
    )
    return clean(text.as_string(None))


async def column_of(s: Session, table: Table, control: str) -> Column:
    """The column, refused where pg_partman could not partition by it."""
    found = await ask(s, Column, _COLUMN, table.oid, control)
    if not found:
        raise Refused(f"{clean(table.name)} has no column {clean(control)}")
    column = found[0]
    if column.type not in (*bounds.TIMES, *bounds.NUMBERS[:3]):
        raise Refused(
            f"column {clean(control)} is of type {clean(column.type)}; pg_partman wants times or integers"
        )
    if declarative(s.facts) and not column.filled:
        raise Refused(
            f"column {clean(control)} may be empty, which pg_partman 5 does not accept",
            hint=f"ALTER TABLE {clean(table.name)} ALTER COLUMN {clean(control)} SET NOT NULL",
        )
    return column


def _remarks(column: Column) -> list[str]:
    return [] if column.filled else ["the column may be empty: such rows go to the default partition"]


# What 4.x calls an interval by a word; 5.x takes PostgreSQL's intervals only.
WORDS = {
    "yearly": "1 year",
    "quarterly": "3 months",
    "monthly": "1 month",
    "weekly": "1 week",
    "daily": "1 day",
    "hourly": "1 hour",
    "half-hour": "30 minutes",
    "quarter-hour": "15 minutes",
}


def _interval(s: Session, column: Column, interval: str) -> str:
    timed = column.type in bounds.TIMES
    return WORDS.get(interval, interval) if timed and declarative(s.facts) else interval


async def _ranges(
    s: Session, table: Table, column: Column, given: tuple[str, str, int, str | None], *, listed: bool
) -> list[Target]:
    control, interval, premake, start = given
    try:
        if column.type in bounds.TIMES:
            made = await time_ranges(s, table, WORDS.get(interval), interval, premake, start)
        else:
            made = await number_ranges(s, table, control, interval, premake, start, listed=listed)
    except PgtuiError as e:
        if (e.sqlstate or "").startswith("22"):
            raise Usage(f"--interval and --start: {e.message.partition(': ')[2]}") from None
        raise
    if len(made) > MOST_MADE:
        raise Refused(f"that would make more than {MOST_MADE} partitions", hint="choose a later --start")
    return made


def _demand_room(of: PartitionSet, column: Column, made: list[Target]) -> None:
    """Refuse ranges that overlap with partitions that are there."""
    new = bounds.spans([Bound(t.lower, t.upper, ranged=True) for t in made], of.scale)
    for there in of.spans:
        for span in new:
            if span.lower < there.upper and there.lower < span.upper:
                raise Refused(
                    f"the new partition from {span.first} overlaps with the one from {there.first}",
                    hint="--start chooses another first partition, or detach the old one",
                )


def _look(table: Table, made: list[Target]) -> tuple[Step, Step]:
    looked = statement(
        sql.SQL("""\
SELECT c.relname AS partition,
       pg_catalog.pg_get_expr(c.relpartbound, c.oid) AS bound
  FROM pg_catalog.pg_inherits AS i
  JOIN pg_catalog.pg_class AS c
    ON c.oid = i.inhrelid
 WHERE i.inhparent = {}::pg_catalog.regclass
 ORDER BY c.relname""").format(sql.Literal(table.name))
    )
    names = {t.partition for t in made}
    check = Check(
        lambda answers: names <= {row["partition"] for row in answers[-1].rows},
        that="the partitions announced are there",
        otherwise="pg_partman has made other partitions than those announced; look at them",
    )
    return looked, check
