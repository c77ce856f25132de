"""The commands of `pgtui`, put together. What a command needs is imported when it runs."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer
from typer.core import TyperCommand
from typer.main import get_command

from backend.core import declare
from backend.core.errors import PgtuiError, Usage
from backend.core.values import Interval
from tui.command import Command, Group, make_command, options_of
from tui.common import target_names
from tui.console import COMMANDS
from tui.options import Options, Words
from tui.params import option_parameters, read

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


class Named(Group):
    """A group whose commands are the names of the registry; only the room named is imported."""

    suggest_commands = False

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words; without any, the callback says what is wanted."""
        self.invoke_without_command = True
        return super().parse_args(ctx, args)


class Views(Named):
    """`pgtui show VIEW`."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The views while completing; help refers to `pgtui views`, which imports every room."""
        return view_names() if ctx.resilient_parsing else []

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command that shows one view."""
        return _quietly(ctx, show_command, cmd_name)


class Actions(Named):
    """`pgtui run-action ACTION`."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The actions while completing; help refers to `pgtui actions`, which imports every room."""
        return [a.name for a in declare.actions()] if ctx.resilient_parsing else []

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command that runs one action."""
        return _quietly(ctx, act_command, cmd_name)


def _quietly(ctx: Any, make: Any, name: str) -> Any:
    """The command; None for an unknown name while completing, where nobody reads a complaint."""
    try:
        return make(name)
    except PgtuiError:
        if ctx.resilient_parsing:
            return None
        raise


def view_names() -> list[str]:
    """Every view's name."""
    return [v.name for v in declare.views()]


def complete_check(incomplete: str) -> list[str]:
    """The names of views that have a verdict."""
    return [v.name for v in declare.views() if v.judged and v.name.startswith(incomplete)]


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


def _show_options(
    where: Annotated[
        Words,
        typer.Option("--where", metavar="FILTER", help="Only rows that match, as `/` filters on screen."),
    ] = None,
    limit: Annotated[
        Words, typer.Option("--limit", metavar="N", help="At most N rows of each target.")
    ] = None,
    watch: Annotated[
        Words, typer.Option("--watch", metavar="SECONDS", help="Again and again, until Ctrl-C.")
    ] = None,
) -> None: ...


def show_command(name: str) -> Any:
    """The command that shows a view: its parameters are the options."""
    from tui.explain import view_epilog

    view = declare.find_view(name)

    def body(ctx: typer.Context, **given: Any) -> int:
        from tui.show import show

        params = read(view.params, given)
        limit = _number("--limit", _last("--limit", given.get("limit")))
        watch = _pause(_last("--watch", given["watch"]))
        where = " ".join(given["where"] or ()) or None
        return show(view, params, options_of(ctx), where=where, limit=limit, watch=watch)

    # A view may limit its rows itself, which spares the server.
    named = {p.name for p in view.params}
    own = inspect.signature(_show_options, eval_str=True).parameters.items()
    parameters = [*option_parameters(view.params), *(p for name, p in own if name not in named)]
    return make_command(name, parameters, body, help=view.doc, epilog=view_epilog(view))


def _act_options(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would run, and the plan's hash; change nothing.")
    ] = False,
    expect: Annotated[
        Words, typer.Option("--expect", metavar="HASH", help="Run only if the plan has this hash.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Confirm what interrupts sessions or service.")
    ] = False,
    confirm: Annotated[
        Words,
        typer.Option("--confirm", metavar="SUBJECT", help="Confirm what may lose data; may be repeated."),
    ] = None,
    lock_wait: Annotated[
        Words, typer.Option("--lock-wait", metavar="TIME", help="How long to wait for a lock (5s).")
    ] = None,
) -> None: ...


def act_command(name: str) -> Any:
    """The command that runs an action: its parameters are the options."""
    from tui.explain import action_epilog

    action = declare.find_action(name)

    def body(ctx: typer.Context, **given: Any) -> int:
        from tui.act import Consent, act

        consent = Consent(
            dry_run=given["dry_run"],
            yes=given["yes"],
            words=tuple(given["confirm"] or ()),
            expect=_last("--expect", given["expect"]),
            lock_wait=_lock_wait(_last("--lock-wait", given["lock_wait"])),
        )
        return act(action, read(action.params, given), options_of(ctx), consent)

    own = inspect.signature(_act_options, eval_str=True).parameters.values()
    parameters = [*option_parameters(action.params), *own]
    text = "\n\n".join(t for t in (action.doc, action.details) if t)
    return make_command(name, parameters, body, help=text, epilog=action_epilog(action))


def _last(option: str, words: list[str] | None) -> str | None:
    if words and len(set(words)) > 1:
        raise Usage(f"{option} is given as {words[0]} and as {words[1]}", hint="give it once")
    return words[0] if words else None


def _number(option: str, word: str | None) -> int | None:
    if word is None:
        return None
    if not word.isdecimal():
        raise Usage(f"{option} wants a whole number, not {word!r}")
    return int(word)


def _pause(word: str | None) -> float | None:
    if word is None:
        return None
    try:
        seconds = float(word)
    except ValueError:
        seconds = Interval.parse(word).approximate.total_seconds()
    if not 0 < seconds < 86400 * 365:
        raise Usage(f"--watch wants a time above zero, not {word}")
    return seconds


def _lock_wait(word: str | None) -> str:
    """The wait as PostgreSQL's lock_timeout takes it; 0 waits without end."""
    if word is None or word == "0":
        return word or "5s"
    return f"{max(1, round(Interval.parse(word).approximate.total_seconds() * 1000))}ms"


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
    from tui.catalogue import list_runs

    return list_runs(options_of(ctx))


@runs_app.command("forget", cls=Command)
def _runs_forget(ctx: typer.Context, name: Annotated[str, typer.Argument(metavar="ID")]) -> int:
    """Forget an unfinished run."""
    from tui.catalogue import forget_run

    return forget_run(name)


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
