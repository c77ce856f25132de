"""Runs: a confirmed plan being carried out.

Nothing else changes a server. A run takes its turn on the target, journals and audits each step, can be
cancelled at any moment, undoes what carries an undo when it fails, and reports what really happened.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

import psycopg
from psycopg.rows import dict_row

from backend.core import connection as link
from backend.core.audit import Audit
from backend.core.clean import mask
from backend.core.confirm import forbid
from backend.core.connection import Connection
from backend.core.declare import Action, Danger
from backend.core.errors import Failed, Interrupted, Missing, PgtuiError, Refused, Unreachable
from backend.core.host import Host, Program
from backend.core.journal import Entry, Journal
from backend.core.plan import Answer, Plan, Sql, Step
from backend.core.session import Session
from backend.core.steps import Progress, perform

StepStatus = Literal["waiting", "running", "done", "failed", "cancelled", "undone", "skipped"]

# Two keys name the advisory lock: "pgtu", "i" in ASCII. Advisory locks belong to one database.
_LOCK = (0x70677475, 0x69)


@dataclass(slots=True)
class StepState:
    """One step of a run: its text, how it stands, and how long it took in seconds."""

    kind: str
    text: str
    status: StepStatus = "waiting"
    seconds: float = 0
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """The step as scripts read it."""
        return {
            "kind": self.kind,
            "text": self.text,
            "status": self.status,
            "seconds": round(self.seconds, 3),
        }


@dataclass(slots=True)
class Report:
    """What a run, a dry run or a refusal amounts to, as `run-action` prints it."""

    action: str
    target: str
    status: Literal["ok", "failed", "refused", "dry-run"] = "ok"
    subject: str = ""
    danger: str = ""
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    seconds: float = 0
    steps: list[StepState] = field(default_factory=list)
    result: Any = None
    notices: list[str] = field(default_factory=list)
    error: PgtuiError | None = None
    plan: str | None = None

    @property
    def exit_code(self) -> int:
        """The exit code that this outcome has."""
        return self.error.exit_code if self.error else 0

    def fail(self, error: PgtuiError) -> Report:
        """Record the error and the status that goes with its kind."""
        self.error = error
        self.status = "refused" if isinstance(error, (Refused, Missing)) else "failed"
        return self

    def to_json(self) -> dict[str, Any]:
        """The report as scripts read it."""
        answer = {
            "action": self.action,
            "target": self.target,
            "status": self.status,
            "subject": self.subject,
            "danger": self.danger,
            "started_at": self.started_at,
            "seconds": round(self.seconds, 3),
            "steps": [s.to_json() for s in self.steps],
            "result": self.result,
            "notices": self.notices,
            "error": self.error.to_json() if self.error else None,
        }
        return answer | ({"plan": self.plan} if self.plan else {})


async def make_plan(session: Session, action: Action, given: Mapping[str, Any]) -> Plan:
    """The action's plan for these parameters; nothing has been done yet.

    Raises `Missing` when the target lacks what it needs, `Refused` when a precondition does not hold.
    """
    params = action.check(given)
    await session.open()
    action.needs.demand(session.facts)
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
        self._connections: dict[tuple[str | None, str | None], Connection] = {}
        self._busy_connection: Connection | None = None
        self._busy_program: Program | None = None
        self._answers: list[Answer] = []
        self._entry: Entry | None = None
        self._began = time.monotonic()

    async def execute(self) -> Report:
        """Carry the plan out; the report says what happened, errors included."""
        try:
            await self._carry_out()
        except PgtuiError as e:
            self.report.fail(e)
        except psycopg.Error as e:
            self.report.fail(link.explain(e, "the server says"))
        finally:
            self.report.seconds = time.monotonic() - self._began
            await self._close()
            self._end_records()
            self.finished.set()
            self.changed(self)
        return self.report

    async def cancel(self) -> None:
        """Stop what runs now: SQL by the protocol's cancel, a program by signal."""
        self.cancelled.set()
        if self._busy_program:
            await self._busy_program.cancel()
        if self._busy_connection:
            with suppress(psycopg.Error, OSError):
                await self._busy_connection.cancel_safe(timeout=2)

    # -- what steps need (steps.Surroundings) ----------------------------------------------------

    async def connection(self, on: str | None, dbname: str | None) -> Connection:
        """The run's connection to a target and database; opened when first needed."""
        key = (on, dbname)
        if key not in self._connections:
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
            self.journal.write(self._entry)

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
        try:
            await self._steps()
        finally:
            await self._always()
        result = self.plan.result
        self.report.result = result(self._answers) if result else [dict(r) for r in self._answers[-1].rows]

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
        connection = await self.connection(None, None)
        async with connection.cursor() as cursor:
            await cursor.execute("SELECT pg_catalog.pg_try_advisory_lock(%s, %s)", _LOCK)
            [(taken,)] = await cursor.fetchall()
        if not taken:
            raise Refused(
                f"another run holds this target: {await _holder(connection)}", hint="wait for it to end"
            )

    def _open_journal(self) -> None:
        undoable = any(s.undo for s in self.plan.steps)
        if self.plan.danger < Danger.DISRUPT and not undoable:
            return
        self._entry = Entry(
            self.action.name,
            self.session.target.label,
            self.plan.subject,
            {p.name: p.text(self.params[p.name]) for p in self.action.params if _recordable(p, self.params)},
            [s.text for s in self.plan.steps],
            [s.undo.text if s.undo else None for s in self.plan.steps],
        )

    async def _steps(self) -> None:
        for number, step in enumerate(self.plan.steps):
            if self.cancelled.is_set():
                await self._undo(number)
                raise self._interrupted(number)
            try:
                self._answers.append(await self._one(number, step))
            except PgtuiError as e:
                await self._undo(number)
                if isinstance(e, Interrupted):
                    raise self._interrupted(number) from None
                if isinstance(e, Unreachable):  # that word is for targets nothing was done to
                    raise Failed(e.message, hint=e.hint) from None
                raise

    def _interrupted(self, done: int) -> Interrupted:
        said = f"cancelled; {done} of {len(self.plan.steps)} steps had been done"
        return Interrupted(said if done else "cancelled; nothing had been done")

    async def _one(self, number: int, step: Step) -> Answer:
        state = self.report.steps[number]
        self._record("step", state, number)
        state.status, began = "running", time.monotonic()
        self.step_progress = None
        self.changed(self)
        try:
            answer = await perform(step, self._answers, self)
            state.status = "done"
            return answer
        except BaseException as e:
            state.status = "cancelled" if isinstance(e, (Interrupted, asyncio.CancelledError)) else "failed"
            raise
        finally:
            state.seconds = time.monotonic() - began
            self._record("step-end", state, number)
            self.changed(self)

    async def _undo(self, done: int) -> None:
        for number in reversed(range(done)):
            undo = self.plan.steps[number].undo
            if undo is None:
                continue
            self.report.steps[number].status = await self._attempt(undo, "undone", "done")

    async def _always(self) -> None:
        first = len(self.plan.steps)
        for number, step in enumerate(self.plan.always, first):
            self.report.steps[number].status = await self._attempt(step, "done", "failed")

    async def _attempt(self, step: Step, good: StepStatus, bad: StepStatus) -> StepStatus:
        """Carry out an undo or an always step; its failure is told and does not hide the first one."""
        was_cancelled = self.cancelled.is_set()
        self.cancelled.clear()
        try:
            await perform(step, self._answers, self)
            return good
        except PgtuiError as e:
            self.report.notices.append(f"{step.text} did not succeed: {e.message}")
            return bad
        finally:
            if was_cancelled:
                self.cancelled.set()

    def _record(self, event: str, state: StepState, number: int) -> None:
        if self._entry:
            self._entry.done = number + (event == "step-end" and state.status == "done")
            self.journal.write(self._entry)
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

    def _end_records(self) -> None:
        if self._entry:
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


def _recordable(param: Any, params: Mapping[str, Any]) -> bool:
    return not param.ask.secret and params.get(param.name) is not None


async def _holder(connection: Connection) -> str:
    """Who holds the advisory lock, for the one who has to wait."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            "SELECT a.pid, a.usename, a.application_name, coalesce(a.client_addr::text, 'local') AS client"
            "  FROM pg_catalog.pg_locks l"
            "  JOIN pg_catalog.pg_stat_activity a USING (pid)"
            " WHERE l.locktype = 'advisory'"
            "   AND (l.classid, l.objid, l.objsubid) = (%s, %s, 2)"
            "   AND l.granted",
            _LOCK,
        )
        rows = await cursor.fetchall()
    if not rows:
        return "it has just ended"
    row = rows[0]
    return f"{row['application_name']} (pid {row['pid']}, {row['usename']} from {row['client']})"
