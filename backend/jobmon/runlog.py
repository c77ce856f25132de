"""Runs of pgtui as jobs of their own, where the inventory says `jobmon_log = true`."""

from __future__ import annotations

from typing import Any

from psycopg import sql

from backend.core.errors import Interrupted
from backend.core.outcome import Report, StepStatus
from backend.core.runlog import Logged
from backend.jobmon.calls import call
from backend.jobmon.place import find

OK, WARNING, CRITICAL = 1, 2, 3

# The statuses of steps, in the words that the API itself uses for them.
_STATUS: dict[StepStatus, str] = {"failed": "CRITICAL", "cancelled": "WARNING"}

# A log must not hold up the run that it is about; a call takes 9 ms.
_PATIENCE = sql.SQL("SET LOCAL statement_timeout = '5s'")


async def open_log(run: Logged) -> JobLog | None:
    """A new job for the run; None where the target has no job log, or its inventory entry wants none."""
    if not run.session.target.jobmon_log:
        return None
    facts = run.session.facts
    found = find(facts)
    if found is None or facts.role == "standby":
        return None
    log = JobLog(run, found.schema)
    await log.start(f"pgtui {run.action.name}")
    return log


class JobLog:
    """The job of one run.

    It is logged by the run's own session, which dblink makes independent of what the run undoes, so that
    `cancel_job` on it cancels the run's statement.
    """

    def __init__(self, run: Logged, place: str) -> None:
        self._run = run
        self._place = place
        self._job_id = 0
        self._step_id: int | None = None

    async def start(self, name: str) -> None:
        """Add the job."""
        self._job_id = int(await self._call("add_job", name))

    async def begin(self, text: str) -> None:
        """Add a step."""
        self._step_id = int(await self._call("add_step", self._job_id, text))

    async def finish(self, status: StepStatus, said: str) -> None:
        """Tell how the step ended, if it was logged that it began."""
        if self._step_id is not None:
            step_id, self._step_id = self._step_id, None
            await self._call("update_step", step_id, _STATUS.get(status, "OK"), said)

    async def end(self, report: Report) -> None:
        """Close the job, or fail it: a cancelled run is a warning."""
        if report.error is None and report.status == "ok":
            await self._call("close_job", self._job_id)
        else:
            level = WARNING if isinstance(report.error, Interrupted) else CRITICAL
            await self._call("fail_job", self._job_id, level)

    async def _call(self, function: str, *arguments: Any) -> Any:
        connection = await self._run.connection(None, None)
        self._run.busy(connection)
        try:
            async with connection.transaction():
                await connection.execute(_PATIENCE)
                asked = sql.SQL("SELECT {}").format(call(self._place, function, *arguments))
                row = await (await connection.execute(asked, prepare=False)).fetchone()
        finally:
            self._run.busy()
        return row[0] if row else None
