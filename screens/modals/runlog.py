"""A run as it goes: its steps, how far it is, what the server says, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message

from backend.core.clean import clean
from backend.core.show import counted, duration
from backend.core.values import seconds
from screens.modals.confirm import Confirm
from screens.modals.dialog import Dialog
from screens.widgets.viewer import Part, TextView

if TYPE_CHECKING:
    from backend.core.run import Report, StepState
    from backend.core.steps import Progress

MARKS = {
    "waiting": ("·", "muted"), "running": ("▶", "strong"), "done": ("✔", "ok"), "failed": ("✖", "critical"),
    "cancelled": ("■", "warning"), "undone": ("↶", "warning"), "skipped": ("–", "muted"),
}  # fmt: skip
BAR = 30
OUTPUT_SHOWN = 500
TEXT_INDENT = 10
TEXT_SHOWN = 2


class RunLog(Dialog[None]):
    """Shows one run; closing it leaves the run going. It posts `CancelAsked` once the user has said yes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "cancel", "Cancel", show=False),
        Binding("y", "copy", "Copy", show=False),
        Binding("enter,q", "leave", "Close", show=False),
    ]
    HINT = "c cancels · Esc leaves it running in the background"

    class CancelAsked(Message):
        """The user wants the run to stop."""

        def __init__(self, log: RunLog) -> None:
            super().__init__()
            self.log = log

    def __init__(self, title: str) -> None:
        super().__init__(title)
        self.text = TextView()
        self.over = False
        self._whole: list[str] = []

    def content(self) -> ComposeResult:
        """Steps and messages."""
        yield self.text

    def on_mount(self) -> None:
        """Let keys scroll."""
        self.text.focus()

    def on_resize(self) -> None:
        """Take all the room: a log grows."""
        self.room_for(self.text, self.size.height, 6)

    def show(
        self,
        report: Report,
        *,
        progress: Progress | None = None,
        output: Sequence[str] = (),
        over: bool = False,
        elapsed: float | None = None,
    ) -> None:
        """Show how the run stands now."""
        parts = list(_parts(report, progress, output, over, elapsed))
        self._whole = [p.text for p in parts]
        self.text.show([_shortened(p) for p in parts], follow=not over)
        if over and not self.over:
            self.over = True
            self.hint("it is over · y copies · Esc goes back")

    def action_cancel(self) -> None:
        """Ask, then tell that the run is to stop."""
        if not self.over:
            question = Confirm("Cancel this run?", "What is done by then stays done.", yes="Yes, cancel it")
            self.app.push_screen(question, self._answered)

    def action_copy(self) -> None:
        """Copy the log."""
        self.app.copy_to_clipboard("\n".join(self._whole))

    def _answered(self, yes: bool | None) -> None:
        if yes and not self.over:
            self.hint("cancelling…")
            self.post_message(self.CancelAsked(self))


def _parts(
    report: Report, progress: Progress | None, output: Sequence[str], over: bool, elapsed: float | None
) -> Iterator[Part]:
    if over:
        # First, since nobody should have to scroll to see how it ended.
        yield from _outcome(report)
        yield Part("")
    for step in report.steps:
        yield from _step(step)
        if step.status == "running" and progress:
            yield Part(_how_far(progress), "strong", indent=4)
    if report.notices or output:
        yield Part("")
    yield from (Part(f"· {line}") for line in report.notices)
    yield from (Part(line, "muted") for line in output[-OUTPUT_SHOWN:])
    if not over and elapsed is not None:
        yield Part(f"running for {duration(seconds(int(elapsed)))}", "muted")


def _shortened(part: Part) -> Part:
    """Long statements were read in the preview; here what became of them matters."""
    lines = part.text.split("\n")
    if part.indent != TEXT_INDENT or len(lines) <= TEXT_SHOWN:
        return part
    more = f"… {counted(len(lines) - TEXT_SHOWN, 'more line')}; y copies all"
    return replace(part, text="\n".join([*lines[:TEXT_SHOWN], more]))


def _step(step: StepState) -> Iterator[Part]:
    mark, style = MARKS[step.status]
    took = f"  {duration(seconds(step.seconds))}" if step.seconds else ""
    first, _, rest = step.text.partition("\n")
    yield Part(f"{mark} {step.kind:<8}{clean(first)}{took}", style)
    if rest:
        yield Part(rest, "muted", indent=TEXT_INDENT)


def _outcome(report: Report) -> Iterator[Part]:
    took = duration(seconds(report.seconds))
    if report.error is None:
        yield Part(f"✔ done in {took}", "ok")
        if report.result not in (None, []):
            yield Part(_result(report.result))
        return
    word = "refused" if report.status == "refused" else "failed"
    yield Part(f"✖ {word} after {took}: {report.error.message}", "critical")
    if report.error.hint:
        yield Part(report.error.hint, indent=2)


def _result(result: object) -> str:
    rows = result if isinstance(result, list) else [result]
    lines = []
    for row in rows[:OUTPUT_SHOWN]:
        pairs = row.items() if isinstance(row, dict) else []
        lines.append("  ".join(f"{k}: {v}" for k, v in pairs) or str(row))
    return "\n".join(lines)


def _how_far(progress: Progress) -> str:
    drawn = bar(progress.done, progress.total, progress.unit) if progress.unit else ""
    return "  ".join(filter(None, (drawn, clean(progress.phase))))


def bar(done: int, total: int | None, unit: str) -> str:
    """A progress bar, or only the count where nobody knows how much there is."""
    if not total:
        return f"{done} {unit}"
    share = max(0.0, min(done / total, 1.0))
    full = round(share * BAR)
    return f"{'█' * full}{'░' * (BAR - full)} {share:4.0%}  {done} of {total} {unit}"
