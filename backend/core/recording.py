"""What is written down of a run: the audit, the journal of unfinished runs, the rooms' own logs.

A record that fails is told as a notice and changes nothing else, with one exception: what may lose data
runs only when audit and journal can be written.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Protocol

from backend.core.audit import Audit
from backend.core.clean import mask
from backend.core.declare import Danger
from backend.core.errors import Refused
from backend.core.journal import Entry, Journal
from backend.core.kept import keep
from backend.core.outcome import Report, StepState
from backend.core.params import Param
from backend.core.runlog import Logged, RunLogs


class Recorded(Logged, Protocol):
    """What the records need of a run."""

    params: Mapping[str, Any]
    report: Report


class Recording:
    """The records of one run: `open` before its first step, `close` after its last."""

    def __init__(self, run: Recorded, audit: Audit, journal: Journal) -> None:
        self._run = run
        self._audit = audit
        self._journal = journal
        self._entry: Entry | None = None
        self._logs = RunLogs(run.report.notices)

    async def open(self) -> None:
        """Begin to record; `Refused` where data may be lost and cannot be recorded."""
        if problem := self._audit.writable():
            self._tell_or_refuse(problem, f"{problem}; this run is not recorded")
        self._open_journal()
        await self._logs.open(self._run)

    async def begin(self, number: int, state: StepState, *, cleaning: bool) -> None:
        """A step begins; one that cleans up (`cleaning`) does not count as progress."""
        if self._entry and not cleaning:
            self._entry.done, self._entry.is_interrupted = number, True
            self._update(self._entry)
        self._write_step("step", number, state)
        await self._logs.begin(state.text)

    async def end(self, number: int, state: StepState, said: str, *, cleaning: bool) -> None:
        """The step has ended."""
        if self._entry and cleaning and state.status in ("undone", "done"):
            self._entry.undone.append(number)
            self._update(self._entry)
        if self._entry and not cleaning:
            self._entry.done, self._entry.is_interrupted = number + (state.status == "done"), False
            self._update(self._entry)
        self._write_step("step-end", number, state)
        await self._logs.finish(state.status, said)

    def program(self, reference: str) -> None:
        """A program runs that outlives pgtui; its reference finds it again."""
        if self._entry:
            self._entry.program = reference
            self._update(self._entry)

    async def close(self) -> None:
        """The run has ended."""
        report = self._run.report
        await self._logs.end(report)
        if self._entry:
            with suppress(OSError):
                self._journal.remove(self._entry)
        if self._run.plan.steps:
            error = report.error.to_json() if report.error else None
            self._write("run-end", status=report.status, seconds=round(report.seconds, 3), error=error)

    # -- the audit ---------------------------------------------------------------------------------

    def _write_step(self, event: str, number: int, state: StepState) -> None:
        plan = self._run.plan
        self._write(
            event,
            danger=plan.danger.word,
            plan=plan.fingerprint,
            step=number + 1,
            of=len(plan.steps),
            **state.to_json(),
        )

    def _write(self, event: str, **what: Any) -> None:
        run = self._run
        with suppress(OSError):
            self._audit.write(
                event,
                action=run.action.name,
                target=run.session.target.label,
                subject=run.plan.subject,
                **what,
            )

    # -- the journal -------------------------------------------------------------------------------

    def _open_journal(self) -> None:
        run, plan = self._run, self._run.plan
        if not self._journal.wants(plan):
            return
        self._entry = Entry(
            run.action.name,
            run.session.target.label,
            plan.subject,
            {p.name: mask(p.text(run.params[p.name])) for p in run.action.params if _written(p, run.params)},
            [s.text for s in plan.steps],
            [s.undo.text if s.undo else None for s in plan.steps],
            [keep(s.undo) if s.undo else None for s in plan.steps],
            [s.text for s in plan.always],
            [keep(s) for s in plan.always],
            plan.danger.word,
        )
        if problem := self._write_entry(self._entry):
            self._tell_or_refuse(problem, problem)

    def _tell_or_refuse(self, problem: str, notice: str) -> None:
        """A full disk must not keep the DBA from acting, unless data may be lost."""
        if self._run.plan.danger is Danger.DESTROY:
            raise Refused(problem, hint="what may lose data runs only when it can be recorded")
        self._run.report.notices.append(notice)

    def _update(self, entry: Entry) -> None:
        """Before a step whose beginning cannot be written, the run goes on: half of it would be worse."""
        if problem := self._write_entry(entry):
            self._run.report.notices.append(problem)

    def _write_entry(self, entry: Entry) -> str:
        """Why the journal cannot be written; empty when it was."""
        try:
            self._journal.write(entry)
        except OSError as e:
            self._entry = None
            return f"the journal cannot be written: {e.strerror}"
        return ""


def _written(param: Param, params: Mapping[str, Any]) -> bool:
    return not param.ask.secret and params.get(param.name) is not None
