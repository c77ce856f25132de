"""One change of pg_hba.conf, whoever makes it: what must hold before, the steps, and how they are undone."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from psycopg import sql

from backend.cluster import deciding
from backend.cluster.deciding import Client, Network
from backend.cluster.discovery import Cluster
from backend.cluster.hba import rules_of
from backend.cluster.hba_text import Line, Unread, rules
from backend.cluster.own import own_server
from backend.cluster.reloading import (
    HBA_ERRORS,
    before_all,
    demand_may_reload,
    reload,
    reloaded,
    standing,
)
from backend.cluster.rule import Rule
from backend.core.errors import Failed, Missing, Refused, unknown
from backend.core.facts import Query
from backend.core.plan import Answers, Check, File, Plan, Step, statement
from backend.core.session import Session

# Host.read gives no more than this; a file that is cut off must not be written back.
LONGEST = 1 << 20

_MAIN = Query("SELECT p.setting AS path FROM pg_catalog.pg_settings AS p WHERE p.name = 'hba_file'")

_PRESENT = Query("""\
WITH RECURSIVE member(oid) AS (
    SELECT r.oid
      FROM pg_catalog.pg_roles AS r
     WHERE r.rolname = session_user
     UNION
    SELECT m.roleid
      FROM pg_catalog.pg_auth_members AS m
      JOIN member
        ON member.oid = m.member
)
SELECT session_user::pg_catalog.text AS "user",
       pg_catalog.current_database()::pg_catalog.text AS database,
       pg_catalog.host(pg_catalog.inet_client_addr()) AS address,
       coalesce((SELECT t.ssl
                   FROM pg_catalog.pg_stat_ssl AS t
                  WHERE t.pid = pg_catalog.pg_backend_pid()), false) AS ssl,
       ARRAY(SELECT r.rolname::pg_catalog.text
               FROM pg_catalog.pg_roles AS r
               JOIN member USING (oid)) AS roles""")


@dataclass(frozen=True, slots=True)
class _Path:
    path: str


@dataclass(frozen=True, slots=True)
class _Present:
    user: str
    database: str
    address: str | None
    ssl: bool
    roles: list[str]


@dataclass(frozen=True, slots=True)
class Book:
    """pg_hba.conf and what it includes, by path; `path` is the one to be changed."""

    cluster: Cluster
    main: str
    path: str
    files: Mapping[str, str]
    wrong: tuple[Rule, ...]

    @property
    def text(self) -> str:
        """The text of the file to be changed."""
        return self.files[self.path]

    def rules(self, after: str | None = None) -> list[Rule | Unread]:
        """The rules in the order in which they are tried; `after` is another text of the file."""
        files = self.files if after is None else {**self.files, self.path: after}
        return list(rules(files, self.main))


async def open_book(s: Session, file: str | None, cluster: str | None = None) -> Book:
    """pg_hba.conf as it is on the host; `Missing` when that is out of reach, with what would help."""
    own = await own_server(s, cluster)
    if own.cluster is None:
        why = own.why
        raise Missing(
            f"pg_hba.conf is a file on the server's host: {why.message if why else 'it is not known'}",
            hint=why.hint if why else None,
        )
    found = await rules_of(s)
    demand_may_reload(s, await standing(s))
    [main] = await s.fetch(_Path, _MAIN)
    paths = list(dict.fromkeys([main.path, *(r.file for r in found)]))
    if file is not None and file not in paths:
        raise unknown("file of the rules", file, paths)
    files = {path: await _read(s, own.cluster, path) for path in paths}
    wrong = tuple(r for r in found if r.error and r.type is None)
    return Book(own.cluster, main.path, file or main.path, files, wrong)


async def _read(s: Session, cluster: Cluster, path: str) -> str:
    data = await s.host.read(path, run_as=cluster.owner, limit=LONGEST)
    if len(data) >= LONGEST:
        raise Failed(f"{path} is larger than pgtui edits ({LONGEST} bytes)")
    return data.decode("utf-8", "surrogateescape")


async def changed(
    s: Session,
    book: Book,
    after: str,
    *,
    added: int | None = None,
    removed: Line | None = None,
    edited: bool = False,
    notes: Sequence[str] = (),
) -> Plan:
    """The plan that makes the file read `after`; refused when we ourselves would be locked out."""
    if not edited:
        _demand_right(book, removed)
    _demand_rules(book.rules(after))
    told = await _demand_entrance(s, book, after)
    path, owner = PurePosixPath(book.path), book.cluster.owner
    back = File(path, after, book.text, run_as=owner)
    steps: tuple[Step, ...] = (
        before_all(),
        File(path, book.text, after, run_as=owner, undo=back),
        statement(sql.SQL(HBA_ERRORS.pick(s.facts)), note="the server's own parser"),
        Check(lambda a: not a[-1].rows, that="the server can read every line", otherwise=_wrong),
        reload(),
        reloaded(),
        _entered(s),
    )
    kept = f"the file before is kept as {book.path}.pgtui~"
    return Plan(
        book.path,
        steps,
        notes=(*notes, *told, kept),
        result=lambda _: {"file": book.path, "line": added or (removed.first if removed else None)},
    )


def _wrong(answers: Answers) -> str:
    first = answers[-1].first
    return f"{first['file']} line {first['line']}: {first['error']}; the old file was put back"


def _entered(s: Session) -> Step:
    """A connection of its own, made under the new rules."""
    look = sql.SQL("SELECT session_user AS entered, pg_catalog.pg_conf_load_time() AS loaded")
    return statement(look, dbname=s.facts.database, note="in a new connection, under the new rules")


def _demand_right(book: Book, removed: Line | None) -> None:
    """Refuse while another line is wrong: the server would go on with its old rules."""
    for rule in book.wrong:
        if removed is None or (rule.file, rule.line) != (removed.file, removed.first):
            raise Refused(
                f"the server reads no rule while {rule.file} line {rule.line} is wrong: {rule.error}",
                hint="correct it with cluster.edit_hba, or take it away with cluster.remove_hba_rule",
            )


def _demand_rules(found: Sequence[Rule | Unread]) -> None:
    for each in found:
        if isinstance(each, Unread) and each.wrong:
            raise Refused(f"{each.line.file} line {each.line.first} would be wrong: {each.why}")


async def _demand_entrance(s: Session, book: Book, after: str) -> list[str]:
    """Refuse what would lock the present user out; what can only be seen by connecting is said."""
    client = await _present(s)
    before, then = book.rules(), book.rules(after)
    known = [r for r in (*before, *then) if isinstance(r, Rule)]
    network = await deciding.known(s, known, client.address)
    now, new = _met(before, client, network), _met(then, client, network)
    who = f"{client.user} in database {client.database} from {client.address or 'the socket'}"
    if new is None:
        raise Refused(f"no rule would let us in any more: {who}", hint="add a rule for it first")
    if isinstance(new, Unread):
        return [f"whether {who} gets in is seen when it is loaded: {new.why}, line {new.line.first}"]
    if new.method == "reject":
        raise Refused(f"line {new.line} would lock us out: it rejects {who}", hint="put a rule for it before")
    if isinstance(now, Rule) and (now.method, now.options) == (new.method, new.options):
        return []
    return [f"we would get in by line {new.line}, {new.method}, from then on; a new connection proves it"]


async def _present(s: Session) -> Client:
    [p] = await s.fetch(_Present, _PRESENT)
    address = ipaddress.ip_address(p.address) if p.address else None
    return Client(p.user, frozenset(p.roles), p.database, address, p.ssl, False, s.facts.major)


def _met(found: Sequence[Rule | Unread], client: Client, network: Network) -> Rule | Unread | None:
    """The rule that decides; a line that cannot be judged, when it stands before it."""
    for rule in found:
        if isinstance(rule, Unread) or deciding.fits(rule, client, network) is not False:
            return rule
    return None
