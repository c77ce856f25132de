"""What a feed shows: the last good rows of a view, judged, with rates, and whether they are stale."""

from __future__ import annotations

from dataclasses import field
from datetime import datetime
from typing import Any

from backend.core.declare import View
from backend.core.errors import PgtuiError
from backend.core.judge import NOTHING, Judgement, Rates
from backend.core.record import record


@record
class Snapshot:
    """One state of a view being watched.

    Rows are kept when a collection fails: `error` then says why, and `collected_at` how old they are. It is
    None until the first answer. `rates` holds, by row key and column, the change per second between the last
    two good samples; None where there is only one.
    """

    view: View[Any]
    rows: tuple[Any, ...] = ()
    collected_at: datetime | None = None
    seconds: float = 0
    judgement: Judgement = NOTHING
    rates: Rates = field(default_factory=dict)
    error: PgtuiError | None = None
    missing: str = ""
    note: str = ""

    @property
    def loading(self) -> bool:
        """Whether nothing has come yet, neither rows nor a reason why not."""
        return self.collected_at is None and self.error is None and not self.missing

    def value(self, row: Any, column: str) -> Any:
        """What a cell shows: the rate where the column is one, else the row's value."""
        for c in self.view.columns:
            if c.name == column and c.col.rate:
                return self.rates.get(self.view.key(row), {}).get(column)
        return getattr(row, column)
