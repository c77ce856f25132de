"""Settings of queues, checked as PgQ does not check them."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from backend.core.declare import Danger
from backend.core.errors import PgtuiError, Refused, Usage
from backend.core.registry import find_action
from backend.core.values import Interval
from tests.rooms.jobmon.conftest import Console
from tests.rooms.queue.conftest import ODD, Hand

SETTINGS = (
    "SELECT queue_ticker_max_count, queue_ticker_max_lag::text, queue_ticker_idle_period::text,"
    " queue_rotation_period::text, queue_ticker_paused, queue_external_ticker, queue_disable_insert"
    " FROM pgq.queue WHERE queue_name = %s"
)
FRESH = (500, "00:00:03", "00:01:00", "02:00:00", False, False, False)


def given(**words: str) -> dict[str, Any]:
    """The words as the command line reads them."""
    params = {p.name: p for p in find_action("queue.configure").params}
    return {name: params[name].parse(word) for name, word in words.items()}


def settings(hand: Hand, queue: str = "orders") -> tuple[Any, ...]:
    return hand.database.execute(SETTINGS, [queue])[0]


async def test_sets_all_six(console: Console, hand: Hand) -> None:
    hand.create(ODD)
    words = given(
        ticker_max_count="100",
        ticker_max_lag="500ms",
        ticker_idle_period="2min",
        rotation_period="1d",
        ticker_paused="no",
        external_ticker="yes",
    )
    plan = await console.plan("queue.configure", queue=ODD, **words)
    assert (plan.subject, plan.danger) == (ODD, Danger.DISRUPT)
    assert plan.notes == (
        "ticker_max_count: 500 becomes 100",
        "ticker_max_lag: 00:00:03 becomes 500ms",
        "ticker_idle_period: 00:01:00 becomes 2min",
        "rotation_period: 02:00:00 becomes 1d",
        "external_ticker: false becomes true",
    )
    assert settings(hand, ODD) == FRESH
    result = await console.done("queue.configure", queue=ODD, **words)
    assert settings(hand, ODD) == (100, "00:00:00.5", "00:02:00", "1 day", False, True, False)
    assert (result["queue"], result["rotation_period"]) == (ODD, "1 day")


async def test_leaves_alone_what_is_not_given(console: Console, hand: Hand) -> None:
    plan = await console.plan("queue.configure", queue="orders", **given(ticker_max_count="7"))
    assert plan.danger is Danger.CHANGE
    await console.done("queue.configure", queue="orders", **given(ticker_max_count="7"))
    assert settings(hand) == (7, *FRESH[1:])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({}, "nothing is to be changed"),
        ({"ticker_max_count": "-5"}, "--ticker-max-count wants 1 to 1000000, not -5"),
        ({"ticker_max_count": "0"}, "--ticker-max-count wants 1 to"),
        ({"ticker_max_count": "1000001"}, "--ticker-max-count wants 1 to"),
        ({"ticker_max_count": "many"}, "--ticker-max-count wants a whole number"),
        ({"ticker_max_lag": "0s"}, "--ticker-max-lag wants 1ms to 1d, not 0s"),
        ({"ticker_max_lag": "-3s"}, "--ticker-max-lag wants"),
        ({"ticker_max_lag": "3"}, "is not a duration"),
        ({"ticker_idle_period": "2d"}, "--ticker-idle-period wants 1ms to 1d"),
        ({"rotation_period": "500ms"}, "--rotation-period wants 1s to 365d"),
        ({"rotation_period": "2 years"}, "--rotation-period wants 1s to 365d"),
        ({"ticker_paused": "maybe"}, "--ticker-paused wants true or false"),
    ],
)
async def test_nonsense_is_not_set(
    console: Console, hand: Hand, words: dict[str, str], sentence: str
) -> None:
    with pytest.raises(Usage, match=sentence):
        await console.plan("queue.configure", queue="orders", **given(**words))
    assert settings(hand) == FRESH


async def test_what_is_so_already_is_said(console: Console) -> None:
    same = {"ticker_max_count": 500, "ticker_max_lag": Interval("3000ms"), "ticker_paused": False}
    with pytest.raises(Refused, match="has these settings already"):
        await console.plan("queue.configure", queue="orders", **same)


async def test_a_dropped_queue_is_not_configured(console: Console, hand: Hand) -> None:
    hand.create("gone")
    run = await console.start("queue.configure", queue="gone", ticker_max_count=1)
    hand.value("SELECT pgq.drop_queue('gone')")
    report = await run.execute()
    assert report.error is not None
    assert "No such event queue" in report.error.message


async def test_pauses_and_resumes_the_ticker(console: Console, hand: Hand) -> None:
    assert (await console.plan("queue.pause_ticker", queue="orders")).danger is Danger.DISRUPT
    assert settings(hand) == FRESH
    await console.done("queue.pause_ticker", queue="orders")
    with pytest.raises(psycopg.errors.RaiseException, match="Ticker has been paused"):
        hand.value("SELECT pgq.ticker('orders')")
    with pytest.raises(Refused, match="is paused already"):
        await console.plan("queue.pause_ticker", queue="orders")
    assert (await console.plan("queue.resume_ticker", queue="orders")).danger is Danger.CHANGE
    await console.done("queue.resume_ticker", queue="orders")
    assert settings(hand) == FRESH
    with pytest.raises(Refused, match="is not paused"):
        await console.plan("queue.resume_ticker", queue="orders")


async def test_disables_and_enables_inserts(console: Console, hand: Hand) -> None:
    plan = await console.plan("queue.disable_inserts", queue="orders")
    assert (plan.danger, plan.subject) == (Danger.DISRUPT, "orders")
    hand.insert("orders", ("t", "x"))
    result = await console.done("queue.disable_inserts", queue="orders")
    assert result == {"queue": "orders", "inserts_disabled": True}
    with pytest.raises(psycopg.Error, match="Insert into queue disallowed"):
        hand.insert("orders", ("t", "x"))
    with pytest.raises(Refused, match="are disabled already"):
        await console.plan("queue.disable_inserts", queue="orders")
    await console.done("queue.enable_inserts", queue="orders")
    hand.insert("orders", ("t", "x"))
    with pytest.raises(Refused, match="are enabled already"):
        await console.plan("queue.enable_inserts", queue="orders")


async def test_says_when_somebody_else_was_faster(console: Console, hand: Hand) -> None:
    run = await console.start("queue.disable_inserts", queue="orders")
    hand.database.execute("UPDATE pgq.queue SET queue_disable_insert = true")
    report = await run.execute()
    assert isinstance(report.error, PgtuiError)
    assert "was changed or dropped meanwhile" in report.error.message
