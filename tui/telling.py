"""A run, a dry run or a refusal as people read it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from backend.core.clean import clean, clean_lines
from backend.core.declare import Danger
from backend.core.report import result_rows
from backend.core.run import Report, StepState
from backend.core.target import Target

_MARKS = {"done": "✔", "failed": "✖", "cancelled": "✖", "undone": "↶", "waiting": "·", "skipped": "·"}
_WORDS = {"ok": "done", "failed": "failed", "refused": "refused", "dry-run": "would run"}


def told_report(target: Target, report: Report, on_terminal: bool) -> str:
    """The report as text: what was acted on, each step, the rows, what was noticed."""
    return "".join(f"{line}\n" for line in _lines(target, report)) + _result(report, on_terminal)


def _lines(target: Target, report: Report) -> Iterator[str]:
    took = "" if report.status == "dry-run" else f" ({report.seconds:.2f} s)"
    yield f"{report.action} on {clean(target.label)}: {_WORDS[report.status]}{took}"
    if report.subject:
        yield f"subject: {clean(report.subject)}"
        yield f"danger: {report.danger}"
    for step in report.steps:
        yield from _step(step, report.status == "dry-run")
    if report.subject and not report.steps:
        yield "nothing to do"
    for notice in report.notices:
        yield f"note: {clean(notice)}"
    if report.status == "dry-run":
        yield f"plan: {report.plan}"
        if wants := what_it_wants(target, report):
            yield f"to run it: {wants}"


def _step(step: StepState, planned: bool) -> Iterator[str]:
    took = "" if planned or step.status == "waiting" else f" {step.seconds:.2f} s"
    mark = "·" if planned else _MARKS.get(step.status, "·")
    first, *rest = clean_lines(step.text).split("\n")
    yield f"  {mark} {step.kind}{took}  {first}"
    yield from (f"      {line}" for line in rest)
    if step.note:
        yield f"      ({clean(step.note)})"


def what_it_wants(target: Target, report: Report) -> str:
    """The words that would confirm a planned run; empty when it wants none."""
    danger = Danger[report.danger.upper()]
    if danger is Danger.NONE or not report.steps:
        return ""
    if target.guard == "read-only":
        return "not at all, the target is guarded as read-only"
    if target.guard == "name":
        return f"add --confirm {clean(shlex.quote(target.name))}"
    if danger is Danger.DESTROY:
        return f"add --confirm {clean(shlex.quote(report.subject))}"
    return "add --yes" if danger is Danger.DISRUPT else ""


def _result(report: Report, on_terminal: bool) -> str:
    head, rows = result_rows(report.result)
    if not rows:
        return ""
    from tui.tables import plain_table

    return plain_table(head, rows, on_terminal)
