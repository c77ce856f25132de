"""The time line of a partition set, from rows to characters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backend.partman.children import PartitionRow
from backend.partman.sets import SetRow
from screens.summary import words
from screens.timeline import Mark, TimeLine, grouped, time_line
from screens.widgets.timeline import Drawing, Grid, TimeLineView, places
from tests.screens.samples import Stage, text, until

START = datetime(2026, 11, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def partition(name: str, lower: str | None = None, upper: str | None = None, **more: Any) -> PartitionRow:
    given: dict[str, Any] = {
        "bytes": 8192, "rows": 10, "exact_rows": None, "default": False, "state": "attached", "due": False,
        "partitioned": False, "analyzed": None,
    }  # fmt: skip
    return PartitionRow(name, lower, upper, **given | more)


def day(number: int, **more: Any) -> PartitionRow:
    """The partition of a day of November; number 1 is its first."""
    at = START + (number - 1) * DAY
    return partition(f"p{number}", f"{at:%Y-%m-%d}", f"{at + DAY:%Y-%m-%d}", **more)


def ids(start: int, **more: Any) -> PartitionRow:
    return partition(f"p{start}", str(start), str(start + 10), **more)


def days(**more: Any) -> SetRow:
    """A set by day."""
    return a_set(one_interval=DAY, **more)


def a_set(**more: Any) -> SetRow:
    given: dict[str, Any] = dict.fromkeys(SetRow.__slots__) | {
        "parent": "public.t", "kind": "range", "partitions": 1, "gaps": 0, "managed": True, "stale": False,
        "undoing": False, "overdue": False,
    }  # fmt: skip
    return SetRow(**given | more)


def drawn(
    line: TimeLine, width: int = 60, height: int = 3, selected: str = "", measure: Any = "bytes"
) -> list[str]:
    bars, _ = places(line, width)
    grid = Grid(width, height)
    Drawing(grid, line, bars, measure, selected).draw()
    return ["".join(part for _, part in grid.runs(y)).rstrip() for y in range(height)]


def summary(of: SetRow, line: TimeLine) -> str:
    return "".join(word.text for word in words(of, line)).strip()


def test_bars_stand_in_order_with_now_and_the_horizon_above() -> None:
    rows = [day(n, bytes=n * 8192) for n in (1, 2, 3, 4)]
    line = time_line(days(time_left=1.5 * DAY, premake=1), rows)
    assert (line.now, line.horizon) == (2.5, 4.0)
    assert drawn(line, 44, 5, selected="p2") == [
        "                         ▼ now premake ┤",
        "                    ▄▄▄▄▄▄▄▄▄ █████████",
        "▄▄▄▄▄▄▄▄▄ █████████ █████████ █████████",
        "          ^",
        "11-01     11-02     11-03     11-04",
    ]


def test_a_gap_is_drawn_and_told_with_where_it_begins() -> None:
    of = a_set(one_step=10, ids_left=3, gaps=1)
    line = time_line(of, [ids(0), ids(30)])
    assert [s.missing for s in line.slots] == [0, 1, 1, 0]
    assert drawn(line) == [
        "█████████ ░░░░░░░░░ ░░░░░░░░░ █████████",
        "          ▲         ▲               ▼",
        "0         10        20        30",
    ]
    assert "▲ gap of 2, from 10" in summary(of, line)


def test_a_long_gap_is_shortened_and_counted_in_full() -> None:
    of = a_set(one_step=10, ids_left=3, gaps=1)
    line = time_line(of, [ids(0), ids(1000)])
    assert len(line.slots) == 8 and line.count(Mark.GAP) == 99


def test_what_should_have_been_made_ahead_is_shown_up_to_the_horizon() -> None:
    of = days(time_left=1.5 * DAY, premake=4)
    line = time_line(of, [day(1), day(2), day(3)])
    assert line.horizon == 6.0
    assert "· 3 of premake 4 not made" in summary(of, line)
    assert drawn(line)[1][30:] == "·         ·         ·        ┤"


def test_once_the_newest_is_over_the_missing_ones_up_to_now_are_critical() -> None:
    of = days(time_left=-1.5 * DAY, premake=1)
    line = time_line(of, [day(1), day(2)])
    assert [bool(s.keys) for s in line.slots] == [True, True, False, False, False]
    assert line.count(Mark.LATE) == 2 and line.now == 3.5
    assert summary(of, line).startswith("✖ new rows have no partition")


def test_rows_in_default_stand_out_at_the_right() -> None:
    of = days(time_left=DAY / 2, default_rows=10_000)
    line = time_line(of, [day(1), partition("d", default=True)])
    assert drawn(line, 30) == ["█████████   ██████", "     ▼      ✖", "11-01       default"]
    assert summary(of, line).startswith("✖ 10000 or more rows in default")


def test_detached_tables_stand_at_the_left_and_due_ones_are_marked() -> None:
    of = days(time_left=DAY / 2, retention="1 day")
    line = time_line(of, [day(1, due=True), day(2), partition("old", state="detached")])
    assert drawn(line) == [
        "███████   █████████ █████████",
        "○         ▽              ▼",
        "detached  11-01     11-02",
    ]
    assert summary(of, line).startswith("▽ 1 due (retention 1 day)  ○ 1 detached")


def test_epochs_are_times_and_lists_keep_their_order() -> None:
    first = int(START.timestamp())
    rows = [partition(f"p{n}", str(first + n * 86400), str(first + (n + 1) * 86400)) for n in (0, 1)]
    assert [s.label for s in time_line(days(time_left=DAY / 2), rows).slots] == ["11-01", "11-02"]
    listed = [partition("a", "IN ('x')"), partition("b", "IN ('y')")]
    line = time_line(a_set(kind="list"), listed)
    assert [s.label for s in line.slots] == ["IN ('x')", "IN ('y')"] and line.now is None


def test_a_partition_without_an_end_stands_last_and_holds_now() -> None:
    line = time_line(days(), [partition("rest", "2026-11-03", None), day(1), day(2)])
    assert [s.keys for s in line.slots] == [("p1",), ("p2",), ("rest",)]
    assert (line.now, line.horizon) == (2.5, None)


def test_four_hundred_partitions_fit_and_the_worst_is_never_hidden() -> None:
    rows = [
        day(n, bytes=8192, due=n == 7, state="detaching" if n == 200 else "attached") for n in range(1, 401)
    ]
    of = days(time_left=10.5 * DAY, premake=10, retention="1 year")
    line = time_line(of, rows)
    for width in (20, 78, 158, 400):
        bars, share = places(line, width)
        assert max(bar.x + bar.width for bar in bars) <= width
        assert [key for bar in bars for key in bar.slot.keys] == [r.partition for r in rows]
        marks = {mark for bar in bars for mark in bar.slot.marks}
        assert marks == {Mark.DUE, Mark.DETACHING}
        assert share * len(bars) >= 400
        [top, *_] = drawn(line, width, 5)
        assert "▼" in top


def test_a_bar_of_several_is_as_high_as_the_largest_of_them() -> None:
    line = time_line(a_set(), [ids(n * 10, bytes=99 if n == 3 else 1) for n in range(8)])
    bars, share = grouped(line.slots, 4)
    assert share == 2 and [bar.bytes for bar in bars] == [1, 99, 1, 1]


@pytest.mark.parametrize("alternating", [50, 300])
def test_gaps_everywhere_fit_too(alternating: int) -> None:
    line = time_line(
        a_set(one_step=10, ids_left=1, gaps=alternating), [ids(n * 20) for n in range(alternating)]
    )
    bars, _ = places(line, 40)
    assert max(bar.x + bar.width for bar in bars) <= 40
    assert any(Mark.GAP in bar.slot.marks for bar in bars)


def test_bars_can_mean_rows() -> None:
    line = time_line(a_set(), [ids(0, rows=1, bytes=9), ids(10, rows=8, bytes=1)])
    assert drawn(line, measure="rows")[0] == "▁▁▁▁▁▁▁▁▁ █████████"


async def test_a_name_is_only_text() -> None:
    view = TimeLineView()
    app = Stage(view)
    async with app.run_test(size=(40, 8)) as pilot:
        view.show(time_line(a_set(kind="list"), [partition("[/x]", "IN ('[red]\x1b')")]), "bytes")
        await until(pilot, lambda: "IN ('[red]" in text(app) and "\x1b" not in text(app))
