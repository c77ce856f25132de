"""Settings and the files that they stand in."""

from __future__ import annotations

from typing import Any

import pytest

from backend.cluster.secrets import MASKED, hidden
from backend.cluster.settings import setting_verdict, shown
from backend.core.declare import Health
from backend.core.errors import Missing, Usage
from tests.rooms.cluster.conftest import Looking
from tests.servers import OwnClusters, Server, until


def write(server: Server, text: str, name: str = "postgresql.conf") -> None:
    with (server.data / name).open("a") as file:
        file.write(text)


def reload(server: Server) -> None:
    [(before,)] = server.psql("SELECT pg_conf_load_time()")
    server.psql("SELECT pg_reload_conf()")
    until(lambda: server.psql("SELECT pg_conf_load_time()") != [(before,)])


async def test_a_setting_tells_value_source_and_line(server: Server, looking: Looking) -> None:
    rows = {r.name: r for r in await looking(server, "settings")}
    assert (rows["shared_buffers"].value, rows["shared_buffers"].default) == ("16MB", "128MB")
    assert rows["shared_buffers"].file == str(server.data / "pgtui.conf")
    [(line,)] = server.psql("SELECT sourceline FROM pg_settings WHERE name = 'shared_buffers'")
    assert rows["shared_buffers"].line == line
    assert (rows["shared_buffers"].takes, rows["work_mem"].takes) == ("restart", "session")
    assert (rows["block_size"].takes, rows["checkpoint_timeout"].value) == ("fixed", "5min")
    # What pgtui sets for its own looking is no setting of the server's.
    assert rows["statement_timeout"].value == "0"
    assert not rows["statement_timeout"].changed
    assert rows["statement_timeout"].source == "default"


async def test_only_what_is_changed_is_shown_when_that_is_wanted(server: Server, looking: Looking) -> None:
    names = {r.name for r in await looking(server, "settings", changed=True)}
    assert {"shared_buffers", "fsync"} <= names
    assert not {"work_mem", "statement_timeout", "search_path", "server_version"} & names


async def test_a_restart_that_is_due_is_a_warning_with_the_value_to_come(
    own_cluster: OwnClusters, looking: Looking
) -> None:
    server = own_cluster()
    assert await looking(server, "settings", pending=True) == []
    server.psql("ALTER SYSTEM SET max_connections = 123")
    reload(server)
    [row] = await looking(server, "settings", pending=True)
    assert (row.name, row.value, row.pending) == ("max_connections", "100", "123")
    verdict = setting_verdict(row)
    assert verdict is not None
    assert verdict.health is Health.WARNING
    assert verdict.sentence == "it is 100 and will be 123 after a restart"
    assert await looking(server, "file_errors") == []


async def test_secrets_are_masked(own_cluster: OwnClusters, looking: Looking) -> None:
    server = own_cluster(
        {"ssl_passphrase_command": "echo hush", "primary_conninfo": "host=x user=y password=hush"}
    )
    rows = {r.name: r for r in await looking(server, "settings")}
    assert rows["ssl_passphrase_command"].value == MASKED
    assert rows["primary_conninfo"].value == "host=x user=y password=****"
    assert rows["password_encryption"].value == "scram-sha-256"
    assert "hush" not in repr(list(rows.values()))


def test_extensions_name_their_secrets_in_many_ways() -> None:
    for name in ("my.api_token", "anon.salt", "vault.secret_id", "x.password"):
        assert hidden(name, "hush") == MASKED
    assert hidden("my.token_count", "5", text=False) == "5"
    assert hidden("application_name", "") == ""


async def test_two_servers_are_compared(server: Server, own_cluster: OwnClusters, looking: Looking) -> None:
    other = own_cluster({"work_mem": "7MB"})
    rows = {r.name: r for r in await looking(server, "settings", against=other.dsn())}
    assert (rows["work_mem"].value, rows["work_mem"].other) == ("4MB", "7MB")
    assert rows["port"].other == str(other.port)
    assert "shared_buffers" not in rows


async def test_a_target_that_nobody_knows_cannot_be_compared_with(server: Server, looking: Looking) -> None:
    with pytest.raises(Usage, match="no target called nowhere"):
        await looking(server, "settings", against="nowhere")


async def test_lines_that_the_server_cannot_take_are_told(own_cluster: OwnClusters, looking: Looking) -> None:
    server = own_cluster()
    assert await looking(server, "file_errors") == []
    write(server, "work_mem = lots\nno_such = 1\nsyntax error here\n")
    write(server, "hots all all trust\n", "pg_hba.conf")
    rows = await looking(server, "file_errors")
    last = len((server.data / "postgresql.conf").read_text().splitlines())
    told = {(r.kind, r.name): (r.line, r.error) for r in rows}
    assert told[("hba", None)][1] == 'invalid connection type "hots"'
    # What is wrong with the whole hides what is wrong with a part: the server goes on one step at a time.
    assert told[("settings", None)] == (last, "syntax error")
    assert only_setting_of(await without(server, looking, "syntax error here\n")) == (
        "no_such",
        "unrecognized configuration parameter",
    )
    assert only_setting_of(await without(server, looking, "no_such = 1\n")) == (
        "work_mem",
        "setting could not be applied",
    )


async def without(server: Server, looking: Looking, line: str) -> Any:
    """What is wrong once this line has gone."""
    file = server.data / "postgresql.conf"
    file.write_text(file.read_text().replace(line, ""))
    return await looking(server, "file_errors")


def only_setting_of(rows: Any) -> tuple[str, str]:
    [row] = [r for r in rows if r.kind == "settings"]
    return row.name, row.error


async def test_a_role_with_few_rights_is_told_what_lets_it_read_the_files(
    server: Server, looking: Looking
) -> None:
    server.psql("CREATE ROLE few LOGIN")
    try:
        with pytest.raises(Missing) as told:
            await looking(server, "file_errors", target={"dsn": server.dsn(user="few")})
        for grant in (told.value.hint or "").split(" let it")[0].split(";"):
            server.psql(grant)
        with pytest.raises(Missing, match="pg_hba_file_rules"):
            await looking(server, "file_errors", target={"dsn": server.dsn(user="few")})
    finally:
        server.psql("DROP OWNED BY few; DROP ROLE few")


@pytest.mark.parametrize(
    ("value", "unit", "told"),
    [
        ("16384", "8kB", "128MB"), ("-1", "8kB", "-1"), ("0", "ms", "0"), ("300", "s", "5min"),
        ("1000", "ms", "1s"), ("1441", "min", "1441min"), ("64", "kB", "64kB"), ("1025", "kB", "1025kB"),
        ("0.5", None, "0.5"), ("on", None, "on"), ("16", "MB", "16MB"), ("1500", "us", "1500us"),
    ],
)  # fmt: skip
def test_a_value_is_written_as_show_writes_it(value: str, unit: str | None, told: str) -> None:
    assert shown(value, unit) == told
