"""Who may connect, held against what the server really does."""

from __future__ import annotations

import ipaddress
from typing import Any

import psycopg
import pytest

from backend.cluster.deciding import Client, Network, fits, network
from backend.cluster.hba import HbaRow, hba_verdict, nobody_verdict
from backend.cluster.rule import Rule
from backend.core.declare import Health
from backend.core.errors import Missing, Usage
from tests.rooms.cluster.conftest import Looking
from tests.servers import OwnClusters, Server, until

# Each line lets in, or rejects: so that a connection shows which of them decided.
RULES = """\
local   all             dba                             trust
host    replication     all     127.0.0.1/32            reject
host    sameuser        ann     127.0.0.1/32            trust
host    samerole        ben     127.0.0.1/32            trust
host    shop            +staff  127.0.0.0/8             trust
host    all             eve     127.0.0.1  255.255.255.255  reject
host    "All",orders    all     127.0.0.1/32            trust
host    postgres        all     samehost                trust
host    all             all     ::1/128                 trust
host    all             all     0.0.0.0/0               reject
"""


@pytest.fixture
def guarded(own_cluster: OwnClusters) -> Server:
    """A server with these rules."""
    server = own_cluster({"listen_addresses": "127.0.0.1"})
    for statement in (
        "CREATE ROLE ann LOGIN", "CREATE ROLE ben LOGIN", "CREATE ROLE cat LOGIN", "CREATE ROLE eve LOGIN",
        "CREATE ROLE staff", "CREATE ROLE clerks IN ROLE staff", "GRANT clerks TO cat, eve",
        "CREATE ROLE crew", "GRANT crew TO ben",
        "CREATE DATABASE ann", "CREATE DATABASE crew", "CREATE DATABASE shop", "CREATE DATABASE orders",
    ):  # fmt: skip
        server.psql(statement)
    (server.data / "pg_hba.conf").write_text(RULES)
    server.psql("SELECT pg_reload_conf()")
    until(lambda: not lets_in(server, "eve", "ann"))
    return server


def lets_in(server: Server, user: str, database: str) -> bool:
    try:
        psycopg.connect(
            host="127.0.0.1", port=server.port, user=user, dbname=database, sslmode="disable"
        ).close()
    except psycopg.OperationalError as e:
        assert "pg_hba.conf" in str(e), e
        return False
    return True


async def test_the_rule_that_is_marked_is_the_one_that_decides(guarded: Server, looking: Looking) -> None:
    seen: set[str | None] = set()
    for user in ("ann", "ben", "cat", "eve", "dba"):
        for database in ("ann", "crew", "shop", "orders", "postgres"):
            rows = await looking(guarded, "hba", user=user, database=database, address="127.0.0.1")
            [first] = [r for r in rows if r.match == "first"]
            assert lets_in(guarded, user, database) is (first.method == "trust"), (user, database, first)
            seen.add(f"{first.database} {first.user}")
    assert len(seen) == 7


async def test_over_the_socket_only_local_rules_count(guarded: Server, looking: Looking) -> None:
    rows = await looking(guarded, "hba", user="dba", database="postgres")
    assert [r.line for r in rows if r.match == "first"] == [1]
    rows = await looking(guarded, "hba", user="ann", address="local")
    assert {r.match for r in rows} == {"no"}
    verdict = nobody_verdict(rows)
    assert verdict is not None
    assert verdict.sentence == "no rule matches: the server would refuse"


async def test_a_standby_needs_a_line_of_its_own(guarded: Server, looking: Looking) -> None:
    rows = await looking(guarded, "hba", user="dba", address="127.0.0.1", replication=True)
    assert [r.method for r in rows if r.match == "first"] == ["reject"]


async def test_a_line_that_is_wrong_is_critical(guarded: Server, looking: Looking) -> None:
    with (guarded.data / "pg_hba.conf").open("a") as file:
        file.write("host all all 10.0.0.0/33 md5\nhost all all 10.0.0.0/8 trust\n")
    rows = await looking(guarded, "hba")
    assert {r.match for r in rows} == {None}
    wrong, open_door = rows[-2:] if rows[-2].error else (rows[-1], rows[-2])
    assert wrong.error == 'invalid CIDR mask in address "10.0.0.0/33"'
    assert (told := hba_verdict(wrong)) is not None
    assert told.health is Health.CRITICAL
    assert (told := hba_verdict(open_door)) is not None
    assert told.health is Health.WARNING


async def test_of_several_files_each_rule_names_its_own(guarded: Server, looking: Looking) -> None:
    assert {r.name for r in await looking(guarded, "hba")} == {None}
    if guarded.major < 16:
        return  # it knows no other file
    (guarded.data / "more.conf").write_text("local all all trust\n")
    guarded.cluster.account.own(guarded.data / "more.conf")
    with (guarded.data / "pg_hba.conf").open("a") as file:
        file.write("include more.conf\n")
    assert {r.name for r in await looking(guarded, "hba")} == {"pg_hba.conf", "more.conf"}


async def test_what_is_asked_has_to_be_enough(guarded: Server, looking: Looking) -> None:
    with pytest.raises(Usage, match="--user"):
        await looking(guarded, "hba", database="shop")
    with pytest.raises(Usage, match="IP address"):
        await looking(guarded, "hba", user="ann", address="db1.example")


async def test_secrets_in_options_are_masked(guarded: Server, looking: Looking) -> None:
    with (guarded.data / "pg_hba.conf").open("a") as file:
        file.write(
            'host all all 10.0.0.0/8 ldap ldapserver=x ldapbasedn="o=y" ldapbindpasswd=hush\n'
            'host all all 10.0.0.0/8 radius radiusservers=127.0.0.1 radiussecrets="hush"\n'
        )
    rows = await looking(guarded, "hba")
    assert "hush" not in repr(rows)
    assert any("radiussecrets=****" in (r.options or "") for r in rows)


async def test_a_role_without_rights_is_told_what_gives_them(guarded: Server, looking: Looking) -> None:
    guarded.psql("GRANT pg_monitor TO dba")
    with (guarded.data / "pg_hba.conf").open("a") as file:
        file.write("local all few trust\n")
    guarded.psql("CREATE ROLE few LOGIN IN ROLE pg_monitor; SELECT pg_reload_conf()")

    def grants() -> bool:
        return bool(guarded.psql("SELECT 1 FROM pg_hba_file_rules WHERE user_name = '{few}'"))

    until(grants)
    target = {"dsn": guarded.dsn(user="few")}
    with pytest.raises(Missing) as told:
        await looking(guarded, "hba", target=target)
    assert told.value.sqlstate == "42501"
    guarded.psql((told.value.hint or "").removesuffix(" let it read them"))
    assert await looking(guarded, "hba", target=target)


def rule(**given: Any) -> Rule:
    told: dict[str, Any] = {
        "file": "f", "line": 1, "type": "host", "database": ["all"], "user": ["all"], "address": "all",
        "netmask": None, "method": "md5", "options": None, "error": None,
    }  # fmt: skip
    return Rule(**told | given)


def client(address: str | None = "10.1.2.3", **given: Any) -> Client:
    told: dict[str, Any] = {
        "user": "ann", "roles": frozenset({"ann"}), "database": "shop", "ssl": False, "replication": False,
        "major": 16,
    }  # fmt: skip
    return Client(address=ipaddress.ip_address(address) if address else None, **told | given)


NOTHING = Network()
HOME = network(
    "1: lo    inet 127.0.0.1/8 scope host lo\n2: eth0    inet 10.1.2.9/24 brd 10.1.2.255 scope global\n"
    "2: eth0    inet6 fe80::1/64 scope link\n--\n10.1.2.3        app1.example.org\n"
)


@pytest.mark.parametrize(
    ("given", "who", "where", "told"),
    [
        ({"type": "hostssl"}, client(), NOTHING, False),
        ({"type": "hostssl"}, client(ssl=True), NOTHING, True),
        ({"type": "hostnossl"}, client(ssl=True), NOTHING, False),
        ({"type": "hostgssenc"}, client(), NOTHING, False),
        ({"address": "10.1.0.0", "netmask": "255.255.0.0"}, client(), NOTHING, True),
        ({"address": "10.2.0.0", "netmask": "255.255.0.0"}, client(), NOTHING, False),
        ({"address": "::", "netmask": "::"}, client(), NOTHING, False),
        ({"address": "::", "netmask": "::"}, client("2001:db8::1"), NOTHING, True),
        ({"address": "samenet"}, client(), HOME, True),
        ({"address": "samenet"}, client("10.1.3.1"), HOME, False),
        ({"address": "samehost"}, client("10.1.2.9"), HOME, True),
        ({"address": "samehost"}, client(), NOTHING, None),
        ({"address": ".example.org"}, client(), HOME, True),
        ({"address": "app1.example.org"}, client(), HOME, True),
        ({"address": "app2.example.org"}, client(), HOME, False),
        ({"address": ".example.org"}, client(), NOTHING, None),
        ({"user": ["/^a"]}, client(), NOTHING, True),
        ({"user": ["/^a"]}, client(major=15), NOTHING, False),
        ({"database": ["/^sh.p$"]}, client(), NOTHING, True),
        ({"database": ["/("]}, client(), NOTHING, False),
        ({"error": "wrong"}, client(), NOTHING, False),
        ({"database": ["replication"]}, client(), NOTHING, False),
        ({}, client(replication=True), NOTHING, False),
    ],
)
def test_a_rule_fits_as_the_server_sees_it(
    given: dict[str, Any], who: Client, where: Network, told: bool | None
) -> None:
    assert fits(rule(**given), who, where) is told


def test_trust_on_the_own_machine_is_no_warning() -> None:
    def row(address: str, method: str = "trust") -> HbaRow:
        return HbaRow("f", 1, None, None, "host", "all", "all", address, None, method, None, None)

    assert hba_verdict(row("127.0.0.1")) is None
    assert hba_verdict(row("samehost")) is None
    assert hba_verdict(row("0.0.0.0", "scram-sha-256")) is None
    assert hba_verdict(row("0.0.0.0", "password")) is not None
