"""A plan before it runs: all that would happen, and the confirmation that its danger wants."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static

from backend.core.clean import clean
from backend.core.confirm import Confirmation
from backend.core.declare import Danger
from backend.core.plan import Plan, Step
from screens.modals.dialog import GatedDialog, GatedInput
from screens.modals.reading import TextDialog
from screens.widgets.choices import Choices
from screens.widgets.viewer import Grid, Part, Readable, TextView

GLYPHS = {Danger.NONE: "○", Danger.CHANGE: "●", Danger.DISRUPT: "▲", Danger.DESTROY: "✖"}
MEANING = {
    Danger.NONE: "changes nothing",
    Danger.CHANGE: "can be undone",
    Danger.DISRUPT: "interrupts sessions or service",
    Danger.DESTROY: "data or history may be lost",
}
NO, YES = 0, 1
# Border, title, danger and hint.
FRAME = 5


class Preview(GatedDialog[bool]):
    """Dismisses with True when the plan was confirmed, else with False.

    `title` is what is about to happen where, such as `activity.terminate on billing`; `command` the line that
    does the same from a shell.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "scroll(-1)", "Up", show=False),
        Binding("down,j", "scroll(1)", "Down", show=False),
        Binding("pageup", "scroll(-10)", "Page up", show=False),
        Binding("pagedown", "scroll(10)", "Page down", show=False),
        Binding("S", "command", "Command line", show=False),
        Binding("y", "copy", "Copy", show=False),
    ]
    HINT = "…"

    def __init__(self, plan: Plan, confirmation: Confirmation, *, title: str, command: str = "") -> None:
        super().__init__(title)
        self.plan = plan
        self.confirmation = confirmation
        self.command = command
        self.text = TextView(list(self._parts()))
        self.choices = Choices(["No, leave it", f"Yes, {plan.danger.word}"], NO)
        self.answer = GatedInput(self.gate, id="word")

    def content(self) -> ComposeResult:
        """Danger, plan, and what the confirmation wants."""
        danger = self.plan.danger
        yield Static(
            f"{GLYPHS[danger]} {danger.word}: {MEANING[danger]}",
            markup=False,
            classes=f"preview--danger -{danger.word}",
        )
        self.text.can_focus = False
        yield self.text
        if not self.plan.steps:
            yield Static("There is nothing to do.", markup=False)
        elif self.confirmation.ceremony == "ask":
            yield Static("Run it?", markup=False, classes="preview--question")
            yield self.choices
        elif self.confirmation.ceremony == "type":
            yield Static(self._type_this(), markup=False, classes="preview--question")
            yield self.answer

    def on_resize(self) -> None:
        """Give the plan the lines that the question leaves."""
        asks = self.plan.steps and self.confirmation.ceremony in ("ask", "type")
        others = FRAME + (2 if asks else 0 if self.plan.steps else 1)
        self.room_for(self.text, self.text.line_count(self.text_width), others)

    def opened(self) -> None:
        """Say how to confirm, and focus it."""
        if not self.plan.steps:
            self.hint("Enter or Esc goes back")
        elif self.confirmation.ceremony == "ask":
            self.choices.focus()
            self.hint("← → chooses · Enter takes it · S command line · y copy · Esc leaves it")
        elif self.confirmation.ceremony == "type":
            self.answer.focus()
            self.hint("Enter runs it when the word is right · ↑ ↓ read the plan · Esc leaves it")
        else:
            self.hint("Enter runs it · S command line · y copy · Esc leaves it")

    def confirmed(self) -> None:
        """Enter: run, refuse, or say what is missing."""
        if not self.plan.steps:
            self.dismiss(False)
        elif self.confirmation.ceremony == "ask":
            self.dismiss(self.choices.current == YES)
        elif self.confirmation.ceremony != "type" or self._is_typed():
            self.dismiss(True)
        else:
            self.hint("that is not it: nothing was done · Esc leaves it")

    def on_choices_taken(self, event: Choices.Taken) -> None:
        """A click answers as Enter does."""
        if self.gate.admits(event.pressed_at):
            self.press_enter(event.pressed_at)

    def action_leave(self) -> None:
        """Leave the plan alone."""
        self.dismiss(False)

    def action_scroll(self, lines: int) -> None:
        """Read on."""
        self.text.action_by(lines)

    def action_copy(self) -> None:
        """Copy the command line."""
        self.app.copy_to_clipboard(self.command)
        self.hint("the command line was copied")

    def action_command(self) -> None:
        """Show the command line that does the same."""
        self.app.push_screen(TextDialog("The same from a shell", [Part(self.command, "code")], self.command))

    def _type_this(self) -> str:
        word = clean(self.confirmation.word)
        return f"Type {word if len(word) <= 60 else word[:59] + '…'} to run it:"

    def _is_typed(self) -> bool:
        word = self.confirmation.word
        # A line break or an escape cannot be typed; what is shown in its place can.
        return bool(word) and self.answer.value in (word, clean(word))

    def _parts(self) -> Iterator[Readable]:
        yield Part("")
        yield Part(f"Subject  {clean(self.plan.subject)}", "strong")
        for note in self.plan.notes:
            yield Part(f"· {note}")
        if self.plan.rows:
            yield Part("")
            yield Grid(self.plan.rows, indent=2)
        for number, step in enumerate((*self.plan.steps, *self.plan.always), 1):
            yield Part("")
            yield Part(self._step_title(number, step), "muted")
            yield Part(step.text, "code", indent=2)
        if self.command:
            yield Part("")
            yield Part("The same from a shell", "muted")
            yield Part(self.command, "code", indent=2)
        yield Part("")

    def _step_title(self, number: int, step: Step) -> str:
        count = len(self.plan.steps)
        which = f"Step {number} of {count}" if number <= count else "In the end, whatever happened"
        where = f" on {step.on}" if step.on else ""
        return f"{which} · {step.kind}{where}" + (f" · {step.note}" if step.note else "")
