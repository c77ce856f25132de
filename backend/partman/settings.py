"""All that pg_partman's configuration says of its sets."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from backend.core.declare import Col, Health, Verdict
from backend.core.session import Session
from backend.partman.catalog import Config, configs


@dataclass(frozen=True, slots=True)
class Setting:
    """One set's configuration; what a version does not have is empty."""

    parent: Annotated[str, Col("Set", key=True, text=True, priority=1, help="As pg_partman names it")]
    control: Annotated[str | None, Col("Control", priority=2)]
    type: Annotated[str | None, Col("Type", priority=5)]
    interval: Annotated[str | None, Col("Interval", priority=1)]
    premake: Annotated[int | None, Col("Premake", priority=2)]
    retention: Annotated[str | None, Col("Retention", priority=2)]
    retention_schema: Annotated[str | None, Col("Moved to", priority=5)]
    keep_table: Annotated[bool | None, Col("Keep table", priority=3, help="Detach only")]
    keep_index: Annotated[bool | None, Col("Keep index", priority=6)]
    automatic_maintenance: Annotated[bool | None, Col("Automatic", priority=3)]
    infinite_time_partitions: Annotated[
        bool | None, Col("Infinite", priority=4, help="New partitions also where no new rows come")
    ]
    inherit_privileges: Annotated[bool | None, Col("Inherit privileges", priority=6)]
    ignore_default_data: Annotated[bool | None, Col("Ignore default", priority=6)]
    optimize_constraint: Annotated[int | None, Col("Optimize constraint", priority=8)]
    constraint_columns: Annotated[list[str] | None, Col("Constraint columns", priority=8)]
    epoch: Annotated[str | None, Col("Epoch", priority=8)]
    suffix: Annotated[str | None, Col("Suffix", priority=8)]
    template: Annotated[str | None, Col("Template", priority=7)]
    jobmon: Annotated[bool | None, Col("Jobmon", priority=8)]
    undo_in_progress: Annotated[bool | None, Col("Undoing", priority=6)]
    order: Annotated[int | None, Col("Order", priority=8, help="5.1 and newer")]
    last_run: Annotated[datetime | None, Col("Last run", priority=4, help="5.1 and newer")]
    other: Annotated[str, Col("Other", priority=9, help="What only this version of pg_partman has")]
    present: Annotated[bool, Col("Table there", priority=6)]


def setting_verdict(row: Setting) -> Verdict | None:
    """What is wrong with a configuration itself."""
    if not row.present:
        return Verdict(Health.CRITICAL, "its table was dropped; partman.forget removes the row")
    return None


_NAMES = {
    "control": "control", "type": "partition_type", "interval": "partition_interval", "premake": "premake",
    "retention": "retention", "retention_schema": "retention_schema", "keep_table": "retention_keep_table",
    "keep_index": "retention_keep_index", "infinite_time_partitions": "infinite_time_partitions",
    "inherit_privileges": "inherit_privileges", "ignore_default_data": "ignore_default_data",
    "optimize_constraint": "optimize_constraint", "constraint_columns": "constraint_cols", "epoch": "epoch",
    "suffix": "datetime_string", "template": "template_table", "jobmon": "jobmon",
    "undo_in_progress": "undo_in_progress", "order": "maintenance_order",
}  # fmt: skip
_TOLD = {*_NAMES.values(), "parent_table", "automatic_maintenance", "maintenance_last_run"}


async def setting_rows(s: Session) -> list[Setting]:
    """The configuration of every set."""
    return [_row(c) for c in await configs(s)]


def _row(of: Config) -> Setting:
    told: dict[str, Any] = {name: of.settings.get(column) for name, column in _NAMES.items()}
    last = of.settings.get("maintenance_last_run")
    other = {k: v for k, v in of.settings.items() if k not in _TOLD and v is not None}
    return Setting(
        parent=of.parent_table,
        automatic_maintenance=of.settings.get("automatic_maintenance") == "on",
        last_run=datetime.fromisoformat(last) if last else None,
        other=", ".join(f"{k}={json.dumps(v)}" for k, v in sorted(other.items())),
        present=of.present,
        **told,
    )
