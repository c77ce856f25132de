"""Runs: a confirmed plan being carried out.

Nothing else changes a server. A run takes its turn on the target, has each step recorded, can be cancelled
at any moment, undoes what carries an undo when it fails, and reports what really happened.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import psycopg

from backend.core import connection as link
from backend.core.audit import Audit
from backend.core.clean import mask
from backend.core.confirm import forbid
from backend.core.connection import Connection
from backend.core.declare import Action, Danger
from backend.core.ending import ending
from backend.core.errors import Failed, Interrupted, Missing, PgtuiError, Unreachable
from backend.core.host import Host, Program
from backend.core.hostlock import Release, take_host_turn
from backend.core.journal import Journal
from backend.core.outcome import Report as Report
from backend.core.outcome import StepState as StepState
from backend.core.outcome import StepStatus
from backend.core.plan import Answer, Copy, Plan, Repeat, Sql, Step
from backend.core.reaching import Reach, SessionOf
from backend.core.recording import Recording
from backend.core.session import Session
from backend.core.steps import Lost, perform
from backend.core.surroundings import Progress, stop_if_cancelled
from backend.core.target import Target
from backend.core.turn import take_turn


async def make_plan(session: Session, action: Action, given: Mapping[str, Any]) -> Plan:
    """The action's plan for these parameters; nothing has been done yet.

    Raises `Missing` when the target lacks what it needs, `Refused` when a precondition does not hold.
    """
    params = action.check(given)
    if action.needs.sql:
        await session.open()
        if session.facts.pooler and session.target.act is None and action.danger > Danger.NONE:
            raise link.refused_behind_pooler()
        action.needs.demand(session.facts)
    if action.needs.tools and (said := action.needs.absent(await session.host.which(*action.needs.tools))):
        raise Missing(said)
    plan = await action.fn(session, **params)
    return replace(plan, danger=max(plan.danger, action.danger))


def dry_run(action: Action, session: Session, plan: Plan) -> Report:
    """The report of a plan that is shown and not run."""
    report = _report(action, session, plan)
    report.status, report.plan = "dry-run", plan.fingerprint
    return report


def _report(action: Action, session: Session, plan: Plan) -> Report:
    steps = [StepState(s.kind, s.text, note=s.note) for s in (*plan.steps, *plan.always)]
    report = Report(
        action.name, session.target.label, subject=plan.subject, danger=plan.danger.word, steps=steps
    )
    report.notices += plan.notes
    return report


Changed = Callable[["Run"], None]


class Run:
    """A plan being carried out: `execute()` once, `cancel()` at any moment, `report` tells how it stands."""

    def __init__(
        self,
        session: Session,
        action: Action,
        params: Mapping[str, Any],
        plan: Plan,
        *,
        audit: Audit | None = None,
        journal: Journal | None = None,
        read_only: bool = False,
        lock_wait: str = "5s",
        session_of: SessionOf | None = None,
        changed: Changed = lambda run: None,
    ) -> None:
        self.session = session
        self.action = action
        self.params = params
        self.plan = plan
        self.read_only = read_only
        self.lock_wait = lock_wait
        self.changed = changed
        self.report = _report(action, session, plan)
        self.step_progress: Progress | None = None
        self.log: list[str] = []
        self.cancelled = asyncio.Event()
        self.finished = asyncio.Event()
        self._reach = Reach(session, session_of, self._dial)
        self._busy_connection: Connection | None = None
        self._busy_program: Program | None = None
        self._performing: asyncio.Task[Answer] | None = None
        self._stopping = asyncio.Lock()
        self._cleaning = False
        self._release: Release | None = None
        self._answers: list[Answer] = []
        self._recording = Recording(self, audit or Audit(), journal or Journal())
        self._began = time.monotonic()

    async def execute(self) -> Report:
        """Carry the plan out; the report says what happened, errors included.

        When the task that waits here is cancelled, so is the run: it undoes and reports first.
        """
        work = asyncio.create_task(self._execute(), name=f"run {self.action.name}")
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            await self.cancel()
            await work
            raise

    async def _execute(self) -> Report:
        try:
            await self._carry_out()
        except PgtuiError as e:
            self.report.fail(e)
        except psycopg.Error as e:
            self.report.fail(link.explain(e, "the server says"))
        except BaseException:
            self.report.status = "failed"
            raise
        finally:
            self.report.seconds = time.monotonic() - self._began
            self._skip_rest()
            await self._recording.close()
            await self._reach.close()
            if self._release:
                await self._release()
            self.finished.set()
            self.changed(self)
        return self.report

    async def cancel(self) -> None:
        """Stop what runs now: SQL by the protocol's cancel, a program by signal.

        Undoing and what always runs at the end cannot be cancelled.
        """
        if self._cleaning:
            return
        self.cancelled.set()
        async with self._stopping:
            if self._busy_program:
                await self._busy_program.cancel()
            if self._busy_connection:
                await self._stop(self._busy_connection)

    async def _stop(self, connection: Connection) -> None:
        try:
            await connection.cancel_safe(timeout=2)
        except (psycopg.Error, OSError):
            # Nobody takes the cancel: the server is frozen or gone, and waiting for it has no end.
            connection.pgconn.finish()
            if waiting := self._performing:
                waiting.cancel()

    # -- what steps need (steps.Surroundings) ----------------------------------------------------

    async def connection(self, on: str | None, dbname: str | None, *, spare: bool = False) -> Connection:
        """The run's connection to a target and database; opened when first needed, and when it broke."""
        return await self._reach.connection(on, dbname, spare)

    async def host(self, on: str | None) -> Host:
        """The host of a target."""
        return await self._reach.host(on)

    def busy(self, connection: Connection | None = None, program: Program | None = None) -> None:
        """Remember what runs now, for `cancel`; a program's reference goes to the journal."""
        self._busy_connection, self._busy_program = connection, program
        if program:
            self._recording.program(program.reference)

    def progress(self, progress: Progress) -> None:
        """Show how far the step is."""
        self.step_progress = progress
        self.changed(self)

    def output(self, text: str) -> None:
        """Show what a program wrote."""
        self.log += mask(text).splitlines()
        self.changed(self)

    # -- inside ----------------------------------------------------------------------------------

    async def _carry_out(self) -> None:
        forbid(self.plan, self.session.target, self.read_only)
        if not self.plan.steps:
            return
        await self._take_turn()
        await self._recording.open()
        try:
            await self._steps()
        except PgtuiError:
            # What the server answered before is worth knowing: which sessions ended, and which did not.
            self.report.result = self._rows()
            raise
        finally:
            await self._always()
        result = self.plan.result
        self.report.result = result(self._answers) if result else self._rows()
        self._demand_success()

    def _demand_success(self) -> None:
        """Raise when a step failed that the others did not depend on."""
        if failures := [a.error for a in self._answers if a.error]:
            raise Failed(f"{len(failures)} of {len(self.plan.steps)} steps failed, first: {failures[0]}")

    def _rows(self) -> list[dict[str, Any]] | None:
        return [dict(r) for r in self._answers[-1].rows] if self._answers else None

    async def _take_turn(self) -> None:
        if self.plan.danger < Danger.DISRUPT or not self.action.exclusive:
            return
        over_sql = any(isinstance(s, (Sql, Repeat, Copy)) for s in self.plan.steps)
        if self.action.needs.sql and over_sql:
            await take_turn(await self.connection(None, None))
        else:
            self._release = await take_host_turn(self.session, self.action.name)

    async def _steps(self) -> None:
        for number, step in enumerate(self.plan.steps):
            try:
                stop_if_cancelled(self)
                self._answers.append(await self._one(number, step))
            except PgtuiError as e:
                if _lenient(step, e):
                    self._answers.append(Answer(error=e.message))
                    continue
                undone = await self._undo(number)
                raise ending(e, len(self.plan.steps), number, undone) from None

    async def _one(self, number: int, step: Step) -> Answer:
        await self._reach.prepare(step)
        state = self.report.steps[number]
        return await self._recorded(number, state, step, "done", "failed")

    async def _recorded(
        self, number: int, state: StepState, step: Step, good: StepStatus, bad: StepStatus
    ) -> Answer:
        await self._recording.begin(number, state, cleaning=self._cleaning)
        state.status, began = "running", time.monotonic()
        self.step_progress = None
        self.changed(self)
        said = ""
        try:
            answer = await self._perform(step)
            state.status, said = good, answer.text
            return answer
        except BaseException as e:
            state.status, said = _stopped(e, bad), mask(str(e))
            raise
        finally:
            state.seconds = time.monotonic() - began
            await self._recording.end(number, state, said, cleaning=self._cleaning)
            self.changed(self)

    async def _perform(self, step: Step) -> Answer:
        self._performing = task = asyncio.create_task(perform(step, self._answers, self))
        try:
            return await task
        except asyncio.CancelledError:
            if not self.cancelled.is_set():
                raise
            raise Lost("it did not answer when it was to be cancelled") from None
        except Unreachable as e:
            raise Lost(e.message, hint=e.hint) from None
        finally:
            self._performing = None

    async def _undo(self, done: int) -> int:
        """Undo the finished steps in reverse order; how many of them that were."""
        undone = 0
        for number in reversed(range(done)):
            if (undo := self.plan.steps[number].undo) is not None:
                undone += await self._clean_up(number, undo, "undone", "done")
        return undone

    async def _always(self) -> None:
        for number, step in enumerate(self.plan.always, len(self.plan.steps)):
            await self._clean_up(number, step, "done", "failed")

    async def _clean_up(self, number: int, step: Step, good: StepStatus, bad: StepStatus) -> bool:
        """Carry out an undo or an always step; its failure is told and does not hide the first one."""
        state = self.report.steps[number]
        written = StepState(step.kind, step.text, note=step.note)
        async with self._stopping:  # a cancel still on its way must not hit what comes now
            self._cleaning = True
            was_cancelled = self.cancelled.is_set()
            self.cancelled.clear()
        try:
            await self._recorded(number, written, step, good, bad)
            state.status = good
            return True
        except (PgtuiError, psycopg.Error) as e:
            state.status = bad
            self.report.notices.append(f"{step.text} did not succeed: {mask(str(e))}")
            return False
        finally:
            if state is not written and state.status == "done" and good == "done":
                state.seconds = written.seconds
            self._cleaning = False
            if was_cancelled:
                self.cancelled.set()

    def _skip_rest(self) -> None:
        for state in self.report.steps:
            if state.status == "waiting":
                state.status = "skipped"

    async def _dial(self, session: Session, target: Target) -> Connection:
        connection = await session.open_acting(target, self.action.name, self.lock_wait)
        connection.add_notice_handler(self._notice)
        return connection

    def _notice(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        self.report.notices.append(mask(diagnostic.message_primary or ""))
        self.changed(self)


def _stopped(error: BaseException, bad: StepStatus) -> StepStatus:
    return "cancelled" if isinstance(error, (Interrupted, asyncio.CancelledError)) else bad


def _lenient(step: Step, error: PgtuiError) -> bool:
    """Whether the other steps can go on after this failure of one."""
    return isinstance(step, Sql) and step.lenient and not isinstance(error, (Interrupted, Lost, Unreachable))
