"""How far sequences are used up, measured against the columns that they fill."""

from __future__ import annotations

from collections.abc import Sequence as Rows
from dataclasses import dataclass
from typing import Annotated

from backend.core.declare import Col, Health, Verdict
from backend.core.facts import Query

# A bigint sequence on an integer column ends where the column ends. Reading a sequence opens it, so those
# that are being altered are left unread. The server refuses a role without rights, hence the question before.
SEQUENCES = Query("""
WITH known AS (
    SELECT c.oid,
           n.nspname,
           c.relname,
           s.seqtypid,
           s.seqincrement,
           s.seqmin,
           s.seqmax,
           s.seqcycle,
           o.nspname AS of_schema,
           t.relname AS of_table,
           a.attname,
           a.atttypid,
           CASE a.atttypid WHEN 'pg_catalog.int2'::pg_catalog.regtype THEN 32767
                           WHEN 'pg_catalog.int4'::pg_catalog.regtype THEN 2147483647
                           ELSE 9223372036854775807
           END AS most,
           pg_catalog.has_sequence_privilege(c.oid, 'SELECT')
             OR pg_catalog.has_sequence_privilege(c.oid, 'USAGE') AS readable
      FROM pg_catalog.pg_sequence AS s
      JOIN pg_catalog.pg_class AS c
        ON c.oid = s.seqrelid
      JOIN pg_catalog.pg_namespace AS n
        ON n.oid = c.relnamespace
      LEFT JOIN pg_catalog.pg_depend AS d
        ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
       AND d.objid = c.oid
       AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
       AND d.refobjsubid > 0
       AND d.deptype IN ('a', 'i')
      LEFT JOIN pg_catalog.pg_class AS t
        ON t.oid = d.refobjid
      LEFT JOIN pg_catalog.pg_namespace AS o
        ON o.oid = t.relnamespace
      LEFT JOIN pg_catalog.pg_attribute AS a
        ON a.attrelid = d.refobjid
       AND a.attnum = d.refobjsubid
     WHERE c.relpersistence <> 't'
), read AS MATERIALIZED (
    SELECT k.*,
           least(k.seqmax, k.most) AS ceiling,
           greatest(k.seqmin, -k.most - 1) AS bottom,
           k.seqcycle AND k.seqmax <= k.most AND k.seqmin >= -k.most - 1 AS cycles,
           CASE WHEN k.readable
                     AND NOT EXISTS (SELECT
                                       FROM pg_catalog.pg_locks AS l
                                      WHERE l.relation = k.oid
                                        AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock',
                                                       'ExclusiveLock', 'AccessExclusiveLock'))
                THEN pg_catalog.pg_sequence_last_value(k.oid)
           END AS last_value
      FROM known AS k
), counted AS (
    SELECT r.*,
           CASE WHEN r.last_value IS NULL THEN NULL
                WHEN r.seqincrement > 0 THEN greatest(r.ceiling - r.last_value::pg_catalog.numeric, 0)
                ELSE greatest(r.last_value::pg_catalog.numeric - r.bottom, 0)
           END AS ahead,
           r.ceiling::pg_catalog.numeric - r.bottom AS span
      FROM read AS r
)
SELECT pg_catalog.concat_ws('.',
                            pg_catalog.quote_ident(c.nspname),
                            pg_catalog.quote_ident(c.relname)) AS sequence,
       CASE WHEN NOT c.cycles
            THEN (100 - 100 * c.ahead / nullif(c.span, 0))::pg_catalog.float8
       END AS used,
       CASE WHEN c.ahead IS NOT NULL
            THEN least(pg_catalog.trunc(c.ahead / pg_catalog.abs(c.seqincrement::pg_catalog.numeric)),
                       9223372036854775807)::pg_catalog.int8
       END AS remaining,
       c.last_value,
       CASE WHEN c.seqincrement > 0 THEN c.ceiling ELSE c.bottom END AS bound,
       c.seqincrement AS increment,
       c.seqcycle AS cycle,
       pg_catalog.concat_ws('.',
                            pg_catalog.quote_ident(c.of_schema),
                            pg_catalog.quote_ident(c.of_table),
                            pg_catalog.quote_ident(c.attname)) AS fills,
       pg_catalog.format_type(coalesce(c.atttypid, c.seqtypid), NULL) AS type,
       c.readable
  FROM counted AS c
 ORDER BY used DESC NULLS LAST,
          c.readable,
          c.nspname,
          c.relname
 LIMIT %s
""")


@dataclass(frozen=True, slots=True)
class Sequence:
    """One sequence."""

    sequence: Annotated[
        str,
        Col("Sequence", key=True, text=True, priority=1, help="As SQL writes it, with quotes where need be"),
    ]
    used: Annotated[
        float | None,
        Col(
            "Used",
            unit="percent",
            priority=1,
            warn=75,
            crit=90,
            help="Of the way to its end; empty when it was never used, begins anew by itself, or is hidden",
        ),
    ]
    remaining: Annotated[int | None, Col("Left", priority=2, help="Values that it can still give")]
    last_value: Annotated[int | None, Col("Last value", priority=2)]
    bound: Annotated[int, Col("Ends at", priority=3, help="Its own end, or that of the column, if earlier")]
    increment: Annotated[int, Col("Step", priority=6)]
    cycle: Annotated[bool, Col("Cycles", priority=5, help="Whether it begins anew at its end")]
    fills: Annotated[str, Col("Fills", priority=4, help="The column that owns it")]
    type: Annotated[str, Col("Type", priority=5, help="Of the column that it fills, else its own")]
    readable: Annotated[bool, Col("Readable", priority=8, help="Whether this role may read it")]


def overall(rows: Rows[Sequence]) -> Verdict | None:
    """What cannot be read is not called well."""
    hidden = sum(not row.readable for row in rows)
    if not hidden:
        return None
    many = "1 sequence" if hidden == 1 else f"{hidden} sequences"
    return Verdict(
        Health.UNKNOWN, f"this role may not read {many}; GRANT pg_read_all_data to it lets it look"
    )
