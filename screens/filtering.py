"""The line in which a filter is written; it works while it is written."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input

from backend.core.clean import clean
from backend.core.errors import Usage
from backend.core.where import EVERYTHING, Where, parse
from screens.widgets.table import ViewTable

EXAMPLES = "text  !text  column>value  column~regex"


class FilterLine(Input):
    """Enter keeps the filter, Esc gives the old one back; `problem` says why it is not understood yet."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "abandon", "Back", show=False)]

    class Told(Message):
        """What is written became right or wrong."""

    class Closed(Message):
        """Writing is over: the table is filtered by what it shall keep."""

        def __init__(self, table: ViewTable) -> None:
            super().__init__()
            self.table = table

    def __init__(self) -> None:
        super().__init__(id="filter", placeholder=EXAMPLES, select_on_focus=False)
        self.display = False
        self.problem = ""
        self._table: ViewTable | None = None
        self._before = EVERYTHING

    @property
    def is_open(self) -> bool:
        """Whether a filter is being written."""
        return self._table is not None

    def edit(self, table: ViewTable) -> None:
        """Write the filter of that table."""
        self._table, self._before, self.problem = table, table.where, ""
        self.value = table.where.text
        self.cursor_position = len(self.value)
        self.display = True
        self.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter by what is written, as soon as it makes sense."""
        event.stop()
        if self._table is None:
            return
        try:
            where = self._read()
        except Usage as e:
            self.problem = clean(e.message)
        else:
            self.problem = ""
            self._table.filter(where)
        self.set_class(bool(self.problem), "-wrong")
        self.post_message(self.Told())

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep what is written, unless it makes no sense."""
        event.stop()
        if self._table is not None and not self.problem:
            self._table.filter(self._read())
            self.close()

    def on_blur(self) -> None:
        """Whoever goes elsewhere keeps what works."""
        self.close()

    def action_abandon(self) -> None:
        """Give the old filter back."""
        if self._table is not None:
            self._table.filter(self._before)
            self.close()

    def close(self) -> None:
        """Write no more."""
        if self._table is not None:
            table, self._table, self.problem = self._table, None, ""
            self.remove_class("-wrong")
            self.display = False
            self.post_message(self.Closed(table))

    def _read(self) -> Where:
        assert self._table is not None  # noqa: S101 -- tells the type checker what the callers have asked
        return parse(self.value, self._table.view.columns)
