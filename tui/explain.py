"""What `run-action ACTION --help` and the reference say of an action besides its parameters."""

from __future__ import annotations

from backend.core.declare import Action, Danger, View
from backend.core.facts import Needs
from tui.catalogue import example

_MEANING = {
    Danger.NONE: "none: it only reads.",
    Danger.CHANGE: "change: it can be undone. It runs without being asked again.",
    Danger.DISRUPT: "disrupt: it interrupts sessions or service. It wants --yes.",
    Danger.DESTROY: "destroy: data or history may be lost. It wants --confirm SUBJECT;"
    " --dry-run names the subject.",
}


def danger_of(action: Action) -> str:
    """How dangerous it is and what confirmation it wants."""
    return _MEANING[action.danger]


def needs_of(needs: Needs) -> list[str]:
    """What is required of a target, each in a few words."""
    said = [f"PostgreSQL {needs.server} or newer"] if needs.server > 14 else []
    for name, least in needs.extensions.items():
        version = ".".join(str(n) for n in least)
        said.append(f"extension {name} {version} or newer" if version.strip("0.") else f"extension {name}")
    said += [f"the program {tool} on the host" for tool in needs.tools]
    if needs.roles:
        said.append(f"membership in {' or '.join(needs.roles)}")
    said += ["a primary"] if needs.primary else []
    return said if needs.sql else ["the host alone, whether the server runs or not", *said]


def command_example(action: Action) -> str:
    """A command line with the parameters that have to be given."""
    words = [f"pgtui run-action {action.name}"]
    for param in action.params:
        if param.required:
            file = "-file FILE" if param.ask.secret else f" {example(param)}"
            words.append(f"{param.option}{file}")
    if action.danger is Danger.DISRUPT:
        words.append("--yes")
    if action.danger is Danger.DESTROY:
        words.append("--confirm SUBJECT")
    return " ".join(words)


def action_epilog(action: Action) -> str:
    """Danger, needs and an example, as paragraphs of help."""
    needs = needs_of(action.needs)
    return "\n\n".join([
        f"Danger is {danger_of(action)} A guarded target wants --confirm TARGET.",
        *([f"Needs {', '.join(needs)}."] if needs else []),
        f"\b\nExample:\n  {command_example(action)}",
    ])  # fmt: skip


def view_epilog(view: View[object]) -> str:
    """Needs and columns, as paragraphs of help."""
    needs = needs_of(view.needs)
    columns = ", ".join(c.name for c in view.columns)
    return "\n\n".join([
        *([f"Needs {', '.join(needs)}."] if needs else []),
        f"Columns: {columns}.",
    ])  # fmt: skip
