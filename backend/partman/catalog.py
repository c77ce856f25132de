"""What the catalogs and pg_partman's configuration say of partition sets, on any version."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from typing import Any

from psycopg import sql

from backend.core.facts import Query
from backend.core.session import Session
from backend.partman import bounds
from backend.partman.bounds import Bound, Scale
from backend.partman.place import ask, find, schema

# Tables with children that are not partitioned are sets only where pg_partman knows them: 4.x had triggers.
_PARENTS = Query("""
SELECT c.oid,
       pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS parent,
       n.nspname || '.' || c.relname AS plain,
       n.nspname::pg_catalog.text AS schema,
       c.relname::pg_catalog.text AS name,
       c.relkind::pg_catalog.text AS relkind,
       p.partstrat::pg_catalog.text AS strategy,
       pg_catalog.pg_get_partkeydef(c.oid) AS key,
       p.partnatts::pg_catalog.int4 AS columns,
       a.attname::pg_catalog.text AS control,
       pg_catalog.format_type(a.atttypid, NULL) AS control_type,
       EXISTS (SELECT
                 FROM pg_catalog.pg_index AS x
                WHERE x.indrelid = c.oid
                  AND x.indisvalid
                  AND x.indkey[0] = a.attnum) AS indexed,
       pg_catalog.has_table_privilege(c.oid, 'SELECT') AS readable,
       (SELECT i.inhparent
          FROM pg_catalog.pg_inherits AS i
         WHERE i.inhrelid = c.oid
         LIMIT 1) AS above
  FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n
    ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_partitioned_table AS p
    ON p.partrelid = c.oid
  LEFT JOIN pg_catalog.pg_attribute AS a
    ON a.attrelid = c.oid
   AND a.attnum = p.partattrs[0]
 WHERE c.relpersistence <> 't'
   AND (c.relkind = 'p' OR c.relkind = 'r' AND c.relhassubclass)
 ORDER BY n.nspname, c.relname
""")

# Measuring a table waits for whoever holds or wants it alone, so those are left out. The bounds hold no
# columns, so they can be shown without opening the table: that would wait too.
_PARTITIONS = Query("""
  WITH taken AS MATERIALIZED (
    SELECT l.relation
      FROM pg_catalog.pg_locks AS l
     WHERE l.mode = 'AccessExclusiveLock'
       AND l.relation IS NOT NULL
)
SELECT i.inhparent AS parent,
       c.oid,
       pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS partition,
       n.nspname::pg_catalog.text AS schema,
       c.relname::pg_catalog.text AS name,
       c.relkind::pg_catalog.text AS relkind,
       pg_catalog.pg_get_expr(c.relpartbound, 0::pg_catalog.oid) AS bound,
       i.inhdetachpending AS detaching,
       c.oid IN (SELECT t.relation FROM taken AS t) AS taken,
       CASE WHEN c.oid IN (SELECT t.relation FROM taken AS t) THEN NULL
            ELSE pg_catalog.pg_total_relation_size(c.oid)
       END AS bytes,
       nullif(c.reltuples, -1)::pg_catalog.float8 AS rows,
       pg_catalog.has_table_privilege(c.oid, 'SELECT') AS readable,
       greatest(s.last_analyze, s.last_autoanalyze) AS analyzed
  FROM pg_catalog.pg_inherits AS i
  JOIN pg_catalog.pg_class AS c
    ON c.oid = i.inhrelid
  JOIN pg_catalog.pg_namespace AS n
    ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_stat_all_tables AS s
    ON s.relid = c.oid
 WHERE c.relkind IN ('r', 'p', 'f')
   AND c.relpersistence <> 't'
 ORDER BY n.nspname, c.relname
""")

# As JSON, since the two versions have different columns.
_CONFIGS = Query("""
SELECT p.parent_table,
       pg_catalog.to_jsonb(p) AS settings,
       EXISTS (SELECT
                 FROM pg_catalog.pg_class AS c
                 JOIN pg_catalog.pg_namespace AS n
                   ON n.oid = c.relnamespace
                WHERE n.nspname || '.' || c.relname = p.parent_table
                  AND c.relkind IN ('r', 'p')) AS present
  FROM {partman}.part_config AS p
 ORDER BY p.parent_table
""")

# Which column a trigger of 4.x goes by stands in the configuration alone.
_CONTROLS = Query("""
SELECT a.attrelid AS oid,
       a.attname::pg_catalog.text AS name,
       pg_catalog.format_type(a.atttypid, NULL) AS type
  FROM pg_catalog.pg_attribute AS a
 WHERE a.attrelid = ANY (%s::pg_catalog.oid[])
   AND a.attnum > 0
   AND NOT a.attisdropped
""")

_CLOCK = Query("""
SELECT pg_catalog.clock_timestamp() AS now,
       pg_catalog.clock_timestamp()::pg_catalog.timestamp AS local
""")


@dataclass(frozen=True, slots=True)
class Parent:
    """A table that has partitions, or may have."""

    oid: int
    parent: str
    plain: str
    schema: str
    name: str
    relkind: str
    strategy: str | None
    key: str | None
    columns: int | None
    control: str | None
    control_type: str | None
    indexed: bool
    readable: bool
    above: int | None

    @property
    def identifier(self) -> sql.Identifier:
        """Its name in SQL."""
        return sql.Identifier(self.schema, self.name)


@dataclass(frozen=True, slots=True)
class Control:
    """A column of a table that may be the one its rows are told apart by."""

    oid: int
    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition as the catalog has it."""

    parent: int
    oid: int
    partition: str
    schema: str
    name: str
    relkind: str
    bound: str | None
    detaching: bool
    taken: bool
    bytes: int | None
    rows: float | None
    readable: bool
    analyzed: datetime | None

    @property
    def range(self) -> Bound:
        """What it holds."""
        return bounds.parse(self.bound)

    @property
    def identifier(self) -> sql.Identifier:
        """Its name in SQL."""
        return sql.Identifier(self.schema, self.name)

    @property
    def countable(self) -> bool:
        """Whether its rows can be counted without waiting."""
        return self.relkind == "r" and self.readable and not self.taken


@dataclass(frozen=True, slots=True)
class Config:
    """A row of pg_partman's configuration; not `present`, its table was dropped."""

    parent_table: str
    settings: dict[str, Any]
    present: bool


@dataclass(frozen=True, slots=True)
class Clock:
    """The server's time, and the same in its zone."""

    now: datetime
    local: datetime

    @property
    def zone(self) -> tzinfo:
        """The zone in which it writes times without one."""
        return bounds.zone(self.local - self.now.astimezone(UTC).replace(tzinfo=None))


@dataclass(frozen=True, slots=True)
class PartitionSet:
    """A parent with its partitions and its configuration, where pg_partman has one."""

    at: Parent
    partitions: tuple[Partition, ...]
    config: dict[str, Any] | None
    clock: Clock
    below: dict[int, tuple[Partition, ...]] = field(default_factory=dict)

    @property
    def scale(self) -> Scale:
        """How its bounds are measured."""
        return Scale(self.at.control_type, (self.config or {}).get("epoch"), self.clock.zone)

    @property
    def timed(self) -> bool:
        """Whether pg_partman divides it by time, which its keys may only encode."""
        return self.scale.timed or bool((self.config or {}).get("time_decoder"))

    @property
    def spans(self) -> list[bounds.Span]:
        """The closed ranges of its partitions, in order."""
        return bounds.spans([p.range for p in self.partitions if not p.detaching], self.scale)

    @property
    def gaps(self) -> list[bounds.Span]:
        """The ranges between its partitions; only those of one column can be told."""
        return bounds.gaps(self.spans) if self.at.columns == 1 else []

    @property
    def default(self) -> Partition | None:
        """The partition for all that fits in no other."""
        return next((p for p in self.partitions if p.range.default), None)

    @property
    def measured(self) -> bool:
        """Whether it can be told of every partition where it ends."""
        ranges = [p.range for p in self.partitions if not p.range.default]
        return all(r.ranged and (r.upper is None or self.scale.measure(r.upper) is not None) for r in ranges)

    def size(self, of: Partition) -> int | None:
        """The bytes of a partition with all below it; None where one cannot be measured now."""
        parts = [of.bytes, *(self.size(p) for p in self.below.get(of.oid, ()))]
        known = [b for b in parts if b is not None]
        return sum(known) if len(known) == len(parts) else None


async def partition_sets(s: Session) -> list[PartitionSet]:
    """Every partition set of the database, in the order of names."""
    parents, partitions, [clock], configured = await asyncio.gather(
        ask(s, Parent, _PARENTS), ask(s, Partition, _PARTITIONS), ask(s, Clock, _CLOCK), configs(s)
    )
    known = {c.parent_table: c.settings for c in configured}
    parents = await _with_controls(s, [p for p in parents if p.relkind == "p" or p.plain in known], known)
    below: dict[int, list[Partition]] = {}
    for each in partitions:
        below.setdefault(each.parent, []).append(each)
    tree = {oid: tuple(found) for oid, found in below.items()}
    return [PartitionSet(p, tree.get(p.oid, ()), known.get(p.plain), clock, tree) for p in parents]


async def _with_controls(
    s: Session, parents: Sequence[Parent], known: Mapping[str, Mapping[str, Any]]
) -> list[Parent]:
    """The parents; those of triggers with their columns as configured."""
    triggered = [p.oid for p in parents if p.relkind == "r"]
    found = await ask(s, Control, _CONTROLS, triggered) if triggered else []
    types = {(c.oid, c.name): c.type for c in found}
    return [_with_control(p, known[p.plain]["control"], types) if p.oid in triggered else p for p in parents]


def _with_control(of: Parent, control: str, types: Mapping[tuple[int, str], str]) -> Parent:
    return replace(of, control=control, control_type=types.get((of.oid, control)))


async def configs(s: Session) -> list[Config]:
    """The rows of pg_partman's configuration; none where it is not installed."""
    if find(s.facts) is None:
        return []
    return await ask(s, Config, _CONFIGS, partman=schema(s.facts))


_ASKED = Query("{asked}")


@dataclass(frozen=True, slots=True)
class Number:
    """A number that was asked of one table."""

    oid: int
    number: int | None


async def numbers(s: Session, asked: Sequence[sql.Composable]) -> dict[int, int | None]:
    """The answers of several questions for one number each, by table."""
    if not asked:
        return {}
    return {n.oid: n.number for n in await ask(s, Number, _ASKED, asked=sql.SQL(" UNION ALL ").join(asked))}


def count_of(table: Partition, most: int | None = None) -> sql.Composable:
    """The question how many rows a partition has, counted up to `most`."""
    limit = sql.SQL(" LIMIT {}").format(sql.Literal(most)) if most else sql.SQL("")
    return sql.SQL(
        "SELECT {oid}::pg_catalog.oid AS oid, pg_catalog.count(*)::pg_catalog.int8 AS number"
        "  FROM (SELECT FROM ONLY {table}{limit}) AS r"
    ).format(oid=sql.Literal(table.oid), table=table.identifier, limit=limit)
