"""`pgtui runs undo`: an unfinished run is taken back, by a plan and a run like any other."""

from __future__ import annotations

from dataclasses import replace

from backend.core.errors import Usage
from backend.core.journal import Entry
from backend.core.target import Inventory, Target
from backend.core.undoing import UndoJournal, undo_action
from tui import reach
from tui.act import Consent, Errand, Printer, carry_out
from tui.options import FORMATS, Options
from tui.runs import find_run


def undo_run(name: str, options: Options, consent: Consent, *, interrupted: bool) -> int:
    """Undo an unfinished run, as a plan of its own; the exit code."""
    entry = find_run(name)
    inventory = options.read_inventory()
    target = _target(entry, options, inventory)
    errand = Errand(
        undo_action(entry, interrupted),
        {},
        replace(options, dbname=target.dbname),
        consent,
        inventory,
        journal=UndoJournal(entry, interrupted),
    )
    printer = Printer(options.format(*FORMATS))
    return reach.run(lambda interrupts: carry_out(errand, [target], printer, interrupts))


def _target(entry: Entry, options: Options, inventory: Inventory) -> Target:
    """The target of the run: from the inventory, else the one given, which must be the same."""
    given = options.select(inventory) if options.targets else _candidates(entry, inventory)
    for target in given:
        if target.label == entry.target:
            return target
    raise Usage(
        f"the run was on {entry.target}, which is not the target given or in the inventory",
        hint="give its connection string with --target",
    )


def _candidates(entry: Entry, inventory: Inventory) -> list[Target]:
    listed = [inventory.get(name) for name in inventory.targets]
    database = entry.target.rpartition("/")[2]
    return [*listed, *(t.database(database) for t in listed)]
