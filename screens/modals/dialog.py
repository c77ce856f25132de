"""What all dialogs share: a box in the middle of the screen, a title, a line of keys, and Esc."""

from __future__ import annotations

import time
from typing import ClassVar, TypeVar

from textual import events
from textual.app import ComposeResult
from textual.await_complete import AwaitComplete
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Input, Static

from backend.core.clean import clean
from screens.widgets.viewer import wrap

T = TypeVar("T")
WIDTH = 112

# Nobody has read a dialog a tenth of a second after it was painted, and over a slow line it is not there yet.
MARGIN = 0.15
# Held keys repeat after 25 to 100 ms; two presses meant as two are further apart.
SETTLE = 0.15
QUIET = 0.5


class Dialog(ModalScreen[T]):
    """A dialog that dismisses with its answer, or with None on Esc."""

    AUTO_FOCUS = ""
    DEFAULT_CSS = """
    Dialog { align: center middle; background: transparent; }
    Dialog > .dialog {
        width: 100%; max-width: 112; height: auto; max-height: 100%; padding: 0 1; border: round $border;
    }
    Dialog .dialog--title { height: auto; max-height: 3; text-style: bold; }
    Dialog .dialog--hint { height: 1; }
    Dialog TextView { height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Back", show=False)]
    HINT = "Esc goes back"

    def __init__(self, title: str) -> None:
        super().__init__()
        self.heading = clean(title)
        self._is_closing = False

    def compose(self) -> ComposeResult:
        """The box with title, content and hint."""
        with Vertical(classes="dialog"):
            yield Static(self.heading, markup=False, classes="dialog--title")
            yield from self.content()
            yield Static(self.HINT, markup=False, classes="dialog--hint")

    def on_mount(self) -> None:
        """Nothing said in passing may lie over a question."""
        self.app.clear_notifications()

    def content(self) -> ComposeResult:
        """What stands between title and hint."""
        yield from ()

    def hint(self, text: str) -> None:
        """Say something else in the line of keys."""
        self.query_one(".dialog--hint", Static).update(text)

    def dismiss(self, result: T | None = None) -> AwaitComplete:
        """Close with an answer; keys that come in the same read as the answer change nothing."""
        if self._is_closing:
            return AwaitComplete()
        self._is_closing = True
        return super().dismiss(result)

    def action_leave(self) -> None:
        """Close without an answer."""
        self.dismiss(None)

    @property
    def text_width(self) -> int:
        """How wide a text can be inside the box, with a scroll bar beside it."""
        return max(min(WIDTH, self.size.width) - 5, 1)

    def room_for(self, widget: Widget, wanted: int, others: int) -> None:
        """Give a part of the dialog the lines it wants, or what title and other parts leave."""
        more = min(3, len(wrap(self.heading, min(WIDTH, self.size.width) - 4))) - 1
        widget.styles.height = max(1, min(wanted, self.size.height - others - more))


class Gate:
    """Which keys count: those pressed after the question was on the screen, and never a repeated Enter."""

    def __init__(self) -> None:
        self._opened_at: float | None = None
        self._last_enter = float("-inf")

    @property
    def is_open(self) -> bool:
        """Whether any key can count by now."""
        return self._opened_at is not None

    def open(self) -> None:
        """Let keys count that are pressed from now on."""
        self._opened_at = time.monotonic()

    def admits(self, pressed_at: float) -> bool:
        """Whether a key or click of that time was pressed in sight of the question."""
        return self._opened_at is not None and pressed_at > self._opened_at

    def enter(self, pressed_at: float) -> bool:
        """Whether this Enter came alone; the later ones of a held or repeated key do not."""
        alone = pressed_at - self._last_enter > QUIET
        self._last_enter = pressed_at
        return alone and self.admits(pressed_at)


class GatedDialog(Dialog[T]):
    """A dialog that asks something dangerous: it drops keys from before it was painted.

    Terminals deliver keys in bunches. An Enter that was on its way when the dialog came up answers a question
    that nobody has read.
    """

    REPEATED = "Enter came twice: nothing was done. Press it once."

    def __init__(self, title: str) -> None:
        super().__init__(title)
        self.gate = Gate()
        self._pending: object | None = None

    @property
    def ready(self) -> bool:
        """Whether keys count by now."""
        return self.gate.is_open

    def on_mount(self) -> None:
        """Wait for the first paint."""
        self.call_after_refresh(self._painted)

    def opened(self) -> None:
        """Focus what answers, and say which keys work; keys count from now on."""

    def confirmed(self) -> None:
        """One Enter, pressed in sight of the question."""

    def on_key(self, event: events.Key) -> None:
        """Drop what was pressed too early; Esc is always safe."""
        if event.key == "escape":
            return
        if not self.gate.admits(event.time):
            event.stop()
            event.prevent_default()
            if event.key == "enter":
                self.gate.enter(event.time)
        elif event.key == "enter":
            event.stop()
            self.press_enter(event.time)

    def press_enter(self, pressed_at: float) -> None:
        """Confirm a moment later, unless another Enter comes until then."""
        if self._pending is not None:
            self._pending = None
            self.gate.enter(pressed_at)
            self.hint(self.REPEATED)
        elif self.gate.enter(pressed_at):
            pending = self._pending = object()
            self.set_timer(SETTLE, lambda: self._settled(pending))
        else:
            self.hint(self.REPEATED)

    def _settled(self, pending: object) -> None:
        if self._pending is pending and self.app.screen is self:
            self._pending = None
            self.confirmed()

    def _painted(self) -> None:
        if self.app.screen is not self or not self.size:
            self.call_after_refresh(self._painted)
            return
        self.set_timer(MARGIN, self._open)

    def _open(self) -> None:
        self.gate.open()
        self.opened()


class GatedInput(Input):
    """An input that takes no key and no paste from before the dialog was painted."""

    def __init__(self, gate: Gate, *, id: str | None = None) -> None:
        super().__init__(id=id, select_on_focus=False)
        self._gate = gate

    async def _on_key(self, event: events.Key) -> None:
        if self._gate.admits(event.time):
            await super()._on_key(event)

    def _on_paste(self, event: events.Paste) -> None:
        if self._gate.admits(event.time):
            super()._on_paste(event)
        else:
            event.prevent_default()
