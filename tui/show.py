"""`pgtui show`: one view of one or several targets, once or again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from backend.core.declare import View
from backend.core.errors import Missing, PgtuiError, Usage
from backend.core.params import complete
from backend.core.poller import Feed, Poller
from backend.core.report import Answered, csv_head, csv_line, csv_rows, line, show_object
from backend.core.show import counted
from backend.core.snapshot import Snapshot
from backend.core.target import Target
from backend.core.where import EVERYTHING, Where, parse
from tui import reach
from tui.options import ALL_DATABASES, FORMATS, Options
from tui.out import complain, out, say
from tui.sampling import APART, collect


@dataclass(slots=True)
class Question:
    """What is asked: the view with its parameters, and what of the answer is wanted."""

    view: View[Any]
    params: Mapping[str, Any]
    options: Options
    where: Where = EVERYTHING
    limit: int | None = None
    watch: float | None = None


def show(
    view: View[Any],
    params: Mapping[str, Any],
    options: Options,
    *,
    where: str | None = None,
    limit: int | None = None,
    watch: float | None = None,
) -> int:
    """Print the view's rows; the exit code."""
    values = complete(f"view {view.name}", view.params, params)
    parsed = parse(where, view.columns) if where else EVERYTHING
    question = Question(view, values, options, parsed, limit, watch)
    empty = "no row is such as --where asks for" if parsed else view.empty
    printer = Printer(view, options.format(*FORMATS), options.dbname is not None, empty)
    targets = options.select(options.read_inventory())
    return reach.run(lambda interrupts: _show(question, targets, printer, interrupts))


async def _show(
    question: Question, targets: Sequence[Target], printer: Printer, interrupts: reach.Interrupts
) -> int:
    async with AsyncExitStack() as stack:
        turn = asyncio.Semaphore(reach.AT_ONCE)
        lookers = [Looker(question, t, turn, stack, interrupts.asking) for t in targets]
        while True:
            code = await _round(lookers, printer)
            if question.watch is None or out.closed:
                return code
            await asyncio.sleep(question.watch)


async def _round(lookers: Sequence[Looker], printer: Printer) -> int:
    """Ask all targets at the same time, print them in their order."""
    tasks = [asyncio.ensure_future(looker.look()) for looker in lookers]
    try:
        codes: list[int] = []
        for task in tasks:
            answers = await task
            codes += [a.error.exit_code if a.error else 0 for a in answers]
            printer.add(answers)
        printer.flush()
        return reach.together(codes)
    finally:
        for task in tasks:
            task.cancel()


@dataclass(slots=True)
class Looker:
    """Asks one target, in each database that is meant; keeps what is open between two rounds."""

    question: Question
    target: Target
    turn: asyncio.Semaphore
    stack: AsyncExitStack
    asking: reach.Asking
    _feeds: dict[str | None, Feed] = field(default_factory=dict)
    _places: list[Target] = field(default_factory=list)

    async def look(self) -> list[Answered]:
        """The answers, one for each database; an error is an answer too."""
        async with self.turn:
            try:
                if not self._places:
                    self._places = await self._meant()
                answers = [await self._place(place) for place in self._places]
            except PgtuiError as e:
                return [Answered(self.target.name, Snapshot(self.question.view), None, e)]
        return _without_lacking(answers) if self._everywhere else answers

    async def _meant(self) -> list[Target]:
        question = self.question
        return await reach.databases(self.target, question.options, self.asking, question.view.needs)

    @property
    def _everywhere(self) -> bool:
        return self.question.options.dbname == ALL_DATABASES

    async def _place(self, place: Target) -> Answered:
        patience = self.question.options.patience + (APART if self.question.view.has_rates else 0)
        try:
            snapshot = await reach.within(self._collect(place), patience, place.label, self.asking)
        except PgtuiError as e:
            return Answered(place.name, Snapshot(self.question.view), place.dbname, e)
        return Answered(place.name, self._wanted(snapshot), place.dbname)

    async def _collect(self, place: Target) -> Snapshot:
        feed = self._feeds.get(place.dbname)
        if feed is None:
            options = self.question.options
            session = await self.stack.enter_async_context(reach.session_for(place, options, self.asking))
            feed = Feed(Poller(session), self.question.view, self.question.params)
            self._feeds[place.dbname] = feed
            return await collect(feed, with_rates=True)
        await feed.collect()
        return feed.snapshot

    def _wanted(self, snapshot: Snapshot) -> Snapshot:
        rows = [r for r in snapshot.rows if self.question.where.matches(r, snapshot.value)]
        return replace(snapshot, rows=tuple(rows[: self.question.limit]))


def _without_lacking(answers: list[Answered]) -> list[Answered]:
    """With all databases asked for, those that lack what is needed are left out, unless all do."""
    return [a for a in answers if not isinstance(a.error, Missing)] or answers[:1]


class Printer:
    """Prints answers as they come; tables only when all have come, as one table."""

    def __init__(self, view: View[Any], form: str, with_database: bool, empty: str) -> None:
        self.view = view
        self.empty = empty
        self.form = form
        self.with_database = with_database
        self._headed = False
        self._told = False
        self._held: list[Answered] = []

    def add(self, answers: Sequence[Answered]) -> None:
        """Print what one target answered; wrong usage has no data."""
        for answered in answers:
            if answered.error:
                complain(answered.error, _name(answered))
            if isinstance(answered.error, Usage):
                continue
            if self.form == "json":
                out.line(line(show_object(answered)))
            elif self.form == "csv":
                self._csv(answered)
            else:
                self._held.append(answered)
        self._compare(answers)

    def _compare(self, answers: Sequence[Answered]) -> None:
        """Say what differs between the databases of one target."""
        rows = {a.database: a.snapshot.rows for a in answers if a.database and not a.error}
        if self.view.across and len(rows) > 1:
            for sentence in self.view.across(rows):
                say(f"{answers[0].target}: {sentence}")

    def _csv(self, answered: Answered) -> None:
        head = [] if self._headed else [csv_head(self.view, self.with_database)]
        self._headed = True
        for values in [*head, *csv_rows(answered)]:
            out.line(csv_line(values, for_terminal=out.is_terminal))

    def flush(self) -> None:
        """Print what was held back."""
        good = [a for a in self._held if not a.error]
        self._held = []
        for answered in good:
            if not answered.snapshot.rows:
                say(f"{_name(answered)}: {self.empty}")
        if any(a.snapshot.rows for a in good):
            # Rich costs 50 ms that JSON and CSV need not pay.
            from tui.tables import show_table

            drawn = show_table(self.view, good, out.is_terminal)
            out.write(drawn.text)
            if drawn.left_out and not self._told:
                say(f"no room here: {counted(drawn.left_out, 'column')}; a wider terminal or -o csv has all")
                self._told = True


def _name(answered: Answered) -> str:
    return f"{answered.target}/{answered.database}" if answered.database else answered.target
