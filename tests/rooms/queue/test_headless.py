"""The room on the command line: what a script gets for bad input, and that nothing was done."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cli.conftest import Ended, Pgtui
from tests.cli.conftest import pgtui as pgtui
from tests.rooms.queue.conftest import ODD, Hand, demand_pgq
from tests.servers import Database, OwnClusters

pytestmark = pytest.mark.usefixtures("state_home")


def everything(database: Database) -> list[tuple[object, ...]]:
    """Queues and consumers with all that actions could change of them."""
    return database.execute(
        "SELECT q::text, s::text, e.n, r.n FROM pgq.queue AS q LEFT JOIN pgq.subscription AS s"
        " ON s.sub_queue = q.queue_id, (SELECT count(*) AS n FROM pgq.event_template) AS e,"
        " (SELECT count(*) AS n FROM pgq.retry_queue) AS r ORDER BY q.queue_id, s.sub_consumer"
    )


def refused(ended: Ended, code: int, message: str) -> None:
    """A script gets that exit code, people get the sentence, and whoever gets JSON gets both."""
    assert ended.code == code, ended.err
    assert message in ended.err
    if ended.out or code != 2:
        assert ended.object["status"] == ("failed" if code == 2 else "refused")
        assert message in ended.object["error"]["message"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("create --queue=", 2, "--queue is empty"),
        ("create --queue orders", 4, "there is a queue orders already"),
        ("drop --queue ordres --confirm ordres", 4, "has no queue ordres"),
        ("drop --queue orders --confirm orders", 4, "queue orders has 2 consumers: good, slow"),
        ("configure --queue orders --ticker-max-count=-5", 2, "--ticker-max-count wants 1 to 1000000"),
        ("configure --queue orders --rotation-period soon", 2, "soon"),
        ("configure --queue orders", 2, "nothing is to be changed"),
        ("pause_ticker --queue orders", 4, "is not confirmed"),
        ("disable_inserts --queue orders", 4, "is not confirmed"),
        ("register --queue orders --consumer slow", 4, "has a consumer slow already"),
        ("register --queue orders --consumer new --at-time 2020-01-01", 4, "no tick from before"),
        ("reposition --queue orders --consumer good --at-tick 1 --yes", 4, "orders/good is not confirmed"),
        ("reposition --queue orders --consumer slow --at-tick 99 --confirm orders/slow", 4, "tick 99"),
        ("reposition --queue orders --consumer slow --confirm orders/slow", 2, "--at-time or --at-tick"),
        ("unregister --queue orders --consumer slwo --confirm orders/slwo", 4, "has no consumer slwo"),
        ("skip_batch --queue orders --consumer slow --confirm orders/slow", 4, "has no batch open"),
        ("retry_batch --queue orders --consumer slow --after 5min", 4, "once a batch is finished"),
        ("retry_event --queue orders --consumer slow --event 1 --after 5min", 4, "once a batch is finished"),
        ("insert --queue orders", 2, "give --type"),
        ("insert --queue orders --file nothing.jsonl", 4, "cannot be read"),
        ("attach_trigger --queue orders --table public.nothing", 4, "there is no table public.nothing"),
        ("attach_trigger --queue orders --table public.t --encoding xml", 2, "xml"),
        ("detach_trigger --queue orders --yes", 4, "no table feeds queue orders"),
        ("install", 4, "has pgq"),
    ],
)
def test_bad_input_ends_in_a_sentence_and_changes_nothing(
    pgtui: Pgtui, pgq: Database, words: str, code: int, message: str
) -> None:
    before = everything(pgq)
    action, *options = words.split()
    ended = pgtui("run-action", f"queue.{action}", *options, "-t", pgq.dsn, "-o", "json")
    refused(ended, code, message)
    assert everything(pgq) == before


def test_a_view_of_an_unknown_consumer_is_no_empty_answer(pgtui: Pgtui, pgq: Database) -> None:
    for view in ("events", "consumers"):
        found = pgtui("show", f"queue.{view}", "--queue", "orders", "--consumer", "x", "-t", pgq.dsn)
        assert (found.code, found.out) == (4, "")
        assert "queue orders has no consumer x" in found.err


def test_names_are_taken_as_they_are(pgtui: Pgtui, hand: Hand) -> None:
    target = ("-t", hand.database.dsn, "-o", "json")
    assert pgtui("run-action", "queue.create", "--queue", ODD, *target).code == 0
    asked = ("--queue", ODD, "--consumer", ODD)
    assert pgtui("run-action", "queue.register", *asked, *target).code == 0
    hand.insert(ODD, ("t", "d"))
    hand.tick(ODD)
    shown = pgtui("show", "queue.events", *asked, *target).object
    assert [(e["queue"], e["consumer"], e["data"]) for e in shown["rows"]] == [(ODD, ODD, "d")]
    gone = pgtui("run-action", "queue.unregister", *asked, "--confirm", f"{ODD}/{ODD}", *target)
    assert gone.object["result"] == {"queue": ODD, "consumer": ODD, "removed": 1}
    assert pgtui("run-action", "queue.drop", "--queue", ODD, "--confirm", ODD, *target).code == 0
    assert hand.value("SELECT count(*) FROM pgq.queue WHERE queue_name = %s", ODD) == 0


@pytest.mark.parametrize(
    ("words", "role"),
    [
        ("create --queue q", "pgq_admin"),
        ("register --queue orders --consumer c", "pgq_reader"),
        ("insert --queue orders --type t", "pgq_writer"),
    ],
)
def test_the_missing_role_is_named(
    pgtui: Pgtui, pgq: Database, role_in: Callable[..., str], words: str, role: str
) -> None:
    action, *options = words.split()
    ended = pgtui("run-action", f"queue.{action}", *options, "-t", role_in(), "-o", "json")
    assert ended.code == 5
    assert f"GRANT {role} TO" in ended.err


def test_what_is_not_there_is_told_apart(pgtui: Pgtui, database: Database, own_cluster: OwnClusters) -> None:
    primary = own_cluster()
    demand_pgq(primary)
    for part in ("show", "queue.queues"), ("run-action", "queue.create", "--queue", "q"):
        ended = pgtui(*part, "-t", database.dsn, "-o", "json")
        assert (ended.code, ended.object["error"]["kind"]) == (5, "missing")
        assert "pgq" in ended.err

    primary.psql("CREATE EXTENSION pgq")
    primary.psql("SELECT pgq.create_queue('q')")
    standby = own_cluster.standby(primary).dsn()
    refused(
        pgtui("run-action", "queue.insert", "--queue", "q", "--type", "t", "-t", standby, "-o", "json"),
        4,
        "this is a standby",
    )
    shown = pgtui("show", "queue.queues", "-t", standby, "-o", "json")
    assert (shown.code, [r["queue"] for r in shown.object["rows"]]) == (0, ["q"])
