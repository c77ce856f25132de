"""`pgtui run-action`: one action on one or several targets, one after the other."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.core.confirm import authorize, forbid
from backend.core.declare import Action
from backend.core.errors import Interrupted, Missing, PgtuiError, Refused, Usage
from backend.core.journal import Journal
from backend.core.plan import Plan
from backend.core.report import csv_line, line, place, result_rows
from backend.core.run import Report, Run, dry_run, make_plan
from backend.core.session import Session
from backend.core.target import Inventory, Target
from tui import reach
from tui.options import ALL_DATABASES, FORMATS, Options
from tui.out import complain, out, say


@dataclass(frozen=True, slots=True)
class Consent:
    """What the command line says about whether, and how, a plan may run."""

    dry_run: bool = False
    yes: bool = False
    words: tuple[str, ...] = ()
    expect: str | None = None
    lock_wait: str = "5s"


@dataclass(slots=True)
class Errand:
    """An action with its parameters and everything that all targets share."""

    action: Action
    params: Mapping[str, Any]
    options: Options
    consent: Consent
    inventory: Inventory
    several: bool = False
    journal: Journal | None = None


def act(action: Action, params: Mapping[str, Any], options: Options, consent: Consent) -> int:
    """Plan and run the action on every target; the exit code."""
    values = action.check(params)
    inventory = options.read_inventory()
    targets = options.select(inventory)
    printer = Printer(options.format(*FORMATS))
    _tell_unfinished({t.label for t in targets})
    errand = Errand(action, values, options, consent, inventory, len(targets) > 1)
    return reach.run(lambda interrupts: carry_out(errand, targets, printer, interrupts))


def _tell_unfinished(labels: set[str]) -> None:
    """Say what an earlier pgtui left half done on these targets: it may matter now."""
    for entry in Journal().unfinished():
        if entry.target in labels:
            say(f"unfinished: {entry.sentence}; pgtui runs undo {entry.id} takes it back")


async def carry_out(
    errand: Errand, targets: list[Target], printer: Printer, interrupts: reach.Interrupts
) -> int:
    """Do the errand on each target and print what came of it; the exit code."""
    codes: list[int] = []
    places = [p async for p in _places(errand, targets, printer, codes, interrupts.asking)]
    errand.several = len(places) > 1
    for number, place_ in enumerate(places):
        report = await Doer(errand, place_, interrupts).do()
        if errand.options.dbname == ALL_DATABASES and isinstance(report.error, Missing) and len(places) > 1:
            say(f"{place_.label}: left out, {report.error.message}")
            continue
        codes.append(report.exit_code)
        printer.add(place_, report)
        if interrupts.happened and number + 1 < len(places):
            say(f"not begun: {', '.join(p.label for p in places[number + 1 :])}")
            break
    return reach.together(codes)


async def _places(
    errand: Errand, targets: list[Target], printer: Printer, codes: list[int], asking: reach.Asking
) -> AsyncIterator[Target]:
    for target in targets:
        try:
            for found in await reach.databases(target, errand.options, asking, errand.action.needs):
                yield found
        except PgtuiError as e:
            report = Report(errand.action.name, target.name, danger=errand.action.danger.word).fail(e)
            codes.append(report.exit_code)
            printer.add(target, report)


@dataclass(slots=True)
class Doer:
    """Carries the errand out on one target."""

    errand: Errand
    target: Target
    interrupts: reach.Interrupts
    _others: dict[str, Session] = field(default_factory=dict)
    _told: str = ""
    _params: Mapping[str, Any] = field(default_factory=dict)

    async def do(self) -> Report:
        """The report of what happened; an error is part of it."""
        errand = self.errand
        self._params = errand.params
        async with AsyncExitStack() as stack:
            opening = reach.session_for(self.target, errand.options, self.interrupts.asking)
            session = await stack.enter_async_context(opening)
            try:
                await self._edit(session)
                plan = await self._plan(session)
            except PgtuiError as e:
                danger = errand.action.danger.word
                return Report(errand.action.name, self.target.label, danger=danger).fail(e)
            if errand.consent.dry_run:
                return dry_run(errand.action, session, plan)
            return await self._run(session, plan, stack)

    async def _edit(self, session: Session) -> None:
        """Have the user write, in an editor on this terminal, what is made from a draft and was not given."""
        if not sys.stdin.isatty() or self.errand.options.read_only or self.target.guard == "read-only":
            return
        from backend.core.editing import edit, to_be_edited

        for name, draft in to_be_edited(self.errand.action.params, self._params).items():
            text = await draft(session, self._params)
            self._params = {**self._params, name: edit(text, name, Path("/dev/tty"))}

    async def _plan(self, session: Session) -> Plan:
        errand, patience = self.errand, self.errand.options.patience
        planning = make_plan(session, errand.action, self._params)
        async with self._stopping(planning) as work:
            return await reach.within(work, patience, self.target.label, self.interrupts.asking)

    @asynccontextmanager
    async def _stopping(self, planning: Any) -> AsyncIterator[Any]:
        """While planning, an interrupt ends it as an error that the report can carry."""
        import asyncio

        task = asyncio.ensure_future(planning)

        async def end() -> None:
            task.cancel()

        async def awaited() -> Any:
            try:
                return await task
            except asyncio.CancelledError:
                task.cancel()
                if self.interrupts.happened:
                    raise Interrupted("cancelled; nothing had been done") from None
                raise

        async with self.interrupts.instead(end):
            yield awaited()

    async def _run(self, session: Session, plan: Plan, stack: AsyncExitStack) -> Report:
        errand, consent = self.errand, self.errand.consent
        run = Run(
            session,
            errand.action,
            self._params,
            plan,
            read_only=errand.options.read_only,
            lock_wait=consent.lock_wait,
            session_of=lambda name: self._other(name, stack),
            changed=self._progress,
            journal=errand.journal,
        )
        try:
            self._permit(plan)
        except PgtuiError as e:
            run.report.plan = plan.fingerprint
            return run.report.fail(e)
        async with self.interrupts.instead(run.cancel):
            return await run.execute()

    def _permit(self, plan: Plan) -> None:
        consent = self.errand.consent
        forbid(plan, self.target, self.errand.options.read_only)
        if consent.expect and consent.expect != plan.fingerprint:
            raise Refused(
                f"the plan is {plan.fingerprint} now, not {consent.expect}",
                hint="look at it again with --dry-run",
            )
        authorize(plan, self.target, yes=consent.yes, words=consent.words, several=self.errand.several)

    async def _other(self, name: str, stack: AsyncExitStack) -> Session:
        if name not in self._others:
            target = self.errand.inventory.get(name)
            opening = reach.session_for(target, self.errand.options, self.interrupts.asking)
            self._others[name] = await stack.enter_async_context(opening)
            await self._others[name].open()
        return self._others[name]

    def _progress(self, run: Run) -> None:
        """Tell how far it is, on a terminal only, and each thing once."""
        if not sys.stderr.isatty():
            return
        done = sum(s.status not in ("waiting", "running") for s in run.report.steps)
        told = f"{self.target.label}: {done} of {len(run.report.steps)} steps"
        if run.step_progress:
            p = run.step_progress
            amount = f"{p.done}{f' of {p.total}' if p.total else ''} {p.unit}" if p.unit else ""
            told = ", ".join(filter(None, (told, p.phase, amount)))
        if told != self._told and len(run.report.steps) > 1:
            self._told = told
            say(told)


class Printer:
    """Prints reports as they come."""

    def __init__(self, form: str) -> None:
        self.form = form
        self._head: list[str] | None = None

    def add(self, target: Target, report: Report) -> None:
        """Print what came of the action on one target; wrong usage comes of none, and has no data."""
        if report.error:
            complain(report.error, target.label)
        if isinstance(report.error, Usage):
            return
        if self.form == "json":
            told = report.to_json()
            told = {k: v for k, v in told.items() if k != "target"}
            out.line(line({"action": told.pop("action"), **place(target.name, target.dbname), **told}))
        elif self.form == "csv":
            self._csv(target, report)
        else:
            from tui.telling import told_report

            out.write(told_report(target, report, out.is_terminal))

    def _csv(self, target: Target, report: Report) -> None:
        head, rows = result_rows(report.result)
        if self._head is None and head:
            self._head = head
            out.line(csv_line(["target", *head], for_terminal=out.is_terminal))
        for row in rows:
            values = dict(zip(head, row, strict=True))
            known = [values.get(name) for name in self._head or ()]
            out.line(csv_line([target.label, *known], for_terminal=out.is_terminal))
