"""The rules of pg_hba.conf as the server's own parser reads the file now, and which of them would match.

Of a server that is down they are read as far as that can be done without it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Annotated, Literal

from psycopg import sql

from backend.cluster import deciding
from backend.cluster.deciding import Client
from backend.cluster.discovery import Cluster
from backend.cluster.hba_text import Unread, rules
from backend.cluster.neighbour import Asked, find_server
from backend.cluster.rule import Rule
from backend.cluster.secrets import option
from backend.core.declare import Col, Health, Verdict
from backend.core.errors import Missing, Refused, Usage
from backend.core.facts import Facts, Query, Since
from backend.core.session import Session

Match = Literal["first", "perhaps", "later", "no"]


@dataclass(frozen=True, slots=True)
class HbaRow:
    """One rule, or one line that is wrong."""

    file: Annotated[str, Col("File", key=True, hidden=True)]
    line: Annotated[int, Col("Line", key=True, priority=1)]
    name: Annotated[str | None, Col("In", priority=3, help="The file's name, where there are several")]
    match: Annotated[
        Match | None, Col("Match", priority=1, help="first decides; perhaps needs what only the server knows")
    ]
    type: Annotated[str | None, Col("Type", priority=1)]
    database: Annotated[str | None, Col("Database", priority=1)]
    user: Annotated[str | None, Col("User", priority=1)]
    address: Annotated[str | None, Col("Address", priority=1)]
    netmask: Annotated[str | None, Col("Netmask", priority=8)]
    method: Annotated[str | None, Col("Method", priority=1)]
    options: Annotated[str | None, Col("Options", priority=4)]
    error: Annotated[str | None, Col("Error", text=True, priority=1)]
    cluster: Annotated[str | None, Col("Cluster", hidden=True, help="Where another one was asked for")] = None


RULES = Query(
    Since(16, """
SELECT r.file_name AS file,
       r.line_number AS line,
       r.type,
       r.database,
       r.user_name AS "user",
       r.address,
       r.netmask,
       r.auth_method AS method,
       r.options,
       r.error
  FROM pg_catalog.pg_hba_file_rules AS r
 ORDER BY r.rule_number NULLS LAST, r.file_name, r.line_number
"""),
    Since(14, """
SELECT coalesce((SELECT p.setting
                   FROM pg_catalog.pg_settings AS p
                  WHERE p.name = 'hba_file'), 'pg_hba.conf') AS file,
       r.line_number AS line,
       r.type,
       r.database,
       r.user_name AS "user",
       r.address,
       r.netmask,
       r.auth_method AS method,
       r.options,
       r.error
  FROM pg_catalog.pg_hba_file_rules AS r
 ORDER BY r.line_number
"""),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Memberships:
    known: bool
    roles: list[str]
    ssl: bool


# Superusers are members of no role here: the server asks without that privilege.
_ABOUT = Query("""
WITH RECURSIVE member AS (
    SELECT oid
      FROM pg_catalog.pg_roles
     WHERE rolname = %s
     UNION
    SELECT m.roleid
      FROM pg_catalog.pg_auth_members AS m
      JOIN member ON member.oid = m.member
)
SELECT EXISTS (SELECT FROM member) AS known,
       ARRAY(SELECT r.rolname::pg_catalog.text
               FROM pg_catalog.pg_roles AS r
               JOIN member USING (oid)) AS roles,
       pg_catalog.current_setting('ssl') = 'on' AS ssl
""")


async def rules_of(server: Asked) -> list[Rule]:
    """The rules in the file now; a role that may not read them is told what would let it."""
    try:
        return await server.fetch(Rule, RULES)
    except Missing as e:
        if "could not open" in e.message:
            raise Missing(
                e.message, hint="the server itself may not read the file", sqlstate=e.sqlstate
            ) from None
        if e.sqlstate is None:  # the host's word, which has its own hint
            raise
        raise Missing(e.message, hint=_grants(server.facts), sqlstate=e.sqlstate) from None


async def hba_rules(s: Session, server: Asked | Cluster) -> list[HbaRow]:
    """The rules and the lines that are wrong, in the order in which the server tries them."""
    return _rows(
        await (rules_in_file(s, server, server.owner) if isinstance(server, Cluster) else rules_of(server))
    )


async def rules_in_file(s: Session, c: Cluster, run_as: str | None) -> list[Rule]:
    """The rules in the file of a server, read by that account, without what it includes."""
    path = c.hba_file
    if path is None or not path.startswith("/"):
        raise Missing(
            f"where the pg_hba.conf of {c.name} lies is not known", hint="its files tell, once read"
        )
    text = (await s.host.read(path, run_as=run_as)).decode("utf-8", "surrogateescape")
    return [_unread(r) if isinstance(r, Unread) else r for r in rules({path: text}, path)]


def _unread(each: Unread) -> Rule:
    why = (None, each.why) if each.wrong else ([each.why], None)
    return Rule(each.line.file, each.line.first, None, None, None, None, None, None, *why)


@dataclass(frozen=True, slots=True)
class Question:
    """Who would connect: None for the address is the server's own socket."""

    user: str | None = None
    database: str | None = None
    address: str | None = None
    ssl: bool | None = None
    replication: bool = False

    def demand(self) -> bool:
        """Whether anything is asked; a usage error when it is not enough or no address."""
        if self.user is None and self.database is None and self.address is None:
            return False
        if self.user is None:
            raise Usage("who would match is asked with --user, --database and --address")
        if self.address not in (None, "local"):
            try:
                ipaddress.ip_address(self.address or "")
            except ValueError:
                raise Usage(f"--address wants an IP address or local, not {self.address!r}") from None
        return True


async def hba_rows(s: Session, question: Question, cluster: str | None) -> list[HbaRow]:
    """The rules; where somebody is asked for, each says whether it is the one that decides."""
    asking = question.demand()
    server = await find_server(s, cluster)
    if not asking:
        return [replace(r, cluster=cluster) for r in await hba_rules(s, server)]
    if isinstance(server, Cluster):
        raise Refused(
            f"who would match depends on the roles of {server.name}, which is down",
            hint="without --user its rules are shown",
        )
    found = await rules_of(server)
    [about] = await server.fetch(_Memberships, _ABOUT, question.user)
    ssl = about.ssl if question.ssl is None else question.ssl
    address = None if question.address in (None, "local") else ipaddress.ip_address(question.address or "")
    client = Client(
        question.user or "",
        frozenset(about.roles),
        question.database or question.user or "",
        address,
        ssl and address is not None,
        question.replication,
        server.facts.major,
    )
    marked = _marked(found, client, await deciding.known(s, found, address))
    return [replace(r, cluster=cluster) for r in marked]


def _marked(rules: list[Rule], client: Client, network: deciding.Network) -> list[HbaRow]:
    rows: list[HbaRow] = []
    decided = False
    for rule, row in zip(rules, _rows(rules), strict=True):
        fits = deciding.fits(rule, client, network)
        match: Match = "no" if fits is False else "perhaps" if fits is None else "first"
        if decided and match != "no":
            match = "later"
        decided = decided or match == "first"
        rows.append(replace(row, match=match))
    return rows


def _rows(rules: Sequence[Rule]) -> list[HbaRow]:
    several = len({rule.file for rule in rules}) > 1
    return [_row(rule, PurePosixPath(rule.file).name if several else None) for rule in rules]


def _row(rule: Rule, name: str | None) -> HbaRow:
    return HbaRow(
        rule.file,
        rule.line,
        name,
        None,
        rule.type,
        _joined(rule.database),
        _joined(rule.user),
        rule.address,
        rule.netmask,
        rule.method,
        " ".join(option(o) for o in rule.options) if rule.options else None,
        rule.error,
    )


def _joined(words: list[str] | None) -> str | None:
    return ",".join(words) if words is not None else None


def _grants(facts: Facts) -> str:
    text = sql.SQL(
        "GRANT SELECT ON pg_catalog.pg_hba_file_rules TO {0};"
        " GRANT EXECUTE ON FUNCTION pg_catalog.pg_hba_file_rules() TO {0}"
    ).format(sql.Identifier(facts.user))
    return f"{text.as_string(None)} let it read them"


_NEAR = ("127.", "::1", "samehost")


def hba_verdict(row: HbaRow) -> Verdict | None:
    """A line that is wrong keeps the server from starting; trust lets anybody in who gets there."""
    if row.error:
        return Verdict(
            Health.CRITICAL, f"{row.error}; the server keeps its old rules and would not start again"
        )
    if row.type is None or row.type == "local" or (row.address or "").startswith(_NEAR):
        return None
    if row.method == "trust":
        return Verdict(Health.WARNING, f"{row.user} gets in from {row.address} without any password")
    if row.method == "password" and row.type != "hostssl":
        return Verdict(
            Health.WARNING, "the password travels in the clear where the connection is not encrypted"
        )
    return None


def nobody_verdict(rows: Sequence[HbaRow]) -> Verdict | None:
    """Where somebody was asked for and no rule fits."""
    if rows and all(r.match == "no" for r in rows):
        return Verdict(Health.WARNING, "no rule matches: the server would refuse")
    return None
