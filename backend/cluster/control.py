"""A server's control file: what a crash recovery, an upgrade or a standby start from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from backend.cluster.discovery import Cluster, discover
from backend.cluster.place import asked
from backend.core.declare import Col, Health, Verdict
from backend.core.errors import Missing, PgtuiError, Refused
from backend.core.facts import Query
from backend.core.session import Session


@dataclass(frozen=True, slots=True)
class ControlRow:
    """One value of the control file."""

    item: Annotated[str, Col("Item", key=True, priority=1)]
    value: Annotated[str, Col("Value", text=True, priority=1)]
    told_by: Annotated[Literal["server", "pg_controldata"], Col("Told by", priority=5)]


@dataclass(frozen=True, slots=True)
class _Item:
    part: str
    item: str
    value: str | None


_CONTROL = Query("""
SELECT 'system' AS part, e.key AS item, e.value
  FROM pg_catalog.pg_control_system() AS c,
       pg_catalog.jsonb_each_text(pg_catalog.to_jsonb(c)) AS e
 UNION ALL
SELECT 'checkpoint', e.key, e.value
  FROM pg_catalog.pg_control_checkpoint() AS c,
       pg_catalog.jsonb_each_text(pg_catalog.to_jsonb(c)) AS e
 UNION ALL
SELECT 'recovery', e.key, e.value
  FROM pg_catalog.pg_control_recovery() AS c,
       pg_catalog.jsonb_each_text(pg_catalog.to_jsonb(c)) AS e
 UNION ALL
SELECT 'init', e.key, e.value
  FROM pg_catalog.pg_control_init() AS c,
       pg_catalog.jsonb_each_text(pg_catalog.to_jsonb(c)) AS e
 UNION ALL
SELECT 'state', 'in recovery', pg_catalog.pg_is_in_recovery()::pg_catalog.text
""")

# The words of pg_controldata, which are those of the documentation.
_WORDS: Mapping[tuple[str, str], str] = {
    ("system", "system_identifier"): "Database system identifier",
    ("system", "pg_control_version"): "pg_control version number",
    ("system", "catalog_version_no"): "Catalog version number",
    ("system", "pg_control_last_modified"): "pg_control last modified",
    ("checkpoint", "checkpoint_lsn"): "Latest checkpoint location",
    ("checkpoint", "redo_lsn"): "Latest checkpoint's REDO location",
    ("checkpoint", "redo_wal_file"): "Latest checkpoint's REDO WAL file",
    ("checkpoint", "timeline_id"): "Latest checkpoint's TimeLineID",
    ("checkpoint", "prev_timeline_id"): "Latest checkpoint's PrevTimeLineID",
    ("checkpoint", "full_page_writes"): "Latest checkpoint's full_page_writes",
    ("checkpoint", "next_xid"): "Latest checkpoint's NextXID",
    ("checkpoint", "next_oid"): "Latest checkpoint's NextOID",
    ("checkpoint", "next_multixact_id"): "Latest checkpoint's NextMultiXactId",
    ("checkpoint", "next_multi_offset"): "Latest checkpoint's NextMultiOffset",
    ("checkpoint", "oldest_xid"): "Latest checkpoint's oldestXID",
    ("checkpoint", "oldest_xid_dbid"): "Latest checkpoint's oldestXID's DB",
    ("checkpoint", "oldest_active_xid"): "Latest checkpoint's oldestActiveXID",
    ("checkpoint", "oldest_multi_xid"): "Latest checkpoint's oldestMultiXid",
    ("checkpoint", "oldest_multi_dbid"): "Latest checkpoint's oldestMulti's DB",
    ("checkpoint", "oldest_commit_ts_xid"): "Latest checkpoint's oldestCommitTsXid",
    ("checkpoint", "newest_commit_ts_xid"): "Latest checkpoint's newestCommitTsXid",
    ("checkpoint", "checkpoint_time"): "Time of latest checkpoint",
    ("recovery", "min_recovery_end_lsn"): "Minimum recovery ending location",
    ("recovery", "min_recovery_end_timeline"): "Min recovery ending loc's timeline",
    ("recovery", "backup_start_lsn"): "Backup start location",
    ("recovery", "backup_end_lsn"): "Backup end location",
    ("recovery", "end_of_backup_record_required"): "End-of-backup record required",
    ("init", "data_page_checksum_version"): "Data page checksum version",
    ("init", "bytes_per_wal_segment"): "Bytes per WAL segment",
    ("init", "database_block_size"): "Database block size",
    ("init", "max_data_alignment"): "Maximum data alignment",
    ("init", "blocks_per_segment"): "Blocks per segment of large relation",
    ("init", "wal_block_size"): "WAL block size",
    ("init", "max_identifier_length"): "Maximum length of identifiers",
    ("init", "max_index_columns"): "Maximum columns in an index",
    ("init", "max_toast_chunk_size"): "Maximum size of a TOAST chunk",
    ("init", "large_object_chunk_size"): "Size of a large-object chunk",
    ("init", "float8_pass_by_value"): "Float8 argument passing",
    ("init", "default_char_signedness"): "Default char data signedness",
    ("state", "in recovery"): "In recovery",
}


_CHECKSUM = "Checksum of the control file"


async def control_rows(s: Session, cluster: str | None) -> list[ControlRow]:
    """The control file's values: told by the server itself where it is up, else by pg_controldata."""
    if cluster is None and (told := await asked(s, _Item, _CONTROL)):
        return [_row(item) for item in told if item.value is not None]
    picked = (await discover(s)).pick(cluster)
    values = [(item, value) for item, value in _demanded(s, picked).items() if item != "WARNING"]
    if await _damaged(s, picked):
        values.insert(0, (_CHECKSUM, "wrong: the values below are not to be trusted"))
    return [ControlRow(item, value, "pg_controldata") for item, value in values]


async def _damaged(s: Session, cluster: Cluster) -> bool:
    """Whether pg_controldata doubts what it read, which it says beside its answer and not by its status."""
    program = f"{cluster.bin}/pg_controldata"
    try:
        done = await s.host.run((program, cluster.data), run_as=cluster.owner)
    except PgtuiError:
        return False
    return b"CRC checksum does not match" in done.out + done.err


def _demanded(s: Session, cluster: Cluster) -> Mapping[str, str]:
    if cluster.control:
        return cluster.control
    if cluster.unread:
        raise Missing(
            f"{cluster.name} belongs to {cluster.owner}, and its control file may not be read",
            hint=f'run_as = "{cluster.owner}" in the inventory lets pgtui ask as that account',
        )
    if cluster.bin is None:
        raise Missing(
            f"PostgreSQL {cluster.major} is not installed on {s.host.where}, so nothing reads the file"
        )
    raise Refused(f"{cluster.data} holds no control file that pg_controldata can read")


def _row(item: _Item) -> ControlRow:
    name = _WORDS.get((item.part, item.item), item.item.replace("_", " "))
    return ControlRow(name, item.value or "", "server")


def control_verdict(row: ControlRow) -> Verdict | None:
    """A file that is damaged, or a state that a server at rest should not be in."""
    if row.item == _CHECKSUM:
        return Verdict(Health.CRITICAL, "it is damaged, or of another version than pg_controldata")
    if row.item == "Database cluster state" and row.value == "in crash recovery":
        return Verdict(Health.WARNING, "it was killed, or is recovering from that")
    return None
