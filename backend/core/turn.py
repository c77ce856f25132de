"""Taking turns: one run that disrupts at a time on a target; `core.hostlock` is for those without SQL."""

from __future__ import annotations

from psycopg.rows import dict_row

from backend.core.connection import Connection
from backend.core.errors import Refused

# Two keys name the advisory lock: "pgtu", "i" in ASCII. Advisory locks belong to one database, and end
# with the connection, so that a killed pgtui holds nobody up.
_LOCK = (0x70677475, 0x69)


async def take_turn(connection: Connection) -> None:
    """Hold the target for as long as the connection lives; refused while another run does, naming who."""
    cursor = await connection.execute(
        "SELECT pg_catalog.pg_try_advisory_lock(%s::pg_catalog.int4, %s::pg_catalog.int4)", _LOCK
    )
    [(taken,)] = await cursor.fetchall()
    if not taken:
        raise Refused(
            f"another run holds this target: {await _holder(connection)}", hint="wait for it to end"
        )


async def _holder(connection: Connection) -> str:
    """Who holds the advisory lock, for the one who has to wait."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            "SELECT a.pid, a.usename, a.application_name, coalesce(a.client_addr::text, 'local') AS client"
            "  FROM pg_catalog.pg_locks l"
            "  JOIN pg_catalog.pg_stat_activity a USING (pid)"
            " WHERE l.locktype = 'advisory'"
            "   AND (l.classid, l.objid, l.objsubid) = (%s, %s, 2)"
            "   AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())"
            "   AND l.granted",
            _LOCK,
        )
        rows = await cursor.fetchall()
    if not rows:
        return "it has just ended"
    row = rows[0]
    return f"{row['application_name']} (pid {row['pid']}, {row['usename']} from {row['client']})"
