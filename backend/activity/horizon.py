"""Who holds back vacuum: the statement and its rows.

A lazy vacuum ignores the snapshots of other lazy vacuums, so those are left out. A session's snapshot holds
back its own database, a standby's feedback and a slot all of them; a slot's catalog_xmin only the catalogs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Annotated

from backend.core.declare import Col, Health, Verdict
from backend.core.facts import Query, Since
from backend.core.record import record
from backend.core.values import hours

_SESSIONS_AND_PREPARED = """
SELECT CASE a.backend_type WHEN 'walsender' THEN 'standby' ELSE 'session' END AS kind,
       CASE a.backend_type WHEN 'walsender' THEN a.application_name ELSE a.pid::pg_catalog.text END AS name,
       a.pid,
       CASE WHEN a.backend_type IS DISTINCT FROM 'walsender' THEN a.datname END AS database,
       CASE a.backend_type WHEN 'walsender' THEN 'all databases' ELSE 'its database' END AS holds,
       greatest(pg_catalog.age(a.backend_xmin), pg_catalog.age(a.backend_xid)) AS xid_age,
       pg_catalog.clock_timestamp() - a.xact_start AS held_for,
       a.usename AS username,
       a.application_name AS application,
       a.state,
       a.query AS detail
  FROM pg_catalog.pg_stat_activity a
 WHERE (a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL)
   AND a.pid <> ALL (%s::pg_catalog.int4[])
   AND a.pid <> pg_catalog.pg_backend_pid()
   AND a.pid NOT IN (SELECT v.pid FROM pg_catalog.pg_stat_progress_vacuum v)
UNION ALL
SELECT 'hidden', pg_catalog.count(*) || ' sessions', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
  FROM pg_catalog.pg_stat_activity a
 WHERE a.backend_type IS NULL
HAVING pg_catalog.count(*) > 0
UNION ALL
SELECT 'prepared', x.gid, NULL, x.database, 'its database', pg_catalog.age(x.transaction),
       pg_catalog.clock_timestamp() - x.prepared, x.owner, NULL, NULL, NULL
  FROM pg_catalog.pg_prepared_xacts x
UNION ALL
SELECT 'slot', s.slot_name, s.active_pid, NULL, h.holds, pg_catalog.age(h.xmin),
"""
_SLOTS = """
       NULL, NULL, CASE WHEN s.active THEN 'active' ELSE 'inactive' END, s.slot_type || ' slot'
  FROM pg_catalog.pg_replication_slots s
 CROSS JOIN LATERAL (VALUES ('all databases', s.xmin), ('catalogs', s.catalog_xmin)) AS h(holds, xmin)
 WHERE h.xmin IS NOT NULL
"""
HORIZON = Query(
    Since(17, _SESSIONS_AND_PREPARED + "pg_catalog.clock_timestamp() - s.inactive_since," + _SLOTS),
    Since(14, _SESSIONS_AND_PREPARED + "NULL," + _SLOTS),
)

# The counter of each table, not pg_stat_user_tables, whose joins cost ten times as much.
DEAD_ROWS = Query("""
SELECT pg_catalog.current_database() AS database,
       coalesce(pg_catalog.sum(pg_catalog.pg_stat_get_dead_tuples(c.oid)), 0)::pg_catalog.int8 AS dead_rows
  FROM pg_catalog.pg_class c
 WHERE c.relkind IN ('r', 'm', 't')
""")


@record
class Holder:
    """What keeps dead rows from being removed."""

    kind: str
    name: str
    pid: int | None
    database: str | None
    holds: str | None
    xid_age: int | None
    held_for: timedelta | None
    username: str | None
    application: str | None
    state: str | None
    detail: str | None


@record
class DeadRows:
    """The dead rows that the database's tables count."""

    database: str
    dead_rows: int


@record
class HorizonRow:
    """One holder of the horizon, oldest first."""

    kind: Annotated[
        str,
        Col("Kind", key=True, priority=1, help="session, prepared (transaction), slot, standby, or hidden"),
    ]
    name: Annotated[
        str, Col("Name", key=True, priority=1, help="Process id, name of the transaction, slot or standby")
    ]
    pid: Annotated[int | None, Col("Pid", key=True, priority=6)]
    holds: Annotated[
        str | None, Col("Holds back", key=True, priority=2, help="Where vacuum cannot remove what died since")
    ]
    xid_age: Annotated[
        int | None,
        Col(
            "Xid age", priority=1, warn=10_000_000, crit=100_000_000, help="How many transactions began since"
        ),
    ]
    held_for: Annotated[
        timedelta | None,
        Col(
            "For",
            priority=1,
            warn=hours(4),
            crit=hours(24),
            help="Age of the transaction; of a slot, how long it has been inactive (PostgreSQL 17 on)",
        ),
    ]
    oldest: Annotated[bool, Col("Oldest", priority=3, help="Ending this one moves the horizon")]
    dead_rows: Annotated[
        int | None,
        Col(
            "Dead rows",
            priority=3,
            help="Dead rows that the tables of the connected database count: what the oldest holder there may"
            " cost at most, since some can be removed already",
        ),
    ]
    database: Annotated[str | None, Col("Database", priority=4, help="Empty for what holds back all of them")]
    username: Annotated[str | None, Col("User", priority=5)]
    application: Annotated[str | None, Col("Application", priority=7)]
    state: Annotated[str | None, Col("State", priority=4)]
    detail: Annotated[
        str | None, Col("Detail", text=True, priority=1, help="The session's query, the slot's kind")
    ]


def ranked(holders: Sequence[Holder], counted: DeadRows) -> list[HorizonRow]:
    """The holders, oldest first; the oldest that counts in the connected database has its dead rows."""
    rows = [_row(h) for h in sorted(holders, key=lambda h: -(h.xid_age if h.xid_age is not None else -1))]
    if rows and rows[0].xid_age is not None:
        rows[0] = replace(rows[0], oldest=True)
    for i, row in enumerate(rows):
        if row.xid_age is not None and row.holds != "catalogs" and row.database in (None, counted.database):
            rows[i] = replace(row, dead_rows=counted.dead_rows)
            break
    return rows


def _row(h: Holder) -> HorizonRow:
    return HorizonRow(
        h.kind, h.name, h.pid, h.holds, h.xid_age, h.held_for, False, None, h.database, h.username,
        h.application, h.state, h.detail,
    )  # fmt: skip


def verdict(row: HorizonRow) -> Verdict | None:
    """Sessions that the role may not see may hold back anything."""
    if row.kind != "hidden":
        return None
    return Verdict(
        Health.UNKNOWN, "what they hold back is not visible; GRANT pg_monitor to pgtui's role shows it"
    )


def overall(rows: Sequence[HorizonRow]) -> Verdict:
    """Who is the oldest."""
    oldest = next((r for r in rows if r.oldest), None)
    if oldest is None:
        return Verdict(Health.OK, "nothing holds back vacuum")
    return Verdict(Health.OK, f"the oldest is {oldest.kind} {oldest.name}, {oldest.xid_age} transactions")
