"""`pgtui [TARGET]`: the console."""

from __future__ import annotations

import sys

from backend.core.errors import PgtuiError, Usage, nearest
from tui.options import ALL_DATABASES, Options

COMMANDS = ("demo", "targets", "views", "actions", "show", "check", "run-action", "runs", "docs")


def open_console(options: Options, word: str | None) -> int:
    """Open the console on a target, or on the one that the options mean; the exit code."""
    inventory = options.read_inventory()
    words = [*([word] if word else []), *options.targets]
    try:
        targets = inventory.select(words, options.tags, options.everything)
    except Usage as e:
        raise _or_command(e, word) from None
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Usage("the console wants a terminal", hint="pgtui show, check and run-action work without one")
    if options.output:
        raise Usage("the console has no --output", hint="pgtui show has")
    # Textual costs 190 ms that the other commands need not pay.
    from tui import app

    dbname = None if options.dbname == ALL_DATABASES else options.dbname
    told = app.Options(
        inventory=inventory,
        read_only=options.read_only,
        timeout=options.patience,
        dbname=dbname,
        debug=options.debug,
    )
    return app.run(targets, told)


def _or_command(error: PgtuiError, word: str | None) -> PgtuiError:
    """The complaint about an unknown target, which may be a misspelled command."""
    hint = nearest(word or "", COMMANDS)
    return Usage(error.message, hint=hint) if hint and "did you mean" not in (error.hint or "") else error
