"""The partitions that pg_partman's create_parent will make, by its own rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import LiteralString

from psycopg import sql

from backend.core.errors import Usage
from backend.core.facts import Query
from backend.core.session import Session
from backend.partman.calls import Table, Target
from backend.partman.catalog import numbers
from backend.partman.place import ask, declarative

# The first partition begins where the unit below the interval does, `premake` intervals ago or at the start;
# the last one before `premake` intervals from now. Names end in that time, in the server's zone.
_TIMES: LiteralString = """
  WITH given AS (
    SELECT %s::pg_catalog.text::pg_catalog.interval AS step,
           %s::pg_catalog.int4 AS premake,
           %s::pg_catalog.text::pg_catalog.timestamptz AS start
), based AS (
    SELECT g.step,
           g.premake,
           pg_catalog.date_trunc({unit}, coalesce(g.start, pg_catalog.now() - g.step * g.premake)) AS base
      FROM given AS g
)
SELECT (b.base + b.step * n.n)::pg_catalog.text AS lower,
       (b.base + b.step * (n.n + 1))::pg_catalog.text AS upper,
       pg_catalog.to_char(b.base + b.step * n.n, {suffix}) AS suffix,
       b.step >= interval '1 second' AS long
  FROM based AS b
 CROSS JOIN pg_catalog.generate_series(0, 5001) AS n (n)
 WHERE n.n = 0
    OR b.base + b.step * n.n < pg_catalog.now() + b.step * b.premake
 ORDER BY n.n
"""
_UNIT: LiteralString = """CASE WHEN g.step >= interval '1000 years' THEN 'millennium'
                                       WHEN g.step >= interval '100 years' THEN 'century'
                                       WHEN g.step >= interval '10 years' THEN 'decade'
                                       WHEN g.step >= interval '1 year' THEN 'year'
                                       WHEN g.step >= interval '1 month' THEN 'month'
                                       WHEN g.step >= interval '1 day' THEN 'day'
                                       WHEN g.step >= interval '1 minute' THEN 'hour'
                                       ELSE 'minute'
                                  END"""
_SUFFIX_5: LiteralString = "CASE WHEN b.step >= interval '1 day' THEN 'YYYYMMDD' ELSE 'YYYYMMDD_HH24MISS' END"
_SUFFIX_4: LiteralString = """CASE WHEN b.step >= interval '1 year' THEN 'YYYY'
                                WHEN b.step >= interval '1 month' THEN 'YYYY_MM'
                                WHEN b.step >= interval '1 day' THEN 'YYYY_MM_DD'
                                WHEN b.step >= interval '1 minute' THEN 'YYYY_MM_DD_HH24MI'
                                ELSE 'YYYY_MM_DD_HH24MISS'
                           END"""
_QUARTERLY = ("'quarter'", "'YYYY\"q\"Q'")
_WEEKLY = ("'week'", "'IYYY\"w\"IW'")


@dataclass(frozen=True, slots=True)
class Range:
    """A partition to be made: its bounds, and what its name ends in."""

    lower: str
    upper: str
    suffix: str
    long: bool


_ASKED = Query(_TIMES)
_LONGEST_NAME = 63


async def time_ranges(
    s: Session, table: Table, word: str | None, interval: str, premake: int, start: str | None
) -> list[Target]:
    """The spans of time that get a partition."""
    if word is None and interval.strip().lstrip("+-").replace(".", "", 1).isdecimal():
        raise Usage(
            f"--interval {interval} has no unit, and PostgreSQL would take it for seconds",
            hint="write 1 day, 1 week, 1 month or another interval",
        )
    unit, suffix = _UNIT, _SUFFIX_5 if declarative(s.facts) else _SUFFIX_4
    more = {"unit": sql.SQL(unit), "suffix": sql.SQL(suffix)}
    if not declarative(s.facts) and interval in ("quarterly", "weekly"):
        unit, suffix = _QUARTERLY if interval == "quarterly" else _WEEKLY
        more = {"unit": sql.SQL(unit), "suffix": sql.SQL(suffix)}
    ranges = await ask(s, Range, _ASKED, word or interval, premake, start, **more)
    if not ranges[0].long:
        raise Usage(f"--interval {interval} is shorter than a second")
    return [Target(name(table, r.suffix), r.lower, r.upper) for r in ranges]


def name(table: Table, suffix: str) -> str:
    """The name of a partition; a long table's name is cut so that it fits."""
    end = f"_p{suffix}"
    kept = table.relation.encode()[: _LONGEST_NAME - len(end)].decode("utf-8", "ignore")
    return kept + end


async def number_ranges(
    s: Session,
    table: Table,
    control: str,
    interval: str,
    premake: int,
    start: str | None,
    *,
    listed: bool = False,
) -> list[Target]:
    """The ranges of numbers that get a partition; where values are `listed`, each holds one."""
    if listed and interval != "1":
        raise Usage(f"--interval {interval}: a partition by list holds one number, so it wants 1")
    if not interval.isdecimal() or int(interval) < 2 - listed:
        raise Usage(
            f"--interval {interval}: the column is a number, so it wants how many ids a partition holds",
            hint="2 or more, such as 1000000",
        )
    width = int(interval)
    if start is not None and not start.lstrip("-").isdecimal():
        raise Usage(f"--start {start} is no number")
    highest = int(start) if start is not None else await _highest(s, table, control)
    first = highest - (abs(highest) % width) * (1 if highest >= 0 else -1)
    before = [first - width * n for n in range(premake, 0, -1)] if start is None else []
    lowers = [low for low in before if low > 0] + [first + width * n for n in range(premake + 1)]
    return [Target(name(table, str(low)), str(low), str(low + width)) for low in lowers]


async def _highest(s: Session, table: Table, control: str) -> int:
    asked = sql.SQL(
        "SELECT {oid}::pg_catalog.oid AS oid,"
        " pg_catalog.max(m.{control})::pg_catalog.int8 AS number FROM {table} AS m"
    ).format(oid=sql.Literal(table.oid), control=sql.Identifier(control), table=table.identifier)
    return (await numbers(s, [asked])).get(table.oid) or 0
