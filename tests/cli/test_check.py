"""`pgtui check`: verdicts as JSON, as Nagios' one line, as OpenMetrics."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from psycopg import sql

from backend.core.registry import find_view
from tests.cli.conftest import AWKWARD, Ended, Pgtui, Terminal
from tests.servers import Server

pytestmark = pytest.mark.usefixtures("inventory")


@pytest.fixture
def strict(inventory: Path, server: Server) -> Path:
    """A target with limits that every database exceeds."""
    with inventory.open("a") as file:
        file.write(
            f'[target.strict]\ndsn = "{server.dsn()}"\n'
            '[target.strict.check."activity.databases"]\nconnections_percent = {warn = -1, crit = 200}\n'
        )
    return inventory


def test_json_is_one_object_a_line_with_the_shape_of_the_contract(pgtui: Pgtui, strict: Path) -> None:
    ended = pgtui("check", "activity.databases", "-t", "strict", "-o", "json")
    found = ended.object
    assert ended.code == 1
    assert list(found) == ["check", "target", "status", "message", "perfdata"]
    assert (found["check"], found["target"], found["status"]) == ("activity.databases", "strict", "WARNING")
    label, data = next(iter(found["perfdata"].items()))
    assert list(data) == ["value", "unit", "warn", "crit"] and label.startswith("connections_percent_")
    assert data["warn"] == -1


def test_without_names_every_view_with_a_verdict_is_checked(pgtui: Pgtui) -> None:
    ended = pgtui("check", "-o", "json")
    names = [o["check"] for o in ended.objects]
    assert {"activity.sessions", "activity.databases", "activity.locks"} <= set(names)
    assert len(names) == len(set(names))


def test_views_whose_needs_are_missing_are_left_out_unless_named(pgtui: Pgtui) -> None:
    assert not [o for o in pgtui("check", "-o", "json").objects if o["check"].startswith("jobmon.")]
    named = pgtui("check", "jobmon.alerts", "-o", "json")
    assert named.code == 3 and named.object["status"] == "UNKNOWN"


def test_a_target_that_does_not_answer_is_critical_and_its_host_is_asked_all_the_same(pgtui: Pgtui) -> None:
    ended = pgtui("check", "-t", "c", "-o", "json")
    found = {o["check"]: o for o in ended.objects}
    connection = found.pop("connection")
    assert ended.code == 2 and connection["status"] == "CRITICAL"
    assert re.fullmatch(
        r"c cannot be reached: connection to .* failed: No such file or directory; "
        r"is the server running, and is this its socket folder\?",
        connection["message"],
    )
    assert "cluster.clusters" in found and not any(find_view(name).needs.sql for name in found)
    assert pgtui("check", "activity.locks", "-t", "c", "-o", "json").object["check"] == "activity.locks"


def test_the_worst_comes_first_and_decides(pgtui: Pgtui, strict: Path) -> None:
    words = ["activity.databases", "jobmon.alerts", "-t", "a", "-t", "strict", "-t", "c"]
    ended = pgtui("check", *words, "-o", "json")
    statuses = [o["status"] for o in ended.objects]
    assert statuses == ["CRITICAL", "CRITICAL", "WARNING", "UNKNOWN", "UNKNOWN", "OK"]
    assert ended.code == 2


def test_ok_is_0(pgtui: Pgtui) -> None:
    ended = pgtui("check", "activity.locks")
    assert ended.code == 0 and "OK" in ended.out and "activity.locks" in ended.out


def test_nagios_gets_one_line_in_all(pgtui: Pgtui, strict: Path) -> None:
    ended = pgtui("check", "--all", "-o", "nagios")
    assert ended.code == 2 and ended.out.count("\n") == 1
    text, bar, values = ended.out.rstrip("\n").partition(" | ")
    assert text.startswith("CRITICAL: ") and "c connection: c cannot be reached" in text
    assert "|" not in text and bar
    for each in re.findall(r"'[^']*'=\S+", values):
        assert re.fullmatch(r"'[^'=|]+'=-?[\d.e+-]+(s|B|%)?(;[\d.e+-]*){0,2}", each), each


def test_nagios_stays_one_clean_line_with_awkward_names(
    pgtui: Pgtui, strict: Path, awkward_database: str
) -> None:
    ended = pgtui("check", "activity.databases", "-t", "strict", "-o", "nagios")
    assert ended.out.count("\n") == 1 and ended.out.count("|") == 1
    assert not set(ended.out) & {"\x1b", "\x07", "\x9b", "\u202e"}


@pytest.fixture
def awkward_database(server: Server) -> Iterator[str]:
    name = "a|b" + AWKWARD.encode()[:48].decode("utf-8", "ignore")
    identifier = sql.Identifier(name)
    server.psql(sql.SQL("CREATE DATABASE {}").format(identifier))
    yield name
    server.psql(sql.SQL("DROP DATABASE {}").format(identifier))


SAMPLE = re.compile(
    r'(?P<name>[a-z_][a-z0-9_]*)\{(?P<labels>(?:[a-z_]+="(?:[^"\\\n]|\\.)*",?)*)\} (?P<value>\S+)'
)


def exposition(ended: Ended) -> dict[str, set[str]]:
    """The label sets of each family, after everything that OpenMetrics demands was found to hold."""
    lines = ended.out.split("\n")
    assert lines[-2:] == ["# EOF", ""] and lines.count("# EOF") == 1
    families: dict[str, set[str]] = {}
    current = ""
    for line in lines[:-2]:
        if found := re.fullmatch(r"# TYPE (\S+) gauge", line):
            current = found[1]
            assert current not in families, f"{current} is declared twice"
            families[current] = set()
        elif found := re.fullmatch(r"# UNIT (\S+) (\S+)", line):
            assert found[1] == current and current.endswith(f"_{found[2]}")
        elif found := re.fullmatch(r"# HELP (\S+) .*", line):
            assert found[1] == current
        else:
            sample = SAMPLE.fullmatch(line)
            assert sample and sample["name"] == current, line
            float(sample["value"])
            assert sample["labels"] not in families[current], "a sample stands twice"
            families[current].add(sample["labels"])
    assert all(families.values())
    return families


def test_openmetrics_declares_a_family_once_over_several_targets(pgtui: Pgtui) -> None:
    ended = pgtui("check", "--all", "-o", "openmetrics")
    families = exposition(ended)
    assert any('target="b"' in labels for labels in families["pgtui_activity_databases_connections"])
    assert 'target="c",check="connection"' in families["pgtui_check_status"]


def test_openmetrics_escapes_what_names_hold(pgtui: Pgtui, awkward_database: str) -> None:
    families = exposition(pgtui("check", "activity.databases", "-o", "openmetrics"))
    escaped = awkward_database.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    assert any(
        f'database="{escaped}"' in labels for labels in families["pgtui_activity_databases_connections"]
    )


def test_openmetrics_is_clean_on_a_terminal(terminal: Callable[..., Terminal], awkward_database: str) -> None:
    shown = terminal("check", "activity.databases", "-o", "openmetrics")
    shown.end()
    assert b"# EOF" in shown.seen
    assert b"\x1b]0" not in shown.seen and b"\x1b[31m" not in shown.seen


def test_csv_and_table(pgtui: Pgtui) -> None:
    [row] = csv.DictReader(io.StringIO(pgtui("check", "activity.locks", "-o", "csv").out))
    assert (row["target"], row["check"], row["status"]) == ("a", "activity.locks", "OK")
    table = pgtui("check", "activity.locks").out
    assert table.splitlines()[0].split() == ["Status", "Target", "Check", "Message"]


def test_every_database_is_checked_once_where_that_makes_a_difference(pgtui: Pgtui) -> None:
    found = pgtui("check", "-d", "all", "-o", "json").objects
    places = [(o["check"], o["database"]) for o in found]
    assert len(places) == len(set(places))
    assert [check for check, _ in places].count("activity.locks") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["check", "activity.lock"],
        ["check", "activity.session_locks"],
        ["check", "activity.locks", "--bogus"],
        ["-o", "jsn", "check"],
        ["check", "-t", "nobody"],
        ["--inventory", "/nowhere/at/all", "check"],
    ],
)
def test_wrong_usage_is_unknown_to_a_monitoring_system(pgtui: Pgtui, words: list[str]) -> None:
    ended = pgtui(*words)
    assert (ended.code, ended.out) == (3, "")
    assert ended.err.startswith("pgtui: ")


def test_a_bad_limit_in_the_inventory_is_named(inventory: Path, server: Server, pgtui: Pgtui) -> None:
    with inventory.open("a") as file:
        file.write(
            f'[target.bad]\ndsn = "{server.dsn()}"\n'
            '[target.bad.check."activity.databases"]\nagee = {warn = 1}\n'
        )
    ended = pgtui("check", "activity.databases", "-t", "bad", "-o", "json")
    assert ended.code == 3 and "agee" in ended.object["message"]


def test_a_limit_on_a_rate_judges_two_samples_a_second_apart(
    pgtui: Pgtui, inventory: Path, server: Server
) -> None:
    with inventory.open("a") as file:
        file.write(
            f'[target.busy]\ndsn = "{server.dsn()}"\n'
            '[target.busy.check."activity.databases"]\ncommits = {warn = 0, crit = 1000000}\n'
        )
    found = pgtui("check", "activity.databases", "-t", "busy", "-o", "json").object
    rates = {k: v for k, v in found["perfdata"].items() if k.startswith("commits_per_second_")}
    assert found["status"] == "WARNING"
    assert "commits/s" in found["message"]
    assert rates and all(v["value"] < 1000000 and v["unit"] == "" for v in rates.values())


def test_openmetrics_has_rates(pgtui: Pgtui) -> None:
    assert "pgtui_activity_databases_commits_per_second{" in pgtui("check", "-o", "openmetrics").out
