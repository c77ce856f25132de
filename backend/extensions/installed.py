"""The extensions of a database: versions, what they need, and who needs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from backend.core.declare import Col, Health, Verdict
from backend.core.facts import Query

Status = Literal["ok", "update", "no path", "files missing"]
Preload = Literal["loaded", "not loaded", "hidden"]

# What works only, or fully, with its library in shared_preload_libraries, by extension; no catalog tells.
PRELOADED = {
    "citus": "citus",
    "credcheck": "credcheck",
    "documentdb": "pg_documentdb",
    "pg_cron": "pg_cron",
    "pg_net": "pg_net",
    "pg_partman": "pg_partman_bgw",
    "pg_qualstats": "pg_qualstats",
    "pg_show_plans": "pg_show_plans",
    "pg_squeeze": "pg_squeeze",
    "pg_stat_kcache": "pg_stat_kcache",
    "pg_stat_monitor": "pg_stat_monitor",
    "pg_stat_statements": "pg_stat_statements",
    "pg_tle": "pg_tle",
    "pg_wait_sampling": "pg_wait_sampling",
    "pgaudit": "pgaudit",
    "pglogical": "pglogical",
    "pgsodium": "pgsodium",
    "set_user": "set_user",
    "timescaledb": "timescaledb",
}
# Of those, what does its work by being called, too: its background worker is an offer.
OPTIONAL = {"pg_partman"}

# The paths between versions are looked up only where a version differs: an extension with many versions has
# thousands of them. A role that may not see the setting is told so.
INSTALLED = Query("""
WITH owned AS (
    SELECT d.refobjid AS extension,
           d.classid,
           d.objid
      FROM pg_catalog.pg_depend AS d
     WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
       AND d.deptype = 'e'
), counted AS (
    SELECT o.extension,
           pg_catalog.count(*) AS members
      FROM owned AS o
     GROUP BY o.extension
), using_them AS (
    SELECT o.extension,
           pg_catalog.count(DISTINCT (CASE WHEN v.relkind IN ('v', 'm') OR r.oid IS NOT NULL
                                           THEN 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid
                                           ELSE d.classid
                                      END,
                                      coalesce(r.ev_class, d.objid),
                                      CASE WHEN v.relkind IN ('v', 'm') THEN 0 ELSE d.objsubid END))
             AS dependents
      FROM owned AS o
      JOIN pg_catalog.pg_depend AS d
        ON d.refclassid = o.classid
       AND d.refobjid = o.objid
       AND d.deptype = 'n'
      LEFT JOIN pg_catalog.pg_rewrite AS r
        ON r.oid = d.objid
       AND d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
      LEFT JOIN pg_catalog.pg_class AS v
        ON v.oid = d.objid
       AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
     WHERE NOT EXISTS (SELECT
                         FROM owned AS m
                        WHERE m.classid = d.classid
                          AND m.objid = d.objid)
       AND d.classid <> 'pg_catalog.pg_extension'::pg_catalog.regclass
       AND NOT EXISTS (SELECT
                         FROM pg_catalog.pg_depend AS i
                         JOIN owned AS m
                           ON m.classid = i.refclassid
                          AND m.objid = i.refobjid
                        WHERE i.classid = d.classid
                          AND i.objid = d.objid
                          AND i.deptype IN ('i', 'a'))
     GROUP BY o.extension
)
SELECT e.extname AS name,
       e.extversion AS version,
       a.default_version,
       CASE WHEN a.name IS NULL THEN 'files missing'
            WHEN e.extversion = a.default_version THEN 'ok'
            WHEN p.path IS NOT NULL THEN 'update'
            ELSE 'no path'
       END AS status,
       p.path,
       n.nspname AS schema,
       pg_catalog.pg_get_userbyid(e.extowner)::pg_catalog.text AS owner,
       (SELECT pg_catalog.string_agg(r.extname::pg_catalog.text, ', ' ORDER BY r.extname)
          FROM pg_catalog.pg_depend AS d
          JOIN pg_catalog.pg_extension AS r
            ON r.oid = d.refobjid
         WHERE d.classid = 'pg_catalog.pg_extension'::pg_catalog.regclass
           AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
           AND d.objid = e.oid
           AND d.deptype = 'n') AS requires,
       (SELECT pg_catalog.string_agg(r.extname::pg_catalog.text, ', ' ORDER BY r.extname)
          FROM pg_catalog.pg_depend AS d
          JOIN pg_catalog.pg_extension AS r
            ON r.oid = d.objid
         WHERE d.classid = 'pg_catalog.pg_extension'::pg_catalog.regclass
           AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
           AND d.refobjid = e.oid
           AND d.deptype = 'n') AS required_by,
       coalesce(c.members, 0) AS members,
       coalesce(u.dependents, 0) AS dependents,
       CASE WHEN pg_catalog.pg_has_role('pg_read_all_settings', 'USAGE')
            THEN pg_catalog.current_setting('shared_preload_libraries')
       END AS libraries,
       e.extrelocatable AS relocatable,
       a."comment" AS about
  FROM pg_catalog.pg_extension AS e
  JOIN pg_catalog.pg_namespace AS n
    ON n.oid = e.extnamespace
  LEFT JOIN pg_catalog.pg_available_extensions AS a
    ON a.name = e.extname
  LEFT JOIN LATERAL
       (SELECT up.path
          FROM pg_catalog.pg_extension_update_paths(a.name) AS up
         WHERE up.source = e.extversion
           AND up.target = a.default_version) AS p
    ON e.extversion <> a.default_version
  LEFT JOIN counted AS c
    ON c.extension = e.oid
  LEFT JOIN using_them AS u
    ON u.extension = e.oid
 ORDER BY e.extname
""")


@dataclass(frozen=True, slots=True)
class Found:
    """One extension as the catalogs have it."""

    name: str
    version: str
    default_version: str | None
    status: Status
    path: str | None
    schema: str
    owner: str
    requires: str | None
    required_by: str | None
    members: int
    dependents: int
    libraries: str | None
    relocatable: bool
    about: str | None

    def told(self) -> Extension:
        """The same as it is shown."""
        return Extension(
            self.name,
            self.version,
            self.default_version,
            self.status,
            self.path,
            self.schema,
            self.owner,
            self.requires,
            self.required_by,
            self.members,
            self.dependents,
            preload(self.name, self.libraries),
            self.relocatable,
            self.about,
        )


@dataclass(frozen=True, slots=True)
class Extension:
    """One extension that is installed."""

    name: Annotated[str, Col("Extension", key=True, priority=1)]
    version: Annotated[str, Col("Version", priority=1)]
    default_version: Annotated[
        str | None, Col("On disk", priority=1, help="The version that the server's files install by default")
    ]
    status: Annotated[
        Status,
        Col("Status", priority=1, help="No path: the files have no script from this version to theirs"),
    ]
    path: Annotated[str | None, Col("Update path", priority=6)]
    schema: Annotated[str, Col("Schema", priority=2)]
    owner: Annotated[str, Col("Owner", priority=4)]
    requires: Annotated[str | None, Col("Needs", priority=4)]
    required_by: Annotated[str | None, Col("Needed by", priority=5)]
    members: Annotated[int, Col("Members", priority=7, help="Objects that belong to it")]
    dependents: Annotated[
        int, Col("Used by", priority=2, help="Objects of others that depend on it, such as columns and views")
    ]
    preload: Annotated[
        Preload | None,
        Col(
            "Preloaded",
            priority=3,
            help="Whether its library is in shared_preload_libraries, for those that want that; "
            "hidden: pg_read_all_settings lets a role see it",
        ),
    ]
    relocatable: Annotated[bool, Col("Movable", priority=8, help="Whether extensions.move may move it")]
    about: Annotated[str | None, Col("About", text=True, priority=3)]


def preload(name: str, libraries: str | None) -> Preload | None:
    """Whether what an extension wants loaded at the server's start is; None for those that want nothing."""
    if name not in PRELOADED:
        return None
    if libraries is None:
        return "hidden"
    listed = {word.strip().strip('"').rpartition("/")[2] for word in libraries.split(",")}
    return "loaded" if PRELOADED[name] in listed else "not loaded"


def verdict(row: Extension) -> Verdict | None:
    """Warnings for what will break: an upgrade, a restore, or the extension itself."""
    if row.status == "files missing":
        return Verdict(Health.WARNING, "its files are not on the server; a dump could not be restored here")
    if row.status == "no path":
        return Verdict(
            Health.WARNING,
            f"it is {row.version} and the files are for {row.default_version}, with no way between them",
        )
    if row.preload == "not loaded" and row.name not in OPTIONAL:
        return Verdict(
            Health.WARNING, f"shared_preload_libraries lacks {PRELOADED[row.name]}, which it works with"
        )
    return None


def differing(databases: Mapping[str, Sequence[Extension]]) -> list[str]:
    """A sentence for each extension that is not of the same version in all databases that have it."""
    found: dict[str, dict[str, list[str]]] = {}
    for database, rows in databases.items():
        for row in rows:
            found.setdefault(row.name, {}).setdefault(row.version, []).append(database)
    return [
        f"extension {name} differs: "
        + "; ".join(f"{version} in {', '.join(where)}" for version, where in sorted(versions.items()))
        for name, versions in sorted(found.items())
        if len(versions) > 1
    ]
