"""A list with type-ahead: rooms, targets, databases, columns to sort by, the actions on a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input

from screens.modals.dialog import Dialog
from screens.widgets.pick import Item, PickList


class Picker(Dialog[Any]):
    """Dismisses with the value of the item that was chosen, or with None on Esc."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "Up", show=False),
        Binding("down", "move(1)", "Down", show=False),
        Binding("pageup", "move(-10)", "Page up", show=False),
        Binding("pagedown", "move(10)", "Page down", show=False),
    ]
    HINT = "type to narrow down · ↑ ↓ · Enter takes it · Esc goes back"

    def __init__(self, title: str, items: Sequence[Item], *, current: Any = None, typed: str = "") -> None:
        super().__init__(title)
        self.list = PickList(items)
        self._current = current
        self.entry = Input(typed, select_on_focus=False)

    def content(self) -> ComposeResult:
        """What is typed, and what matches."""
        yield self.entry
        yield self.list

    def on_mount(self) -> None:
        """Start with the current item."""
        self.entry.focus()
        values = [i.value for i in self.list.items]
        if self._current in values:
            self.list.move_to(values.index(self._current))

    def on_resize(self) -> None:
        """Show as many items as there is room for."""
        self.room_for(self.list, max(len(self.list.items), 3), 5)
        self.call_after_refresh(lambda: self.list.move_to(self.list.at))

    def on_input_changed(self, event: Input.Changed) -> None:
        """Narrow the list down."""
        if event.value or self.list.at == 0:
            self.list.narrow(event.value)

    def on_input_submitted(self) -> None:
        """Take the current item."""
        self._take(self.list.current)

    def on_pick_list_chosen(self, event: PickList.Chosen) -> None:
        """Take what was clicked."""
        self._take(event.item)

    def action_move(self, by: int) -> None:
        """Go to another item."""
        self.list.move_to(self.list.at + by)

    def _take(self, item: Item | None) -> None:
        if item is None:
            return
        if item.unavailable:
            self.hint(f"not now: {item.unavailable}")
        else:
            self.dismiss(item.value)
