"""`pgtui runs`: what a pgtui that was killed has left unfinished."""

from __future__ import annotations

from backend.core.errors import unknown
from backend.core.journal import Entry, Journal
from tui.catalogue import print_objects
from tui.options import FORMATS, Options
from tui.out import say


def list_runs(options: Options) -> int:
    """Print the runs whose pgtui ended before they did."""
    form = options.format(*FORMATS)
    found = Journal().unfinished()
    print_objects([_told(e, whole=form == "json") for e in found], form)
    if not found:
        say("no run was left unfinished")
    return 0


def _told(entry: Entry, whole: bool) -> dict[str, object]:
    return {
        "id": entry.id,
        "action": entry.action,
        "target": entry.target,
        "subject": entry.subject,
        "started_at": entry.started_at,
        "done": entry.done,
        "steps": entry.steps if whole else len(entry.steps),
    }


def forget_run(name: str) -> int:
    """Remove an unfinished run from the journal."""
    entry = find_run(name)
    Journal().remove(entry)
    say(f"forgotten: {entry.sentence}")
    return 0


def find_run(name: str) -> Entry:
    """The unfinished run of that id, or a usage error."""
    found = Journal().find(name)
    if found is None:
        raise unknown("unfinished run", name, [e.id for e in Journal().unfinished()])
    return found
