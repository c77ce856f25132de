"""What is installed, what could be, and which versions there are."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from backend.core.declare import Health
from backend.core.errors import Usage
from tests.rooms.extensions.conftest import Console, Consoles
from tests.servers import Database, OwnClusters


async def one(console: Console, name: str) -> Any:
    [row] = [r for r in await console.rows("extensions.installed") if r.name == name]
    return row


def pretend(database: Database, change: str) -> None:
    """Change what the catalog says of hstore, as an upgrade of the host's files would."""
    with psycopg.connect(
        database.dsn, options="-c allow_system_table_mods=on", autocommit=True
    ) as connection:
        connection.execute(f"UPDATE pg_extension SET {change} WHERE extname = 'hstore'".encode())


async def test_tells_versions_and_the_way_between_them(console: Console, database: Database) -> None:
    database.execute("CREATE EXTENSION hstore VERSION '1.6'")
    database.execute("CREATE EXTENSION citext")
    row = await one(console, "hstore")
    assert (row.version, row.status, row.path) == ("1.6", "update", f"1.6--1.7--{row.default_version}")
    assert (row.schema, row.owner) == ("public", database.execute("SELECT current_user")[0][0])
    assert row.about is not None
    assert (await one(console, "citext")).status == "ok"
    assert (await console.judged("extensions.installed")).overall.health is Health.OK


async def test_tells_what_needs_what(console: Console, database: Database) -> None:
    database.execute("CREATE EXTENSION earthdistance CASCADE")
    assert (await one(console, "earthdistance")).requires == "cube"
    assert (await one(console, "cube")).required_by == "earthdistance"
    assert (await one(console, "cube")).dependents == 0
    members = database.execute(
        "SELECT count(*) FROM pg_depend d JOIN pg_extension e ON e.oid = refobjid"
        " WHERE extname = 'cube' AND deptype = 'e' AND refclassid = 'pg_extension'::regclass"
    )
    assert [((await one(console, "cube")).members,)] == members


async def test_counts_what_users_have_built_on_it(console: Console, database: Database) -> None:
    database.execute("CREATE EXTENSION hstore")
    assert (await one(console, "hstore")).dependents == 0
    database.execute("CREATE TABLE t (h hstore, g hstore)")
    database.execute("CREATE VIEW v AS SELECT 'a=>1'::hstore AS x")
    assert (await one(console, "hstore")).dependents == 3


async def test_missing_files_and_dead_ends_are_warnings(console: Console, database: Database) -> None:
    database.execute("CREATE EXTENSION hstore")
    pretend(database, "extversion = '9.9'")
    judged = await console.judged("extensions.installed")
    assert judged.overall.health is Health.WARNING
    assert "it is 9.9 and the files are for 1." in judged.overall.sentence
    pretend(database, "extname = 'o\"d\n%s'")
    row = await one(console, 'o"d\n%s')
    assert (row.status, row.default_version) == ("files missing", None)
    judged = await console.judged("extensions.installed")
    assert "a dump could not be restored here" in judged.overall.sentence


async def test_tells_whether_what_wants_to_be_preloaded_is(
    own_cluster: OwnClusters, consoles: Consoles
) -> None:
    for libraries, wanted, health in (
        ("", "not loaded", Health.WARNING),
        ("auto_explain, pg_stat_statements", "loaded", Health.OK),
    ):
        server = own_cluster({"shared_preload_libraries": libraries})
        server.psql("CREATE EXTENSION pg_stat_statements")
        server.psql("CREATE ROLE few LOGIN")
        console = await consoles(server.dsn())
        assert (await one(console, "pg_stat_statements")).preload == wanted
        assert (await one(console, "plpgsql")).preload is None
        judged = await console.judged("extensions.installed")
        assert judged.overall.health is health
        few = await consoles(make_conninfo(server.dsn(), user="few"))
        assert (await one(few, "pg_stat_statements")).preload == "hidden"


async def test_lists_what_could_be_installed(console: Console, database: Database) -> None:
    database.execute("CREATE EXTENSION citext")
    rows = {r.name: r for r in await console.rows("extensions.available")}
    assert rows["citext"].installed_version == rows["citext"].default_version
    assert (rows["earthdistance"].requires, rows["earthdistance"].installed_version) == ("cube", None)
    assert (rows["citext"].superuser, rows["citext"].trusted) == (False, True)
    assert rows["dblink"].superuser is True


async def test_lists_the_versions_of_one(console: Console, database: Database) -> None:
    database.execute("CREATE EXTENSION hstore VERSION '1.6'")
    rows = {r.version: r for r in await console.rows("extensions.versions", name="hstore")}
    assert next(iter(rows)) == "1.8"
    assert (rows["1.8"].path, rows["1.8"].by_default) == ("1.6--1.7--1.8", True)
    assert (rows["1.6"].installed, rows["1.6"].path) == (True, None)
    assert (rows["1.1"].creatable, rows["1.4"].creatable) == (False, True)
    assert await console.rows("extensions.versions", name="no'such\n%s") == []
    with pytest.raises(Usage, match="--name is empty"):
        await console.rows("extensions.versions", name=" ")
