"""Installing, upgrading and dropping pgtui's own jobmon, as actions."""

from __future__ import annotations

import pytest
from psycopg import sql

from backend.core.declare import Danger
from backend.core.errors import Missing, Refused, Usage
from backend.jobmon.api import API_VERSION, OWN_MARKER
from tests.rooms.jobmon.conftest import Console, Consoles, until
from tests.servers import Database, OwnClusters

ODD_NAMES = ["Weird Schema", 'quo"te', "apo'strophe", "{brace} %s", "ünï", "select", "[/x]"]
EVERYTHING = "SELECT count(*) FROM pg_class UNION ALL SELECT count(*) FROM pg_proc"


async def test_creates_the_log_and_proves_it_with_a_test_job(bare: Database, consoles: Consoles) -> None:
    console = await consoles(bare.dsn)
    result = await console.done("jobmon.install")
    [(owner,)] = bare.execute("SELECT current_user")
    assert (result["schema"], result["owner"], result["status"]) == ("jobmon", owner, "OK")
    assert bare.execute("SELECT job_name, status FROM jobmon.job_log") == [("PGTUI CONNECTION TEST", "OK")]
    assert [j.job for j in await console.rows("jobmon.jobs")] == ["PGTUI CONNECTION TEST"]


async def test_creates_dblink_and_says_so(bare: Database, consoles: Consoles) -> None:
    console = await consoles(bare.dsn)
    plan = await console.plan("jobmon.install")
    assert plan.danger is Danger.CHANGE
    assert plan.notes == ("the extension dblink is created too, in schema dblink",)
    await console.done("jobmon.install")
    assert bare.execute(
        "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'dblink'"
    ) == [("dblink",)]


async def test_uses_dblink_where_it_is(bare: Database, consoles: Consoles) -> None:
    bare.execute('CREATE SCHEMA "odd place"')
    bare.execute('CREATE EXTENSION dblink SCHEMA "odd place"')
    console = await consoles(bare.dsn)
    assert (await console.plan("jobmon.install")).notes == ()
    assert (await console.done("jobmon.install"))["status"] == "OK"


@pytest.mark.parametrize("schema", ODD_NAMES)
async def test_works_in_a_schema_of_any_name(bare: Database, consoles: Consoles, schema: str) -> None:
    console = await consoles(bare.dsn)
    assert (await console.done("jobmon.install", schema=schema))["schema"] == schema
    assert (await console.done("jobmon.run_sql", job="it's {x}", sql="SELECT 1"))["job"] == "IT'S {X}"
    for view in ("jobmon.alerts", "jobmon.running", "jobmon.jobs", "jobmon.settings"):
        await console.rows(view)
    assert [s.action for s in await console.rows("jobmon.steps", job_id=2)] == ["Running sql: 'SELECT 1'"]
    assert await console.done("jobmon.uninstall") == {"schema": schema, "gone": True}


async def test_a_plan_changes_nothing(bare: Database, consoles: Consoles) -> None:
    before = bare.execute(EVERYTHING)
    await (await consoles(bare.dsn)).plan("jobmon.install")
    assert bare.execute(EVERYTHING) == before


async def test_takes_an_empty_schema_and_no_other(bare: Database, consoles: Consoles) -> None:
    bare.execute("CREATE SCHEMA mine; CREATE TABLE mine.job_log (n integer)")
    bare.execute("CREATE SCHEMA empty")
    console = await consoles(bare.dsn)
    with pytest.raises(Refused, match="schema mine has 1 object of its own"):
        await console.plan("jobmon.install", schema="mine")
    assert (await console.done("jobmon.install", schema="empty"))["schema"] == "empty"


@pytest.mark.parametrize(
    ("schema", "sentence"),
    [
        ("", "--schema is empty"),
        ("x" * 64, "longer than 63 bytes"),
        ("a\0b", "zero byte"),
        ("pg_jobs", "belong to the system"),
    ],
)
async def test_a_name_that_no_schema_can_have_is_wrong_usage(
    bare: Database, consoles: Consoles, schema: str, sentence: str
) -> None:
    with pytest.raises(Usage, match=sentence):
        await (await consoles(bare.dsn)).plan("jobmon.install", schema=schema)


async def test_refuses_what_is_installed_already(console: Console) -> None:
    with pytest.raises(Refused, match=f"pgtui's jobmon {API_VERSION} is in schema jobmon already"):
        await console.plan("jobmon.install")


async def test_brings_an_older_version_up_to_date_where_it_is(jobmon: Database, consoles: Consoles) -> None:
    jobmon.execute("SELECT jobmon.close_job(jobmon.add_job('kept'))")
    jobmon.execute(
        f"CREATE OR REPLACE FUNCTION jobmon.{OWN_MARKER}() RETURNS integer LANGUAGE sql AS 'SELECT 0'"
    )
    console = await consoles(jobmon.dsn)
    with pytest.raises(Refused, match="is in schema jobmon, not in elsewhere"):
        await console.plan("jobmon.install", schema="elsewhere")
    assert (await console.done("jobmon.install"))["status"] == "OK"
    assert console.session.facts.extensions["jobmon"].version_text == API_VERSION
    assert [j.job for j in await console.rows("jobmon.jobs")] == ["PGTUI CONNECTION TEST", "KEPT"]


async def test_takes_all_back_when_the_test_job_fails(own_cluster: OwnClusters, consoles: Consoles) -> None:
    server = own_cluster()
    rules = server.data / "pg_hba.conf"
    rules.write_text("local shop nobody trust\nlocal postgres all trust\n" + rules.read_text())
    server.psql("CREATE DATABASE shop")
    shop = Database(server, "shop")
    before = shop.execute(EVERYTHING)
    console = await consoles(shop.dsn)
    run = await console.start("jobmon.install")
    await run.connection(None, None)
    rules.write_text("local all all reject\n")
    server.cluster.reload()
    report = await run.execute()
    assert report.status == "failed"
    assert report.error is not None
    assert report.error.message.startswith("the server says: could not establish connection (")
    assert "pg_hba.conf rejects connection" in report.error.message
    assert report.steps[0].status == "undone"
    rules.write_text("local all all trust\n")
    server.cluster.reload()
    until(lambda: shop.execute(EVERYTHING) == before)


async def test_an_ordinary_role_is_told_what_is_missing(bare: Database, consoles: Consoles) -> None:
    role = f"{bare.name} plain"
    name = sql.Identifier(role)
    bare.execute(sql.SQL("CREATE ROLE {} LOGIN").format(name))
    try:
        console = await consoles(bare.server.dsn(bare.name, user=role))
        with pytest.raises(
            Missing, match="is no superuser, and dblink connects such a role only with a password"
        ):
            await console.plan("jobmon.install")
        with pytest.raises(Missing, match="has no dblink, and only a superuser creates it"):
            await console.plan("jobmon.install", password="x")
        bare.execute("CREATE EXTENSION dblink")
        with pytest.raises(Missing, match="may not create a schema") as caught:
            await console.plan("jobmon.install", password="x")
    finally:
        bare.execute(sql.SQL("DROP ROLE {}").format(name))
    assert f'TO "{role}"' in str(caught.value.hint)


async def test_the_owner_of_a_database_installs_with_a_password(
    own_cluster: OwnClusters, consoles: Consoles
) -> None:
    server = own_cluster({"listen_addresses": "127.0.0.1"})
    server.psql("CREATE ROLE logger LOGIN PASSWORD 's3cret'")
    server.psql("CREATE DATABASE shop OWNER logger")
    server.psql("CREATE EXTENSION dblink", "shop")
    rules = server.data / "pg_hba.conf"
    rules.write_text("host shop logger 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
    server.cluster.reload()
    console = await consoles(server.dsn("shop", user="logger", password="s3cret", host="127.0.0.1"))
    plan = await console.plan("jobmon.install", password="s3cret")
    assert "s3cret" not in str([step.text for step in plan.steps])
    report = await console.run("jobmon.install", password="s3cret")
    if report.status == "refused":  # the server would log the secret, and this role cannot help it
        assert report.error is not None
        assert "secret" in report.error.message
        return
    assert report.error is None, report.error.message
    assert report.result["logged_as"] == "logger"
    wrong = await console.run("jobmon.set_connection", password="wrong")
    assert wrong.status == "failed"
    assert "wrong" not in str(wrong.to_json())
    server.psql("SELECT jobmon.close_job(jobmon.add_job('still logged'))", "shop")


async def test_a_standby_is_refused_and_shows_everything(
    own_cluster: OwnClusters, consoles: Consoles
) -> None:
    primary = own_cluster()
    primary.psql("CREATE DATABASE shop")
    writer = await consoles(primary.dsn("shop"))
    await writer.done("jobmon.install")
    standby = own_cluster.standby(primary)
    primary.psql("SELECT jobmon.add_job('open'), jobmon.fail_job(jobmon.add_job('bad'))", "shop")
    primary.psql("INSERT INTO jobmon.job_check_config VALUES ('BAD', '1 day', '2 days', true)", "shop")
    until(lambda: standby.psql("SELECT count(*) FROM jobmon.job_check_config", "shop") == [(1,)])
    console = await consoles(standby.dsn("shop"))
    assert [a.job for a in await console.rows("jobmon.alerts")] == ["BAD"]
    assert [(j.job, j.state) for j in await console.rows("jobmon.running")] == [("OPEN", "OPEN")]
    assert [j.status for j in await console.rows("jobmon.jobs")] == ["CRITICAL", "OPEN", "OK"]
    for action in ("jobmon.install", "jobmon.uninstall"):
        with pytest.raises(Refused, match="this is a standby; it works on the primary"):
            await console.plan(action)


async def test_uninstalling_drops_the_log_and_says_how_much(console: Console, jobmon: Database) -> None:
    jobmon.execute("SELECT jobmon.close_job(jobmon.add_job('x'))")
    plan = await console.plan("jobmon.uninstall")
    assert (plan.danger, plan.subject) == (Danger.DESTROY, "jobmon")
    assert plan.notes == ("the log of 1 job and the thresholds of 0 would be lost",)
    assert await console.done("jobmon.uninstall") == {"schema": "jobmon", "gone": True}
    with pytest.raises(Missing, match=r"has no jobmon; jobmon.install creates it"):
        await console.rows("jobmon.jobs")
    assert (await console.done("jobmon.install"))["status"] == "OK"


async def test_uninstalling_is_refused_while_something_depends_on_the_log(
    console: Console, jobmon: Database
) -> None:
    jobmon.execute("CREATE VIEW public.report AS SELECT job_name FROM jobmon.job_log")
    with pytest.raises(Refused, match=r"^view public\.report would break$"):
        await console.plan("jobmon.uninstall")
