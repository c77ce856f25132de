"""The commands that the registry names: `show VIEW` and `run-action ACTION`."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer

from backend.core import registry
from backend.core.errors import PgtuiError, Usage
from backend.core.values import Interval
from tui.command import Group, make_command, options_of
from tui.options import Words
from tui.params import option_parameters, read


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
        return [a.name for a in registry.actions()] if ctx.resilient_parsing else []

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
    return [v.name for v in registry.views()]


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

    view = registry.find_view(name)

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

    action = registry.find_action(name)
    named = {p.name for p in action.params}
    waits = "lock_wait" in named

    def body(ctx: typer.Context, **given: Any) -> int:
        from tui.act import Consent, act

        consent = Consent(
            dry_run=given["dry_run"],
            yes=given["yes"],
            words=tuple(given["confirm"] or ()),
            expect=_last("--expect", given["expect"]),
            lock_wait=_lock_wait(None if waits else _last("--lock-wait", given["lock_wait"])),
        )
        return act(action, read(action.params, given), options_of(ctx), consent)

    # An action may wait for locks in a way of its own, such as row by row.
    own = inspect.signature(_act_options, eval_str=True).parameters.items()
    parameters = [*option_parameters(action.params), *(p for name, p in own if name not in named)]
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
        raise Usage(f"{option} wants a whole number from 0 on, not {word!r}")
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
