"""A console in small for a real terminal: Enter opens the preview of a plan; what was answered is said."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.binding import Binding, BindingType

from backend.core.confirm import Confirmation
from backend.core.declare import Danger
from backend.core.plan import Plan, statement
from screens.modals.preview import Preview
from screens.widgets.footer import KeyFooter
from screens.widgets.table import ViewTable
from tests.screens.samples import VIEW, Stage, rows, snapshot


class Console(Stage):
    BINDINGS: ClassVar[list[BindingType]] = [Binding("q", "quit", "Quit")]

    def on_mount(self) -> None:
        table = self.query_one(ViewTable)
        table.show(snapshot(rows(20)))
        table.focus()

    def on_view_table_row_chosen(self, event: ViewTable.RowChosen) -> None:
        plan = Plan("bench", (statement("SELECT 1"),), danger=Danger.CHANGE)
        self.push_screen(Preview(plan, Confirmation("enter"), title="sample.act"), self.answered)

    def answered(self, answer: Any) -> None:
        self.query_one(KeyFooter).show([("answered", str(answer))])


if __name__ == "__main__":
    Console(ViewTable(VIEW), KeyFooter()).run()
