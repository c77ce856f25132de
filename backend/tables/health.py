"""How tables are: size, dead rows, when autovacuum comes, and how far they are from being frozen."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, LiteralString

from backend.core.declare import Col, Health, Verdict
from backend.core.facts import Query, Since

# The formula is that of the server's own relation_needs_vacanalyze(), with a table's own settings before the
# general ones; a table's freeze limits can only be lower. Sizes are asked of the listed tables alone, since
# that opens each with its indexes; and not of those that somebody has for himself, where it would wait.
_TABLES: LiteralString = """
WITH general AS (
    SELECT pg_catalog.current_setting('autovacuum')::pg_catalog.bool
             AND pg_catalog.current_setting('track_counts')::pg_catalog.bool AS active,
           pg_catalog.current_setting('autovacuum_vacuum_threshold')::pg_catalog.float8 AS dead_base,
           pg_catalog.current_setting('autovacuum_vacuum_scale_factor')::pg_catalog.float8 AS dead_factor,
           pg_catalog.current_setting('autovacuum_vacuum_max_threshold', true)::pg_catalog.float8 AS dead_cap,
           pg_catalog.current_setting('autovacuum_vacuum_insert_threshold')::pg_catalog.float8 AS new_base,
           pg_catalog.current_setting('autovacuum_vacuum_insert_scale_factor')::pg_catalog.float8
             AS new_factor,
           pg_catalog.current_setting('autovacuum_analyze_threshold')::pg_catalog.float8 AS changed_base,
           pg_catalog.current_setting('autovacuum_analyze_scale_factor')::pg_catalog.float8 AS changed_factor,
           pg_catalog.current_setting('autovacuum_freeze_max_age')::pg_catalog.float8 AS xid_limit,
           pg_catalog.current_setting('autovacuum_multixact_freeze_max_age')::pg_catalog.float8 AS mxid_limit
), aged AS (
    SELECT c.oid,
           n.nspname,
           c.relname,
           c.relpages,
           greatest(c.reltuples, 0)::pg_catalog.float8 AS tuples,
           {unfrozen} AS unfrozen,
           greatest(pg_catalog.age(c.relfrozenxid), pg_catalog.age(t.relfrozenxid)) AS xid_age,
           greatest(pg_catalog.mxid_age(c.relminmxid), pg_catalog.mxid_age(t.relminmxid)) AS mxid_age,
           n.nspname IN ('pg_catalog', 'information_schema', 'pg_toast') OR c.relpersistence = 't' AS aside,
           coalesce(own.enabled, true) AS enabled,
           coalesce(own.dead_base, g.dead_base) AS dead_base,
           coalesce(own.dead_factor, g.dead_factor) AS dead_factor,
           nullif(coalesce(nullif(own.dead_cap, -2), g.dead_cap), -1) AS dead_cap,
           coalesce(nullif(own.new_base, -2), g.new_base) AS new_base,
           coalesce(own.new_factor, g.new_factor) AS new_factor,
           coalesce(own.changed_base, g.changed_base) AS changed_base,
           coalesce(own.changed_factor, g.changed_factor) AS changed_factor,
           least(own.xid_limit, g.xid_limit) AS xid_limit,
           least(own.mxid_limit, g.mxid_limit) AS mxid_limit,
           g.active
      FROM pg_catalog.pg_class AS c
      JOIN pg_catalog.pg_namespace AS n
        ON n.oid = c.relnamespace
     CROSS JOIN general AS g
      LEFT JOIN pg_catalog.pg_class AS t
        ON t.oid = c.reltoastrelid
      LEFT JOIN LATERAL
           (SELECT pg_catalog.max(o.option_value) FILTER (WHERE o.option_name = 'autovacuum_enabled')
                     ::pg_catalog.bool AS enabled,
                   pg_catalog.max(o.option_value) FILTER (WHERE o.option_name = 'autovacuum_vacuum_threshold')
                     ::pg_catalog.float8 AS dead_base,
                   pg_catalog.max(o.option_value)
                     FILTER (WHERE o.option_name = 'autovacuum_vacuum_scale_factor')
                     ::pg_catalog.float8 AS dead_factor,
                   pg_catalog.max(o.option_value)
                     FILTER (WHERE o.option_name = 'autovacuum_vacuum_max_threshold')
                     ::pg_catalog.float8 AS dead_cap,
                   pg_catalog.max(o.option_value)
                     FILTER (WHERE o.option_name = 'autovacuum_vacuum_insert_threshold')
                     ::pg_catalog.float8 AS new_base,
                   pg_catalog.max(o.option_value)
                     FILTER (WHERE o.option_name = 'autovacuum_vacuum_insert_scale_factor')
                     ::pg_catalog.float8 AS new_factor,
                   pg_catalog.max(o.option_value)
                     FILTER (WHERE o.option_name = 'autovacuum_analyze_threshold')
                     ::pg_catalog.float8 AS changed_base,
                   pg_catalog.max(o.option_value)
                     FILTER (WHERE o.option_name = 'autovacuum_analyze_scale_factor')
                     ::pg_catalog.float8 AS changed_factor,
                   pg_catalog.max(o.option_value) FILTER (WHERE o.option_name = 'autovacuum_freeze_max_age')
                     ::pg_catalog.float8 AS xid_limit,
                   pg_catalog.max(o.option_value)
                     FILTER (WHERE o.option_name = 'autovacuum_multixact_freeze_max_age')
                     ::pg_catalog.float8 AS mxid_limit
              FROM pg_catalog.pg_options_to_table(c.reloptions) AS o) AS own
        ON c.reloptions IS NOT NULL
     WHERE c.relkind IN ('r', 'm')
), measured AS (
    SELECT a.*,
           100 * greatest(a.xid_age / a.xid_limit, a.mxid_age / a.mxid_limit) AS freeze,
           least(a.dead_base + a.dead_factor * a.tuples, a.dead_cap) AS dead_limit,
           CASE WHEN a.new_base >= 0 THEN a.new_base + a.new_factor * a.tuples * a.unfrozen END AS new_limit,
           a.changed_base + a.changed_factor * a.tuples AS changed_limit,
           pg_catalog.pg_stat_get_live_tuples(a.oid) AS live,
           pg_catalog.pg_stat_get_dead_tuples(a.oid) AS dead,
           pg_catalog.pg_stat_get_ins_since_vacuum(a.oid) AS new,
           pg_catalog.pg_stat_get_mod_since_analyze(a.oid) AS changed
      FROM aged AS a
), listed AS MATERIALIZED (
    SELECT m.*,
           nullif(pg_catalog.concat_ws(', ',
                                       CASE WHEN m.freeze > 100 THEN 'freeze' END,
                                       CASE WHEN m.dead > m.dead_limit THEN 'vacuum' END,
                                       CASE WHEN m.new > m.new_limit THEN 'vacuum after inserts' END,
                                       CASE WHEN m.changed > m.changed_limit THEN 'analyze' END),
                  '') AS due
      FROM measured AS m
     WHERE NOT m.aside
        OR m.freeze > 100
     ORDER BY m.freeze > 100 DESC,
              m.dead > m.dead_limit OR coalesce(m.new > m.new_limit, false) DESC,
              m.relpages DESC,
              m.oid
     LIMIT %s
), taken AS MATERIALIZED (
    SELECT DISTINCT coalesce(i.indrelid, l.relation) AS oid
      FROM pg_catalog.pg_locks AS l
      LEFT JOIN pg_catalog.pg_index AS i
        ON i.indexrelid = l.relation
     WHERE l.mode = 'AccessExclusiveLock'
       AND l.relation IS NOT NULL
)
SELECT pg_catalog.concat_ws('.',
                            pg_catalog.quote_ident(m.nspname),
                            pg_catalog.quote_ident(m.relname)) AS table,
       CASE WHEN k.oid IS NULL THEN pg_catalog.pg_total_relation_size(m.oid) END AS bytes,
       m.live,
       m.dead,
       100 * m.dead / nullif(m.live + m.dead, 0)::pg_catalog.float8 AS dead_percent,
       m.due,
       m.dead_limit,
       greatest(pg_catalog.pg_stat_get_last_vacuum_time(m.oid),
                pg_catalog.pg_stat_get_last_autovacuum_time(m.oid)) AS last_vacuum,
       greatest(pg_catalog.pg_stat_get_last_analyze_time(m.oid),
                pg_catalog.pg_stat_get_last_autoanalyze_time(m.oid)) AS last_analyze,
       m.freeze,
       100 * greatest(m.xid_age, m.mxid_age) / 2147483647::pg_catalog.float8 AS wraparound,
       m.active AND m.enabled AS autovacuum,
       m.xid_age,
       m.mxid_age,
       m.nspname AS schema,
       m.relname AS name
  FROM listed AS m
  LEFT JOIN taken AS k
    ON k.oid = m.oid
 ORDER BY m.freeze > 100 DESC, bytes DESC NULLS FIRST, m.nspname, m.relname
"""
_ALL: LiteralString = "1::pg_catalog.float8"
# Since PostgreSQL 18 only the part that is not frozen counts for inserts.
_UNFROZEN: LiteralString = (
    "CASE WHEN c.relpages > 0 AND c.relallfrozen > 0\n"
    "                THEN 1 - least(c.relallfrozen, c.relpages) / c.relpages::pg_catalog.float8\n"
    "                ELSE 1\n"
    "           END"
)
TABLES = Query(
    Since(18, _TABLES.replace("{unfrozen}", _UNFROZEN)), Since(14, _TABLES.replace("{unfrozen}", _ALL))
)


@dataclass(frozen=True, slots=True)
class Table:
    """One table or materialized view."""

    table: Annotated[
        str, Col("Table", key=True, text=True, priority=1, help="As SQL writes it, with quotes where need be")
    ]
    bytes: Annotated[
        int | None,
        Col(
            "Size",
            unit="bytes",
            priority=1,
            help="With indexes and TOAST; empty while somebody has it locked for himself alone",
        ),
    ]
    live: Annotated[int, Col("Rows", priority=3, help="Live rows, as the statistics count them")]
    dead: Annotated[int, Col("Dead", priority=2, help="Dead rows that vacuum would remove")]
    dead_percent: Annotated[float | None, Col("Dead %", unit="percent", priority=4)]
    due: Annotated[
        str | None,
        Col("Due", priority=1, width=12, help="What autovacuum would do next, by the table's own thresholds"),
    ]
    dead_limit: Annotated[float, Col("Vacuum at", priority=6, help="Dead rows above which autovacuum comes")]
    last_vacuum: Annotated[datetime | None, Col("Vacuumed", priority=3, help="By hand or by autovacuum")]
    last_analyze: Annotated[datetime | None, Col("Analyzed", priority=4, help="By hand or by autovacuum")]
    freeze: Annotated[
        float,
        Col(
            "Freeze",
            unit="percent",
            priority=2,
            warn=110,
            crit=125,
            help="Age of the oldest row, of the one at which autovacuum freezes the table",
        ),
    ]
    wraparound: Annotated[
        float,
        Col("Wraparound", unit="percent", priority=7, warn=40, crit=60, help="The same age, of 2 billion"),
    ]
    autovacuum: Annotated[bool, Col("Auto", priority=6, help="Whether autovacuum is on for the table")]
    xid_age: Annotated[int, Col("Transactions", priority=8, help="Age of the oldest row in transactions")]
    mxid_age: Annotated[int, Col("Multixacts", priority=9, help="Age of the oldest one in multixacts")]
    schema: Annotated[str, Col("Schema", hidden=True)]
    name: Annotated[str, Col("Name", hidden=True)]


def verdict(row: Table) -> Verdict | None:
    """A warning where dead rows pile up that nobody will remove.

    Tables that only get rows and are emptied whole, as those of queues, have autovacuum off with good reason.
    """
    if row.autovacuum or "vacuum" not in (row.due or "").split(", "):
        return None
    return Verdict(Health.WARNING, f"due: {row.due}, and autovacuum is off for it")
