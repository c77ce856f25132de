"""Runs: a confirmed plan being carried out.

Nothing else changes a server. A run takes its turn on the target, journals and audits each step, can be
cancelled at any moment, undoes what carries an undo when it fails, and reports what really happened.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import psycopg

from backend.core import connection as link
from backend.core.audit import Audit
from backend.core.clean import mask
from backend.core.confirm import forbid
from backend.core.connection import Connection
from backend.core.declare import Action, Danger
from backend.core.errors import Failed, Interrupted, Missing, PgtuiError, Refused, Unreachable
from backend.core.host import Host, Program
from backend.core.journal import Entry, Journal
from backend.core.outcome import Report as Report
from backend.core.outcome import StepState as StepState
from backend.core.outcome import StepStatus
from backend.core.plan import Answer, Check, Command, File, Plan, Sql, Step
from backend.core.runlog import RunLogs
from backend.core.session import Session
from backend.core.steps import Lost, perform
from backend.core.surroundings import Progress, stop_if_cancelled
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
SessionOf = Callable[[str], Awaitable[Session]]


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
        self.audit = audit or Audit()
        self.journal = journal or Journal()
        self.lock_wait = lock_wait
        self.read_only = read_only
        self.changed = changed
        self.report = _report(action, session, plan)
        self.step_progress: Progress | None = None
        self.log: list[str] = []
        self.cancelled = asyncio.Event()
        self.finished = asyncio.Event()
        self._session_of = session_of
        self._connections: dict[tuple[str | None, str | None, bool], Connection] = {}
        self._busy_connection: Connection | None = None
        self._busy_program: Program | None = None
        self._performing: asyncio.Task[Answer] | None = None
        self._stopping = asyncio.Lock()
        self._cleaning = False
        self._answers: list[Answer] = []
        self._entry: Entry | None = None
        self._logs = RunLogs(self.report.notices)
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
            await self._logs.end(self.report)
            await self._close()
            self._end_records()
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
        key = (on, dbname, spare)
        if key not in self._connections or self._connections[key].closed:
            session = await self._session(on)
            target = session.target.database(dbname)
            opened = await session.open_acting(target, self.action.name, self.lock_wait)
            opened.add_notice_handler(self._notice)
            self._connections[key] = opened
        return self._connections[key]

    async def host(self, on: str | None) -> Host:
        """The host of a target."""
        return (await self._session(on)).host

    def busy(self, connection: Connection | None = None, program: Program | None = None) -> None:
        """Remember what runs now, for `cancel`; a program's reference goes to the journal."""
        self._busy_connection, self._busy_program = connection, program
        if program and self._entry:
            self._entry.program = program.reference
            self._write_entry()

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
        self._check_audit()
        if not self.plan.steps:
            return
        await self._take_turn()
        self._open_journal()
        await self._logs.open(self)
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

    def _check_audit(self) -> None:
        problem = self.audit.writable()
        if problem and self.plan.danger is Danger.DESTROY:
            raise Refused(problem, hint="what may lose data runs only when it can be recorded")
        if problem:
            self.report.notices.append(f"{problem}; this run is not recorded")

    async def _take_turn(self) -> None:
        if self.plan.danger < Danger.DISRUPT or not self.action.exclusive:
            return
        if not any(isinstance(s, Sql) for s in self.plan.steps):
            return
        await take_turn(await self.connection(None, None))

    def _open_journal(self) -> None:
        undoable = any(s.undo for s in self.plan.steps)
        if self.plan.danger < Danger.DISRUPT and not undoable:
            return
        self._entry = Entry(
            self.action.name,
            self.session.target.label,
            self.plan.subject,
            {
                p.name: mask(p.text(self.params[p.name]))
                for p in self.action.params
                if _recordable(p, self.params)
            },
            [s.text for s in self.plan.steps],
            [s.undo.text if s.undo else None for s in self.plan.steps],
        )
        self._write_entry()
        if self._entry is None and self.plan.danger is Danger.DESTROY:
            raise Refused(
                self.report.notices[-1], hint="what may lose data runs only when it can be recorded"
            )

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
                raise self._outcome(e, number, undone) from None

    def _outcome(self, error: PgtuiError, done: int, undone: int) -> PgtuiError:
        """What ended the run, in the words that fit how much had been done by then."""
        if isinstance(error, Interrupted):
            return self._interrupted(error.message, done, undone)
        if isinstance(error, Lost):
            told = (
                f"the connection was lost while step {done + 1} of {len(self.plan.steps)} ran: "
                f"it may or may not have been done ({error.message})"
            )
            return Failed(told, hint=error.hint or "look before you run it again", sqlstate=error.sqlstate)
        if done and isinstance(error, (Refused, Missing, Unreachable)):
            # Those words are for targets to which nothing was done.
            return Failed(error.message, hint=error.hint, sqlstate=error.sqlstate)
        return error

    def _interrupted(self, how_far: str, done: int, undone: int) -> Interrupted:
        total = len(self.plan.steps)
        during = f" in step {done + 1} of {total}, {how_far}" if how_far else ""
        if not done:
            return Interrupted(f"cancelled{during}" if during else "cancelled; nothing had been done")
        back = f", {undone} of them undone again" if undone else ""
        return Interrupted(f"cancelled{during}; {done} of {total} steps had been done{back}")

    async def _one(self, number: int, step: Step) -> Answer:
        await self._reach(step)
        state = self.report.steps[number]
        return await self._recorded(number, state, step, "done", "failed")

    async def _reach(self, step: Step) -> None:
        """Have at hand what the step needs, so that an absent target is told from a lost one."""
        if isinstance(step, (Command, File)):
            host = await self.host(step.on)
            if (await self._session(step.on)).target.ssh:
                await host.run(("true",))
        elif not isinstance(step, Check):
            await self.connection(step.on, step.dbname)

    async def _recorded(
        self, number: int, state: StepState, step: Step, good: StepStatus, bad: StepStatus
    ) -> Answer:
        self._record("step", state, number)
        await self._logs.begin(state.text)
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
            self._record("step-end", state, number)
            await self._logs.finish(state.status, said)
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

    def _record(self, event: str, state: StepState, number: int) -> None:
        if self._entry and not self._cleaning:
            self._entry.done = number + (event == "step-end" and state.status == "done")
            self._write_entry()
        with suppress(OSError):
            self.audit.write(
                event,
                action=self.action.name,
                target=self.session.target.label,
                subject=self.plan.subject,
                danger=self.plan.danger.word,
                plan=self.plan.fingerprint,
                step=number + 1,
                of=len(self.plan.steps),
                **state.to_json(),
            )

    def _write_entry(self) -> None:
        """Write the journal; a full disk must not keep the DBA from acting, unless data may be lost."""
        if self._entry is None:
            return
        try:
            self.journal.write(self._entry)
        except OSError as e:
            self._entry = None
            self.report.notices.append(f"the journal cannot be written: {e.strerror}")

    def _end_records(self) -> None:
        if self._entry:
            with suppress(OSError):
                self.journal.remove(self._entry)
        if not self.plan.steps:
            return
        with suppress(OSError):
            error = self.report.error
            self.audit.write(
                "run-end",
                action=self.action.name,
                target=self.session.target.label,
                subject=self.plan.subject,
                status=self.report.status,
                seconds=round(self.report.seconds, 3),
                error=error.to_json() if error else None,
            )

    def _notice(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        self.report.notices.append(mask(diagnostic.message_primary or ""))
        self.changed(self)

    async def _session(self, on: str | None) -> Session:
        if on is None or on == self.session.target.name:
            return self.session
        if self._session_of is None:
            raise Refused(f"a step runs on target {on}, which the inventory does not list")
        return await self._session_of(on)

    async def _close(self) -> None:
        for connection in self._connections.values():
            await link.close(connection)


def _stopped(error: BaseException, bad: StepStatus) -> StepStatus:
    return "cancelled" if isinstance(error, (Interrupted, asyncio.CancelledError)) else bad


def _lenient(step: Step, error: PgtuiError) -> bool:
    """Whether the other steps can go on after this failure of one."""
    return isinstance(step, Sql) and step.lenient and not isinstance(error, (Interrupted, Lost, Unreachable))


def _recordable(param: Any, params: Mapping[str, Any]) -> bool:
    return not param.ask.secret and params.get(param.name) is not None
