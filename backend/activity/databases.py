"""What each database and the server as a whole use and count: statements and rows."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from backend.core.declare import Col
from backend.core.facts import Query
from backend.core.record import record

# A database's size is left out: pg_database_size() reads its folders, too much for every refresh.
# 2^31 - 1 is the age at which transaction numbers wrap; reserved_connections exists since PostgreSQL 16.
DATABASES = Query("""
SELECT d.datname AS database,
       s.numbackends AS connections,
       l.connection_limit,
       100.0::pg_catalog.float8 * s.numbackends / nullif(l.connection_limit, 0) AS connections_percent,
       s.xact_commit AS commits,
       s.xact_rollback AS rollbacks,
       s.blks_read AS blocks_read,
       100.0::pg_catalog.float8 * s.blks_hit / nullif(s.blks_hit + s.blks_read, 0) AS cache_hits,
       s.deadlocks,
       s.temp_files,
       s.temp_bytes,
       s.checksum_failures,
       100.0::pg_catalog.float8 * greatest(pg_catalog.age(d.datfrozenxid), pg_catalog.mxid_age(d.datminmxid))
         / 2147483647 AS wraparound,
       greatest(100.0::pg_catalog.float8 * pg_catalog.age(d.datfrozenxid) / m.freeze_max_age,
                100.0::pg_catalog.float8 * pg_catalog.mxid_age(d.datminmxid) / m.multixact_max_age) AS freeze,
       d.datallowconn AS allows_connections,
       s.stats_reset
  FROM pg_catalog.pg_database d
  LEFT JOIN pg_catalog.pg_stat_database s ON s.datid = d.oid
 CROSS JOIN (SELECT pg_catalog.current_setting('max_connections')::pg_catalog.int4
                      - pg_catalog.current_setting('superuser_reserved_connections')::pg_catalog.int4
                      - coalesce(pg_catalog.current_setting('reserved_connections', true)::pg_catalog.int4, 0)
                    AS usable,
                    pg_catalog.current_setting('autovacuum_freeze_max_age')::pg_catalog.int8
                    AS freeze_max_age,
                    pg_catalog.current_setting('autovacuum_multixact_freeze_max_age')::pg_catalog.int8
                    AS multixact_max_age) m
 CROSS JOIN LATERAL (SELECT CASE WHEN d.datconnlimit >= 0 THEN least(d.datconnlimit, m.usable)
                                 ELSE m.usable
                            END AS connection_limit) l
 ORDER BY d.datistemplate, d.datname
""")

# The server hides the type of other roles' processes from a role without the right; those of a user and a
# database are then taken for clients.
SERVER = Query("""
SELECT coalesce(nullif(pg_catalog.current_setting('cluster_name'), ''), 'server') AS server,
       c.connections,
       m.usable AS connection_limit,
       100.0::pg_catalog.float8 * c.connections / m.usable AS connections_percent,
       d.commits,
       d.rollbacks,
       d.blocks_read,
       d.cache_hits,
       d.deadlocks,
       d.temp_files,
       d.temp_bytes,
       d.checksum_failures,
       x.prepared,
       pg_catalog.pg_postmaster_start_time() AS started
  FROM (SELECT pg_catalog.count(*) AS connections
          FROM pg_catalog.pg_stat_activity a
         WHERE a.backend_type = 'client backend'
            OR (a.backend_type IS NULL AND a.usesysid IS NOT NULL AND a.datid IS NOT NULL)) c
 CROSS JOIN (SELECT pg_catalog.current_setting('max_connections')::pg_catalog.int4
                      - pg_catalog.current_setting('superuser_reserved_connections')::pg_catalog.int4
                      - coalesce(pg_catalog.current_setting('reserved_connections', true)::pg_catalog.int4, 0)
                    AS usable) m
 CROSS JOIN (SELECT pg_catalog.sum(s.xact_commit)::pg_catalog.int8 AS commits,
                    pg_catalog.sum(s.xact_rollback)::pg_catalog.int8 AS rollbacks,
                    pg_catalog.sum(s.blks_read)::pg_catalog.int8 AS blocks_read,
                    100.0::pg_catalog.float8 * pg_catalog.sum(s.blks_hit)::pg_catalog.float8
                      / nullif(pg_catalog.sum(s.blks_hit + s.blks_read), 0)::pg_catalog.float8 AS cache_hits,
                    pg_catalog.sum(s.deadlocks)::pg_catalog.int8 AS deadlocks,
                    pg_catalog.sum(s.temp_files)::pg_catalog.int8 AS temp_files,
                    pg_catalog.sum(s.temp_bytes)::pg_catalog.int8 AS temp_bytes,
                    pg_catalog.sum(s.checksum_failures)::pg_catalog.int8 AS checksum_failures
               FROM pg_catalog.pg_stat_database s) d
 CROSS JOIN (SELECT pg_catalog.count(*) AS prepared FROM pg_catalog.pg_prepared_xacts) x
""")

_LIMIT = "What ordinary roles get: max_connections without the reserved ones, or the database's own limit"
_HITS = "Blocks found in shared buffers, of all since the statistics were reset; low is no fault by itself"


@record
class DatabaseRow:
    """One database."""

    database: Annotated[str, Col("Database", key=True, priority=1)]
    connections: Annotated[int | None, Col("Connections", priority=1)]
    connection_limit: Annotated[int, Col("Limit", priority=3, help=_LIMIT)]
    connections_percent: Annotated[
        float | None,
        Col("Used", unit="percent", priority=2, warn=80, crit=90, help="Connections, of the limit"),
    ]
    commits: Annotated[int | None, Col("Commits", rate=True, priority=1)]
    rollbacks: Annotated[int | None, Col("Rollbacks", rate=True, priority=2)]
    blocks_read: Annotated[
        int | None, Col("Reads", rate=True, priority=4, help="Blocks that were not in shared buffers")
    ]
    cache_hits: Annotated[float | None, Col("Hits", unit="percent", priority=3, help=_HITS)]
    deadlocks: Annotated[int | None, Col("Deadlocks", priority=4, help="Since the statistics were reset")]
    temp_files: Annotated[int | None, Col("Temp files", priority=6, help="Since the statistics were reset")]
    temp_bytes: Annotated[
        int | None, Col("Temp size", unit="bytes", priority=5, help="Written since the statistics were reset")
    ]
    checksum_failures: Annotated[
        int | None, Col("Bad checksums", priority=5, crit=1, help="Empty where the cluster has no checksums")
    ]
    wraparound: Annotated[
        float,
        Col(
            "Wraparound",
            unit="percent",
            priority=2,
            warn=40,
            crit=60,
            help="How far the oldest transaction or multixact is from wrapping; before 100 % writing stops",
        ),
    ]
    freeze: Annotated[
        float,
        Col(
            "Freeze",
            unit="percent",
            priority=5,
            warn=110,
            crit=125,
            help="The same age, of the one at which autovacuum freezes; well above 100 % it does not keep up",
        ),
    ]
    allows_connections: Annotated[bool, Col("Open", priority=8, help="Whether it allows connections")]
    stats_reset: Annotated[datetime | None, Col("Statistics since", priority=7)]


@record
class ServerRow:
    """The server as a whole."""

    server: Annotated[str, Col("Server", key=True, priority=1, help="Its cluster_name, where it has one")]
    connections: Annotated[int, Col("Connections", priority=1)]
    connection_limit: Annotated[int, Col("Limit", priority=3, help=_LIMIT)]
    connections_percent: Annotated[
        float, Col("Used", unit="percent", priority=1, warn=80, crit=90, help="Connections, of the limit")
    ]
    commits: Annotated[int, Col("Commits", rate=True, priority=1)]
    rollbacks: Annotated[int, Col("Rollbacks", rate=True, priority=2)]
    blocks_read: Annotated[
        int, Col("Reads", rate=True, priority=4, help="Blocks that were not in shared buffers")
    ]
    cache_hits: Annotated[float | None, Col("Hits", unit="percent", priority=4, help=_HITS)]
    deadlocks: Annotated[int, Col("Deadlocks", priority=4, help="Since the statistics were reset")]
    temp_files: Annotated[int, Col("Temp files", priority=6, help="Since the statistics were reset")]
    temp_bytes: Annotated[
        int, Col("Temp size", unit="bytes", priority=5, help="Written since the statistics were reset")
    ]
    checksum_failures: Annotated[
        int | None,
        Col(
            "Bad checksums",
            priority=5,
            crit=1,
            help="With those of the shared catalogs, which are in no database",
        ),
    ]
    prepared: Annotated[int, Col("Prepared", priority=6, help="Prepared transactions")]
    started: Annotated[datetime, Col("Started", priority=5)]
