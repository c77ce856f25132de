"""What is wrong with a new rule that the server takes without a word, and what it cannot mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from backend.cluster.hba_file import Book
from backend.cluster.hba_text import Unread, network_of
from backend.cluster.rule import Rule
from backend.core.errors import Usage, nearest
from backend.core.facts import Query
from backend.core.session import Session

METHODS = (
    "trust", "reject", "scram-sha-256", "md5", "password", "peer", "ident", "cert", "gss", "sspi", "ldap",
    "radius", "pam", "bsd", "oauth",
)  # fmt: skip
_HOST = re.compile(r"\.?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")

_KNOWN = Query("""\
SELECT ARRAY(SELECT d.datname::pg_catalog.text
               FROM pg_catalog.pg_database AS d) AS databases,
       ARRAY(SELECT r.rolname::pg_catalog.text
               FROM pg_catalog.pg_roles AS r) AS roles,
       pg_catalog.current_setting('ssl') = 'on' AS ssl,
       pg_catalog.current_setting('password_encryption') AS encryption""")


@dataclass(frozen=True, slots=True)
class Known:
    """What a rule may name."""

    databases: list[str]
    roles: list[str]
    ssl: bool
    encryption: str


def demand_rule(type: str, address: str | None, method: str, database: str, user: str) -> None:
    """A usage error for words that make no rule together."""
    if not database.strip() or not user.strip():
        raise Usage("--database and --user want a name each; all stands for every one")
    if method not in METHODS:
        raise Usage(f"{method} is no method of authentication", hint=nearest(method, METHODS) or _methods())
    if type == "local" and address is not None:
        raise Usage("a local rule is for the server's socket and has no --address", hint="host has one")
    if type != "local":
        _demand_address(type, address)
    if method == "peer" and type != "local":
        raise Usage("peer asks the system who is at the socket; it is only for --type local")
    if method == "cert" and type != "hostssl":
        raise Usage("cert wants a client's certificate; it is only for --type hostssl")


def _methods() -> str:
    return f"known: {', '.join(METHODS)}"


def _demand_address(type: str, address: str | None) -> None:
    if address is None:
        raise Usage(
            f"a {type} rule wants --address", hint="such as 10.0.0.0/8, a host's name, samenet or all"
        )
    network = network_of(address)
    if network is not None and "/" not in address:
        raise Usage(f"--address {address} wants how much of it counts", hint=f"{address}/{network.prefixlen}")
    if network is None and (re.fullmatch(r"[\d.]+(/.*)?|.*[:/].*", address) or not _HOST.fullmatch(address)):
        raise Usage(f"{address} is no address: 10.0.0.0/8, a host's name, samehost, samenet and all are")


async def remarks(s: Session, book: Book, after: str, line: int) -> list[str]:
    """What the DBA should know of the new rule in this line, none of which is an error to the server."""
    [known] = await s.fetch(Known, _KNOWN)
    found = book.rules(after)
    at = next((n for n, r in enumerate(found) if _is_at(r, book.path, line)), None)
    new = found[at] if at is not None else None
    if not isinstance(new, Rule):
        return []
    earlier = [r for r in found[:at] if isinstance(r, Rule)]
    return [*_names(new, known), *_weak(new, known), *_never(new, earlier)]


def _is_at(rule: Rule | Unread, path: str, line: int) -> bool:
    where = (rule.file, rule.line) if isinstance(rule, Rule) else (rule.line.file, rule.line.first)
    return where == (path, line)


def _names(rule: Rule, known: Known) -> list[str]:
    keywords = ("all", "sameuser", "samerole", "samegroup", "replication")
    lacking = [
        f"there is no database {d} yet"
        for d in rule.database or []
        if d not in (*known.databases, *keywords) and not d.startswith("/")
    ]
    for user in rule.user or []:
        name = user.removeprefix("+")
        if name != "all" and name not in known.roles and not name.startswith("/"):
            lacking.append(f"there is no role {name} yet")
    return lacking


def _weak(rule: Rule, known: Known) -> list[str]:
    told = []
    if rule.type != "local" and rule.method == "trust":
        told.append("trust: whoever reaches the port from there is let in without a password")
    if rule.address == "all" or rule.netmask in ("0.0.0.0", "::"):  # noqa: S104
        told.append("it is for every address there is")
    if rule.method == "password" and rule.type != "hostssl":
        told.append("password: it travels in the clear where the connection is not encrypted")
    if rule.method == "md5" and known.encryption == "scram-sha-256":
        told.append("md5 lets scram-sha-256 passwords in, and weaker ones too; scram-sha-256 is stricter")
    if rule.type == "hostssl" and not known.ssl:
        told.append("ssl is off: a hostssl rule fits no connection")
    return told


def _never(rule: Rule, earlier: Sequence[Rule]) -> list[str]:
    for each in earlier:
        if _covers(each, rule):
            return [f"line {each.line} fits all that this rule fits and stands before it: it never decides"]
    return []


def _covers(wide: Rule, narrow: Rule) -> bool:
    """Whether the one surely fits every connection that the other fits."""
    types = wide.type == narrow.type or (wide.type == "host" and narrow.type != "local")
    names = _all_of(wide.database, narrow.database, "replication") and _all_of(wide.user, narrow.user)
    return types and names and _contains(wide, narrow)


def _all_of(wide: list[str] | None, narrow: list[str] | None, apart: str = "") -> bool:
    rest = set(narrow or []) - set(wide or [])
    return not rest or ("all" in (wide or []) and apart not in rest)


def _contains(wide: Rule, narrow: Rule) -> bool:
    if wide.type == "local" or (
        wide.address in ("all", narrow.address) and wide.netmask in (None, narrow.netmask)
    ):
        return True
    one, other = (network_of(f"{r.address}/{r.netmask}") for r in (wide, narrow))
    if one is None or other is None or one.version != other.version:
        return False
    return one.prefixlen <= other.prefixlen and other.network_address in one
