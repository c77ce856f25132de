"""Actions that create and drop pgtui's own implementation of the API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from psycopg import sql

from backend.core.declare import Ask, Col, Danger, action
from backend.core.errors import Missing, Refused, Usage
from backend.core.facts import Facts, Installed, Needs, Query
from backend.core.plan import Answers, Check, Plan, statement
from backend.core.rendering import SecretLiteral
from backend.core.session import Session
from backend.core.show import counted
from backend.jobmon.api import (
    API_VERSION,
    OWN_MARKER,
    dblink_statements,
    install_statements,
    uninstall_statements,
)
from backend.jobmon.api.connection import connection_statement
from backend.jobmon.api.tables import TABLE_NAMES
from backend.jobmon.calls import identifier
from backend.jobmon.connecting import demand_connection, proof, told, writer
from backend.jobmon.place import OWN, ask, find, schema

DBLINK_SCHEMA = "dblink"

_GROUND = Query("""
SELECT pg_catalog.to_regnamespace(pg_catalog.quote_ident(%s)) IS NOT NULL AS exists,
       (SELECT pg_catalog.count(*)
          FROM pg_catalog.pg_depend AS d
         WHERE d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass
           AND d.refobjid = pg_catalog.to_regnamespace(pg_catalog.quote_ident(%s))
           AND d.deptype = 'n') AS objects,
       pg_catalog.to_regnamespace('dblink') IS NOT NULL AS has_dblink_schema,
       EXISTS (SELECT
                 FROM pg_catalog.pg_available_extensions AS e
                WHERE e.name = 'dblink') AS dblink_available,
       pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE') AS may_create
""")

# What would keep a table from being dropped: views and foreign keys of others.
_DEPENDENTS = Query("""
SELECT DISTINCT
       CASE WHEN r.oid IS NULL THEN pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid)
            ELSE pg_catalog.pg_describe_object(d.refclassid, r.ev_class, 0)
       END AS what
  FROM pg_catalog.pg_depend AS d
  JOIN pg_catalog.pg_class AS c
    ON c.oid = d.refobjid
   AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
  LEFT JOIN pg_catalog.pg_rewrite AS r
    ON r.oid = d.objid
   AND d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
 WHERE c.relnamespace = pg_catalog.to_regnamespace(pg_catalog.quote_ident(%s))
   AND c.relname = ANY (%s::pg_catalog.text[])
   AND d.deptype = 'n'
   AND d.classid IN ('pg_catalog.pg_rewrite'::pg_catalog.regclass,
                     'pg_catalog.pg_constraint'::pg_catalog.regclass)
   AND NOT EXISTS (SELECT
                     FROM pg_catalog.pg_constraint AS f
                    WHERE f.oid = d.objid
                      AND f.connamespace = c.relnamespace)
 ORDER BY what
 LIMIT 100
""")

# Counting stops early: the note only has to say whether much goes.
_CONTENTS = Query("""
SELECT (SELECT pg_catalog.count(*)
          FROM (SELECT FROM {jobmon}.job_log LIMIT 100001) AS l) AS jobs,
       (SELECT pg_catalog.count(*) FROM {jobmon}.job_check_config) AS settings
""")


@dataclass(frozen=True, slots=True)
class Ground:
    """What there is before an installation."""

    exists: bool
    objects: int
    has_dblink_schema: bool
    dblink_available: bool
    may_create: bool


@dataclass(frozen=True, slots=True)
class Dependent:
    """An object of somebody else's that depends on the log."""

    what: Annotated[str, Col("Depends on it", key=True, text=True)]


@dataclass(frozen=True, slots=True)
class Contents:
    """How much is logged."""

    jobs: int
    settings: int


@action("jobmon.install", danger=Danger.CHANGE, needs=Needs(primary=True))
async def install(
    s: Session,
    schema: Annotated[str, Ask("Schema")] = "jobmon",
    password: Annotated[
        str | None, Ask("Password", secret=True, help="Of the role that installs, where it is no superuser")
    ] = None,
) -> Plan:
    """Create pgtui's own implementation of pg_jobmon in this database, or bring it up to date.

    It comes with dblink, where that is missing, and logs over the server's own socket. A test job proves it;
    when that fails, all is taken back.
    """
    identifier(schema, "--schema")
    found = find(await s.refresh_facts())
    if found is not None:
        return _upgrade(s.facts, found, schema)
    [ground] = await s.fetch(Ground, _GROUND, schema, schema)
    _check_ground(s, ground, schema, password)
    return await _install(s, ground, schema, password)


def _upgrade(facts: Facts, found: Installed, wanted: str) -> Plan:
    if not found.own:
        raise Refused(
            f"database {facts.database} has the extension {found.name} {found.version_text} in schema "
            f"{found.schema}; it logs jobs already"
        )
    if found.version >= (int(API_VERSION),):
        raise Refused(f"pgtui's jobmon {found.version_text} is in schema {found.schema} already")
    if wanted not in (found.schema, "jobmon"):
        raise Refused(f"pgtui's jobmon {found.version_text} is in schema {found.schema}, not in {wanted}")
    dblink = facts.extensions.get("dblink")
    if dblink is None:
        raise Missing(
            f"database {facts.database} has no dblink any more; CREATE EXTENSION dblink installs it"
        )
    steps = (statement(*install_statements(found.schema, dblink.schema)), *proof(found))
    note = f"version {found.version_text} becomes {API_VERSION}; all that is logged stays"
    return Plan(found.schema, steps, notes=(note,), result=told)


def _check_ground(s: Session, ground: Ground, schema: str, password: str | None) -> None:
    if schema.startswith("pg_"):
        raise Usage(f"--schema {schema}: names that begin with pg_ belong to the system")
    if ground.exists and ground.objects:
        raise Refused(
            f"schema {schema} has {counted(ground.objects, 'object')} of its own",
            hint="jobmon.install --schema NAME takes another one",
        )
    demand_connection(s.facts, s.target.act, password)
    if "dblink" not in s.facts.extensions:
        _check_dblink(s, ground)
    if not ground.exists and not ground.may_create and not s.target.act:
        grant = sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(
            sql.Identifier(s.facts.database), sql.Identifier(s.facts.user)
        )
        raise Missing(f"role {s.facts.user} may not create a schema", hint=grant.as_string(None))


def _check_dblink(s: Session, ground: Ground) -> None:
    if not ground.dblink_available:
        raise Missing(
            "the server has no extension dblink, over which jobs are logged",
            hint="it comes with PostgreSQL's contrib modules, such as the package postgresql-contrib",
        )
    if not s.facts.superuser and not s.target.act:
        raise Missing(
            f"database {s.facts.database} has no dblink, and only a superuser creates it",
            hint="CREATE EXTENSION dblink, as a superuser",
        )


async def _install(s: Session, ground: Ground, schema: str, password: str | None) -> Plan:
    dblink = s.facts.extensions.get("dblink")
    place = dblink.schema if dblink else DBLINK_SCHEMA
    secret = None if password is None else SecretLiteral(password)
    connection = connection_statement(schema, username=await writer(s, password), password=secret)
    create = () if dblink else tuple(dblink_statements(place))
    taken_back = list(uninstall_statements(schema))
    if not dblink:
        taken_back.append(sql.SQL("DROP EXTENSION dblink RESTRICT").format())
        if not ground.has_dblink_schema:
            taken_back.append(sql.SQL("DROP SCHEMA {} RESTRICT").format(sql.Identifier(place)))
    everything = statement(
        *create, *install_statements(schema, place), connection, undo=statement(*taken_back)
    )
    own = Installed("jobmon", (int(API_VERSION),), schema, own=True)
    notes = () if dblink else (f"the extension dblink is created too, in schema {place}",)
    return Plan(schema, (everything, *proof(own)), notes=notes, result=lambda a: {"schema": schema} | told(a))


@action("jobmon.uninstall", danger=Danger.DESTROY, needs=OWN)
async def uninstall(s: Session) -> Plan:
    """Drop pgtui's own implementation of pg_jobmon with all that is logged; dblink stays."""
    place = schema(s.facts)
    found = await s.fetch(Dependent, _DEPENDENTS, place, list(TABLE_NAMES))
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        names = ", ".join(d.what for d in found[:3])
        raise Refused(f"{names}{more} would break", hint="drop what depends on the log first")
    [contents] = await ask(s, Contents, _CONTENTS)
    gone = sql.SQL("SELECT pg_catalog.to_regproc({}) IS NULL AS gone").format(
        sql.Literal(sql.Identifier(place, OWN_MARKER).as_string(None))
    )
    check = Check(
        lambda answers: answers[-1].scalar is True,
        that="nothing of it is left",
        otherwise=f"schema {place} still has pgtui's jobmon",
    )
    return Plan(
        place,
        (statement(*uninstall_statements(place)), statement(gone), check),
        notes=(_summary(contents),),
        result=lambda answers: _gone(place, answers),
    )


def _summary(contents: Contents) -> str:
    jobs = "more than 100000 jobs" if contents.jobs > 100_000 else counted(contents.jobs, "job")
    return f"the log of {jobs} and the thresholds of {contents.settings} would be lost"


def _gone(place: str, answers: Answers) -> dict[str, object]:
    return {"schema": place, "gone": answers[-1].scalar}
