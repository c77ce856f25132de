"""Maintenance as the jobs that pg_partman logs where it finds the extension pg_jobmon.

It looks for that extension alone; where jobmon is pgtui's own, the same jobs with the same steps are
written here, so that alerts and scripts find them under their usual names. One job tells of a whole run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql
from psycopg.rows import class_row

from backend.core.errors import Interrupted
from backend.core.outcome import Report, StepStatus
from backend.core.runlog import Logged
from backend.partman.bounds import parse
from backend.partman.place import find, schema

JOB = "PARTMAN RUN MAINTENANCE"
_STATUS: dict[StepStatus, str] = {"failed": "CRITICAL", "cancelled": "WARNING"}

# A log must not hold up the run that it is about.
_PATIENCE = sql.SQL("SET LOCAL statement_timeout = '5s'")

# The columns are those that both versions have.
_CHILDREN = """
SELECT p.parent_table AS parent,
       cn.nspname || '.' || c.relname AS partition,
       pg_catalog.pg_get_expr(c.relpartbound, 0::pg_catalog.oid) AS bound,
       p.jobmon AS logged,
       p.retention_keep_table AS kept,
       p.retention_schema AS moved,
       pg_catalog.format_type(a.atttypid, NULL) IN ('smallint', 'integer', 'bigint', 'numeric')
       AND p.epoch = 'none' AS numbered
  FROM {partman}.part_config AS p
  JOIN pg_catalog.pg_namespace AS n
    ON pg_catalog.starts_with(p.parent_table, n.nspname || '.')
  JOIN pg_catalog.pg_class AS t
    ON t.relnamespace = n.oid
   AND n.nspname || '.' || t.relname = p.parent_table
  JOIN pg_catalog.pg_inherits AS i
    ON i.inhparent = t.oid
  JOIN pg_catalog.pg_class AS c
    ON c.oid = i.inhrelid
  JOIN pg_catalog.pg_namespace AS cn
    ON cn.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_attribute AS a
    ON a.attrelid = t.oid
   AND a.attname = p.control
 ORDER BY p.parent_table, partition
"""


@dataclass(frozen=True, slots=True)
class Child:
    """A partition of a managed set, and whether that set wants its changes logged."""

    parent: str
    partition: str
    bound: str | None
    logged: bool
    kept: bool
    moved: str | None
    numbered: bool | None


Telling = Callable[[Sequence[Child]], Iterator[tuple[str, str]]]


async def open_log(run: Logged) -> MaintenanceLog | None:
    """The jobs of a maintenance; None for other runs, and where pg_partman or nobody logs."""
    if run.action.name != "partman.maintain":
        return None
    facts = run.session.facts
    own = facts.extensions.get("jobmon")
    if find(facts) is None or "pg_jobmon" in facts.extensions:
        return None
    if own is None or not own.own:
        return None
    log = MaintenanceLog(run, own.schema)
    await log.start()
    return log


class MaintenanceLog:
    """One job for the run, and one more for each set that gets or loses partitions."""

    def __init__(self, run: Logged, place: str) -> None:
        self._run = run
        self._place = place
        self._job = 0
        self._step: int | None = None
        self._before: dict[str, Child] = {}
        self._maintained = 0

    async def start(self) -> None:
        """Add the job."""
        self._job = int(await self._call("add_job", JOB))

    async def begin(self, text: str) -> None:
        """Add a step for each set; what checks and cleans up is none of pg_partman's."""
        if not text.startswith("BEGIN;") or "run_maintenance" not in text:
            return
        self._before = await self._children()
        self._step = int(await self._call("add_step", self._job, "Running maintenance loop"))

    async def finish(self, status: StepStatus, said: str) -> None:
        """Tell what became of the set, and of its partitions."""
        if self._step is None:
            return
        step, self._step = self._step, None
        if status in _STATUS:
            await self._call("update_step", step, _STATUS[status], f"ERROR: {said}")
            return
        now = await self._children()
        made = [child for name, child in now.items() if name not in self._before]
        gone = [child for name, child in self._before.items() if name not in now]
        await self._log_each("PARTMAN CREATE TABLE", made, _made)
        await self._log_each("PARTMAN DROP TIME PARTITION", [c for c in gone if not c.numbered], _gone)
        await self._log_each("PARTMAN DROP ID PARTITION", [c for c in gone if c.numbered], _gone)
        told = f"Partition maintenance finished. {len(made)} partitions made. {len(gone)} partitions dropped."
        await self._call("update_step", step, "OK", told)

    async def end(self, report: Report) -> None:
        """Close the job; it failed when one of the sets did."""
        if report.error is None:
            await self._call("close_job", self._job)
        else:
            await self._call("fail_job", self._job, 2 if isinstance(report.error, Interrupted) else 3)

    async def _log_each(self, title: str, children: Sequence[Child], told: Telling) -> None:
        wanted = [child for child in children if child.logged]
        for parent in dict.fromkeys(child.parent for child in wanted):
            job = int(await self._call("add_job", f"{title}: {parent}"))
            for action, message in told([c for c in wanted if c.parent == parent]):
                step = int(await self._call("add_step", job, action))
                await self._call("update_step", step, "OK", message)
            await self._call("close_job", job)

    async def _children(self) -> dict[str, Child]:
        connection = await self._run.connection(None, None)
        asked = sql.SQL(_CHILDREN).format(partman=sql.Identifier(schema(self._run.session.facts)))
        async with connection.cursor(row_factory=class_row(Child)) as cursor:
            await cursor.execute(asked, prepare=False)
            return {child.partition: child for child in await cursor.fetchall()}

    async def _call(self, function: str, *arguments: Any) -> Any:
        connection = await self._run.connection(None, None)
        given = sql.SQL(", ").join(sql.Literal(value) for value in arguments)
        self._run.busy(connection)
        try:
            async with connection.transaction():
                await connection.execute(_PATIENCE)
                asked = sql.SQL("SELECT {}({})").format(sql.Identifier(self._place, function), given)
                row = await (await connection.execute(asked, prepare=False)).fetchone()
        finally:
            self._run.busy()
        return row[0] if row else None


def _made(children: Sequence[Child]) -> Iterator[tuple[str, str]]:
    for child in children:
        bound = parse(child.bound)
        interval = f"with interval from {bound.lower} to {bound.upper}"
        yield f"Creating new partition {child.partition} {interval}", "Done"


def _gone(children: Sequence[Child]) -> Iterator[tuple[str, str]]:
    for child in children:
        yield f"Detach/Uninherit table {child.partition} from {child.parent}", "Done"
        if child.moved is not None:
            yield f"Moving table {child.partition} to schema {child.moved}", "Done"
        elif not child.kept:
            yield f"Drop table {child.partition}", "Done"
    yield "Finished partition drop maintenance", f"{len(children)} partitions dropped."
