"""The rows of one partition out of the default partition, in one transaction.

pg_partman makes the partition, as always. Its own `partition_data_time` and `partition_data_id` keep the
rows in a table with indexes meanwhile and empty that again row by row, while the default partition is locked
against everybody; and they fail whenever a row of the range comes in between. Here that lock lasts for what
PostgreSQL does when a partition is attached, a look at each row that stays, and for putting the rows in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import LiteralString

from psycopg import sql

from backend.core.facts import Facts
from backend.core.rendering import inlined
from backend.partman import bounds
from backend.partman.calls import block, call
from backend.partman.catalog import Partition, PartitionSet
from backend.partman.found import literal
from backend.partman.place import declarative

HELD = sql.Identifier("pg_temp", "pgtui_moving")

# Counted from the newest partition on, as pg_partman does it: where months differ in length, so do both.
_TIMES: LiteralString = """\
    width pg_catalog.interval := {width};
    first pg_catalog.timestamptz;
    lower pg_catalog.timestamptz := {newest};
    upper pg_catalog.timestamptz;
BEGIN
    SELECT pg_catalog.min(d.{control}) INTO first
      FROM ONLY {default} AS d
     WHERE pg_catalog.isfinite(d.{control});
    IF first IS NULL THEN RETURN; END IF;
    WHILE first >= lower + width LOOP lower := lower + width; END LOOP;
    WHILE first < lower LOOP lower := lower - width; END LOOP;
    upper := lower + width;"""
_NUMBERS: LiteralString = """\
    width pg_catalog.int8 := {width};
    first pg_catalog.int8;
    lower pg_catalog.int8;
    upper pg_catalog.int8;
BEGIN
    SELECT pg_catalog.min(d.{control}) INTO first
      FROM ONLY {default} AS d;
    IF first IS NULL THEN RETURN; END IF;
    lower := first - first % width;
    upper := lower + width;"""
# Columns may be called like the variables, so each one is named with its table.
_MOVE: LiteralString = """\
#variable_conflict use_variable
DECLARE
    alone pg_catalog.bool := false;
    known pg_catalog.oid[];
    made pg_catalog.regclass;
    moved pg_catalog.int8;
{range}
    known := ARRAY(
        SELECT i.inhrelid
          FROM pg_catalog.pg_inherits AS i
         WHERE i.inhparent = {parent});
    LOOP
        WITH gone AS (
            DELETE FROM ONLY {default} AS d
             WHERE d.{control} >= lower{type}
               AND d.{control} < upper{type}
            RETURNING {columns}
        )
        INSERT INTO {held}
        SELECT g.*
          FROM gone AS g;
        EXIT WHEN {settled};
        -- Such rows still come: nobody adds any from here on, and those that came meanwhile go too.
        LOCK TABLE ONLY {default} IN ACCESS EXCLUSIVE MODE;
        alone := true;
    END LOOP;
    IF NOT {made} THEN
        RAISE EXCEPTION 'pg_partman makes no partition from % to %', lower, upper
              USING HINT = 'a table that was detached may have its name; rename it, or attach it again';
    END IF;
    SELECT i.inhrelid INTO STRICT made
      FROM pg_catalog.pg_inherits AS i
     WHERE i.inhparent = {parent}
    EXCEPT
    SELECT k FROM pg_catalog.unnest(known) AS k;
    -- Straight into it: nobody reads the default partition from here to the end of the transaction.
    EXECUTE pg_catalog.format({give}, made);
    GET DIAGNOSTICS moved = ROW_COUNT;
    PERFORM pg_catalog.set_config({count}, moved::pg_catalog.text, true);
END"""
_GIVE: LiteralString = "INSERT INTO %s ({}) OVERRIDING SYSTEM VALUE SELECT * FROM {}"
# Known to the transaction only; empty in those that move nothing.
_COUNT = "pgtui.moved"


def whole(of: PartitionSet) -> bool:
    """Whether the rows of one partition after the other can leave the default partition like this."""
    plain = of.at.control_type in (*bounds.TIMES, *bounds.NUMBERS[:3]) and of.scale.epoch not in bounds.EPOCHS
    return plain and of.at.strategy == "r" and of.at.columns == 1 and bool(of.spans)


def batch(
    facts: Facts, of: PartitionSet, default: Partition, columns: Sequence[str]
) -> tuple[sql.Composable, ...]:
    """The statements of a batch; the last one tells how many rows were moved, nothing once none is left."""
    hold = sql.SQL("CREATE TEMPORARY TABLE {} ON COMMIT DROP AS\nSELECT {}\n  FROM ONLY {}\n  WITH NO DATA")
    count = sql.SQL("SELECT NULLIF(pg_catalog.current_setting({}, true), '')::pg_catalog.int8 AS rows")
    return (
        hold.format(HELD, _listed(columns), default.identifier),
        block(_move(facts, of, default, columns)),
        count.format(sql.Literal(_COUNT)),
    )


def _listed(columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(c) for c in columns)


def _move(facts: Facts, of: PartitionSet, default: Partition, columns: Sequence[str]) -> sql.Composable:
    timed = of.scale.timed
    names = {"control": sql.Identifier(of.at.control or ""), "default": default.identifier}
    span = sql.SQL(_TIMES if timed else _NUMBERS).format(
        **names,
        width=sql.Literal((of.config or {}).get("partition_interval")),
        newest=sql.Literal(of.spans[-1].first),
    )
    # The text is a format of its own, in which a percent sign is written twice.
    give = inlined(sql.SQL(_GIVE).format(_listed([c.replace("%", "%%") for c in columns]), HELD))
    return sql.SQL(_MOVE).format(
        **names,
        range=span,
        parent=sql.SQL("{}::pg_catalog.regclass").format(sql.Literal(of.at.parent)),
        columns=sql.SQL(", ").join(sql.SQL("d.{}").format(sql.Identifier(c)) for c in columns),
        held=HELD,
        type=sql.SQL(_as(of.at.control_type)),
        settled=sql.SQL("alone OR upper <= pg_catalog.clock_timestamp()" if timed else "alone"),
        made=_create(facts, of),
        give=sql.Literal(give.decode("utf-8", "surrogateescape")),
        count=sql.Literal(_COUNT),
    )


def _as(control_type: str | None) -> LiteralString:
    """What makes a bound one of the key's own type, so that its index serves."""
    match control_type:
        case "date":
            return "::pg_catalog.date"
        case "timestamp without time zone":
            return "::pg_catalog.timestamp"
        case _:
            return ""


def _create(facts: Facts, of: PartitionSet) -> sql.Composable:
    timed = of.scale.timed
    more = {} if declarative(facts) else {"p_analyze": False}
    return call(
        facts,
        "create_partition_time" if timed else "create_partition_id",
        p_parent_table=literal(of),
        **{"p_partition_times" if timed else "p_partition_ids": sql.SQL("ARRAY[lower]")},
        **more,
    )
