"""Settings that are changed so that the server takes them, and starts again with them."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from backend.cluster.guc import SETTINGS, Setting, in_unit
from backend.core.declare import Danger
from backend.core.errors import Missing, Refused, Usage
from tests.rooms.cluster.kinds import Operating, Subject, operating, subject
from tests.rooms.jobmon.conftest import Consoles, consoles
from tests.servers import OwnClusters, Server

__all__ = ["consoles", "operating", "subject"]


def auto_conf(server: Server) -> str:
    return (server.data / "postgresql.auto.conf").read_text()


def shown(server: Server, name: str) -> str:
    [(value,)] = server.psql(sql.SQL("SHOW {}").format(sql.Identifier(name)))
    return str(value)


@pytest.fixture
def restarted(own_cluster: OwnClusters) -> Iterator[Server]:
    """A server that has to start again and let the DBA in when the test is over."""
    made = own_cluster()
    yield made
    made.restart()
    assert made.psql("SELECT 1") == [(1,)]


async def test_a_value_is_set_and_proved_and_taken_back(restarted: Server, consoles: Consoles) -> None:
    console = await consoles(restarted.dsn())
    before = auto_conf(restarted)
    plan = await console.plan("cluster.set", name="WORK_MEM", value="8MB")
    assert (plan.subject, plan.danger) == ("work_mem", Danger.CHANGE)
    assert plan.steps[1].text == "ALTER SYSTEM SET \"work_mem\" = '8MB';"
    assert plan.notes[0] == "now 4MB (not by ALTER SYSTEM)"
    assert (auto_conf(restarted), shown(restarted, "work_mem")) == (before, "4MB")

    told = await console.done("cluster.set", name="work_mem", value="8MB")
    assert told == {
        "name": "work_mem", "value": "8192", "unit": "kB", "was": "4096",
        "source": "configuration file", "restart": False,
    }  # fmt: skip
    assert shown(restarted, "work_mem") == "8MB"
    with pytest.raises(Refused, match="work_mem is 8MB by ALTER SYSTEM already"):
        await console.plan("cluster.set", name="work_mem", value="8MB")

    told = await console.done("cluster.reset", name="work_mem")
    assert (told["value"], told["source"]) == ("4096", "default")
    assert (auto_conf(restarted), shown(restarted, "work_mem")) == (before, "4MB")
    with pytest.raises(Refused, match="work_mem is not set by ALTER SYSTEM") as refused:
        await console.plan("cluster.reset", name="work_mem")
    assert refused.value.hint == "it has its default, 4096"


async def test_what_takes_a_restart_is_said_to_and_waits_for_it(
    restarted: Server, consoles: Consoles
) -> None:
    console = await consoles(restarted.dsn())
    plan = await console.plan("cluster.set", name="max_connections", value="50")
    assert "it takes a restart of the server: until then the old value is in force" in plan.notes
    told = await console.done("cluster.set", name="max_connections", value="50")
    assert (told["value"], told["restart"]) == ("100", True)
    restarted.restart()
    assert shown(restarted, "max_connections") == "50"


ODD = [
    ("shared_preload_libraries", "auto_explain, pg_stat_statements", "auto_explain, pg_stat_statements"),
    ("search_path", '"$user", Public, "a,b ""c"', '"$user", public, "a,b ""c"'),
    ("session_preload_libraries", "auto_explain", "auto_explain"),
    ("DateStyle", "ISO, DMY", "ISO, DMY"),
    ("log_destination", "stderr, csvlog", "stderr, csvlog"),
    ("synchronous_standby_names", 'FIRST 1 (a, "b c")', 'FIRST 1 (a, "b c")'),
    ("log_line_prefix", "%m [%p], ", "%m [%p], "),
    ("log_file_mode", "0640", "0640"),
    ("restore_command", r"cp '%p' C:\x\%f", r"cp '%p' C:\x\%f"),
]


async def test_lists_and_odd_values_survive_a_restart(restarted: Server, consoles: Consoles) -> None:
    console = await consoles(restarted.dsn())
    for name, value, _ in ODD:
        await console.done("cluster.set", name=name, value=value)
    restarted.restart()
    assert [shown(restarted, name) for name, _, _ in ODD] == [seen for _, _, seen in ODD]
    again = await consoles(restarted.dsn())
    for name, _, _ in ODD:
        await again.done("cluster.reset", name=name)
    assert "=" not in auto_conf(restarted)


async def test_every_setting_is_known_that_the_server_quotes_by_element(
    restarted: Server, consoles: Consoles
) -> None:
    console = await consoles(restarted.dsn())
    settings = await console.session.fetch(Setting, SETTINGS)
    quoted = set()
    for setting in settings:
        if setting.vartype != "string" or setting.context == "internal":
            continue
        name = sql.Identifier(setting.name)
        try:
            restarted.psql(sql.SQL("ALTER SYSTEM SET {} = 'a, b'").format(name))
        except psycopg.Error:
            continue
        if '"a, b"' in auto_conf(restarted):
            quoted.add(setting.name)
        restarted.psql(sql.SQL("ALTER SYSTEM RESET {}").format(name))
    assert quoted == {s.name for s in settings if s.is_list}


REFUSED = [
    ("Work_Men", "1", Refused, "no setting called Work_Men", "did you mean work_mem?"),
    ("auto_explain.log_min_duration", "1", Refused, "no setting called auto_explain", "has to be loaded"),
    ("server_version", "99", Refused, "server_version cannot be changed: it was fixed when", None),
    ("data_directory", "/x", Refused, "can only be changed in postgresql.conf itself", None),
    ("jit", "maybe", Usage, "jit wants on or off, not 'maybe'", None),
    ("work_mem", "5 parsec", Usage, "work_mem wants a number, with or without a unit: B, kB, MB", None),
    ("work_mem", "1kB", Usage, "work_mem wants 64 to 2147483647 .in units of kB., not 1kB", None),
    ("port", "70000", Usage, "port wants 1 to 65535, not 70000", None),
    ("statement_timeout", "5MB", Usage, "with or without a unit: us, ms, s, min, h, d", None),
    ("wal_level", "most", Usage, "wal_level wants one of minimal, replica, logical", None),
    ("search_path", 'a, "b', Usage, "search_path wants a list with commas between", "double quotes: "),
    ("shared_preload_libraries", "", Usage, "wants a list", None),
    ("work_mem", "1\n2", Usage, "a value of work_mem is one line of text", None),
    ("shared_preload_libraries", "nosuch", Refused, 'could not access file "nosuch"', None),
    ("shared_preload_libraries", '"auto_explain, pgtui"', Refused, "could not access file", None),
    ("shared_buffers", "100TB", Usage, "shared_buffers wants", None),
    ("shared_buffers", "7TB", Refused, "MB of shared memory, and the host has", None),
    ("wal_level", "minimal", Refused, "would not start again: WAL streaming", None),
    ("superuser_reserved_connections", "300", Refused, "must be less than", None),
    ("unix_socket_directories", "/no/such", Refused, "/no/such is no folder in which it can make", None),
    ("hba_file", "/no/such", Refused, "with hba_file = /no/such the server would not start again", None),
    ("ssl", "on", Refused, "with ssl = on the server would not start again", None),
    ("port", "80", Refused, "ports below 1024 are for root", None),
]  # fmt: skip


async def test_what_would_keep_the_server_from_starting_is_refused(
    restarted: Server, consoles: Consoles, own_cluster: OwnClusters
) -> None:
    console = await consoles(restarted.dsn())
    before = auto_conf(restarted)
    other = own_cluster()
    taken = ("port", str(other.port), Refused, f"something listens on port {other.port} already", None)
    for name, value, kind, sentence, hint in (*REFUSED, taken):
        with pytest.raises(kind, match=sentence) as refused:
            await console.plan("cluster.set", name=name, value=value)
        assert hint is None or hint in str(refused.value.hint)
    assert auto_conf(restarted) == before


async def test_room_for_what_the_server_keeps_is_not_taken_away(
    restarted: Server, consoles: Consoles
) -> None:
    console = await consoles(restarted.dsn())
    restarted.psql("SELECT pg_create_logical_replication_slot('s', 'pgoutput')")
    with psycopg.connect(restarted.dsn()) as connection:
        connection.execute("CREATE TABLE t ()")
        connection.execute("PREPARE TRANSACTION 'x'")
    for name, value, sentence in [
        ("max_replication_slots", "0", "it has 1 replication slots"),
        ("wal_level", "replica", "it has 1 logical replication slots"),
        ("max_prepared_transactions", "0", "it holds 1 prepared transactions"),
    ]:
        with pytest.raises(Refused, match=f"{name} = {value} the server would not start again: {sentence}"):
            await console.plan("cluster.set", name=name, value=value)


async def test_a_standby_keeps_as_much_room_as_its_primary(
    own_cluster: OwnClusters, consoles: Consoles
) -> None:
    standby = own_cluster.standby(own_cluster())
    console = await consoles(standby.dsn())
    with pytest.raises(Refused, match="it is a standby, and its primary has 100"):
        await console.plan("cluster.set", name="max_connections", value="90")
    told = await console.done("cluster.set", name="max_connections", value="110")
    assert told["restart"] is True
    standby.restart()
    assert shown(standby, "max_connections") == "110"


async def test_a_file_with_an_error_is_named_before_anything_is_changed(
    own_cluster: OwnClusters, consoles: Consoles
) -> None:
    server = own_cluster()
    console = await consoles(server.dsn())
    file, whole = server.data / "pgtui.conf", (server.data / "pgtui.conf").read_text()
    file.write_text(f"{whole}no_such = 1\n")
    with pytest.raises(Refused, match=r"a reload would apply nothing: .*pgtui\.conf line \d+: no_such"):
        await console.plan("cluster.set", name="work_mem", value="8MB")
    file.write_text(f"{whole}work_mem = many\n")
    with pytest.raises(Refused, match=r"the server would not start again already: .*work_mem.*many"):
        await console.plan("cluster.set", name="maintenance_work_mem", value="8MB")
    file.write_text(whole)
    await console.done("cluster.set", name="work_mem", value="8MB")


async def test_what_the_command_line_says_cannot_be_changed(
    own_cluster: OwnClusters, consoles: Consoles
) -> None:
    server = own_cluster()
    words = ["-D", str(server.data), "-l", str(server.cluster.log), "-w", "-o", "-c work_mem=5MB", "restart"]
    server.cluster.account.run([server.installation.program("pg_ctl"), *words])
    console = await consoles(server.dsn())
    with pytest.raises(Refused, match="work_mem is given on the server's command line"):
        await console.plan("cluster.set", name="work_mem", value="8MB")


async def test_those_for_whom_it_does_not_count_are_named(restarted: Server, consoles: Consoles) -> None:
    restarted.psql("CREATE ROLE app LOGIN")
    restarted.psql("ALTER ROLE app SET work_mem = '64MB'")
    restarted.psql("ALTER ROLE app IN DATABASE postgres SET work_mem = '65MB'")
    restarted.psql("ALTER DATABASE postgres SET work_mem = '66MB'")
    console = await consoles(restarted.dsn())
    plan = await console.plan("cluster.set", name="work_mem", value="8MB")
    assert plan.notes[-3:] == (
        "role app in database postgres has 65MB of its own, which wins there",
        "database postgres has 66MB of its own, which wins there",
        "role app has 64MB of its own, which wins there",
    )
    told = await console.done("cluster.set", name="work_mem", value="8MB")
    assert told["source"] == "database"


async def test_a_role_is_told_which_right_it_lacks(restarted: Server, consoles: Consoles) -> None:
    restarted.psql("CREATE ROLE few LOGIN")
    console = await consoles(restarted.dsn(user="few"))
    major = restarted.major
    with pytest.raises(Missing, match="role few may not change work_mem for the server") as missing:
        await console.plan("cluster.set", name="work_mem", value="8MB")
    if major < 15:
        assert missing.value.hint == "act as a superuser"
        return
    assert missing.value.hint == "GRANT ALTER SYSTEM ON PARAMETER work_mem TO few"
    restarted.psql("GRANT ALTER SYSTEM ON PARAMETER work_mem TO few")
    with pytest.raises(Missing, match="role few may not reload the configuration"):
        await console.plan("cluster.set", name="work_mem", value="8MB")
    restarted.psql("GRANT EXECUTE ON FUNCTION pg_reload_conf() TO few")
    told = await console.done("cluster.set", name="work_mem", value="8MB")
    assert told["value"] == "8192"


async def test_the_value_before_comes_back_when_a_step_fails(restarted: Server, consoles: Consoles) -> None:
    if restarted.major < 15:
        pytest.skip("ALTER SYSTEM cannot be granted before PostgreSQL 15")
    await (await consoles(restarted.dsn())).done("cluster.set", name="work_mem", value="7MB")
    restarted.psql("CREATE ROLE few LOGIN")
    restarted.psql("GRANT ALTER SYSTEM ON PARAMETER work_mem TO few")
    console = await consoles(restarted.dsn(), act=restarted.dsn(user="few"))
    report = await console.run("cluster.set", name="work_mem", value="8MB")
    assert report.error is not None
    assert [s.status for s in report.steps][1] == "undone"
    assert "work_mem = '7MB'" in auto_conf(restarted)


async def test_a_manager_that_would_undo_it_is_named(restarted: Server, consoles: Consoles) -> None:
    (restarted.data / "patroni.dynamic.json").write_text("{}")
    console = await consoles(restarted.dsn())
    for action, params in (
        ("cluster.set", {"name": "work_mem", "value": "8MB"}),
        ("cluster.reset", {"name": "work_mem"}),
        ("cluster.remove_hba_rule", {"line": 1}),
    ):
        with pytest.raises(Refused, match="Patroni manages this server") as refused:
            await console.plan(action, **params)
        assert refused.value.hint == "change it through Patroni"


async def test_servers_of_every_kind_take_a_setting_and_start_with_it(
    subject: Subject, operating: Operating
) -> None:
    console = operating(subject)
    await console.done("cluster.start")
    told = await console.done("cluster.set", name="shared_preload_libraries", value="auto_explain")
    assert told["restart"] is True
    await console.done("cluster.restart")
    assert subject.ask("SHOW shared_preload_libraries") == [("auto_explain",)]
    error = await console.refused("cluster.set", name="shared_preload_libraries", value="nosuch")
    assert 'could not access file "nosuch"' in error.message


async def test_numbers_are_read_as_the_server_reads_them(restarted: Server, consoles: Consoles) -> None:
    with psycopg.connect(restarted.dsn()) as connection:
        for name, unit, text in [
            ("work_mem", "kB", "4096"), ("work_mem", "kB", "8MB"), ("work_mem", "kB", "1.5MB"),
            ("work_mem", "kB", "0x1000"), ("work_mem", "kB", "010000"), ("work_mem", "kB", " 64 kB "),
            ("work_mem", "kB", "1e4"), ("work_mem", "kB", "1TB"), ("temp_buffers", "8kB", "16MB"),
            ("statement_timeout", "ms", "2min"), ("statement_timeout", "ms", "1.5s"),
            ("random_page_cost", "", "1.5"), ("random_page_cost", "", ".5"),
        ]:  # fmt: skip
            connection.execute("SELECT set_config(%s, %s, false)", [name, text])
            [(found,)] = connection.execute("SELECT setting FROM pg_settings WHERE name = %s", [name])
            assert in_unit(text, unit) == float(found), text
    assert [in_unit(t, "kB") for t in ("", "x", "5s", "5 mb", "0x", "08")] == [None] * 6
