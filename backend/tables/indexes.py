"""Indexes that are invalid, duplicate or never used, and how long the statistics have been counting."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal, LiteralString

from backend.core.declare import Col, Health, Verdict
from backend.core.facts import Query, Since

# What REINDEX CONCURRENTLY calls the new index until it takes the old one's name, and then the old one.
_BESIDE = re.compile(r'_cc(new|old)\d*"?$')

Problem = Literal["invalid", "being built", "duplicate", "unused"]

# Expressions are compared as they are stored, without the places they had in the text of CREATE INDEX:
# writing them out anew would wait for whoever has the table for himself. A role that may not see what others
# do is told of a build in this database, not of which index.
_INDEXES: LiteralString = """
WITH known AS (
    SELECT i.indexrelid,
           i.indrelid,
           i.indisvalid,
           i.indisunique,
           c.relpages,
           c.relname,
           c.relispartition,
           n.nspname,
           t.relname AS of_table,
           k.conname,
           i.indisprimary OR i.indisexclusion OR i.indisreplident OR k.oid IS NOT NULL AS kept,
           pg_catalog.pg_stat_get_numscans(i.indexrelid) AS scans,
           {last_scan} AS last_scan,
           CASE WHEN i.indisvalid AND NOT i.indisexclusion
                THEN pg_catalog.concat_ws(' ',
                                          i.indrelid,
                                          c.relam,
                                          i.indnkeyatts,
                                          i.indkey,
                                          i.indclass,
                                          i.indcollation,
                                          i.indoption,
                                          pg_catalog.regexp_replace(i.indexprs::pg_catalog.text,
                                                                    ':location -?[0-9]+', '', 'g'),
                                          '|',
                                          pg_catalog.regexp_replace(i.indpred::pg_catalog.text,
                                                                    ':location -?[0-9]+', '', 'g'))
                ELSE i.indexrelid::pg_catalog.text
           END AS same,
           {nulls} AS nulls
      FROM pg_catalog.pg_index AS i
      JOIN pg_catalog.pg_class AS c
        ON c.oid = i.indexrelid
      JOIN pg_catalog.pg_namespace AS n
        ON n.oid = c.relnamespace
      JOIN pg_catalog.pg_class AS t
        ON t.oid = i.indrelid
      LEFT JOIN pg_catalog.pg_constraint AS k
        ON k.conindid = i.indexrelid
       AND k.contype IN ('p', 'u', 'x')
     WHERE c.relkind = 'i'
       AND c.relpersistence <> 't'
       AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
), compared AS (
    SELECT k.*,
           pg_catalog.first_value(k.indexrelid) OVER same AS original,
           pg_catalog.first_value(k.nulls) OVER same AS original_nulls
      FROM known AS k
    WINDOW same AS (PARTITION BY k.same
                    ORDER BY k.kept DESC, k.indisunique DESC, k.relispartition DESC, k.indexrelid)
), judged AS (
    SELECT c.*,
           CASE WHEN NOT c.indisvalid
                THEN CASE WHEN EXISTS (SELECT
                                         FROM pg_catalog.pg_stat_progress_create_index AS p
                                        WHERE p.datname = pg_catalog.current_database()
                                          AND (p.relid = c.indrelid OR p.relid IS NULL))
                          THEN 'being built'
                          ELSE 'invalid'
                     END
                WHEN c.original <> c.indexrelid
                     AND NOT c.kept
                     AND (NOT c.indisunique OR c.nulls = c.original_nulls)
                THEN 'duplicate'
                WHEN c.scans = 0
                     AND NOT c.indisunique
                     AND NOT c.kept
                THEN 'unused'
           END AS problem
      FROM compared AS c
), listed AS MATERIALIZED (
    SELECT j.*
      FROM judged AS j
     WHERE j.problem IS NOT NULL
        OR NOT %s::pg_catalog.bool
     ORDER BY j.problem IS NULL,
              j.problem = 'invalid' DESC,
              j.relpages DESC,
              j.indexrelid
     LIMIT %s
), taken AS MATERIALIZED (
    SELECT DISTINCT l.relation AS oid
      FROM pg_catalog.pg_locks AS l
     WHERE l.mode = 'AccessExclusiveLock'
       AND l.relation IS NOT NULL
)
SELECT pg_catalog.concat_ws('.',
                            pg_catalog.quote_ident(j.nspname),
                            pg_catalog.quote_ident(j.relname)) AS index,
       pg_catalog.concat_ws('.',
                            pg_catalog.quote_ident(j.nspname),
                            pg_catalog.quote_ident(j.of_table)) AS table,
       j.problem,
       CASE WHEN j.problem = 'duplicate'
            THEN (SELECT pg_catalog.concat_ws('.',
                                              pg_catalog.quote_ident(j.nspname),
                                              pg_catalog.quote_ident(o.relname))
                    FROM pg_catalog.pg_class AS o
                   WHERE o.oid = j.original)
       END AS same_as,
       CASE WHEN k.oid IS NULL THEN pg_catalog.pg_relation_size(j.indexrelid) END AS bytes,
       j.scans,
       j.last_scan,
       pg_catalog.pg_stat_get_db_stat_reset_time(d.oid) AS since,
       j.indisunique AS unique,
       j.conname AS constraint,
       (SELECT pg_catalog.concat_ws('.',
                                    pg_catalog.quote_ident(pn.nspname),
                                    pg_catalog.quote_ident(pc.relname))
          FROM pg_catalog.pg_inherits AS h
          JOIN pg_catalog.pg_class AS pc
            ON pc.oid = h.inhparent
          JOIN pg_catalog.pg_namespace AS pn
            ON pn.oid = pc.relnamespace
         WHERE h.inhrelid = j.indexrelid) AS part_of,
       pg_catalog.pg_get_indexdef(j.indexrelid) AS definition
  FROM listed AS j
 CROSS JOIN pg_catalog.pg_database AS d
  LEFT JOIN taken AS k
    ON k.oid = j.indexrelid
 WHERE d.datname = pg_catalog.current_database()
 ORDER BY j.problem IS NULL,
          j.problem = 'invalid' DESC,
          bytes DESC NULLS FIRST,
          j.nspname,
          j.relname
"""
_WHEN: LiteralString = "pg_catalog.pg_stat_get_lastscan(i.indexrelid)"
_NEVER_KNOWN: LiteralString = "NULL::pg_catalog.timestamptz"
_NULLS: LiteralString = "i.indnullsnotdistinct"
INDEXES = Query(
    Since(16, _INDEXES.replace("{last_scan}", _WHEN).replace("{nulls}", _NULLS)),
    Since(15, _INDEXES.replace("{last_scan}", _NEVER_KNOWN).replace("{nulls}", _NULLS)),
    Since(14, _INDEXES.replace("{last_scan}", _NEVER_KNOWN).replace("{nulls}", "false")),
)


@dataclass(frozen=True, slots=True)
class Index:
    """One index."""

    index: Annotated[
        str, Col("Index", key=True, text=True, priority=1, help="As SQL writes it, with quotes where need be")
    ]
    table: Annotated[str, Col("Table", priority=4)]
    problem: Annotated[
        Problem | None,
        Col(
            "Problem",
            priority=1,
            help="Unused means by this server: standbys count for themselves. "
            "What a constraint or uniqueness needs is never called unused",
        ),
    ]
    same_as: Annotated[str | None, Col("Same as", priority=3, help="The index that does the same work")]
    bytes: Annotated[
        int | None,
        Col("Size", unit="bytes", priority=1, help="Empty while somebody has it locked for himself alone"),
    ]
    scans: Annotated[int, Col("Scans", priority=2, help="Since the statistics began")]
    last_scan: Annotated[datetime | None, Col("Last scan", priority=5, help="PostgreSQL 16 and newer")]
    since: Annotated[
        datetime | None,
        Col("Counted since", priority=2, help="When the statistics were reset; empty when they never were"),
    ]
    unique: Annotated[bool, Col("Unique", priority=7)]
    constraint: Annotated[str | None, Col("Constraint", priority=8, help="The constraint that it serves")]
    part_of: Annotated[
        str | None, Col("Part of", priority=8, help="The partitioned index that it belongs to, and goes with")
    ]
    definition: Annotated[str, Col("Definition", priority=9)]


def verdict(row: Index) -> Verdict | None:
    """A warning for what a failed build has left behind."""
    if row.problem != "invalid":
        return None
    if _BESIDE.search(row.index):
        return Verdict(
            Health.WARNING, "left by a rebuild that did not end; DROP INDEX CONCURRENTLY removes it"
        )
    return Verdict(
        Health.WARNING, "invalid, as a build that failed leaves it; tables.reindex --index makes it good"
    )
