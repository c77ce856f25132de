"""What has to be known before an extension is created, updated, moved or dropped."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from backend.core.errors import Missing, Refused, Usage
from backend.core.facts import Query
from backend.core.session import Session
from backend.extensions.names import demand_name

# One row always: what the files have of that version, what is installed, and what the role may.
_GROUND = Query("""
WITH given AS (
    SELECT %s::pg_catalog.text AS name,
           %s::pg_catalog.text AS version,
           %s::pg_catalog.text AS schema
)
SELECT g.name,
       a.name IS NOT NULL AS available,
       a.default_version,
       e.extversion AS installed,
       en.nspname AS in_schema,
       pg_catalog.pg_get_userbyid(e.extowner)::pg_catalog.text AS owner,
       coalesce(pg_catalog.pg_has_role(e.extowner, 'USAGE'), false) AS owns,
       coalesce(e.extrelocatable, false) AS relocatable,
       v.version AS version,
       coalesce(v.superuser AND NOT v.trusted, d.superuser AND NOT d.trusted, true) AS wants_superuser,
       v.schema::pg_catalog.text AS fixed_schema,
       p.path,
       b.path AS way_back,
       n.oid IS NOT NULL AS has_schema,
       coalesce(pg_catalog.has_schema_privilege(n.oid, 'CREATE'), false) AS creates_in_schema,
       pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE') AS creates
  FROM given AS g
  LEFT JOIN pg_catalog.pg_available_extensions AS a
    ON a.name = g.name
  LEFT JOIN pg_catalog.pg_available_extension_versions AS v
    ON v.name = g.name
   AND v.version = coalesce(g.version, a.default_version)
  LEFT JOIN pg_catalog.pg_available_extension_versions AS d
    ON d.name = g.name
   AND d.version = a.default_version
  LEFT JOIN pg_catalog.pg_extension AS e
    ON e.extname = g.name
  LEFT JOIN pg_catalog.pg_namespace AS en
    ON en.oid = e.extnamespace
  LEFT JOIN LATERAL
       (SELECT u.path
          FROM pg_catalog.pg_extension_update_paths(a.name) AS u
         WHERE u.source = e.extversion
           AND u.target = coalesce(g.version, a.default_version)) AS p
    ON e.oid IS NOT NULL
  LEFT JOIN LATERAL
       (SELECT u.path
          FROM pg_catalog.pg_extension_update_paths(a.name) AS u
         WHERE u.target = e.extversion
           AND u.source = coalesce(g.version, a.default_version)) AS b
    ON e.oid IS NOT NULL
  LEFT JOIN pg_catalog.pg_namespace AS n
    ON n.nspname = g.schema
""")

# Requirements of requirements too, by the versions that would be created.
_REQUIRED = Query("""
WITH RECURSIVE files AS MATERIALIZED (
    SELECT v.name,
           v.version,
           v.requires,
           v.superuser AND NOT v.trusted AS wants_superuser,
           v.version = a.default_version AS by_default
      FROM pg_catalog.pg_available_extension_versions AS v
      JOIN pg_catalog.pg_available_extensions AS a
        ON a.name = v.name
), needed AS (
    SELECT pg_catalog.unnest(f.requires) AS name
      FROM files AS f
     WHERE f.name = %s
       AND f.version = %s
     UNION
    SELECT pg_catalog.unnest(f.requires)
      FROM needed AS n
      JOIN files AS f
        ON f.name = n.name
       AND f.by_default
)
SELECT n.name,
       f.version,
       coalesce(f.wants_superuser, false) AS wants_superuser
  FROM needed AS n
  LEFT JOIN files AS f
    ON f.name = n.name
   AND f.by_default
 WHERE n.name NOT IN (SELECT e.extname
                        FROM pg_catalog.pg_extension AS e)
 ORDER BY n.name
""")


@dataclass(frozen=True, slots=True)
class Ground:
    """What there is of an extension, and what the role may do with it."""

    name: str
    available: bool
    default_version: str | None
    installed: str | None
    in_schema: str | None
    owner: str | None
    owns: bool
    relocatable: bool
    version: str | None
    wants_superuser: bool
    fixed_schema: str | None
    path: str | None
    way_back: str | None
    has_schema: bool
    creates_in_schema: bool
    creates: bool


@dataclass(frozen=True, slots=True)
class Requirement:
    """An extension that another needs and that is not installed."""

    name: str
    version: str | None
    wants_superuser: bool


async def look(s: Session, name: str, version: str | None = None, schema: str | None = None) -> Ground:
    """What there is of the extension of that name."""
    demand_name(name)
    if version is not None:
        demand_name(version, "--version")
    if schema is not None:
        demand_name(schema, "--schema")
    [ground] = await s.fetch(Ground, _GROUND, name, version, schema)
    return ground


async def look_at_installed(
    s: Session, name: str, version: str | None = None, schema: str | None = None
) -> Ground:
    """The same of one that has to be installed, by a role that has to own it."""
    ground = await look(s, name, version, schema)
    if ground.installed is None:
        raise Refused(f"database {s.facts.database} has no extension {name}")
    if not ground.owns and not s.target.act:
        grant = sql.SQL("GRANT {} TO {}").format(
            sql.Identifier(ground.owner or ""), sql.Identifier(s.facts.user)
        )
        raise Missing(
            f"extension {name} belongs to {ground.owner}, and role {s.facts.user} may not change it",
            hint=f"{grant.as_string(None)} lets it",
            sqlstate="42501",
        )
    return ground


async def requirements(s: Session, ground: Ground) -> list[Requirement]:
    """What else has to be created first."""
    return await s.fetch(Requirement, _REQUIRED, ground.name, ground.version)


def demand_creatable(s: Session, ground: Ground, version: str | None) -> None:
    """Raise when the extension is installed already, not on the server, or not in that version."""
    if ground.installed is not None:
        raise Refused(
            f"extension {ground.name} {ground.installed} is installed already, in schema {ground.in_schema}",
            hint="extensions.update brings another version, extensions.move another schema",
        )
    if not ground.available:
        raise Missing(
            f"the server has no files of the extension {ground.name}",
            hint="the package that brings them has to be installed on the server's host first",
        )
    if ground.version is None:
        raise Refused(
            f"the server's files do not create version {version or ground.default_version} of {ground.name}",
            hint=f"the view extensions.versions --name {ground.name} shows which there are",
        )


def demand_creator(s: Session, name: str, wants_superuser: bool, creates: bool) -> None:
    """Raise `Missing`, saying what helps, when the role may not create the extension."""
    if s.facts.superuser or s.target.act:
        return
    if wants_superuser:
        raise Missing(
            f"only a superuser creates the extension {name}",
            hint="give the target an act DSN with such a role, or let a superuser do it",
            sqlstate="42501",
        )
    if not creates:
        grant = sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(
            sql.Identifier(s.facts.database), sql.Identifier(s.facts.user)
        )
        raise Missing(
            f"role {s.facts.user} may not create extensions in database {s.facts.database}",
            hint=f"{grant.as_string(None)} lets it",
            sqlstate="42501",
        )


def demand_schema(s: Session, ground: Ground, schema: str) -> None:
    """Raise when an extension could not go into that schema."""
    if schema.startswith("pg_"):
        raise Usage(f"--schema {schema}: names that begin with pg_ belong to the system")
    if ground.fixed_schema not in (None, schema) and not ground.relocatable:
        raise Refused(f"extension {ground.name} goes into schema {ground.fixed_schema} and no other")
    if not ground.has_schema:
        raise Refused(f"database {s.facts.database} has no schema {schema}", hint="create it first")
    if not ground.creates_in_schema and not s.target.act:
        grant = sql.SQL("GRANT CREATE ON SCHEMA {} TO {}").format(
            sql.Identifier(schema), sql.Identifier(s.facts.user)
        )
        raise Missing(
            f"role {s.facts.user} may not create in schema {schema}",
            hint=f"{grant.as_string(None)} lets it",
            sqlstate="42501",
        )
