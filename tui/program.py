"""The commands of `pgtui`, put together. What a command needs is imported when it runs."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperCommand
from typer.main import get_command

from backend.core import registry
from backend.core.errors import Usage
from tui.command import Command, Group, options_of
from tui.common import target_names
from tui.console import COMMANDS
from tui.named import Actions, Views
from tui.options import Options

DOC = """The operations console for PostgreSQL, in the terminal and headless.

Without a command it opens the console on TARGET: a name of the inventory or a libpq string; without
one, on the inventory's default, else where psql would go."""


class Root(Group):
    """`pgtui`: a first word that is no command is a target to open."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The commands; while completing, the targets too."""
        targets = target_names(ctx) if ctx.resilient_parsing else []
        return ["open", *COMMANDS, *targets]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command, or while completing, what opens a target."""
        found = super().get_command(ctx, cmd_name)
        if found is None and ctx.resilient_parsing and cmd_name in target_names(ctx):
            return TyperCommand(cmd_name, help="Open the console on it.", rich_markup_mode=None)
        return found

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command, or `open` with the whole line."""
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            return "open", self.commands["open"], args
        return super().resolve_command(ctx, args)


def complete_check(incomplete: str) -> list[str]:
    """The names of views that have a verdict."""
    return [v.name for v in registry.views() if v.judged and v.name.startswith(incomplete)]


app = typer.Typer(
    cls=Root,
    help=DOC,
    rich_markup_mode=None,
    invoke_without_command=True,
    subcommand_metavar="[TARGET] | COMMAND ...",
)
show_app = typer.Typer(cls=Views, rich_markup_mode=None, subcommand_metavar="VIEW ...")
act_app = typer.Typer(cls=Actions, rich_markup_mode=None, subcommand_metavar="ACTION ...")
targets_app = typer.Typer(cls=Group, rich_markup_mode=None, invoke_without_command=True)
runs_app = typer.Typer(cls=Group, rich_markup_mode=None, invoke_without_command=True)
demo_app = typer.Typer(cls=Group, rich_markup_mode=None, invoke_without_command=True)


@app.callback()
def _root(ctx: typer.Context) -> int | None:
    if ctx.invoked_subcommand is None:
        return _open(options_of(ctx), None)
    return None


@app.command("open", cls=Command, hidden=True)
def _open_command(
    ctx: typer.Context, word: Annotated[str | None, typer.Argument(metavar="[TARGET]")] = None
) -> int:
    """Open the console on a target."""
    return _open(options_of(ctx), word)


def _open(options: Options, word: str | None) -> int:
    from tui.console import open_console

    return open_console(options, word)


@app.command("views", cls=Command)
def _views(ctx: typer.Context) -> int:
    """List what can be shown."""
    from tui.catalogue import list_views

    return list_views(options_of(ctx))


@app.command("actions", cls=Command)
def _actions(ctx: typer.Context) -> int:
    """List what can be done."""
    from tui.catalogue import list_actions

    return list_actions(options_of(ctx))


@show_app.callback(invoke_without_command=True, epilog="`pgtui views` lists the views.")
def _show(ctx: typer.Context) -> None:
    """Show one view as table, JSON or CSV, once or again and again."""
    if ctx.invoked_subcommand is None:
        raise Usage("show wants the name of a view", hint="pgtui views lists them")


@act_app.callback(invoke_without_command=True, epilog="`pgtui actions` lists the actions.")
def _run_action(ctx: typer.Context) -> None:
    """Run one action; ACTION --help explains it."""
    if ctx.invoked_subcommand is None:
        raise Usage("run-action wants the name of an action", hint="pgtui actions lists them")


app.add_typer(show_app, name="show")


@app.command("check", cls=Command)
def _check(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[VIEW]...", autocompletion=complete_check)
    ] = None,
) -> int:
    """Give the verdicts of views, as Nagios plugins do: of those named, else of all that have one."""
    from tui.check import check

    return check(names or (), options_of(ctx))


app.add_typer(act_app, name="run-action")


@targets_app.callback(invoke_without_command=True)
def _targets(ctx: typer.Context) -> int | None:
    """List the inventory, add a target to it, or try to reach its targets."""
    return _targets_list(ctx) if ctx.invoked_subcommand is None else None


@targets_app.command("list", cls=Command)
def _targets_list(ctx: typer.Context) -> int:
    """List the targets of the inventory."""
    from tui.targets import list_targets

    return list_targets(options_of(ctx))


@targets_app.command("add", cls=Command)
def _targets_add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    dsn: Annotated[str, typer.Argument(metavar="DSN")],
    ssh: Annotated[str | None, typer.Option("--ssh", metavar="HOST", help="Where its programs are.")] = None,
    guard: Annotated[str | None, typer.Option("--guard", metavar="name|read-only")] = None,
    default: Annotated[bool, typer.Option("--default", help="Make it the default target.")] = False,
) -> int:
    """Add a target to the inventory; --tag gives it tags."""
    from tui.targets import add_target

    return add_target(options_of(ctx), name, dsn, ssh=ssh, guard=guard, default=default)


@targets_app.command("test", cls=Command)
def _targets_test(ctx: typer.Context) -> int:
    """Connect to the targets named, else to all, and tell what answers."""
    from tui.trying import try_targets

    return try_targets(options_of(ctx))


app.add_typer(targets_app, name="targets")


@runs_app.callback(invoke_without_command=True)
def _runs(ctx: typer.Context) -> int | None:
    """List the runs that pgtui left unfinished."""
    return _runs_list(ctx) if ctx.invoked_subcommand is None else None


@runs_app.command("list", cls=Command)
def _runs_list(ctx: typer.Context) -> int:
    """List the runs that pgtui left unfinished."""
    from tui.runs import list_runs

    return list_runs(options_of(ctx))


@runs_app.command("forget", cls=Command)
def _runs_forget(ctx: typer.Context, name: Annotated[str, typer.Argument(metavar="ID")]) -> int:
    """Forget an unfinished run."""
    from tui.runs import forget_run

    return forget_run(name)


@runs_app.command("undo", cls=Command)
def _runs_undo(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="ID")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would run; change nothing.")] = False,
    interrupted: Annotated[
        bool, typer.Option("--interrupted", help="Undo the step that was under way, too.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Confirm what interrupts service.")] = False,
    confirm: Annotated[
        list[str] | None,
        typer.Option("--confirm", metavar="SUBJECT", help="Confirm what may lose data."),
    ] = None,
) -> int:
    """Undo an unfinished run: what of it was done, the last step first."""
    from tui.act import Consent
    from tui.undoing import undo_run

    consent = Consent(dry_run=dry_run, yes=yes, words=tuple(confirm or ()))
    return undo_run(name, options_of(ctx), consent, interrupted=interrupted)


app.add_typer(runs_app, name="runs")


@demo_app.callback(invoke_without_command=True)
def _demo(
    ctx: typer.Context,
    folder: Annotated[str | None, typer.Option("--folder", metavar="DIR", help="Where the lab is.")] = None,
) -> int | None:
    """Start the lab and open the console on it; or only start it, stop it, show it."""
    if ctx.invoked_subcommand is not None:
        return None
    from tui.demo import demo

    return demo(options_of(ctx), folder)


def _lab_command(word: str, doc: str) -> None:
    @demo_app.command(word, cls=Command, help=doc)
    def run(
        ctx: typer.Context,
        folder: Annotated[
            str | None, typer.Option("--folder", metavar="DIR", help="Where the lab is.")
        ] = None,
    ) -> int:
        from tui.demo import lab

        above = ctx.parent.params.get("folder") if ctx.parent else None
        return lab(word, options_of(ctx), folder or above)


_lab_command("up", "Start the lab, or what of it does not run.")
_lab_command("down", "Stop the lab.")
_lab_command("status", "Show the lab's parts and how to connect to them.")
app.add_typer(demo_app, name="demo")


@app.command("docs", cls=Command)
def _docs() -> int:
    """Print the reference of all views and actions, as Markdown."""
    from tui.catalogue import print_reference

    return print_reference()


def main_command() -> Any:
    """The whole command line."""
    return get_command(app)
