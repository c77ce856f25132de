from __future__ import annotations

import unicodedata
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from rich.cells import cell_len
from textual._compositor import ChopsUpdate
from textual.pilot import Pilot

from backend.core.errors import Unreachable
from backend.core.values import minutes
from backend.core.where import parse
from screens.widgets.table import ViewTable
from tests.screens.samples import AT, VIEW, Stage, row, rows, snapshot, text, until

MANY = 10_000
NASTY = [
    "[/foo] [bold red]markup[/]",
    "\x1b]0;title\x07\x1b[2J\x9b31m",
    "\u202egnihtemos\u2066 \u200b",
    "x" * 10_000,
    "日本語" * 4_000,
    "a\u0301" * 5_000,
    "line one\nline two\r\n\tthree",
    "\udcff\ud800",
    "🙂🎉 emoji",
    "",
]


def table() -> ViewTable:
    return ViewTable(VIEW, now=lambda: AT + timedelta(seconds=12))


async def started(pilot: Pilot[Any], t: ViewTable, count: int = 50) -> None:
    t.focus()
    t.show(snapshot(rows(count)))
    await until(pilot, lambda: not count or "1000" in text(pilot.app))


def lines(pilot: Pilot[Any]) -> list[str]:
    return text(pilot.app).split("\n")


def rendered(t: ViewTable, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lines that are rendered from now on."""
    return spied(t, "render_line", monkeypatch)


def spied(t: ViewTable, method: str, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a method is called with from now on."""
    seen: list[Any] = []
    original = getattr(t, method)

    def spy(argument: Any) -> Any:
        seen.append(argument)
        return original(argument)

    monkeypatch.setattr(t, method, spy)
    return seen


async def test_cursor_stays_on_its_row_when_rows_come_above() -> None:
    t = table()
    async with Stage(t).run_test(size=(100, 20)) as pilot:
        await started(pilot, t, 5)
        await pilot.press("down", "down")
        assert t.cursor_key == (1002,)
        t.show(snapshot([row(900), row(901), *rows(5)]))
        await pilot.pause()
        assert t.cursor_key == (1002,) and t.cursor_row.pid == 1002
        assert [line[:8].split()[-1] for line in lines(pilot) if line.startswith("›")] == ["1002"]


async def test_cursor_goes_to_the_neighbour_when_its_row_is_gone() -> None:
    t = table()
    async with Stage(t).run_test(size=(100, 20)) as pilot:
        await started(pilot, t, 5)
        await pilot.press("down", "down")
        t.show(snapshot([r for r in rows(5) if r.pid != 1002]))
        assert t.cursor_key == (1003,)
        t.show(snapshot(rows(2)))
        assert t.cursor_key == (1001,)
        t.show(snapshot([]))
        assert t.cursor_key is None and t.cursor_row is None


async def test_the_row_under_the_cursor_keeps_its_line_when_the_window_is_not_at_the_top() -> None:
    t = table()
    async with Stage(t).run_test(size=(100, 11)) as pilot:
        await started(pilot, t, 100)
        await pilot.press("pagedown", "pagedown", "down")
        before = next(i for i, line in enumerate(lines(pilot)) if line.startswith("›"))
        t.show(snapshot([*(row(p) for p in range(500, 530)), *rows(100)]))
        await pilot.pause()
        assert next(i for i, line in enumerate(lines(pilot)) if line.startswith("›")) == before


async def test_who_only_watches_keeps_seeing_the_top() -> None:
    t = table()
    async with Stage(t).run_test(size=(100, 11)) as pilot:
        await started(pilot, t, 5)
        t.show(snapshot([*(row(p) for p in range(500, 530)), *rows(5)]))
        await pilot.pause()
        assert " 500 " in lines(pilot)[1] and t.cursor_key == (500,)


async def test_sort_is_stable_with_missing_values_last() -> None:
    t = table()
    data = [row(1, age=None), row(2, age=minutes(1)), row(3, age=minutes(9)), row(4, age=minutes(1))]
    async with Stage(t).run_test() as pilot:
        t.show(snapshot(data))
        t.sort_by("age")
        assert [r.pid for r in t.rows] == [2, 4, 3, 1]
        t.sort_by("age", descending=True)
        assert [r.pid for r in t.rows] == [3, 2, 4, 1]
        await until(pilot, lambda: "Age▼" in text(pilot.app))
        t.show(snapshot([row(5, age=minutes(30)), *data]))
        assert [r.pid for r in t.rows] == [5, 3, 2, 4, 1]
        t.sort_by(None)
        assert [r.pid for r in t.rows] == [5, 1, 2, 3, 4]


async def test_sort_by_a_rate_uses_the_rate() -> None:
    t = table()
    data = [row(1, blocks=900), row(2, blocks=100), row(3, blocks=500)]
    rates: dict[tuple[Any, ...], dict[str, float | None]] = {(1,): {"blocks": 1.0}, (2,): {"blocks": 7.0}}
    async with Stage(t).run_test():
        t.show(snapshot(data, rates=rates))
        t.sort_by("blocks", descending=True)
        assert [r.pid for r in t.rows] == [2, 1, 3]


async def test_cycling_through_sorts_ends_unsorted() -> None:
    t = table()
    async with Stage(t).run_test(size=(200, 20)) as pilot:
        await started(pilot, t)
        seen = []
        for _ in range(len(t.columns) + 1):
            t.cycle_sort()
            seen.append(t.sort.column)
        assert seen[-1] is None and set(seen[:-1]) == {c.name for c in t.columns}


async def test_filter_keeps_rows_that_pass_across_refreshes() -> None:
    t = table()
    async with Stage(t).run_test(size=(100, 20)) as pilot:
        await started(pilot, t)
        t.filter(parse("user=user3", VIEW.columns))
        first = t.keys
        assert first and all(r.user == "user3" for r in t.rows)
        t.show(snapshot([*rows(50), row(2000, user="user3")]))
        assert t.keys == [*first, (2000,)]
        t.filter(parse("user=nobody", VIEW.columns))
        await until(pilot, lambda: "none of 51 rows passes the filter user=nobody" in text(pilot.app))


async def test_a_changed_row_that_did_not_pass_is_looked_at_again() -> None:
    t = table()
    async with Stage(t).run_test():
        t.filter(parse("state=idle", VIEW.columns))
        t.show(snapshot([row(1)]))
        assert not t.keys
        t.show(snapshot([row(1, state="idle")]))
        assert t.keys == [(1,)]


async def test_only_changed_lines_are_rendered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    t = table()
    async with Stage(t).run_test(size=(120, 40)) as pilot:
        await started(pilot, t, 200)
        seen = rendered(t, monkeypatch)
        t.show(snapshot(rows(200)))
        await pilot.pause()
        assert seen == []
        changed = [row(r.pid, state="idle") if r.pid in (1003, 1010, 1150) else r for r in rows(200)]
        t.show(snapshot(changed))
        await pilot.pause()
        assert sorted(seen) == [4, 11]


async def test_moving_the_cursor_renders_two_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    t = table()
    async with Stage(t).run_test(size=(160, 50)) as pilot:
        await started(pilot, t, MANY)
        seen = rendered(t, monkeypatch)
        await pilot.press("down")
        await pilot.pause()
        assert sorted(seen) == [1, 2]


async def test_the_terminal_gets_only_the_cells_that_changed() -> None:
    t = table()
    app = Stage(t)
    async with app.run_test(size=(160, 50)) as pilot:
        await started(pilot, t, 200)
        await pilot.pause()
        app.screen._compositor.render_update(screen_stack=app._background_screens)
        t.show(snapshot([row(1000, age=timedelta(seconds=3)), *rows(200)[1:]]))
        app.screen._compositor.update_widgets({t})
        update = app.screen._compositor.render_update(screen_stack=app._background_screens)
        assert isinstance(update, ChopsUpdate)
        assert len(update.render_segments(app.console)) < 100


async def test_ten_thousand_rows_can_be_walked_and_searched() -> None:
    t = table()
    async with Stage(t).run_test(size=(120, 30)) as pilot:
        await started(pilot, t, MANY)
        await pilot.press("end")
        assert t.cursor_key == (1000 + MANY - 1,) and str(999 + MANY) in lines(pilot)[29]
        await pilot.press("pageup", "home", "pagedown")
        assert t.cursor_key == (1028,)
        assert t.move_to((7777,)) and not t.move_to((1,))
        await until(pilot, lambda: "7777" in text(pilot.app))


@pytest.mark.parametrize("value", NASTY, ids=range(len(NASTY)))
async def test_no_value_disturbs_the_screen(value: str) -> None:
    t = table()
    async with Stage(t).run_test(size=(100, 10)) as pilot:
        t.show(snapshot([row(1, database=value, user=value, state=value, query=value), row(2, query="calm")]))
        await until(pilot, lambda: "calm" in text(pilot.app))
        screen = text(pilot.app)
        assert not [c for c in screen if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs")]
        assert all(strip.cell_length == 100 for strip in pilot.app.screen._compositor.render_strips())


async def test_wide_characters_do_not_shift_columns() -> None:
    t = table()
    names = ["bench", "日本語", "🙂🙂", "データベースの名前はとても長いものです", "é"]
    async with Stage(t).run_test(size=(140, 10)) as pilot:
        t.show(snapshot([row(i, database=name, query="HERE") for i, name in enumerate(names, 10)]))
        await until(pilot, lambda: "HERE" in text(pilot.app))
        starts = {cell_len(line[: line.index("HERE")]) for line in lines(pilot) if "HERE" in line}
        assert len(starts) == 1


@pytest.mark.parametrize("size", [(40, 10), (80, 24), (160, 50), (300, 20)])
async def test_key_health_and_text_show_at_every_size(size: tuple[int, int]) -> None:
    t = table()
    async with Stage(t).run_test(size=size) as pilot:
        t.show(snapshot([row(1234, age=minutes(90), query="SELECT of_the_long_running_one"), *rows(99)]))
        await until(pilot, lambda: "1234" in text(pilot.app))
        head, first = lines(pilot)[:2]
        assert first.startswith("›✖ 1234") and "SELECT of_the_long" in first
        assert "PID" in head and "Query" in head
        assert len(lines(pilot)) == size[1]


async def test_scrolling_right_keeps_the_key_and_reaches_every_column() -> None:
    t = table()
    async with Stage(t).run_test(size=(60, 10)) as pilot:
        await started(pilot, t)
        titles = set()
        for _ in range(12):
            head = lines(pilot)[0]
            assert "PID" in head and "Query" in head
            titles |= {c.name for c in t.columns if c.title in head}
            await pilot.press("right")
        assert titles == {c.name for c in t.columns}
        await until(pilot, lambda: "(1, 2, 3)" in text(pilot.app))
        for _ in range(20):
            await pilot.press("left")
        assert "Memory" not in lines(pilot)[0]


async def test_columns_do_not_jump_when_values_become_shorter() -> None:
    t = table()
    async with Stage(t).run_test(size=(120, 10)) as pilot:
        t.show(snapshot([row(1, user="a_rather_long_name", query="HERE")]))
        await until(pilot, lambda: "HERE" in text(pilot.app))
        before = lines(pilot)[1].index("HERE")
        t.show(snapshot([row(1, user="me", query="HERE")]))
        await until(pilot, lambda: "a_rather" not in text(pilot.app))
        assert lines(pilot)[1].index("HERE") == before


STATES: list[tuple[Callable[[], Any], str]] = [
    (lambda: snapshot([], at=None), "loading"),
    (lambda: snapshot([]), "nobody is connected"),
    (lambda: snapshot([], at=None, missing="extension pgq is not installed"), "? extension pgq is not"),
    (lambda: snapshot([], at=None, error=Unreachable("no answer", hint="is it up?")), "✖ no answer"),
    (lambda: snapshot([], at=None, error=Unreachable("no answer", hint="is it up?")), "is it up?"),
    (lambda: snapshot(rows(3), error=Unreachable("timed out")), "▲ no answer for 12s, showing "),
    (lambda: snapshot(rows(3), error=Unreachable("timed out")), "SELECT 1002"),
    (lambda: snapshot(rows(3), note="slow: asked every 10 s"), "slow: asked every 10 s"),
]


@pytest.mark.parametrize(("state", "words"), STATES, ids=[w for _, w in STATES])
async def test_every_state_says_what_it_is(state: Callable[[], Any], words: str) -> None:
    t = table()
    async with Stage(t).run_test(size=(80, 24)) as pilot:
        t.show(state())
        await until(pilot, lambda: words in text(pilot.app))


async def test_an_answer_after_a_failure_takes_the_banner_away() -> None:
    t = table()
    async with Stage(t).run_test(size=(80, 8)) as pilot:
        await started(pilot, t)
        t.show(snapshot(rows(50), error=Unreachable("timed out")))
        await until(pilot, lambda: "no answer" in lines(pilot)[7])
        t.show(snapshot(rows(50)))
        await until(pilot, lambda: "no answer" not in text(pilot.app))
        assert "1006" in lines(pilot)[7]


async def test_old_rows_tell_their_growing_age() -> None:
    now = [AT]
    t = ViewTable(VIEW, now=lambda: now[0])
    async with Stage(t).run_test(size=(80, 8)) as pilot:
        t.show(snapshot(rows(50), error=Unreachable("timed out")))
        now[0] += timedelta(seconds=75)
        t.tick()
        await until(pilot, lambda: "no answer for 1m 15s" in text(pilot.app))


async def test_marks_stay_and_move_on() -> None:
    t = table()
    async with Stage(t).run_test(size=(80, 10)) as pilot:
        await started(pilot, t, 5)
        t.toggle_mark()
        t.toggle_mark()
        assert t.marked == {(1000,), (1001,)} and t.cursor_key == (1002,)
        t.show(snapshot(rows(5)[1:]))
        assert t.marked == {(1001,)} and [r.pid for r in t.marked_rows] == [1001]
        await until(pilot, lambda: lines(pilot)[1].startswith("*"))


async def test_keys_and_mouse_post_what_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    t = table()
    async with Stage(t).run_test(size=(80, 10)) as pilot:
        await started(pilot, t, 5)
        posted = spied(t, "post_message", monkeypatch)
        await pilot.press("j", "enter")
        await pilot.click(ViewTable, offset=(5, 4), times=2)
        await pilot.click(ViewTable, offset=(5, 0))
        moved = [m.key for m in posted if isinstance(m, ViewTable.CursorMoved)]
        chosen = [(m.key, m.row.pid) for m in posted if isinstance(m, ViewTable.RowChosen)]
        assert moved == [(1001,), (1003,)]
        assert chosen == [((1001,), 1001), ((1003,), 1003)]
        assert t.sort.column == "pid" and t.sort.descending
