"""Who depends on an extension: what would go with it, found in the catalogs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, LiteralString

from psycopg import sql

from backend.core.declare import Col
from backend.core.facts import Query

# As the server does it: whatever depends on something that goes, goes; and where a part goes that belongs to
# a whole inside, such as the rule of a view, the whole goes. Told is what the server tells in its notices:
# not what goes along silently by any way, such as the row type of a table or the column of a view.
_GONE: LiteralString = """\
WITH RECURSIVE gone AS (
    SELECT 'pg_catalog.pg_extension'::pg_catalog.regclass::pg_catalog.oid AS classid,
           e.oid AS objid,
           0 AS objsubid,
           false AS told
      FROM pg_catalog.pg_extension AS e
     WHERE e.extname = {name}
     UNION
    SELECT d.classid,
           d.objid,
           d.objsubid,
           d.told
      FROM gone AS g
     CROSS JOIN LATERAL
           (SELECT p.classid,
                   p.objid,
                   p.objsubid,
                   p.deptype = 'n'
                     AND p.classid <> 'pg_catalog.pg_rewrite'::pg_catalog.regclass AS told
              FROM pg_catalog.pg_depend AS p
             WHERE p.refclassid = g.classid
               AND p.refobjid = g.objid
               AND (g.objsubid = 0 OR p.refobjsubid = g.objsubid)
             UNION ALL
            SELECT w.refclassid,
                   w.refobjid,
                   w.refobjsubid,
                   true
              FROM pg_catalog.pg_depend AS w
             WHERE w.classid = g.classid
               AND w.objid = g.objid
               AND w.objsubid = g.objsubid
               AND w.deptype = 'i') AS d
), told AS (
    SELECT g.classid,
           g.objid,
           g.objsubid
      FROM gone AS g
     GROUP BY g.classid, g.objid, g.objsubid
    HAVING pg_catalog.bool_and(g.told)
)
SELECT pg_catalog.pg_describe_object(t.classid, t.objid, t.objsubid) AS what,
       coalesce(t.objsubid > 0 OR c.relkind IN ('r', 'm', 'p', 'f', 'S'), false) AS data,
       pg_catalog.concat_ws(' ', t.classid, t.objid, t.objsubid) AS address
  FROM told AS t
  LEFT JOIN pg_catalog.pg_class AS c
    ON c.oid = t.objid
   AND t.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
 WHERE NOT (t.objsubid > 0
            AND EXISTS (SELECT
                          FROM gone AS w
                         WHERE w.classid = t.classid
                           AND w.objid = t.objid
                           AND w.objsubid = 0))"""

DEPENDENTS = Query(_GONE + "\n ORDER BY data DESC, what\n")

# The tables of the extension itself, whose rows go with it.
OWN_TABLES = Query("""
SELECT pg_catalog.concat_ws('.',
                            pg_catalog.quote_ident(n.nspname),
                            pg_catalog.quote_ident(c.relname)) AS name
  FROM pg_catalog.pg_extension AS e
  JOIN pg_catalog.pg_depend AS d
    ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
   AND d.refobjid = e.oid
   AND d.deptype = 'e'
   AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
  JOIN pg_catalog.pg_class AS c
    ON c.oid = d.objid
  JOIN pg_catalog.pg_namespace AS n
    ON n.oid = c.relnamespace
 WHERE e.extname = %s
   AND c.relkind IN ('r', 'p')
 ORDER BY 1
""")


@dataclass(frozen=True, slots=True)
class Dependent:
    """One object that goes when the extension goes."""

    what: Annotated[str, Col("Goes too", text=True)]
    data: Annotated[bool, Col("Data", help="Whether rows or values are lost with it")]
    address: Annotated[str, Col("Address", key=True, hidden=True, help="As the catalogs have it")]


@dataclass(frozen=True, slots=True)
class OwnTable:
    """A table that belongs to the extension."""

    name: str


def others_than(name: str, known: list[str]) -> sql.Composed:
    """The question for what depends on an extension and is not among those known."""
    texts = sql.SQL(", ").join(sql.Literal(each) for each in known)
    return sql.SQL(
        "{gone}\n   AND pg_catalog.concat_ws(' ', t.classid, t.objid, t.objsubid)"
        "\n         <> ALL (ARRAY[{texts}]::pg_catalog.text[])"
    ).format(gone=sql.SQL(_GONE).format(name=sql.Literal(name)), texts=texts)
