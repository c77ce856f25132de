"""Who may run what: guards, read-only and confirmation, decided in one place for screen and command line."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from backend.core.clean import clean
from backend.core.declare import Danger
from backend.core.errors import Refused
from backend.core.plan import Plan
from backend.core.target import Target, read_only_refusal

Ceremony = Literal["none", "enter", "ask", "type"]


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What the user has to do before a plan runs: nothing, press Enter, say yes, or type a word."""

    ceremony: Ceremony
    word: str = ""


def confirmation(plan: Plan, target: Target) -> Confirmation:
    """What a plan wants on that target; a guard by name wants the target's name above `none`."""
    if plan.danger is Danger.NONE or not plan.steps:
        return Confirmation("none")
    if target.guard == "name":
        return Confirmation("type", target.name)
    if plan.danger is Danger.DESTROY:
        return Confirmation("type", plan.subject)
    return Confirmation("ask" if plan.danger is Danger.DISRUPT else "enter")


def forbid(plan: Plan, target: Target, read_only: bool) -> None:
    """Raise `Refused` when nothing that changes anything may run here."""
    if plan.danger is Danger.NONE or not plan.steps:
        return
    if read_only:
        raise Refused(
            "pgtui was started with --read-only", hint="start it without that option to change anything"
        )
    if target.guard == "read-only":
        raise read_only_refusal(target)


def authorize(
    plan: Plan, target: Target, *, yes: bool, words: Collection[str], several: bool = False
) -> None:
    """Raise `Refused`, saying what to add, unless the command line has confirmed the plan.

    With several targets `destroy` wants `TARGET/SUBJECT` for each, so that no word is good for two of them;
    with several databases of one target, `TARGET/DATABASE/SUBJECT`.
    """
    wanted = confirmation(plan, target)
    if wanted.ceremony == "type":
        _demand_word(plan, target, wanted.word, words, several)
    elif wanted.ceremony == "ask" and not yes and not _matches(plan, target, words):
        raise Refused(
            f"{clean(plan.subject)} is not confirmed: this can {_WORST[plan.danger]}",
            hint="add --yes to run it",
        )


_WORST = {
    Danger.NONE: "change nothing",
    Danger.CHANGE: "change things",
    Danger.DISRUPT: "interrupt sessions or service",
    Danger.DESTROY: "lose data or history for good",
}


def _matches(plan: Plan, target: Target, words: Collection[str]) -> bool:
    return plan.subject in words or f"{target.label}/{plan.subject}" in words


def _demand_word(plan: Plan, target: Target, word: str, words: Collection[str], several: bool) -> None:
    full = f"{target.label}/{plan.subject}"
    accepted = {full} if several and plan.danger is Danger.DESTROY else {full, word}
    if accepted & set(words):
        return
    shown = full if several and plan.danger is Danger.DESTROY else word
    why = (
        f"target {target.name} is guarded by name"
        if target.guard == "name"
        else f"this can {_WORST[plan.danger]}"
    )
    raise Refused(
        f"{clean(plan.subject)} is not confirmed: {why}", hint=f"add --confirm {shlex.quote(shown)}"
    )
