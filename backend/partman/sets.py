"""Every partition set in one row: how long it lasts, and what is wrong with it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

from psycopg import sql

from backend.core.declare import Col, Health, Verdict
from backend.core.errors import Missing
from backend.core.registry import find_view
from backend.core.session import Session
from backend.core.show import counted
from backend.partman import bounds
from backend.partman.catalog import (
    Config,
    Partition,
    PartitionSet,
    configs,
    count_of,
    numbers,
    partition_sets,
)
from backend.partman.retention import cutoffs, due

# Counting every row of a default partition that fills would read it whole at every refresh.
MOST_COUNTED = 10_000
OVERDUE = timedelta(days=1)
_KINDS = {"r": "range", "l": "list", "h": "hash", None: "trigger"}


@dataclass(frozen=True, slots=True)
class SetRow:
    """One partition set."""

    parent: Annotated[str, Col("Set", key=True, text=True, priority=1)]
    kind: Annotated[str | None, Col("Kind", priority=6, help="range, list, hash, or trigger as in 4.x")]
    key: Annotated[str | None, Col("By", priority=4, help="The key that rows are told apart by")]
    interval: Annotated[str | None, Col("Interval", priority=3, help="As configured in pg_partman")]
    partitions: Annotated[int, Col("Partitions", priority=2, help="Without the default partition")]
    bytes: Annotated[int | None, Col("Size", unit="bytes", priority=2)]
    premake: Annotated[int | None, Col("Premake", priority=6)]
    newest: Annotated[str | None, Col("Ends at", priority=5, help="The upper bound of the newest partition")]
    time_left: Annotated[
        timedelta | None,
        Col("Time left", priority=1, help="Until rows of the time fall out of the newest partition"),
    ]
    ids_left: Annotated[
        int | None,
        Col(
            "Ids left", priority=3, help="From the highest id to the newest bound; needs an index on the key"
        ),
    ]
    default_rows: Annotated[
        int | None,
        Col("In default", priority=1, help=f"Rows that found no partition, counted up to {MOST_COUNTED}"),
    ]
    gaps: Annotated[int, Col("Gaps", priority=2)]
    retention: Annotated[str | None, Col("Retention", priority=4)]
    due: Annotated[
        int | None,
        Col("Due", priority=3, help="Partitions that the retention lets go now; empty: cannot be told"),
    ]
    due_bytes: Annotated[int | None, Col("Due size", unit="bytes", priority=6)]
    last_maintenance: Annotated[
        datetime | None, Col("Maintained", priority=4, help="Known from pg_partman 5.1 on, or from jobmon")
    ]
    managed: Annotated[bool, Col("Managed", priority=2, help="no: pg_partman knows nothing of it")]
    automatic: Annotated[bool | None, Col("Automatic", priority=7, help="Maintained with all others")]
    stale: Annotated[bool, Col("Stale", priority=7, help="Configured, and the table was dropped")]
    undoing: Annotated[bool, Col("Undoing", hidden=True)]
    job: Annotated[str | None, Col("Job", priority=8, help="How the last logged maintenance ended")]
    one_interval: Annotated[timedelta | None, Col("Width", hidden=True)]
    one_step: Annotated[int | None, Col("Ids each", hidden=True)]
    overdue: Annotated[bool, Col("Overdue", hidden=True, help="No maintenance for a day and an interval")]
    part_of: Annotated[str | None, Col("Part of", priority=8, help="The set that it is a partition of")]


def set_verdict(row: SetRow) -> Verdict | None:
    """What is wrong with a set, the worst first."""
    found = [f for f in (_stale(row), _headroom(row), _stranded(row), *_lesser(row)) if f]
    if not found:
        return None
    worst = max(f.health for f in found)
    return Verdict(worst, "; ".join(f.sentence for f in found if f.health is worst))


def _stale(row: SetRow) -> Verdict | None:
    if not row.stale:
        return None
    return Verdict(
        Health.CRITICAL,
        "its table was dropped; the row left in the configuration stops maintenance of all sets",
    )


def _headroom(row: SetRow) -> Verdict | None:
    left, one = (row.time_left, row.one_interval) if row.one_interval else (row.ids_left, row.one_step)
    if left is None or one is None:
        return None
    nothing: Any = timedelta() if row.one_interval else 0
    if left <= nothing:
        health = Health.CRITICAL if row.managed else Health.WARNING
        return Verdict(health, "new rows fall out of the newest partition")
    return Verdict(Health.WARNING, "less than one interval is left") if left < one else None  # type: ignore[operator]


def _stranded(row: SetRow) -> Verdict | None:
    if not row.default_rows:
        return None
    more = " or more" if row.default_rows >= MOST_COUNTED else ""
    return Verdict(Health.CRITICAL, f"{counted(row.default_rows, 'row')}{more} in the default partition")


def _lesser(row: SetRow) -> list[Verdict | None]:
    return [
        Verdict(Health.WARNING, f"{counted(row.gaps, 'gap')} between partitions") if row.gaps else None,
        Verdict(Health.WARNING, "maintenance is overdue") if row.overdue else None,
        Verdict(Health.WARNING, "an undo has begun and not ended") if row.undoing else None,
        Verdict(Health.WARNING, f"the last logged maintenance is {row.job}") if _failed(row.job) else None,
    ]


def _failed(job: str | None) -> bool:
    return job is not None and job not in ("OK", "RUNNING", "OPEN")


@dataclass(frozen=True, slots=True)
class _Around:
    """What is asked for all sets at once."""

    stranded: Mapping[int, int | None]
    highest: Mapping[int, int | None]
    cutoffs: Mapping[str, datetime]
    job: Any
    names: Mapping[int, str]
    within: Mapping[tuple[int, str | None], bounds.Bound]


async def set_rows(s: Session) -> list[SetRow]:
    """A row for each set, and for each configuration whose table is gone."""
    found, configured = await asyncio.gather(partition_sets(s), configs(s))
    stranded, highest, limits, job = await asyncio.gather(
        numbers(s, [count_of(d, MOST_COUNTED) for f in found if (d := f.default) and d.countable]),
        numbers(s, [q for f in found if (q := highest_of(f)) is not None]),
        cutoffs(s, [(f.config or {}).get("retention") for f in found]),
        _last_job(s),
    )
    names = {f.at.oid: f.at.parent for f in found}
    within = {(p.oid, f.at.control): p.range for f in found for p in f.partitions}
    around = _Around(stranded, highest, limits, job, names, within)
    return [_row(f, around) for f in found] + [_lost(c) for c in configured if not c.present]


def highest_of(of: PartitionSet) -> sql.Composable | None:
    """The question for the highest number in a set; None where it would read the set whole, or wait."""
    at = of.at
    if of.scale.timed or at.control_type not in bounds.NUMBERS or at.control is None:
        return None
    if not (at.indexed and at.readable) or any(p.taken for p in _all(of, of.partitions)):
        return None
    return sql.SQL(
        "SELECT {oid}::pg_catalog.oid AS oid,"
        " pg_catalog.max(m.{control})::pg_catalog.int8 AS number FROM {table} AS m"
    ).format(oid=sql.Literal(at.oid), control=sql.Identifier(at.control), table=at.identifier)


def _all(of: PartitionSet, partitions: Sequence[Partition]) -> list[Partition]:
    found = list(partitions)
    for each in partitions:
        found += _all(of, of.below.get(each.oid, ()))
    return found


async def _last_job(s: Session) -> Any:
    """The last maintenance that jobmon knows of, where there is one that may be read."""
    if not {"jobmon", "pg_jobmon"} & set(s.facts.extensions):
        return None
    jobs = find_view("jobmon.jobs")
    if jobs.needs.missing(s.facts):
        return None
    try:
        found = await jobs.fn(s, name="^PARTMAN RUN MAINTENANCE", limit=1)
    except Missing:
        return None
    return found[0] if found else None


def _row(of: PartitionSet, around: _Around) -> SetRow:
    config, spans, at = of.config or {}, of.spans, of.at
    last = _newest(of, spans, around.within.get((at.oid, at.control)))
    highest, retention = around.highest.get(at.oid), config.get("retention")
    gone = due(of, retention, around.cutoffs.get(retention or ""), highest)
    maintained = _maintained(of, around.job)
    timed = of.scale.timed
    told = retention is not None and of.measured and (timed or highest is not None)
    return SetRow(
        parent=at.parent,
        kind=_KINDS.get(at.strategy),
        key=at.control if at.columns == 1 and at.control else at.key or config.get("control"),
        interval=config.get("partition_interval"),
        partitions=sum(not p.range.default for p in of.partitions),
        bytes=_sum([of.size(p) for p in of.partitions]),
        premake=config.get("premake"),
        newest=last.last if last else None,
        time_left=last.upper - of.clock.now if last and timed else None,
        ids_left=last.upper - 1 - highest if last and not timed and highest is not None else None,
        default_rows=around.stranded.get(of.default.oid) if of.default else None,
        gaps=len(of.gaps),
        retention=retention,
        due=len(gone) if told else None,
        due_bytes=_sum([of.size(p) for p in gone]) if told else None,
        last_maintenance=maintained,
        managed=of.config is not None,
        automatic=config.get("automatic_maintenance") == "on" if config else None,
        stale=False,
        undoing=bool(config.get("undo_in_progress")),
        job=getattr(around.job, "status", None) if config else None,
        one_interval=last.width if last and timed else None,
        one_step=last.width if last and not timed else None,
        overdue=_overdue(of, maintained, last),
        part_of=around.names.get(at.above) if at.above else None,
    )


def _newest(
    of: PartitionSet, spans: Sequence[bounds.Span], within: bounds.Bound | None
) -> bounds.Span | None:
    """The newest partition; None where none is to follow: one has no end, or the set itself ends there."""
    if not spans or bounds.endless([p.range for p in of.partitions]):
        return None
    last = spans[-1]
    end: Any = of.scale.measure(within.upper) if within else None
    if end is not None and (last.upper >= end or (of.scale.timed and of.clock.now >= end)):
        return None
    return last


def _maintained(of: PartitionSet, job: Any) -> datetime | None:
    if of.config is None:
        return None
    if told := of.config.get("maintenance_last_run"):
        return datetime.fromisoformat(told)
    start: datetime | None = getattr(job, "start", None)
    return start


def _overdue(of: PartitionSet, maintained: datetime | None, last: bounds.Span | None) -> bool:
    if maintained is None or not of.config or of.config.get("automatic_maintenance") != "on":
        return False
    width = last.width if last and of.scale.timed else timedelta()
    return bool(of.clock.now - maintained > OVERDUE + width)


def _sum(sizes: Sequence[int | None]) -> int | None:
    known = [b for b in sizes if b is not None]
    return sum(known) if len(known) == len(sizes) else None


def _lost(config: Config) -> SetRow:
    settings = config.settings
    return SetRow(
        parent=config.parent_table, kind=None, key=settings.get("control"),
        interval=settings.get("partition_interval"), partitions=0, bytes=None,
        premake=settings.get("premake"), newest=None, time_left=None, ids_left=None, default_rows=None,
        gaps=0, retention=settings.get("retention"), due=None, due_bytes=None, last_maintenance=None,
        managed=True, automatic=settings.get("automatic_maintenance") == "on", stale=True, undoing=False,
        job=None, one_interval=None, one_step=None, overdue=False, part_of=None,
    )  # fmt: skip
