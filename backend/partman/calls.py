"""What the room's actions share: calls of pg_partman by named arguments, and tables that the user names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from psycopg import sql

from backend.core.clean import clean
from backend.core.declare import Col
from backend.core.errors import Refused, Usage
from backend.core.facts import Facts, Query
from backend.core.plan import Answers, Sql, statement
from backend.core.rendering import inlined
from backend.core.session import Session
from backend.partman.catalog import PartitionSet
from backend.partman.place import ask, schema

_TABLES = Query("""
SELECT c.oid,
       pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS name,
       n.nspname || '.' || c.relname AS plain,
       n.nspname::pg_catalog.text AS schema,
       c.relname::pg_catalog.text AS relation,
       c.relkind::pg_catalog.text AS relkind
  FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n
    ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p')
   AND %s::pg_catalog.text IN (n.nspname || '.' || c.relname,
                               pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname))
 ORDER BY name
""")

_SCHEMAS = Query("""
SELECT n.nspname::pg_catalog.text AS name
  FROM pg_catalog.pg_namespace AS n
 WHERE n.nspname = %s
""")


@dataclass(frozen=True, slots=True)
class Table:
    """A table that the user named."""

    oid: int
    name: str
    plain: str
    schema: str
    relation: str
    relkind: str

    @property
    def identifier(self) -> sql.Identifier:
        """Its name in SQL."""
        return sql.Identifier(self.schema, self.relation)


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema that the user named."""

    name: str


@dataclass(frozen=True, slots=True)
class Target:
    """A partition that an action touches."""

    partition: Annotated[str, Col("Partition", key=True, text=True)]
    lower: Annotated[str | None, Col("From")]
    upper: Annotated[str | None, Col("To")]
    bytes: Annotated[int | None, Col("Size", unit="bytes")] = None


async def find_table(s: Session, name: str, option: str) -> Table:
    """The table of that name, with its schema, as SQL or pg_partman writes it."""
    found = await ask(s, Table, _TABLES, _text(name, option))
    if not found:
        hint = None if "." in name else "write it with its schema"
        raise Refused(f"there is no table {clean(name)}", hint=hint)
    if len(found) > 1:
        raise Refused(f"{option} {clean(name)} may be {' and '.join(clean(f.name) for f in found)}")
    return found[0]


async def demand_schema(s: Session, name: str, option: str) -> None:
    """Raise when there is no such schema."""
    if not await ask(s, Schema, _SCHEMAS, _text(name, option)):
        raise Refused(f"there is no schema {clean(name)}")


def _text(value: str, option: str) -> str:
    if not value.strip() or "\0" in value:
        raise Usage(f"{option} is empty or holds a zero byte")
    return value


def call(facts: Facts, function: str, **arguments: Any) -> sql.Composed:
    """A call of one of pg_partman's functions by named arguments; what is None is left out."""
    given = sql.SQL(", ").join(
        sql.SQL("{} := {}").format(
            sql.SQL(name),  # pyright: ignore[reportArgumentType]
            value if isinstance(value, sql.Composable) else sql.Literal(value),
        )
        for name, value in arguments.items()
        if value is not None
    )
    return sql.SQL("{}({})").format(sql.Identifier(schema(facts), function), given)


def select(what: sql.Composable, name: str, **more: Any) -> Sql:
    """A step that asks one function and names its answer."""
    return statement(sql.SQL("SELECT {} AS {}").format(what, sql.Identifier(name)), **more)


def block(body: sql.Composable) -> sql.Composed:
    """An anonymous block, which decides on the server."""
    text = inlined(body).decode("utf-8", "surrogateescape")
    return sql.SQL("DO {}").format(sql.Literal(text))


def config_table(facts: Facts) -> sql.Identifier:
    """The configuration table in SQL."""
    return sql.Identifier(schema(facts), "part_config")


def children(of: PartitionSet) -> sql.Composable:
    """The question how many partitions a set has, without the default one."""
    return sql.SQL("""\
(SELECT pg_catalog.count(*)
          FROM pg_catalog.pg_inherits AS i
          JOIN pg_catalog.pg_class AS c
            ON c.oid = i.inhrelid
         WHERE i.inhparent = {}::pg_catalog.regclass
           AND pg_catalog.pg_get_expr(c.relpartbound, c.oid) IS DISTINCT FROM 'DEFAULT')""").format(
        sql.Literal(of.at.parent)
    )


def last(answers: Answers) -> dict[str, Any]:
    """The first row of the last answer, as a result that scripts read."""
    return dict(answers[-1].first)
