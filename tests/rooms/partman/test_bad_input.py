"""What goes wrong ends in one sentence: stale sets, standbys, errors that pg_partman raises again."""

from __future__ import annotations

from typing import Any

import pytest

from backend.core.errors import Failed, PgtuiError, Refused
from backend.core.registry import actions
from tests.rooms.jobmon.conftest import Console, Consoles
from tests.rooms.partman.conftest import create_parent, demand_partman, everything, major, stale
from tests.rooms.partman.samples import ACTIONS
from tests.servers import Database, OwnClusters, until


async def test_on_a_standby_everything_is_shown_and_nothing_done(
    own_cluster: OwnClusters, consoles: Consoles
) -> None:
    primary = own_cluster()
    demand_partman(primary)
    primary.psql("CREATE DATABASE shop")
    everything(Database(primary, "shop"))
    standby = own_cluster.standby(primary)
    until(lambda: standby.psql("SELECT count(*) FROM pg_database WHERE datname = 'shop'") == [(1,)])
    console = await consoles(standby.dsn("shop"))
    assert {r.parent for r in await console.rows("partman.sets")} >= {"public.events", "public.logs"}
    assert await console.rows("partman.partitions", parent="public.events", exact=True)
    for action in actions("partman"):
        with pytest.raises(Refused, match="this is a standby; it works on the primary"):
            await console.plan(action.name, **ACTIONS[action.name])


async def test_the_default_partition_is_not_checked_while_a_stale_set_is_configured(
    console: Console, partman: Database
) -> None:
    stale(partman)
    report = await console.run("partman.check_default")
    assert isinstance(report.error, Failed)
    assert report.error.message == "public.dropped was dropped and is configured still"
    assert "partman.forget removes it" in (report.error.hint or "")


@pytest.mark.parametrize("action", sorted(a for a, given in ACTIONS.items() if "parent" in given))
@pytest.mark.parametrize(
    ("parent", "sentence"),
    [
        ("public.nothing", r"(there is no|pg_partman has no) (partition set|table|set) public\.nothing"),
        ("", "there is no|is empty|has no set"),
        ("a\x1b[2J", r"a\u241b\[2J"),
    ],
)
async def test_a_set_that_is_not_there_is_named_in_one_sentence(
    console: Console, action: str, parent: str, sentence: str
) -> None:
    given = {k: v for k, v in ACTIONS[action].items() if k != "all_sets"}
    with pytest.raises(PgtuiError, match=sentence) as caught:
        await console.plan(action, **{**given, "parent": parent})
    assert "\n" not in caught.value.message
    assert caught.value.exit_code in (2, 4)


async def test_an_error_raised_again_is_one_sentence_with_its_detail_as_hint(
    console: Console, partman: Database
) -> None:
    partman.execute("UPDATE partman.part_config SET premake = 6")
    partman.execute(
        "CREATE FUNCTION halt() RETURNS event_trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'no more' USING DETAIL = 'it is full', HINT = 'make room'; END $$"
    )
    partman.execute("CREATE EVENT TRIGGER halt ON ddl_command_start WHEN TAG IN ('CREATE TABLE')"
                    " EXECUTE FUNCTION halt()")  # fmt: skip
    report = await console.run("partman.maintain", parent="public.events")
    assert isinstance(report.error, Failed)
    assert report.error.message == "the server says: no more"
    assert report.error.hint == "make room"


async def test_weeks_left_from_4_are_told_by_5(console: Console, partman: Database) -> None:
    if major(partman) < 5:
        pytest.skip("pg_partman 4 knows weeks of ISO 8601")
    partman.execute(
        "UPDATE partman.part_config SET datetime_string = 'IYYY\"w\"IW', premake = 6"
        " WHERE parent_table = 'public.events'"
    )
    report = await console.run("partman.maintain", all_sets=True)
    assert report.error is not None
    assert "\n" not in report.error.message
    assert {r["parent"]: r["error"] is None for r in report.result}["public.numbers"]


@pytest.mark.parametrize("kind", ["date", "bigint"])
async def test_an_empty_key_is_taken_by_4_and_refused_for_5(
    console: Console, partman: Database, kind: str
) -> None:
    partman.execute(f"CREATE TABLE loose (k {kind}) PARTITION BY RANGE (k)")
    given: dict[str, Any] = {"parent": "public.loose", "control": "k", "interval": "10"}
    given |= {"interval": "1 day"} if kind == "date" else {}
    if major(partman) >= 5:
        with pytest.raises(Refused, match="column k may be empty, which pg_partman 5 does not accept"):
            await console.plan("partman.create_parent", **given)
    else:
        plan = await console.plan("partman.create_parent", **given)
        assert "the column may be empty: such rows go to the default partition" in plan.notes
        await console.done("partman.create_parent", **given)


async def test_a_set_being_undone_is_not_maintained(console: Console, partman: Database) -> None:
    partman.execute(
        "UPDATE partman.part_config SET undo_in_progress = true WHERE parent_table = 'public.events'"
    )
    with pytest.raises(Refused, match=r"public\.events is being undone"):
        await console.plan("partman.maintain", parent="public.events")
    told = await console.done("partman.maintain", all_sets=True)
    assert "public.events" not in {r["parent"] for r in told}


async def test_a_table_dropped_between_plan_and_run_is_told(console: Console, partman: Database) -> None:
    create = {"parent": "public.gone", "control": "k", "interval": "10"}
    partman.execute("CREATE TABLE gone (k bigint NOT NULL) PARTITION BY RANGE (k)")
    run = await console.start("partman.create_parent", **create)
    partman.execute("DROP TABLE gone")
    report = await run.execute()
    assert isinstance(report.error, Failed)
    assert "Unable to find given parent table in system catalogs" in report.error.message
    assert "\n" not in report.error.message
    create_parent_again(partman)


def create_parent_again(database: Database) -> None:
    """The name can be used again: nothing was left configured."""
    database.execute("CREATE TABLE gone (k bigint NOT NULL) PARTITION BY RANGE (k)")
    create_parent(database, "public.gone", "k", "10")
