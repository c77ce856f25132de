"""Creating, updating and moving extensions, and rehearsing it."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from backend.core.declare import Danger
from backend.core.errors import Missing, Refused, Usage
from tests.rooms.extensions.conftest import Console, Consoles
from tests.servers import Database, OwnClusters

HERE = (
    "SELECT extname::text, extversion, nspname::text FROM pg_extension"
    " JOIN pg_namespace n ON n.oid = extnamespace WHERE extname <> 'plpgsql' ORDER BY 1"
)
ODD = 'Odd "s\n%s'


def commands(plan: Any) -> list[str]:
    return [s.text for s in plan.steps if not s.text.startswith(("SELECT", "WITH", "check"))]


@pytest.fixture
def older(database: Database) -> Database:
    """A database with hstore 1.6 and a schema with an odd name."""
    database.execute("CREATE EXTENSION hstore VERSION '1.6'")
    database.execute('CREATE SCHEMA "Odd ""s\n%s"')
    return database


async def test_creates_an_extension(console: Console, database: Database) -> None:
    database.execute('CREATE SCHEMA "Odd ""s\n%s"')
    plan = await console.plan("extensions.create", name="hstore", schema=ODD, version="1.6")
    assert (plan.subject, plan.danger) == ("hstore", Danger.CHANGE)
    assert commands(plan) == ['CREATE EXTENSION "hstore" SCHEMA "Odd ""s\n%s" VERSION "1.6";']
    assert database.execute(HERE) == []
    told = await console.done("extensions.create", name="hstore", schema=ODD, version="1.6")
    assert told == {"name": "hstore", "version": "1.6", "schema": ODD, "also": []}
    assert database.execute(HERE) == [("hstore", "1.6", ODD)]


async def test_creates_what_it_needs_only_when_told_to(console: Console, database: Database) -> None:
    with pytest.raises(Refused, match="extension earthdistance needs cube, not installed here") as refused:
        await console.plan("extensions.create", name="earthdistance")
    assert refused.value.hint == "--cascade creates what it needs"
    plan = await console.plan("extensions.create", name="earthdistance", cascade=True)
    assert len(plan.notes) == 1
    assert plan.notes[0].startswith("cube 1.")
    told = await console.done("extensions.create", name="earthdistance", cascade=True)
    assert [each["name"] for each in told["also"]] == ["cube"]
    assert [name for name, _, _ in database.execute(HERE)] == ["cube", "earthdistance"]


async def test_says_when_an_extension_wants_to_be_preloaded(console: Console) -> None:
    plan = await console.plan("extensions.create", name="pg_stat_statements")
    assert "it wants pg_stat_statements in shared_preload_libraries" in plan.notes[0]


@pytest.mark.parametrize(
    ("params", "kind", "sentence"),
    [
        ({"name": "no'such\n"}, Missing, "no files of the extension no'such"),
        ({"name": "hstore"}, Refused, "extension hstore 1.6 is installed already, in schema public"),
        ({"name": "citext", "version": "0.1"}, Refused, "do not create version 0.1 of citext"),
        ({"name": "citext", "schema": "nosuch"}, Refused, "has no schema nosuch"),
        ({"name": "citext", "schema": "pg_catalog"}, Usage, "names that begin with pg_ belong to the system"),
        ({"name": " "}, Usage, "--name is empty"),
        ({"name": "a\0"}, Usage, "--name holds a zero byte"),
        ({"name": "citext", "version": ""}, Usage, "--version is empty"),
    ],
)
async def test_what_cannot_be_created_is_refused(
    console: Console, older: Database, params: dict[str, Any], kind: type[Exception], sentence: str
) -> None:
    with pytest.raises(kind, match=sentence):
        await console.plan("extensions.create", **params)


async def test_updates_an_extension(console: Console, older: Database) -> None:
    plan = await console.plan("extensions.update", name="hstore")
    assert commands(plan) == ['ALTER EXTENSION "hstore" UPDATE TO "1.8";']
    assert plan.notes == ("the way is 1.6--1.7--1.8", "there is no way back to 1.6")
    assert older.execute(HERE) == [("hstore", "1.6", "public")]
    assert (await console.done("extensions.update", name="hstore", version="1.7"))["version"] == "1.7"
    assert older.execute(HERE) == [("hstore", "1.7", "public")]
    await console.done("extensions.update", name="hstore")
    with pytest.raises(Refused, match=r"extension hstore is 1\.8 already"):
        await console.plan("extensions.update", name="hstore")
    with pytest.raises(Refused, match=r"extension hstore 1\.8 has no update path to 9\.9"):
        await console.plan("extensions.update", name="hstore", version="9.9")
    with pytest.raises(Refused, match="has no extension citext"):
        await console.plan("extensions.update", name="citext")


async def test_moves_an_extension(console: Console, older: Database) -> None:
    plan = await console.plan("extensions.move", name="hstore", schema=ODD)
    assert commands(plan) == ['ALTER EXTENSION "hstore" SET SCHEMA "Odd ""s\n%s";']
    assert older.execute(HERE) == [("hstore", "1.6", "public")]
    assert (await console.done("extensions.move", name="hstore", schema=ODD))["schema"] == ODD
    assert older.execute(HERE) == [("hstore", "1.6", ODD)]
    with pytest.raises(Refused, match="is in schema Odd"):
        await console.plan("extensions.move", name="hstore", schema=ODD)
    with pytest.raises(Refused, match="extension plpgsql cannot be moved"):
        await console.plan("extensions.move", name="plpgsql", schema="public")
    with pytest.raises(Refused, match="has no schema nosuch"):
        await console.plan("extensions.move", name="hstore", schema="nosuch")


@pytest.mark.parametrize(
    ("action", "params", "least"),
    [
        ("extensions.create", {"name": "citext"}, {"name": "citext", "schema": "public", "also": []}),
        ("extensions.update", {"name": "hstore"}, {"name": "hstore", "version": "1.8"}),
        ("extensions.move", {"name": "hstore", "schema": ODD}, {"schema": ODD}),
        ("extensions.drop", {"name": "hstore"}, {"name": "hstore", "version": None}),
    ],
)
async def test_a_rehearsal_does_all_of_it_and_leaves_nothing(
    console: Console, older: Database, action: str, params: dict[str, Any], least: dict[str, Any]
) -> None:
    plan = await console.plan(action, rehearse=True, **params)
    assert plan.danger is Danger.DISRUPT
    assert commands(plan)[:2] == ["BEGIN;", "SET LOCAL lock_timeout = '200ms';"]
    assert [s.text for s in plan.always] == ["ROLLBACK;"]
    assert plan.notes[0].startswith("it is tried and rolled back: what it changes elsewhere stays")
    told = await console.done(action, rehearse=True, **params)
    assert told.items() >= ({"rehearsed": True} | least).items()
    assert older.execute(HERE) == [("hstore", "1.6", "public")]


async def test_a_rehearsal_says_what_would_fail_and_leaves_nothing(console: Console, older: Database) -> None:
    run = await console.start("extensions.drop", name="hstore", rehearse=True)
    older.execute("CREATE TABLE t (h hstore)")
    report = await run.execute()
    assert report.error is not None
    assert "other objects depend on it" in report.error.message
    assert [s.status for s in report.steps][-1] == "done"
    assert older.execute(HERE) == [("hstore", "1.6", "public")]


async def test_a_rehearsal_waits_shortly_for_a_lock(console: Console, older: Database) -> None:
    older.execute("CREATE TABLE t (h hstore)")
    with psycopg.connect(older.dsn) as other:
        other.execute("SELECT * FROM t")
        report = await console.run("extensions.drop", name="hstore", cascade=True, rehearse=True)
    assert report.error is not None
    assert report.error.sqlstate == "55P03"
    assert report.seconds < 3
    assert older.execute("SELECT count(*) FROM pg_attribute WHERE attname = 'h'") == [(1,)]


async def test_a_role_without_the_right_is_told_what_helps(
    older: Database, few: str, consoles: Consoles
) -> None:
    console = await consoles(make_conninfo(older.dsn, user=few))
    [(owner,)] = older.execute("SELECT current_user")
    grant = f'GRANT "{owner}" TO "{few}" lets it'
    for action, more in (("update", {}), ("move", {"schema": "public"}), ("drop", {})):
        with pytest.raises(Missing) as missing:
            await console.plan(f"extensions.{action}", name="hstore", **more)
        assert (
            missing.value.message == f"extension hstore belongs to {owner}, and role {few} may not change it"
        )
        assert missing.value.hint == grant
    with pytest.raises(Missing, match="only a superuser creates the extension dblink"):
        await console.plan("extensions.create", name="dblink")
    with pytest.raises(Missing) as missing:
        await console.plan("extensions.create", name="citext")
    assert missing.value.hint == f'GRANT CREATE ON DATABASE "{older.name}" TO "{few}" lets it'
    older.execute(str(missing.value.hint).removesuffix(" lets it"))
    with pytest.raises(Missing) as missing:
        await console.plan("extensions.create", name="citext", schema=ODD)
    assert missing.value.hint == f'GRANT CREATE ON SCHEMA "Odd ""s\n%s" TO "{few}" lets it'
    older.execute(str(missing.value.hint).removesuffix(" lets it"))
    older.execute(f'GRANT USAGE ON SCHEMA "Odd ""s\n%s" TO "{few}"')
    assert (await console.done("extensions.create", name="citext", schema=ODD))["schema"] == ODD


async def test_nothing_is_changed_on_a_standby(own_cluster: OwnClusters, consoles: Consoles) -> None:
    primary = own_cluster()
    console = await consoles(own_cluster.standby(primary).dsn())
    assert [r.name for r in await console.rows("extensions.installed")] == ["plpgsql"]
    for action in ("create", "update", "drop"):
        with pytest.raises(Refused, match="this is a standby"):
            await console.plan(f"extensions.{action}", name="hstore")
