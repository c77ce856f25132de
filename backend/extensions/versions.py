"""What the server's files could install: extensions, and the versions of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from backend.core.declare import Col
from backend.core.facts import Query

AVAILABLE = Query("""
SELECT a.name,
       a.default_version,
       a.installed_version,
       v.superuser AND NOT v.trusted AS superuser,
       v.trusted,
       v.relocatable,
       v.schema,
       pg_catalog.array_to_string(v.requires, ', ') AS requires,
       a."comment" AS about
  FROM pg_catalog.pg_available_extensions AS a
  LEFT JOIN pg_catalog.pg_available_extension_versions AS v
    ON v.name = a.name
   AND v.version = a.default_version
 ORDER BY a.name
""")

# Versions that only updates lead to have no installation script, and are not among the available ones.
VERSIONS = Query("""
WITH named AS (
    SELECT a.name,
           a.default_version,
           a.installed_version
      FROM pg_catalog.pg_available_extensions AS a
     WHERE a.name = %s
), paths AS (
    SELECT p.source,
           p.target,
           p.path
      FROM named AS n
     CROSS JOIN LATERAL pg_catalog.pg_extension_update_paths(n.name) AS p
), known AS (
    SELECT v.version
      FROM named AS n
      JOIN pg_catalog.pg_available_extension_versions AS v
        ON v.name = n.name
     UNION
    SELECT p.target
      FROM paths AS p
     UNION
    SELECT p.source
      FROM paths AS p
)
SELECT k.version,
       coalesce(k.version = n.installed_version, false) AS installed,
       coalesce(k.version = n.default_version, false) AS by_default,
       v.name IS NOT NULL AS creatable,
       p.path,
       v.superuser AND NOT v.trusted AS superuser,
       v.trusted,
       v.relocatable,
       v.schema,
       pg_catalog.array_to_string(v.requires, ', ') AS requires
  FROM known AS k
 CROSS JOIN named AS n
  LEFT JOIN pg_catalog.pg_available_extension_versions AS v
    ON v.name = n.name
   AND v.version = k.version
  LEFT JOIN paths AS p
    ON p.source = n.installed_version
   AND p.target = k.version
 ORDER BY CASE WHEN k.version ~ '^[0-9]+([.][0-9]+)*$' AND pg_catalog.length(k.version) < 40
               THEN pg_catalog.string_to_array(k.version, '.')::pg_catalog.numeric[]
          END DESC NULLS LAST,
          k.version DESC
""")


@dataclass(frozen=True, slots=True)
class Available:
    """One extension whose files the server has."""

    name: Annotated[str, Col("Extension", key=True, priority=1)]
    default_version: Annotated[str | None, Col("Version", priority=1, help="What is installed by default")]
    installed_version: Annotated[str | None, Col("Installed", priority=1, help="In this database")]
    superuser: Annotated[
        bool | None, Col("Superuser", priority=4, help="Whether only a superuser creates it")
    ]
    trusted: Annotated[
        bool | None, Col("Trusted", priority=5, help="Whoever may create in the database may create it")
    ]
    relocatable: Annotated[bool | None, Col("Movable", priority=8)]
    schema: Annotated[str | None, Col("Schema", priority=7, help="The only one that it goes into")]
    requires: Annotated[str | None, Col("Needs", priority=3)]
    about: Annotated[str | None, Col("About", text=True, priority=2)]


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an extension."""

    version: Annotated[str, Col("Version", key=True, priority=1)]
    installed: Annotated[bool, Col("Installed", priority=1)]
    by_default: Annotated[bool, Col("Default", priority=1, help="What is created when no version is given")]
    creatable: Annotated[
        bool, Col("Creatable", priority=2, help="no: only an update leads to it, or from it")
    ]
    path: Annotated[
        str | None, Col("Update path", text=True, priority=2, help="From the version that is installed")
    ]
    superuser: Annotated[
        bool | None, Col("Superuser", priority=4, help="Whether only a superuser creates it")
    ]
    trusted: Annotated[bool | None, Col("Trusted", priority=5)]
    relocatable: Annotated[bool | None, Col("Movable", priority=8)]
    schema: Annotated[str | None, Col("Schema", priority=7, help="The only one that it goes into")]
    requires: Annotated[str | None, Col("Needs", priority=3)]
