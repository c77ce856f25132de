"""Asking a target for its facts: one statement, the same on every version and behind a pooler."""

from __future__ import annotations

from typing import Any

from psycopg.rows import dict_row

from backend.core.connection import Connection, behind_pooler
from backend.core.facts import Facts, Installed

# An implementation of pgtui's own marks itself by a function pgtui_NAME_version() in its schema, whose body
# is `SELECT VERSION`. Anybody may create a function of that name, so only those of a superuser, of the
# database's owner or of the user count: what is found here is called with the DBA's rights.
_FACTS = b"""
SELECT pg_catalog.current_setting('server_version_num')::pg_catalog.int4 AS version_num,
       pg_catalog.current_setting('server_version') AS version,
       pg_catalog.pg_is_in_recovery() AS standby,
       pg_catalog.current_database()::pg_catalog.text AS database,
       current_user::pg_catalog.text AS username,
       (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) AS superuser,
       pg_catalog.pg_backend_pid() AS pid,
       ARRAY(SELECT rolname::pg_catalog.text
               FROM pg_catalog.pg_roles
              WHERE pg_catalog.pg_has_role(oid, 'USAGE')) AS member_of,
       ARRAY(SELECT ARRAY[e.extname::pg_catalog.text, e.extversion, n.nspname::pg_catalog.text]
               FROM pg_catalog.pg_extension e
               JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace) AS extensions,
       ARRAY(SELECT ARRAY[p.proname::pg_catalog.text, p.prosrc, n.nspname::pg_catalog.text]
               FROM pg_catalog.pg_proc p
               JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
               JOIN pg_catalog.pg_roles r ON r.oid = p.proowner
              WHERE p.proname ~ '^pgtui_[a-z]+_version$'
                AND (r.rolsuper
                     OR r.rolname = current_user
                     OR r.oid = (SELECT datdba
                                   FROM pg_catalog.pg_database
                                  WHERE datname = pg_catalog.current_database()))) AS own,
       ARRAY(SELECT datname::pg_catalog.text
               FROM pg_catalog.pg_database
              WHERE datallowconn
                AND NOT datistemplate
              ORDER BY datname) AS databases,
       (SELECT system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system()) AS system_identifier,
       pg_catalog.current_setting('server_encoding') AS encoding
"""


async def ask_facts(connection: Connection) -> Facts:
    """The facts of the server behind a connection."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_FACTS, prepare=False)
        [row] = await cursor.fetchall()
    return Facts(
        version_num=row["version_num"],
        version=row["version"].partition(" ")[0],
        role="standby" if row["standby"] else "primary",
        database=row["database"],
        user=row["username"],
        superuser=bool(row["superuser"]),
        member_of=frozenset(row["member_of"]),
        extensions=_installed(row["own"]) | _extensions(row["extensions"]),
        databases=tuple(row["databases"]),
        system_identifier=row["system_identifier"],
        encoding=row["encoding"],
        pooler=behind_pooler(connection, row["pid"]),
    )


def _extensions(found: list[Any]) -> dict[str, Installed]:
    return {name: Installed(name, version_tuple(version), schema) for name, version, schema in found}


def _installed(found: list[Any]) -> dict[str, Installed]:
    return {
        function.split("_")[1]: Installed(
            function.split("_")[1], version_tuple(body.strip().rpartition(" ")[2]), schema, own=True
        )
        for function, body, schema in found
    }


def version_tuple(text: str) -> tuple[int, ...]:
    """A version as numbers, so that 4.10 is newer than 4.9; what follows the numbers is left out."""
    numbers: list[int] = []
    for part in text.split("."):
        digits = "".join(c for c in part if c.isdigit())
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)
