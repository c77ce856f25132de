"""Rows in default partitions: which ranges they belong to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, LiteralString

from psycopg import sql

from backend.core.declare import Col, Health, Verdict
from backend.core.facts import Query
from backend.core.session import Session
from backend.core.show import counted
from backend.partman import bounds
from backend.partman.catalog import Partition, PartitionSet, count_of, numbers, partition_sets
from backend.partman.place import ask

MOST_READ = 1_000_000


@dataclass(frozen=True, slots=True)
class Stray:
    """Rows of one range that are in the default partition."""

    parent: Annotated[str, Col("Set", key=True, text=True, priority=1)]
    lower: Annotated[str, Col("From", key=True, priority=1, help="The range of the partition they belong to")]
    upper: Annotated[str | None, Col("To", priority=2)]
    rows: Annotated[int, Col("Rows", priority=1, help=f"Of the first {MOST_READ:,} rows".replace(",", " "))]
    default: Annotated[str, Col("Default partition", priority=4)]


def stray_verdict(row: Stray) -> Verdict | None:
    """Rows in a default partition keep new partitions from being made."""
    return Verdict(Health.CRITICAL, f"{counted(row.rows, 'row')} without a partition from {row.lower} on")


# Counted from a known bound on, in steps of a partition; months and years by the calendar.
_EVEN: LiteralString = """
SELECT b.lower::pg_catalog.text AS lower,
       (b.lower + {width})::pg_catalog.text AS upper,
       pg_catalog.count(*) AS rows
  FROM (SELECT {control} AS value
          FROM ONLY {table} AS d
         LIMIT {most}) AS d
 CROSS JOIN LATERAL (SELECT {bin} AS lower) AS b
 GROUP BY b.lower
 ORDER BY b.lower
 LIMIT 1000
"""
_BY_TIME: LiteralString = "pg_catalog.date_bin({width}, d.value::{type}, {origin}::{type})"
_BY_MONTH: LiteralString = "pg_catalog.date_trunc('month', d.value::{type})"
_BY_YEAR: LiteralString = "pg_catalog.date_trunc('year', d.value::{type})"
_BY_NUMBER: LiteralString = (
    "{origin}::pg_catalog.numeric"
    " + {width} * pg_catalog.floor((d.value - {origin}::pg_catalog.numeric) / {width})"
)
_ALL: LiteralString = """
SELECT pg_catalog.min(d.value)::pg_catalog.text AS lower,
       pg_catalog.max(d.value)::pg_catalog.text AS upper,
       pg_catalog.count(*) AS rows
  FROM (SELECT {control} AS value
          FROM ONLY {table} AS d
         LIMIT {most}) AS d
HAVING pg_catalog.count(*) > 0
"""


@dataclass(frozen=True, slots=True)
class Range:
    """A range and how many rows belong to it; its bounds are empty where the key is."""

    lower: str | None
    upper: str | None
    rows: int


_ASKED = Query("{asked}")


async def stray_rows(s: Session) -> list[Stray]:
    """The ranges of all rows in default partitions."""
    found = [f for f in await partition_sets(s) if (d := f.default) and d.countable and f.at.control]
    filled = await numbers(s, [count_of(f.default, 1) for f in found if f.default])
    return [row for f in found if f.default and filled.get(f.default.oid) for row in await strays_of(s, f)]


async def strays_of(s: Session, of: PartitionSet) -> list[Stray]:
    """The ranges of the rows in one set's default partition."""
    default = of.default
    if default is None or not default.countable or of.at.control is None:
        return []
    ranges = await ask(s, Range, _ASKED, asked=_question(of, default))
    return [Stray(of.at.parent, r.lower or "NULL", r.upper, r.rows, default.partition) for r in ranges]


def _question(of: PartitionSet, default: Partition) -> sql.Composable:
    spans = of.spans
    common = {
        "control": _comparable(of),
        "table": default.identifier,
        "most": sql.Literal(MOST_READ),
    }
    if not spans or of.at.columns != 1:
        return sql.SQL(_ALL).format(**common)
    last = spans[-1]
    if of.at.control_type in bounds.TIMES:
        return _by_time(of, last, common)
    width, origin = sql.Literal(_width(of, last)), sql.Literal(last.first)
    by_number = sql.SQL(_BY_NUMBER).format(width=width, origin=origin)
    return sql.SQL(_EVEN).format(bin=by_number, width=width, **common)


def _comparable(of: PartitionSet) -> sql.Composable:
    """The key; as text where its type has no smallest value."""
    column = sql.SQL("d.{}").format(sql.Identifier(of.at.control or ""))
    if of.at.control_type in (*bounds.TIMES, *bounds.NUMBERS):
        return column
    return sql.SQL("{}::pg_catalog.text").format(column)


def _width(of: PartitionSet, last: bounds.Span) -> int:
    return int(last.last) - int(last.first)


def _by_time(of: PartitionSet, last: bounds.Span, common: dict[str, sql.Composable]) -> sql.Composable:
    days = last.width.total_seconds() / 86400
    kind = sql.SQL(
        "pg_catalog.timestamptz" if of.at.control_type == bounds.TIMES[0] else "pg_catalog.timestamp"
    )
    asked: sql.Composable
    width: sql.Composable
    if 27 < days < 32:
        asked, width = sql.SQL(_BY_MONTH).format(type=kind), sql.SQL("interval '1 month'")
    elif 364 < days < 367:
        asked, width = sql.SQL(_BY_YEAR).format(type=kind), sql.SQL("interval '1 year'")
    else:
        seconds = sql.Literal(f"{last.width.total_seconds():.0f} seconds")
        width = sql.SQL("interval {}").format(seconds)
        asked = sql.SQL(_BY_TIME).format(width=width, origin=sql.Literal(last.first), type=kind)
    return sql.SQL(_EVEN).format(bin=asked, width=width, **common)
