"""A simple question, with No in focus."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult

from screens.modals.dialog import GatedDialog
from screens.widgets.choices import Choices
from screens.widgets.viewer import Part, Readable, TextView

NO, YES = 0, 1


class Confirm(GatedDialog[bool]):
    """Dismisses with True only when Yes was chosen."""

    HINT = "…"

    def __init__(
        self, title: str, question: str | Sequence[Readable], *, yes: str = "Yes", no: str = "No"
    ) -> None:
        super().__init__(title)
        parts = [Part(question)] if isinstance(question, str) else list(question)
        self.text = TextView([Part(""), *parts, Part("")])
        self.choices = Choices([no, yes], NO)

    def content(self) -> ComposeResult:
        """The question and its two answers."""
        self.text.can_focus = False
        yield self.text
        yield self.choices

    def on_resize(self) -> None:
        """Give the question its lines."""
        self.room_for(self.text, self.text.line_count(self.text_width), 5)

    def opened(self) -> None:
        """Focus the answers."""
        self.choices.focus()
        self.hint("← → chooses · Enter takes it · Esc is No")

    def confirmed(self) -> None:
        """Take the current answer."""
        self.dismiss(self.choices.current == YES)

    def on_choices_taken(self, event: Choices.Taken) -> None:
        """A click answers as Enter does."""
        if self.gate.admits(event.pressed_at):
            self.press_enter(event.pressed_at)

    def action_leave(self) -> None:
        """Esc is No."""
        self.dismiss(False)
