"""The end of a log, in each of its formats, from the host and over SQL."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import psycopg
import pytest

from backend.cluster.logformat import entries, folded, format_of
from backend.cluster.logs import LogRow, log_verdict
from backend.core.declare import Health
from backend.core.errors import Failed, Missing, Refused, Usage
from tests.rooms.cluster.conftest import Looking
from tests.servers import OwnClusters, Server, until

PREFIX = {"log_line_prefix": "%m [%p] %q%u@%d %e "}
STATEMENT = "SELECT\n1/0 AS \"a,b\", 'x'"


def fail(server: Server, statement: str = STATEMENT, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(psycopg.Error):
            server.psql(statement)


def division(rows: list[LogRow]) -> LogRow:
    [row] = [r for r in rows if r.message == "division by zero"]
    return row


def demand_division(row: LogRow, server: Server) -> None:
    assert (row.severity, row.sqlstate, row.user, row.database) == ("ERROR", "22012", "dba", "postgres")
    assert (row.statement, row.times) == (STATEMENT, 3)
    assert row.at is not None
    assert row.first is not None
    assert row.first <= row.at
    assert abs((datetime.now(UTC) - row.at).total_seconds()) < 600


async def test_the_log_of_standard_error_is_read_where_the_process_writes_it(
    own_cluster: OwnClusters, looking: Looking
) -> None:
    server = own_cluster(PREFIX | {"log_timezone": "Asia/Kolkata"})
    fail(server, times=3)
    demand_division(division(await looking(server, "logs")), server)


@pytest.mark.parametrize("form", ["stderr", "csvlog", "jsonlog"])
async def test_each_format_of_the_collector_is_read_from_the_host_and_over_sql(
    form: str, own_cluster: OwnClusters, looking: Looking
) -> None:
    server = own_cluster(PREFIX | {"logging_collector": "on", "log_destination": form})
    fail(server, times=3)

    def written() -> bool:
        return any("division" in f.read_text() for f in (server.data / "log").glob("*"))

    until(written)
    rows = await looking(server, "logs")
    demand_division(division(rows), server)
    # Nobody can find the server on the host: then it reads its log for us.
    again = await looking(server, "logs", target={"cluster": {}, "run_as": "nobody"})
    demand_division(division(again), server)
    assert {r.message for r in again} == {r.message for r in rows}


async def test_severity_pattern_and_number_choose_messages(
    own_cluster: OwnClusters, looking: Looking
) -> None:
    server = own_cluster(PREFIX)
    fail(server)
    fail(server, "SELECT * FROM nothing_here")
    fail(server, "DO $$ BEGIN RAISE EXCEPTION 'first%second', E'\\n' USING HINT = 'look again'; END $$")
    rows = await looking(server, "logs", severity="error")
    assert [r.message for r in rows] == [
        "division by zero", 'relation "nothing_here" does not exist', "first\nsecond",
    ]  # fmt: skip
    assert "HINT:  look again" in (rows[-1].detail or "")
    assert [r.message for r in await looking(server, "logs", grep="NOTHING_.ere", severity="error")] == [
        'relation "nothing_here" does not exist'
    ]
    assert [r.message for r in await looking(server, "logs", severity="error", lines=1)] == ["first\nsecond"]
    assert any(r.severity == "LOG" for r in await looking(server, "logs"))


async def test_equal_messages_are_folded_unless_that_is_not_wanted(
    own_cluster: OwnClusters, looking: Looking
) -> None:
    server = own_cluster(PREFIX)
    fail(server, times=2)
    fail(server, "SELECT * FROM nothing_here")
    fail(server)
    rows = await looking(server, "logs", severity="error")
    assert [(r.message, r.times) for r in rows] == [
        ('relation "nothing_here" does not exist', 1),
        ("division by zero", 3),
    ]
    assert len(await looking(server, "logs", severity="error", fold=False)) == 4


async def test_the_log_of_a_server_that_is_down_is_read(own_cluster: OwnClusters, looking: Looking) -> None:
    server = own_cluster({"logging_collector": "on"})
    server.stop()
    rows = await looking(server, "logs", grep="shut down")
    assert rows[-1].message == "database system is shut down"


async def test_passwords_in_statements_are_masked(own_cluster: OwnClusters, looking: Looking) -> None:
    server = own_cluster(PREFIX | {"log_statement": "all"})
    server.psql("CREATE ROLE x LOGIN PASSWORD 'hush'")
    rows = await looking(server, "logs", grep="CREATE ROLE")
    assert rows[0].message == "statement: CREATE ROLE x LOGIN PASSWORD '****'"


async def test_bad_wishes_are_named(server: Server, looking: Looking) -> None:
    with pytest.raises(Usage, match="regular expression"):
        await looking(server, "logs", grep="(")
    with pytest.raises(Usage, match="at least 1"):
        await looking(server, "logs", lines=0)
    with pytest.raises(Refused, match="no cluster 15/nowhere"):
        await looking(server, "logs", cluster="15/nowhere")


async def test_a_log_that_nobody_lets_us_read_says_what_would(
    own_cluster: OwnClusters, looking: Looking
) -> None:
    server = own_cluster({"logging_collector": "on"})
    server.psql("CREATE ROLE few LOGIN")
    target = {"dsn": server.dsn(user="few"), "run_as": "nobody", "cluster": {}}
    with pytest.raises(Missing) as told:
        await looking(server, "logs", target=target)
    assert told.value.sqlstate == "42501"
    server.psql((told.value.hint or "").removesuffix(" lets it read the log"))
    server.psql("GRANT pg_read_server_files TO few")
    assert await looking(server, "logs", target=target)


async def test_a_log_that_went_to_nowhere_is_told(own_cluster: OwnClusters, looking: Looking) -> None:
    server = own_cluster()
    server.stop()
    with pytest.raises(Missing, match="is not known while it is down"):
        await looking(server, "logs")


async def test_a_file_that_has_gone_is_told(own_cluster: OwnClusters, looking: Looking) -> None:
    server = own_cluster({"logging_collector": "on"})
    server.stop()
    for file in (server.data / "log").glob("*"):
        file.unlink()
    with pytest.raises(Failed, match="cannot be read: No such file"):
        await looking(server, "logs")


def test_a_part_that_begins_within_a_line_or_a_character_begins_with_the_next() -> None:
    text = "2026-11-21 09:00:00.000 UTC [7] LOG:  ü one\n2026-11-21 09:00:01.000 UTC [7] LOG:  two\n".encode()
    cut = text.index("ü".encode()) + 1
    found = entries(text[cut:], cut, "stderr")
    assert [(e.message, e.offset) for e in found] == [("two", text.index(b"\n") + 1)]


def test_lines_of_several_processes_are_not_mixed_up() -> None:
    text = (
        b"2026-11-21 09:00:00 CET [7] a@d ERROR:  one\n"
        b"2026-11-21 09:00:00 CET [8] b@d ERROR:  two\n"
        b"\tgoes on\n"
        b"2026-11-21 09:00:00 CET [7] a@d DETAIL:  of one\n"
        b"\tgoes on too\n"
        b"2026-11-21 09:00:00 CET [8] b@d STATEMENT:  SELECT\n"
        b"\t2\n"
        b"2026-11-21 09:00:00 CET [9] STATEMENT:  of nobody\n"
    )
    one, two = entries(text, 0, "stderr", ZoneInfo("Europe/Berlin"))
    assert (one.message, one.added, one.user) == ("one", ["DETAIL:  of one\ngoes on too"], "a")
    assert (two.message, two.statement, two.pid) == ("two\ngoes on", "SELECT\n2", 8)
    assert one.at == datetime(2026, 11, 21, 8, tzinfo=UTC)


def test_what_is_no_log_gives_nothing() -> None:
    for form in ("stderr", "csvlog", "jsonlog"):
        assert entries(b'\xff\xfe\n{"a": 1}\n[]\n"open', 0, form) == []
    assert entries(b"", 5, "stderr") == []


def test_the_format_is_in_the_name() -> None:
    assert [format_of(p) for p in ("/a/x.csv", "/a/x.json", "/a/x.log")] == ["csvlog", "jsonlog", "stderr"]


def test_folding_keeps_the_last_place_and_the_first_time() -> None:
    lines = "".join(f"2026-11-21 09:00:0{n} UTC [{n}] LOG:  {m}\n" for n, m in enumerate("abab"))
    found = [
        (e.message, n, first and first.second) for e, n, first in folded(entries(lines.encode(), 0, "stderr"))
    ]
    assert found == [("a", 2, 0), ("b", 2, 1)]


def test_only_what_is_bad_is_coloured() -> None:
    def row(severity: str) -> LogRow:
        return LogRow(0, None, severity, 1, None, None, None, None, None, "m", None, None)

    assert log_verdict(row("LOG")) is None
    assert (told := log_verdict(row("PANIC"))) is not None
    assert told.health is Health.CRITICAL
    assert (told := log_verdict(row("FATAL"))) is not None
    assert told.health is Health.WARNING
