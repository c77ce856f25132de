"""What long commands are at: one statement over the server's progress views, and its rows in words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated

from backend.activity.sessions import NOT_VISIBLE
from backend.core.declare import Col, Health, Verdict
from backend.core.facts import Query, Since
from backend.core.record import record
from backend.core.show import size

# Each part says how much of the phase is done (`done` of `total` units), how much of the whole came before
# (`parts_done` of `parts_total` partitions, tables or tablespaces), and what is worth a remark.
_BEGIN = """
  WITH progress AS (
       SELECT v.pid, v.datid, v.datname AS datname, v.relid, NULL::pg_catalog.oid AS index_relid,
              'VACUUM' AS operation, v.phase,
"""
_VACUUM_INDEXES = """
              CASE v.phase WHEN 'scanning heap' THEN v.heap_blks_scanned
                           WHEN 'vacuuming heap' THEN v.heap_blks_vacuumed
                           ELSE v.indexes_processed END AS done,
              CASE WHEN v.phase IN ('scanning heap', 'vacuuming heap') THEN v.heap_blks_total
                   WHEN v.phase IN ('vacuuming indexes', 'cleaning up indexes') THEN v.indexes_total
              END AS total,
              CASE WHEN v.phase IN ('scanning heap', 'vacuuming heap') THEN 'blocks' ELSE 'indexes'
              END AS unit,
"""
_VACUUM_HEAP = """
              CASE v.phase WHEN 'scanning heap' THEN v.heap_blks_scanned
                           WHEN 'vacuuming heap' THEN v.heap_blks_vacuumed END AS done,
              CASE WHEN v.phase IN ('scanning heap', 'vacuuming heap') THEN v.heap_blks_total END AS total,
              'blocks' AS unit,
"""
_OTHERS = """
              NULL::pg_catalog.int8 AS parts_done, NULL::pg_catalog.int8 AS parts_total, NULL AS parts,
              v.index_vacuum_count AS passes, NULL::pg_catalog.int8 AS rows, NULL::pg_catalog.int8 AS skipped,
              NULL::pg_catalog.int8 AS waits_for
         FROM pg_catalog.pg_stat_progress_vacuum v
        UNION ALL
       SELECT y.pid, y.datid, y.datname, y.relid, NULL, 'ANALYZE', y.phase,
              CASE WHEN y.phase LIKE 'acquiring%%' THEN y.sample_blks_scanned ELSE y.ext_stats_computed END,
              CASE WHEN y.phase LIKE 'acquiring%%' THEN y.sample_blks_total ELSE y.ext_stats_total END,
              CASE WHEN y.phase LIKE 'acquiring%%' THEN 'blocks' ELSE 'statistics' END,
              y.child_tables_done, y.child_tables_total, 'child tables', NULL, NULL, NULL, NULL
         FROM pg_catalog.pg_stat_progress_analyze y
        UNION ALL
       SELECT i.pid, i.datid, i.datname, i.relid, i.index_relid, i.command, i.phase,
              CASE WHEN i.phase LIKE 'waiting%%' THEN i.lockers_done
                   WHEN i.blocks_total > 0 THEN i.blocks_done ELSE i.tuples_done END,
              CASE WHEN i.phase LIKE 'waiting%%' THEN i.lockers_total
                   WHEN i.blocks_total > 0 THEN i.blocks_total ELSE i.tuples_total END,
              CASE WHEN i.phase LIKE 'waiting%%' THEN 'transactions'
                   WHEN i.blocks_total > 0 THEN 'blocks' ELSE 'rows' END,
              i.partitions_done, i.partitions_total, 'partitions', NULL, NULL, NULL, i.current_locker_pid
         FROM pg_catalog.pg_stat_progress_create_index i
        UNION ALL
       SELECT k.pid, k.datid, k.datname, k.relid, k.cluster_index_relid, k.command, k.phase,
              k.heap_blks_scanned, k.heap_blks_total, 'blocks',
              k.index_rebuild_count, NULL, 'indexes rebuilt', NULL, k.heap_tuples_written, NULL, NULL
         FROM pg_catalog.pg_stat_progress_cluster k
        UNION ALL
       SELECT c.pid, c.datid, c.datname, c.relid, NULL, c.command,
              pg_catalog.lower(c.type), c.bytes_processed, c.bytes_total, 'bytes',
              NULL, NULL, NULL, NULL, c.tuples_processed, """
_END = """, NULL
         FROM pg_catalog.pg_stat_progress_copy c
        UNION ALL
       SELECT b.pid, NULL, NULL, NULL, NULL, 'base backup', b.phase,
              b.backup_streamed, b.backup_total, 'bytes',
              b.tablespaces_streamed, b.tablespaces_total, 'tablespaces', NULL, NULL, NULL, NULL
         FROM pg_catalog.pg_stat_progress_basebackup b)
SELECT p.pid, p.datname AS database, p.operation, p.phase, p.done, p.total, p.unit,
       p.parts_done, p.parts_total, p.parts, p.passes, p.rows, p.skipped, p.waits_for,
       CASE WHEN p.relid IS NULL OR p.relid = 0 THEN NULL
            WHEN p.datid = d.oid THEN p.relid::pg_catalog.regclass::pg_catalog.text
            ELSE 'oid ' || p.relid
       END AS relation,
       CASE WHEN p.index_relid IS NULL OR p.index_relid = 0 THEN NULL
            WHEN p.datid = d.oid THEN p.index_relid::pg_catalog.regclass::pg_catalog.text
            ELSE 'oid ' || p.index_relid
       END AS index,
       pg_catalog.clock_timestamp() - a.query_start AS age,
       a.usename AS username,
       a.backend_type,
       a.backend_start,
       a.query
  FROM progress p
  JOIN pg_catalog.pg_stat_activity a USING (pid)
  JOIN pg_catalog.pg_database d ON d.datname = pg_catalog.current_database()
 WHERE a.pid <> ALL (%s::pg_catalog.int4[])
"""
PROGRESS = Query(
    Since(17, _BEGIN + _VACUUM_INDEXES + _OTHERS + "c.tuples_excluded + c.tuples_skipped" + _END),
    Since(14, _BEGIN + _VACUUM_HEAP + _OTHERS + "c.tuples_excluded" + _END),
)


@record
class Reported:
    """What the server reports of one command: how much of its phase is done, and in which unit."""

    pid: int
    database: str | None
    operation: str
    phase: str | None
    done: int | None
    total: int | None
    unit: str
    parts_done: int | None
    parts_total: int | None
    parts: str | None
    passes: int | None
    rows: int | None
    skipped: int | None
    waits_for: int | None
    relation: str | None
    index: str | None
    age: timedelta | None
    username: str | None
    backend_type: str | None
    backend_start: datetime | None
    query: str | None

    @property
    def percent(self) -> float | None:
        """How much of the phase is done, where the server knows its total."""
        if self.phase is None or not self.total or self.done is None:
            return None
        return min(100.0, 100 * self.done / self.total)

    @property
    def counts(self) -> str | None:
        """What has been done, in words."""
        said = [self._phase_count, self._rows, self._parts]
        return ", ".join(s for s in said if s) or None

    @property
    def _phase_count(self) -> str:
        if self.done is None or not (self.done or self.total):
            return ""
        show = size if self.unit == "bytes" else str
        return (
            f"{show(self.done)} of {show(self.total)}{self._unit}"
            if self.total
            else show(self.done) + self._unit
        )

    @property
    def _unit(self) -> str:
        return "" if self.unit == "bytes" else f" {self.unit}"

    @property
    def _rows(self) -> str:
        return f"{self.rows} rows" if self.rows else ""

    @property
    def _parts(self) -> str:
        if self.parts_total:
            return f"{self.parts_done} of {self.parts_total} {self.parts}"
        return f"{self.parts_done} {self.parts}" if self.parts_done else ""

    @property
    def remark(self) -> str | None:
        """What a DBA would want to be told about it."""
        said = [
            "to prevent wraparound" if self._against_wraparound else "",
            f"pass {self.passes} over the indexes: maintenance_work_mem is too small"
            if (self.passes or 0) > 1
            else "",
            f"waits for process {self.waits_for}" if self.waits_for else "",
            f"{self.skipped} rows skipped" if self.skipped else "",
        ]
        return "; ".join(s for s in said if s) or None

    @property
    def _against_wraparound(self) -> bool:
        automatic = self.backend_type == "autovacuum worker"
        return automatic and "(to prevent wraparound)" in (self.query or "")


@record
class ProgressRow:
    """A long command and what it is at."""

    pid: Annotated[int, Col("Pid", key=True, priority=1)]
    operation: Annotated[str, Col("Operation", key=True, priority=1)]
    database: Annotated[str | None, Col("Database", priority=4)]
    relation: Annotated[
        str | None,
        Col("Relation", priority=2, help="Its table; in another database than the connected one, its oid"),
    ]
    index: Annotated[str | None, Col("Index", priority=6)]
    phase: Annotated[str | None, Col("Phase", priority=2)]
    percent: Annotated[
        float | None,
        Col("Done", unit="percent", priority=1, help="Of this phase; the next one begins at 0 again"),
    ]
    counts: Annotated[str | None, Col("Counts", priority=3)]
    age: Annotated[timedelta | None, Col("Age", priority=2, help="How long its statement has run")]
    username: Annotated[str | None, Col("User", priority=7)]
    automatic: Annotated[bool, Col("Auto", priority=6, help="Whether autovacuum started it")]
    backend_start: Annotated[datetime | None, Col("Connected", hidden=True)]
    remark: Annotated[str | None, Col("Remark", priority=2)]
    query: Annotated[str | None, Col("Query", text=True, priority=1)]


def in_words(reported: Sequence[Reported]) -> list[ProgressRow]:
    """The commands with percent, counts and remarks."""
    return [
        ProgressRow(
            r.pid, r.operation, r.database, r.relation, r.index, r.phase, r.percent, r.counts, r.age,
            r.username, r.backend_type == "autovacuum worker", r.backend_start, r.remark, r.query,
        )
        for r in reported
    ]  # fmt: skip


def verdict(row: ProgressRow) -> Verdict | None:
    """The server tells a role without the right only that something runs."""
    return Verdict(Health.UNKNOWN, NOT_VISIBLE) if row.phase is None else None
