"""Finding the table or index that is meant, and whether the role may maintain it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import LiteralString

from psycopg import sql

from backend.core.errors import Missing, Refused, Usage
from backend.core.facts import Facts, Query, Since
from backend.core.session import Session

# Up to 16 owners maintain, of the table or of its database; since 17 there is the privilege for it too.
_OWNS: LiteralString = """(pg_catalog.pg_has_role(c.relowner, 'USAGE')
        OR (NOT c.relisshared
            AND EXISTS (SELECT
                          FROM pg_catalog.pg_database AS d
                         WHERE d.datname = pg_catalog.current_database()
                           AND pg_catalog.pg_has_role(d.datdba, 'USAGE'))))"""
_MAINTAINS: LiteralString = (
    _OWNS + "\n         OR pg_catalog.has_table_privilege(coalesce(i.indrelid, c.oid), 'MAINTAIN')"
)

# The exact quoted form wins, since no other relation can have it; else a name without quotes, with or without
# its schema, must fit one relation alone.
_FIND: LiteralString = """
WITH wanted AS (
    SELECT %s::pg_catalog.text AS name,
           %s::pg_catalog.text[] AS kinds
)
SELECT c.oid::pg_catalog.int8 AS oid,
       n.nspname AS schema,
       c.relname AS name,
       q.quoted,
       c.relkind::pg_catalog.text AS kind,
       q.quoted = w.name AS exact,
       n.nspname IN ('pg_catalog', 'pg_toast') AS system,
       pg_catalog.pg_get_userbyid(c.relowner)::pg_catalog.text AS owner,
       {may} AS may,
       pg_catalog.has_schema_privilege(n.oid, 'USAGE') AS enters,
       tn.nspname AS of_schema,
       t.relname AS of_table,
       coalesce(i.indisexclusion, false) AS exclusion
  FROM wanted AS w
  JOIN pg_catalog.pg_class AS c
    ON c.relkind::pg_catalog.text = ANY (w.kinds)
  JOIN pg_catalog.pg_namespace AS n
    ON n.oid = c.relnamespace
 CROSS JOIN LATERAL
       (SELECT pg_catalog.concat_ws('.', pg_catalog.quote_ident(n.nspname), pg_catalog.quote_ident(c.relname))
               AS quoted) AS q
  LEFT JOIN pg_catalog.pg_index AS i
    ON i.indexrelid = c.oid
  LEFT JOIN pg_catalog.pg_class AS t
    ON t.oid = i.indrelid
  LEFT JOIN pg_catalog.pg_namespace AS tn
    ON tn.oid = t.relnamespace
 WHERE w.name IN (q.quoted, pg_catalog.concat_ws('.', n.nspname, c.relname))
    OR (w.name IN (c.relname, pg_catalog.quote_ident(c.relname))
        AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
        AND c.relpersistence <> 't')
 ORDER BY exact DESC,
          n.nspname,
          c.relname
 LIMIT 20
"""
FIND = Query(Since(17, _FIND.replace("{may}", _MAINTAINS)), Since(14, _FIND.replace("{may}", _OWNS)))

TABLES = "rmp"
INDEXES = "iI"


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or an index, and what the role may do with it."""

    oid: int
    schema: str
    name: str
    quoted: str
    kind: str
    exact: bool
    system: bool
    owner: str
    may: bool
    enters: bool
    of_schema: str | None
    of_table: str | None
    exclusion: bool

    @property
    def identifier(self) -> sql.Identifier:
        """Its name in a statement."""
        return sql.Identifier(self.schema, self.name)

    @property
    def partitioned(self) -> bool:
        """Whether it has no storage of its own, only partitions."""
        return self.kind in "pI"


async def find(s: Session, option: str, given: str, kinds: str) -> Relation:
    """The one relation of that name; refused when there is none or the name fits several."""
    if not given.strip():
        raise Usage(f"{option} is empty")
    if "\0" in given:
        raise Usage(f"{option} holds a zero byte, which no name in PostgreSQL has")
    found = await s.fetch(Relation, FIND, given, list(kinds))
    if not found:
        what = "index" if kinds == INDEXES else "table"
        raise Refused(
            f"database {s.facts.database} has no {what} {given}",
            hint="names are exact, and quoted as SQL wants them: public.orders",
        )
    if len(found) > 1 and not found[0].exact:
        names = ", ".join(r.quoted for r in found[:5])
        raise Refused(f"{given} fits several: {names}", hint=f"give {option} with its schema, quoted as here")
    return found[0]


def demand_right(s: Session, relation: Relation, verb: str) -> None:
    """Raise `Missing`, naming the grant that helps, when the role may not maintain the relation."""
    if (relation.may and relation.enters) or s.target.act:
        return
    user = sql.Identifier(s.facts.user)
    grants: list[sql.Composable] = []
    if not relation.enters:
        schema = sql.Identifier(relation.schema)
        grants.append(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, user))
    if not relation.may:
        grants.append(_grant(s.facts, relation, user))
    raise Missing(
        f"role {s.facts.user} may not {verb} {relation.quoted}, which belongs to {relation.owner}",
        hint=f"{sql.SQL('; ').join(grants).as_string(None)} lets it",
        sqlstate="42501",
    )


def _grant(facts: Facts, relation: Relation, user: sql.Identifier) -> sql.Composed:
    if facts.major < 17:
        return sql.SQL("GRANT {} TO {}").format(sql.Identifier(relation.owner), user)
    table = sql.Identifier(relation.of_schema or relation.schema, relation.of_table or relation.name)
    return sql.SQL("GRANT MAINTAIN ON {} TO {}").format(table, user)


def size(relation: Relation) -> sql.Composed:
    """The question for its size, with its indexes and partitions."""
    if relation.kind == "p":
        return sql.SQL(
            "SELECT pg_catalog.sum(pg_catalog.pg_total_relation_size(p.relid))::pg_catalog.int8 AS bytes\n"
            "  FROM pg_catalog.pg_partition_tree({}) AS p"
        ).format(_literal(relation))
    return sql.SQL("SELECT pg_catalog.pg_total_relation_size({}) AS bytes").format(_literal(relation))


def may_vacuum(facts: Facts, relation: Relation) -> sql.Composed:
    """The question whether the role that asks may vacuum and analyze a table."""
    maintains = "\n         OR pg_catalog.has_table_privilege(c.oid, 'MAINTAIN')" if facts.major >= 17 else ""
    return sql.SQL(
        "SELECT pg_catalog.pg_has_role(c.relowner, 'USAGE')\n"
        "         OR (NOT c.relisshared AND pg_catalog.pg_has_role(d.datdba, 'USAGE')){} AS may\n"
        "  FROM pg_catalog.pg_class AS c\n"
        "  JOIN pg_catalog.pg_database AS d\n"
        "    ON d.datname = pg_catalog.current_database()\n"
        " WHERE c.oid = pg_catalog.to_regclass({})"
    ).format(sql.SQL(maintains), sql.Literal(relation.quoted))


def _literal(relation: Relation) -> sql.Composed:
    return sql.SQL("{}::pg_catalog.regclass").format(sql.Literal(relation.quoted))
