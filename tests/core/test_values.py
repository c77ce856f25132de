"""Text that parameters, thresholds, logs and the audit are made of."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backend.core.audit import Audit
from backend.core.clean import clean, clean_lines, mask
from backend.core.declare import Ask, Col, Health, Verdict, View
from backend.core.errors import Usage
from backend.core.facts import Needs
from backend.core.journal import Entry, Journal
from backend.core.judge import Rates, judge, judges_rates
from backend.core.measures import measures
from backend.core.monitoring import Checked, nagios
from backend.core.params import REQUIRED, Param, complete, params_of
from backend.core.target import Limits
from backend.core.values import Interval, Size

any_text = st.text(st.characters(codec=None, exclude_categories=()), max_size=60)

INTERVALS = {
    "90s": 90, "5min": 300, "5m": 300, "2h": 7200, "1d": 86400, "1 mon": 30 * 86400, "01:30:00": 5400,
    "P1D": 86400, "PT1H30M": 5400, "-5min": -300, "5 minutes ago": -300, "1 day -02:00:00": 79200,
    "1h30m": 5400, "250ms": 0.25, "1 week": 604800, " 5 min ": 300,
}  # fmt: skip


@pytest.mark.parametrize(("text", "seconds"), INTERVALS.items())
def test_an_interval_is_what_postgresql_takes_it_for(text: str, seconds: float) -> None:
    assert Interval.parse(text).approximate == timedelta(seconds=seconds)
    assert Interval.parse(text) == text.strip()


@pytest.mark.parametrize(
    "text", ["", "5", "P", "PT", "min", "5 foo", "5min x", "1:2", "1 2 days", "5\u0665s", "P1.1.1D"]
)
def test_what_is_no_interval_is_refused_with_examples(text: str) -> None:
    with pytest.raises(Usage) as refused:
        Interval.parse(text)
    assert "90s, 5min, 2h, 1d" in str(refused.value.hint)


@given(any_text)
def test_any_text_is_an_interval_and_a_size_or_refused(text: str) -> None:
    for kind in (Interval, Size):
        try:
            value = kind.parse(text)
        except Usage:
            continue
        if isinstance(value, Interval):
            assert isinstance(value.approximate, timedelta)


def test_sizes_are_exact() -> None:
    sizes = {"10MB": 10 << 20, "512kB": 512 << 10, "1.5GB": 3 << 29, "9007199254740993": 9007199254740993}
    assert {text: Size.parse(text) for text in sizes} == sizes
    for text in ("-1", "10 parsecs", "", "MB"):
        with pytest.raises(Usage):
            Size.parse(text)


async def declared(
    session: object,
    name: str,
    mode: Literal["fast", "smart"] = "fast",
    keep: Interval | None = None,
    size: Size | None = None,
    count: int = 1,
    share: float = 0.5,
    force: bool | None = None,
    only: Annotated[list[str] | None, Ask("Only these")] = None,
) -> None: ...


PARAMS = {p.name: p for p in params_of(declared)}


def test_parameters_are_read_from_the_signature() -> None:
    assert PARAMS["name"].required
    assert PARAMS["mode"].words == ("fast", "smart")
    assert (PARAMS["keep"].type, PARAMS["keep"].optional) == (Interval, True)
    assert (PARAMS["only"].type, PARAMS["only"].many, PARAMS["only"].ask.label) == (str, True, "Only these")
    assert PARAMS["force"].type is bool
    assert [p.option for p in PARAMS.values()][-1] == "--only"


@given(st.data())
def test_a_parameter_takes_back_what_it_wrote(data: st.DataObject) -> None:
    values: dict[str, st.SearchStrategy[Any]] = {
        "name": any_text,
        "mode": st.sampled_from(["fast", "smart"]),
        "keep": st.sampled_from([Interval(t.strip()) for t in INTERVALS]),
        "size": st.integers(0, 2**62).map(Size),
        "count": st.integers(),
        "share": st.floats(allow_nan=False, allow_infinity=False),
        "force": st.booleans(),
        "only": st.lists(any_text, min_size=1),
    }
    for name, strategy in values.items():
        value = data.draw(strategy, label=name)
        assert PARAMS[name].parse(PARAMS[name].text(value)) == value


@given(st.sampled_from(list(PARAMS.values())), any_text)
def test_bad_text_is_a_usage_error_that_names_the_option(param: Param, text: str) -> None:
    try:
        param.parse(text)
    except Usage as e:
        assert e.message.startswith(param.option)


def test_what_is_missing_or_unknown_is_named_with_the_nearest() -> None:
    with pytest.raises(Usage, match="needs --name"):
        complete("action x", list(PARAMS.values()), {})
    with pytest.raises(Usage) as refused:
        complete("action x", list(PARAMS.values()), {"nam": 1})
    assert refused.value.hint == "did you mean name?"
    assert complete("x", list(PARAMS.values()), {"name": "a", "count": None})["count"] == 1
    assert PARAMS["name"].default is REQUIRED


@given(any_text)
@example("\x1b]0;owned\x07\u202e\udcff\ud800\x9b\u2028\ufeff")
def test_cleaned_text_cannot_drive_a_terminal(text: str) -> None:
    shown = clean(text)
    assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert clean(shown) == shown
    shown.encode("utf-8")
    if text.isprintable():
        assert shown == text or any(unicodedata.category(c) == "Co" for c in text)
    lines = clean_lines(text)
    assert clean_lines(lines) == lines


MASKED = [
    ("host=h password={} user=u", ["simple", "a,b;c)", "pass'word", "a\\ b"]),
    ("password = '{}' user=u", ["with blanks", "it\\'s", "a,b"]),
    ("CREATE SUBSCRIPTION s CONNECTION 'host=h password={}' PUBLICATION p", ["a,b", "''with blanks''"]),
    ("connection to postgresql://u:{}@h:5432/db failed", ["simple", "p%20q%40", "p@q"]),
    ("postgres://h/db?user=u&password={}&sslmode=require", ["simple", "p%26q"]),
    ("ALTER ROLE u PASSWORD '{}' VALID UNTIL 'infinity'", ["simple", "it''s", "with blanks"]),
    ("ALTER ROLE u PASSWORD  E'{}';", ["a\\\\b", "a\\'b"]),
    ("ALTER ROLE u PASSWORD $${}$$;", ["simple", "it's"]),
    ("PGPASSWORD={} psql", ["simple"]),
    ("pgbackrest --repo1-cipher-pass={} info", ["simple"]),
    ('{{"password": "{}", "user": "u"}}', ["simple", 'a\\"b']),
    ("2026-01-01 LOG:  statement: alter user u with encrypted password '{}'", ["simple"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "secret"), [(t, s) for t, secrets in MASKED for s in secrets])
def test_passwords_are_masked_wherever_they_stand(text: str, secret: str) -> None:
    masked = mask(text.format(secret))
    assert secret not in masked
    for part in secret.replace("\\", " ").split():
        if len(part) > 2:
            assert part not in masked
    assert "****" in masked
    assert mask(masked) == masked


@given(any_text)
def test_masking_is_idempotent(text: str) -> None:
    once = mask(f"password={text} x://u:{text}@h PASSWORD '{text}'")
    assert mask(once) == once


def test_plain_sentences_are_not_masked() -> None:
    for text in ('FATAL: password authentication failed for user "u"', "no password supplied", "https://h/x"):
        assert mask(text) == text


def test_the_audit_is_json_whatever_it_is_told() -> None:
    text = 'password=a"b\nc \x1b \udcff ' + "x" * 100_000
    Audit().write("step", text=text, error={"message": "postgresql://u:p@h"}, steps=["password=x"])
    [line] = Audit().path.read_bytes().splitlines()
    record = json.loads(line)
    assert record["text"].startswith("password=****\nc ")
    assert record["error"] == {"message": "postgresql://u:****@h"}
    assert record["steps"] == ["password=****"]
    assert Audit().path.stat().st_mode & 0o077 == 0


def write_many(path: Path) -> None:
    for number in range(50):
        Audit(path).write("step", number=number, text="x" * 20_000)


def test_many_may_write_the_audit_at_once(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    with ProcessPoolExecutor(4) as pool:
        list(pool.map(write_many, [path] * 4))
    assert len([json.loads(line) for line in path.read_bytes().splitlines()]) == 200


def test_a_record_cut_off_by_a_full_disk_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b'{"event": "st')
    Audit(path).write("step")
    assert json.loads(path.read_bytes().splitlines()[1])["event"] == "step"


def test_the_journal_survives_what_others_left_in_its_folder() -> None:
    journal = Journal()
    entry = Entry("a.b", "t", "s", {}, ["x", "y"], [None, None])
    journal.write(entry)
    for name, text in {
        "a.json": "{",
        "b.json": "[]",
        "c.json": '{"x": 1}',
        "d.part": "",
        "e.json": "\xff",
    }.items():
        (journal.folder / name).write_text(text, "latin-1")
    (journal.folder / "f.json").mkdir()
    assert journal.unfinished() == [], "who wrote it lives"
    entry.pid, entry.born = 2**22 + 1, "1"
    journal.write(entry)
    assert [e.id for e in journal.unfinished()] == [entry.id]
    journal.remove(entry)
    journal.remove(entry)
    assert journal.unfinished() == []
    assert journal.folder.stat().st_mode & 0o077 == 0
    assert os.getpid() != entry.pid


@dataclass(frozen=True, slots=True)
class Lagging:
    name: Annotated[str, Col("Name", key=True)]
    lag: Annotated[timedelta | None, Col("Lag", warn=timedelta(minutes=5), crit=timedelta(hours=1))] = None
    free: Annotated[int | None, Col("Free", unit="bytes", low=True, crit=100)] = None
    ratio: Annotated[float | None, Col("Ratio", warn=0.5)] = None


def a_view(**more: Callable[..., Any]) -> View[Lagging]:
    async def lagging(session: Any) -> list[Lagging]:
        """Lag."""
        return []

    return View("test.lagging", lagging, Needs(), 2, "nobody lags", more.get("verdict"), more.get("overall"))


def test_the_worst_finding_speaks_for_the_view() -> None:
    rows = [
        Lagging("a", timedelta(minutes=4), 200),
        Lagging("b", timedelta(minutes=5)),
        Lagging("c", timedelta(hours=1), 100),
        Lagging("d", None, None, float("nan")),
    ]
    judgement = judge(a_view(), rows)
    assert {k[0]: f.health.name for k, f in judgement.findings.items()} == {"b": "WARNING", "c": "CRITICAL"}
    assert judgement.overall == Verdict(Health.CRITICAL, "c: lag 1h 00m; free 100B")
    assert judge(a_view(), []).overall == Verdict(Health.OK, "nobody lags")


def test_the_inventorys_limits_are_read_in_the_columns_unit() -> None:
    rows = [Lagging("a", timedelta(minutes=11), 11 << 20)]
    limits = Limits({"lag": ("10m", "1h"), "free": (None, "10m")})
    assert judge(a_view(), rows, limits).overall.health is Health.WARNING
    assert judge(a_view(), rows, Limits({"free": ("20MB", None)})).overall.sentence.startswith(
        "a: lag 11m 00s"
    )
    assert judge(a_view(), rows, Limits({"lag": (600, None)})).overall.health is Health.WARNING
    lag = next(
        m for m in measures(a_view(), rows, limits, judge(a_view(), rows, limits)) if m.column == "lag"
    )
    assert lag.label == "lag_a" and lag.health is Health.WARNING
    assert lag.to_json() == {"value": 660.0, "unit": "s", "warn": 600.0, "crit": 3600.0}
    with pytest.raises(Usage, match=r"sets lag of test\.lagging to '10MB'"):
        judge(a_view(), rows, Limits({"lag": ("10MB", None)}))
    with pytest.raises(Usage) as refused:
        judge(a_view(), rows, Limits({"lagg": ("1h", None)}))
    assert refused.value.hint == "did you mean lag?"


def test_silenced_rows_raise_no_alarm() -> None:
    rows = [Lagging("a", timedelta(hours=2)), Lagging("b", timedelta(minutes=6))]
    assert judge(a_view(), rows, Limits(silenced=("name=a",))).overall.health is Health.WARNING
    assert judge(a_view(), rows, Limits(silenced=("a", "name=b"))).overall.health is Health.OK


def test_a_views_own_verdicts_join_the_columns() -> None:
    def own(row: Lagging) -> Verdict | None:
        return Verdict(Health.CRITICAL, "it is b") if row.name == "b" else None

    def whole(rows: object) -> Verdict:
        return Verdict(Health.CRITICAL, "all is lost")

    rows = [Lagging("b", timedelta(minutes=6))]
    assert judge(a_view(verdict=own), rows).overall == Verdict(Health.CRITICAL, "b: it is b")
    assert judge(a_view(overall=whole), rows).overall.sentence == "all is lost"
    assert judge(a_view(overall=whole), []).overall.health is Health.CRITICAL


def test_nagios_gets_what_is_wrong_and_a_lasting_value_of_each_column_but_never_hundreds() -> None:
    rows = [Lagging(f"q{n}", timedelta(seconds=n), 5000 - n, float("inf")) for n in range(200)]
    rows += [Lagging("slow", timedelta(minutes=6)), Lagging("dead", timedelta(hours=2), 50)]
    judgement = judge(a_view(), rows)
    checked = Checked("test.lagging", "t", judgement.overall, measures(a_view(), rows, Limits(), judgement))
    values = nagios([checked]).partition(" | ")[2].split()
    assert values[:4] == [
        "'lag'=7200s;300;3600",
        "'free'=50B;;100:",
        "'lag_dead'=7200s;300;3600",
        "'free_dead'=50B;;100:",
    ]
    assert values[4] == "'lag_slow'=360s;300;3600" and len(values) == 20
    assert len(checked.to_json()["perfdata"]) == 202 + 201 + 200, "scripts get all"
    silent = judge(a_view(), rows, Limits(silenced=("dead",)))
    found = measures(a_view(), rows, Limits(), silent)
    quiet = nagios([Checked("test.lagging", "t", silent.overall, found)]).partition(" | ")[2].split()
    assert quiet[:2] == ["'lag'=360s;300;3600", "'lag_slow'=360s;300;3600"]


@dataclass(frozen=True, slots=True)
class Counting:
    name: Annotated[str, Col("Name", key=True)]
    written: Annotated[int, Col("Written", unit="bytes", rate=True, warn=1024)]


def test_limits_of_a_rate_judge_the_change_and_never_the_counter() -> None:
    async def counting(session: Any) -> list[Counting]:
        """Count."""
        return []

    view = View("test.counting", counting, Needs(), 2, "nothing", None, None)
    rows, limits = [Counting("a", 1 << 40), Counting("b", 1 << 40)], Limits()
    rates: Rates = {("a",): {"written": 100.0}, ("b",): {"written": None}}
    assert judge(view, rows).overall.health is Health.OK
    assert judge(view, rows, limits, rates).overall.health is Health.OK
    fast: Rates = {("a",): {"written": 2048.0}}
    assert judge(view, rows, limits, fast).overall == Verdict(Health.WARNING, "a: written/s 2.0K/s")
    [written] = measures(view, rows, limits, judge(view, rows, limits, fast), fast)
    assert written.label == "written_per_second_a"
    assert written.to_json() == {"value": 2048.0, "unit": "B", "warn": 1024.0, "crit": None}
    assert judges_rates(view, limits)
    assert not judges_rates(a_view(), limits)
    assert not judges_rates(view, Limits({"written": (None, None)}))
