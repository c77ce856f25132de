from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.binding import Binding

import themes
from backend.core.declare import Health
from backend.core.values import minutes
from screens.widgets.chart import Chart, Spark, braille, sparkline
from screens.widgets.footer import KeyFooter
from screens.widgets.header import Situation, TargetHeader
from screens.widgets.nav import RoomNav, Tab
from screens.widgets.table import ViewTable
from screens.widgets.viewer import Part, wrap
from tests.screens.samples import AT, VIEW, Stage, row, rows, snapshot, text, until

TABS = [
    Tab("activity", "Activity", Health.CRITICAL),
    Tab("jobmon", "Jobs", Health.OK),
    Tab("queue", "Queues"),
]
LAB = Situation("lab", "primary", "PostgreSQL 17.2", "bench", "name", True, True, 2, AT)


async def test_the_header_tells_what_is_looked_at() -> None:
    header = TargetHeader()
    async with Stage(header).run_test(size=(120, 5)) as pilot:
        header.show(LAB, AT + timedelta(seconds=1))
        await until(
            pilot, lambda: "lab/bench  primary  PostgreSQL 17.2  read-only  guard: name" in text(pilot.app)
        )
        assert "paused" in text(pilot.app) and "every 2 s" in text(pilot.app)
        assert "run" not in text(pilot.app)
        header.show(replace(LAB, running=1), AT + timedelta(seconds=90))
        await until(pilot, lambda: "data 1m 30s old" in text(pilot.app))
        assert "▶ 1 run " in text(pilot.app)


async def test_a_trouble_that_has_no_room_is_told_in_brief() -> None:
    header = TargetHeader()
    async with Stage(header).run_test(size=(60, 3)) as pilot:
        header.show(Situation("lab", trouble="cannot be reached: connection to server at nowhere failed"), AT)
        await until(pilot, lambda: "  cannot be reached  " in text(pilot.app))


@pytest.mark.parametrize("name", ["[/x]", "\x1b]0;x\x07", "n" * 10_000, "\u202e日本語"])
async def test_no_name_of_a_target_disturbs_the_header(name: str) -> None:
    header = TargetHeader()
    async with Stage(header).run_test(size=(60, 3)) as pilot:
        header.show(Situation(name, "primary", database=name), AT)
        await pilot.pause()
        assert "\x1b" not in text(pilot.app) and "\u202e" not in text(pilot.app)


@pytest.mark.parametrize("size", [(20, 3), (40, 3), (100, 3)])
async def test_the_navigation_shows_every_room_and_its_worst_health(size: tuple[int, int]) -> None:
    nav = RoomNav()
    async with Stage(nav).run_test(size=size) as pilot:
        nav.show(TABS, "jobmon")
        await until(pilot, lambda: "2 Jobs" in text(pilot.app))
        assert "✖" in text(pilot.app) and " 3" in text(pilot.app)
        assert ("Activity" in text(pilot.app)) is (size[0] >= 40)


async def test_titles_are_cut_before_they_go_and_a_glyph_cuts_none_anew() -> None:
    nav = RoomNav()
    async with Stage(nav).run_test(size=(32, 3)) as pilot:
        nav.show(TABS, "jobmon")
        await until(pilot, lambda: " 1 Acti ✖  2 Jobs  3 Queu" in " ".join(text(pilot.app).split("\n")))
        nav.show([replace(tab, health=Health.WARNING) for tab in TABS], "jobmon")
        await until(pilot, lambda: " 1 Acti ▲  2 Jobs ▲  3 Queu ▲" in text(pilot.app))


async def test_a_column_of_rooms() -> None:
    nav = RoomNav(classes="-column")
    async with Stage(nav).run_test(size=(100, 5)) as pilot:
        nav.show(TABS, "jobmon")
        await until(pilot, lambda: [line.split()[:2] for line in text(pilot.app).split("\n")[:3]] == [
            ["1", "Activity"], ["2", "Jobs"], ["3", "Queues"],
        ])  # fmt: skip


async def test_the_footer_follows_the_keys_that_work() -> None:
    class WithKeys(Stage):
        BINDINGS = [Binding("s", "bell", "Sort"), Binding("x", "bell", "Hidden", show=False)]  # noqa: RUF012

    footer = KeyFooter()
    async with WithKeys(footer).run_test(size=(60, 3)) as pilot:
        await until(pilot, lambda: "s Sort" in text(pilot.app))
        assert "Hidden" not in text(pilot.app)
        footer.show([("q", "Quit"), ("long", "x" * 60)], "filter: a")
        await until(pilot, lambda: "q Quit" in text(pilot.app) and "filter: a" in text(pilot.app))
        assert "xxx" not in text(pilot.app)


async def test_a_chart_shows_current_and_highest_value() -> None:
    chart, spark = Chart("Sessions"), Spark()
    async with Stage(chart, spark).run_test(size=(40, 8)) as pilot:
        for value in (1, 50, None, math.nan, 20):
            chart.add(value)
            spark.add(value)
        await until(pilot, lambda: "Sessions  20  max 50" in text(pilot.app))
        chart.add(None)
        await until(pilot, lambda: "no answer" in text(pilot.app))


NUMBERS = st.lists(st.none() | st.floats(min_value=-1e12, max_value=1e12), max_size=60)


@given(NUMBERS, st.integers(1, 30), st.integers(1, 6))
def test_a_chart_fills_exactly_its_room(values: list[float | None], width: int, height: int) -> None:
    lines = braille(values, width, height)
    assert len(lines) == height and {len(line) for line in lines} == {width}
    assert len(sparkline(values, width)) == width


@given(st.text(), st.integers(1, 40))
def test_wrapping_loses_nothing(line: str, width: int) -> None:
    assert "".join(wrap(line, width)) == line


@given(st.text(), st.integers(10, 40))
def test_any_text_can_be_read(value: str, width: int) -> None:
    assert Part(value, indent=2).lines(width)


@pytest.mark.parametrize("name", themes.THEMES)
async def test_a_gallery_of_each_theme(name: str) -> None:
    """Every style of every widget resolves, and what is wrong stands out by glyph in each."""
    header, nav, table, footer = TargetHeader(), RoomNav(), ViewTable(VIEW), KeyFooter()
    async with Stage(header, nav, table, footer, theme=name).run_test(size=(100, 20)) as pilot:
        header.show(LAB, AT)
        nav.show(TABS, "activity")
        table.show(snapshot([row(1, age=minutes(90)), row(2, age=minutes(9)), *rows(5)]))
        await until(pilot, lambda: "✖    1" in text(pilot.app) and "▲    2" in text(pilot.app))
        assert "<svg" in pilot.app.export_screenshot()


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({"TERM": "xterm-256color"}, "pgtui-dark"),
        ({"TERM": "xterm", "COLORTERM": "truecolor"}, "pgtui-dark"),
        ({"TERM": "xterm"}, "pgtui-sixteen"),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, "pgtui-sixteen"),
        ({"TERM": "xterm-256color", "PGTUI_THEME": "pgtui-light"}, "pgtui-light"),
    ],
)
def test_the_theme_fits_the_terminal(environ: dict[str, str], name: str) -> None:
    assert themes.fitting(environ) == name


async def test_without_colours_everything_still_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    table = ViewTable(VIEW)
    app = Stage(table, theme=themes.fitting({"TERM": "xterm-256color", "NO_COLOR": "1"}))
    async with app.run_test(size=(80, 6)) as pilot:
        table.focus()
        table.show(snapshot([row(1, age=minutes(90)), *rows(3)]))
        await until(pilot, lambda: "✖" in text(app))
        styles = [s.style for strip in app.screen._compositor.render_strips() for s in strip if s.style]
        assert {c.name for style in styles for c in (style.color, style.bgcolor) if c} == {"default"}
        assert [
            s.text
            for strip in app.screen._compositor.render_strips()
            for s in strip
            if s.style and s.style.reverse
        ]
