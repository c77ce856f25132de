"""`pgtui check`: verdicts of views on one or several targets, as Nagios plugins give them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backend.core.clean import clean_lines
from backend.core.declare import Health, Verdict, View
from backend.core.errors import PgtuiError, Unreachable, Usage
from backend.core.facts import Needs
from backend.core.judge import judges_rates
from backend.core.measures import measures
from backend.core.monitoring import Checked, nagios, openmetrics, worst, worst_first
from backend.core.poller import Feed, Poller
from backend.core.registry import find_view, room, views
from backend.core.report import Answered, csv_line, line
from backend.core.session import Session
from backend.core.target import Target
from tui import reach
from tui.options import ALL_DATABASES, CHECK_FORMATS, Options
from tui.out import out
from tui.sampling import APART, collect

# What is said of a target that cannot be asked anything.
CONNECTION = "connection"


def check(names: Sequence[str], options: Options) -> int:
    """Print the verdicts, the worst first; the exit code of the worst."""
    chosen = [_judged(name) for name in dict.fromkeys(names)]
    form = options.format(*CHECK_FORMATS)
    targets = options.select(options.read_inventory())
    return reach.run(lambda interrupts: _check(chosen, targets, options, form, interrupts))


def _judged(name: str) -> View[Any]:
    view = find_view(name)
    if not view.judged:
        raise Usage(f"{name} has no verdict", hint="pgtui views -o json tells which views are checks")
    if needed := [p.option for p in view.params if p.required]:
        raise Usage(f"{name} needs {' and '.join(needed)}, which a check cannot give")
    return view


def standard_checks() -> list[View[Any]]:
    """The views that are checked when none is named."""
    return [v for v in views() if v.judged and not any(p.required for p in v.params)]


async def _check(
    chosen: list[View[Any]],
    targets: Sequence[Target],
    options: Options,
    form: str,
    interrupts: reach.Interrupts,
) -> int:
    turn = asyncio.Semaphore(reach.AT_ONCE)
    all_rates = form == "openmetrics"
    examiners = [Examiner(t, chosen, options, turn, interrupts.asking, all_rates) for t in targets]
    found = await asyncio.gather(*(e.examine() for e in examiners))
    checks = worst_first([c for of in found for c in of])
    _print(checks, form)
    return worst(checks).exit_code


@dataclass(slots=True)
class Examiner:
    """Checks one target; rates that nothing judges are only worth a second sample with `all_rates`."""

    target: Target
    chosen: list[View[Any]]
    options: Options
    turn: asyncio.Semaphore
    asking: reach.Asking
    all_rates: bool

    async def examine(self) -> list[Checked]:
        """The verdicts; a target that does not answer is critical."""
        async with self.turn:
            try:
                places = await reach.databases(self.target, self.options, self.asking, self._needs)
            except PgtuiError:
                places = [self.target]  # it fails there once more, and is told beside what its host answers
            return [c for n, place in enumerate(places) for c in await self._place(place, first=n == 0)]

    @property
    def _needs(self) -> Needs:
        return Needs(sql=any(v.needs.sql for v in self.chosen or standard_checks()))

    async def _place(self, place: Target, *, first: bool) -> list[Checked]:
        """What the server answers, and what its host does, which may answer although the server is down."""
        asked = [v for v in self.chosen or standard_checks() if first or room(v.room).per_database]
        demanding = bool(self.chosen) and (first or not self._everywhere)
        server, host = [v for v in asked if v.needs.sql], [v for v in asked if not v.needs.sql]
        async with reach.session_for(place, self.options, self.asking) as session:
            found = await asyncio.gather(
                *(self._in_time(session, place, views, demanding) for views in (server, host) if views)
            )
        return [checked for checks in found for checked in checks]

    async def _in_time(
        self, session: Session, place: Target, asked: Sequence[View[Any]], demanding: bool
    ) -> list[Checked]:
        asking = self._ask(session, place, asked, demanding)
        try:
            return await reach.within(asking, self.options.patience + APART, place.label, self.asking)
        except PgtuiError as e:
            return self._failed(place, asked, e)

    async def _ask(
        self, session: Session, place: Target, asked: Sequence[View[Any]], demanding: bool
    ) -> list[Checked]:
        """The verdicts; those whose needs are missing are only told when they were demanded by name."""
        if any(v.needs.sql for v in asked):
            await session.open()
        found = await asyncio.gather(*(self._one(session, place, v) for v in asked))
        return [c for c in found if demanding or not (c.answered and c.answered.snapshot.missing)]

    @property
    def _everywhere(self) -> bool:
        return self.options.dbname == ALL_DATABASES

    async def _one(self, session: Session, place: Target, view: View[Any]) -> Checked:
        feed = Feed(Poller(session), view, {p.name: p.default for p in view.params})
        limits = place.limits(view.name)
        snapshot = await collect(feed, with_rates=self.all_rates or judges_rates(view, limits))
        answered = Answered(place.name, snapshot, place.dbname)
        if error := answered.error:
            return Checked(view.name, place.name, _verdict(error), (), place.dbname, answered)
        judged = snapshot.judgement
        found = measures(view, snapshot.rows, limits, judged, snapshot.rates)
        return Checked(view.name, place.name, judged.overall, found, place.dbname, answered)

    def _failed(self, place: Target, asked: Sequence[View[Any]], error: PgtuiError) -> list[Checked]:
        by_name = self.chosen or not any(v.needs.sql for v in asked)
        names = [v.name for v in asked] if by_name else [CONNECTION]
        return [Checked(n, place.name, _verdict(error), (), place.dbname) for n in names]


def _verdict(error: PgtuiError) -> Verdict:
    """What cannot be asked, and what would help."""
    said = "; ".join(filter(None, (error.message, error.hint)))
    return Verdict(Health.CRITICAL if isinstance(error, Unreachable) else Health.UNKNOWN, said)


def _print(checks: Sequence[Checked], form: str) -> None:
    if form == "nagios":
        out.line(nagios(checks))
    elif form == "openmetrics":
        text = openmetrics(checks)
        out.write(clean_lines(text) if out.is_terminal else text)
    elif form == "json":
        for checked in checks:
            out.line(line(checked.to_json()))
    elif form == "csv":
        for values in [_HEAD, *map(_row, checks)]:
            out.line(csv_line(values, for_terminal=out.is_terminal))
    else:
        _print_table(checks)


_HEAD = ("target", "check", "status", "message")


def _row(checked: Checked) -> list[str]:
    return [checked.place, checked.check, checked.health.name, checked.verdict.sentence]


def _print_table(checks: Sequence[Checked]) -> None:
    if not checks:
        out.line("nothing could be checked")
        return
    # Rich costs 50 ms that the other forms need not pay.
    from tui.tables import STYLES, plain_table

    colours = {health.name: style for health, style in STYLES.items() if style}
    head = ("Status", "Target", "Check", "Message")
    rows = [(c.health.name, c.place, c.check, c.verdict.sentence) for c in checks]
    out.write(plain_table(head, rows, out.is_terminal, colours))
