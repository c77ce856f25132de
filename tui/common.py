"""The common options as Typer declares them."""

from __future__ import annotations

import inspect
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer

from backend.core.errors import PgtuiError
from tui.options import Options, Words


def target_names(ctx: typer.Context) -> list[str]:
    """The targets of the inventory that the line names so far; for completion, so without complaints."""
    inventory: list[str] | None = None
    above: Any = ctx
    while above is not None and inventory is None:
        inventory, above = above.params.get("inventory"), above.parent
    try:
        options = Options(inventory=Path(inventory[0]) if inventory else None)
        return list(options.read_inventory().targets)
    except PgtuiError:
        return []


def _common(
    target: Annotated[
        Words,
        typer.Option(
            "--target",
            "-t",
            metavar="NAME|DSN",
            help="Target; may be repeated.",
            autocompletion=target_names,
        ),
    ] = None,
    tag: Annotated[Words, typer.Option("--tag", metavar="TAG", help="Targets with this tag.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All targets of the inventory.")] = False,
    dbname: Annotated[
        Words,
        typer.Option("--dbname", "-d", metavar="NAME|all", help="Database, or every one of the target."),
    ] = None,
    output: Annotated[
        Words,
        typer.Option(
            "--output", "-o", metavar="FORMAT", help="table, json or csv; for check also nagios, openmetrics."
        ),
    ] = None,
    inventory: Annotated[
        Words, typer.Option("--inventory", metavar="FILE", help="The file that lists targets.")
    ] = None,
    timeout: Annotated[
        Words, typer.Option("--timeout", metavar="SECONDS", help="Time to connect and answer in (10).")
    ] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Refuse whatever changes something.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
) -> None: ...


@cache
def common_signature() -> dict[str, inspect.Parameter]:
    """The common options as parameters of a command, by their names."""
    return dict(inspect.signature(_common, eval_str=True).parameters)
