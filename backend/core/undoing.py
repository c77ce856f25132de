"""Undoing a run that a killed pgtui left unfinished: a plan like any other, made from the journal."""

from __future__ import annotations

import os

from backend.core.declare import Action, Danger
from backend.core.errors import Refused
from backend.core.facts import Needs
from backend.core.journal import Entry, Journal
from backend.core.kept import make_again
from backend.core.plan import Command, File, Plan, Step
from backend.core.session import Session


def undo_action(entry: Entry, interrupted: bool = False) -> Action:
    """The action whose plan takes the run back; `interrupted` includes the step that was under way."""
    over_sql = any(not isinstance(s, (Command, File)) for s in undo_plan(entry, interrupted).steps)

    async def undo(s: Session) -> Plan:
        """Undo an unfinished run."""
        now = Journal().find(entry.id)
        if now is None:
            raise Refused(f"{entry.action} has been undone or forgotten meanwhile")
        return undo_plan(now, interrupted)

    return Action("runs.undo", undo, Danger[entry.danger.upper()], Needs(sql=over_sql), (), True)


def undo_plan(entry: Entry, interrupted: bool = False) -> Plan:
    """The undo of each step that was done, the last one first, and then what was to run in any case.

    Raises `Refused` where the journal could not keep one of them.
    """
    steps = tuple(_step(entry, number) for number in _left(entry, interrupted))
    return Plan(entry.subject, steps, danger=Danger[entry.danger.upper()], notes=_notes(entry, interrupted))


def _left(entry: Entry, interrupted: bool) -> list[int]:
    """The numbers of the steps whose undo is left to be done, in order; always steps come behind."""
    done = entry.done + (interrupted and entry.is_interrupted)
    undo = [n for n in reversed(range(done)) if entry.undo[n]]
    always = range(len(entry.steps), len(entry.steps) + len(entry.always))
    return [n for n in (*undo, *always) if n not in entry.undone]


def _step(entry: Entry, number: int) -> Step:
    texts = [*entry.undo, *entry.always]
    kept = [*entry.undo_kept, *entry.always_kept]
    found = kept[number] if len(kept) == len(texts) else None
    if found is None:
        raise Refused(f"the journal could not keep how to undo it: {texts[number]}", hint="do that by hand")
    return make_again(found)


def _notes(entry: Entry, interrupted: bool) -> tuple[str, ...]:
    done = f"{entry.done} of {len(entry.steps)} steps were done"
    notes = [f"{entry.action} was started {entry.started_at}; {done}"]
    if entry.is_interrupted and not interrupted:
        notes.append(
            f"step {entry.done + 1} was under way and may or may not have been done; it is not undone: "
            f"{entry.steps[entry.done]}"
        )
    if entry.program:
        notes.append(f"its program may still run on the host; its record is {entry.program}")
    return tuple(notes)


class UndoJournal(Journal):
    """The journal of an undo: it goes on in the entry of the run that is undone, until all of it is."""

    def __init__(self, entry: Entry, interrupted: bool = False) -> None:
        super().__init__()
        self._entry = entry
        self._before = list(entry.undone)
        self._left = _left(entry, interrupted)
        self._whose = entry.pid, entry.born

    def wants(self, plan: Plan) -> bool:
        """An undo is kept however harmless."""
        return True

    def write(self, entry: Entry) -> None:
        """Note how far the undo is; meanwhile the entry is this pgtui's."""
        self._entry.undone = self._before + self._left[: entry.done]
        self._entry.pid, self._entry.born = os.getpid(), ""
        super().write(self._entry)

    def remove(self, entry: Entry) -> None:
        """Forget the run once it is undone; else it stays, to be undone further."""
        if entry.done == len(self._left):
            super().remove(self._entry)
        else:
            self._entry.pid, self._entry.born = self._whose
            super().write(self._entry)
