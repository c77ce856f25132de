"""The connection that jobs are logged over: the steps that set it, and the test that proves it."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, LiteralString

from psycopg import sql

from backend.core.declare import Ask, Danger, action
from backend.core.errors import Missing, Refused, Usage
from backend.core.facts import Facts, Installed, Query
from backend.core.plan import Answers, Check, Plan, Sql, Step, statement
from backend.core.rendering import SecretLiteral
from backend.core.session import Session
from backend.jobmon.api.connection import OWN_CONNECTION, connection_statement
from backend.jobmon.api.probe import probe_statement
from backend.jobmon.calls import call, last, text
from backend.jobmon.place import ACTING, installed

TEST_JOB: LiteralString = "pgtui connection test"

# The first superuser is called as the system's user that the server runs as, unless somebody chose otherwise;
# so peer authentication lets the server in as that role, and as no other.
_FIRST_SUPERUSER = Query("""
SELECT r.rolname::pg_catalog.text AS name
  FROM pg_catalog.pg_roles AS r
 WHERE r.oid = 10
""")


@dataclass(frozen=True, slots=True)
class RoleName:
    """A role."""

    name: str


@action("jobmon.set_connection", danger=Danger.CHANGE, needs=ACTING)
async def set_connection(
    s: Session,
    host: Annotated[str | None, Ask("Host", help="A name, an address or a socket's folder")] = None,
    port: Annotated[int | None, Ask("Port")] = None,
    user: Annotated[str | None, Ask("User", help="The role that writes the log")] = None,
    password: Annotated[str | None, Ask("Password", secret=True)] = None,
) -> Plan:
    """Set the connection that jobs are logged over, and prove it with a test job.

    It has to lead back to this database. What is not given is the server's own: its socket folder, its port,
    its first superuser, no password. When the test job fails, the old connection is put back.
    """
    found = installed(s.facts)
    if port is not None and not 1 <= port <= 65535:
        raise Usage(f"--port wants 1 to 65535, not {port}")
    for option, value in (("--host", host), ("--user", user), ("--password", password)):
        _fits(found, option, value)
    role = user or await writer(s, password)
    change = _change(found, host, port, role, password)
    steps = (_with_way_back(found, change, password), *proof(found))
    return Plan(f"{found.schema}.dblink_mapping_jobmon", steps, result=told)


async def writer(s: Session, password: str | None) -> str:
    """The role that writes the log where nobody says which: the one whose password is given, or the first."""
    if password is not None:
        return s.facts.user
    found = await s.fetch(RoleName, _FIRST_SUPERUSER)
    return found[0].name if found else s.facts.user


def _fits(found: Installed, option: str, value: str | None) -> None:
    if value is None:
        return
    text(value, option)
    if not found.own and any(c in value for c in " '\\\t\n"):
        raise Refused(
            f"{option} holds a space, a quote or a backslash; pg_jobmon puts it into its connection unquoted",
            hint="choose a value without, or log through pgtui's own jobmon, which quotes",
        )
    if option == "--host" and not found.own and found.version < (1, 5):
        with suppress(ValueError):
            ipaddress.ip_address(value)
            return
        raise Refused(
            f"--host wants an address: pg_jobmon {found.version_text} takes no names and no socket folders",
            hint=f"ALTER EXTENSION {found.name} UPDATE brings 1.5, which does",
        )


def _change(
    found: Installed, host: str | None, port: int | None, user: str, password: str | None
) -> sql.Composable:
    secret = None if password is None else SecretLiteral(password)
    if found.own or found.version >= (1, 5):
        return connection_statement(found.schema, host=host, port=port, username=user, password=secret)
    return _change_before_hostaddr(found.schema, host, port, user, secret)


def _change_before_hostaddr(
    place: str, host: str | None, port: int | None, user: str, secret: SecretLiteral | None
) -> sql.Composable:
    """The same for pg_jobmon 1.4, whose column `host` is an address; without one libpq knows a folder."""
    change = sql.SQL("""\
WITH own AS (
{own}
), changed AS (
    UPDATE {table} AS m
       SET username = {user}, port = {port}, pwd = {password}, host = {host}
      FROM own
    RETURNING m.port
)
INSERT INTO {table} (username, port, pwd, host)
SELECT {user}, {port}, {password}, {host}
  FROM own
 WHERE NOT EXISTS (SELECT FROM changed)""")
    return change.format(
        own=OWN_CONNECTION,
        table=sql.Identifier(place, "dblink_mapping_jobmon"),
        user=sql.Literal(user),
        port=sql.SQL("own.port") if port is None else sql.Literal(str(port)),
        password=secret or sql.SQL("NULL"),
        host=sql.Literal(host),
    )


def _with_way_back(found: Installed, change: sql.Composable, password: str | None) -> Sql:
    """The change, after the old row went into a table of this session: it never leaves the server."""
    table, old = (
        sql.Identifier(found.schema, "dblink_mapping_jobmon"),
        sql.Identifier("pg_temp", "old_mapping"),
    )
    keep = sql.SQL("CREATE TEMPORARY TABLE old_mapping AS TABLE {}").format(table)
    drop = sql.SQL("DELETE FROM {}").format(table)
    back = sql.SQL("INSERT INTO {} TABLE {}").format(table, old)
    return statement(keep, change, undo=statement(drop, back))


def proof(found: Installed) -> tuple[Step, ...]:
    """The steps that log a test job and look for it in this very database."""
    return _probe(found.schema) if found.own else _test_job(found.schema)


def _probe(place: str) -> tuple[Step, ...]:
    return (
        statement(probe_statement(place)),
        Check(
            lambda answers: answers[-1].first.get("status") is not None,
            that="the test job is in the log, though its work was undone",
            otherwise="the test job is not in the log of this database",
        ),
    )


def _test_job(place: str) -> tuple[Step, ...]:
    add = sql.SQL("SELECT {} AS job_id").format(call(place, "add_job", TEST_JOB))
    close = sql.SQL("""\
SELECT j.job_id, j.job_name, j.owner, {close} AS closed
  FROM {log} AS j
 WHERE j.pid = pg_catalog.pg_backend_pid()
   AND j.job_name = pg_catalog.upper({name})
   AND j.end_time IS NULL
 ORDER BY j.job_id DESC
 LIMIT 1""").format(
        close=call(place, "close_job", sql.SQL("j.job_id")),
        log=sql.Identifier(place, "job_log"),
        name=sql.Literal(TEST_JOB),
    )
    return (
        statement(add),
        statement(close),
        Check(
            lambda answers: answers[-1].count == 1,
            that="the test job is in the log of this database",
            otherwise="the test job was logged somewhere else, not in this database",
        ),
    )


def told(answers: Answers) -> dict[str, Any]:
    """What the test job proved, durations in seconds."""
    found = {k: v for k, v in last(answers).items() if k != "closed"}
    if "took" in found:
        found["took"] = found["took"].total_seconds()
    return found


def demand_connection(facts: Facts, act: str | None, password: str | None) -> None:
    """Raise `Missing` when dblink would not let this role connect without a password."""
    if facts.superuser or act or password is not None:
        return
    raise Missing(
        f"role {facts.user} is no superuser, and dblink connects such a role only with a password",
        hint="act as a superuser, or give --password of the role; pg_hba.conf has to ask for it",
    )
