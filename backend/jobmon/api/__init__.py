"""pgtui's own implementation of the pg_jobmon API: the statements that create, prove and drop it.

Scripts written for the extension run on it unchanged: tables and functions carry the same names,
arguments and results. What a script may notice:

- Logging needs USAGE on the schema and nothing else. The functions scripts call run as the caller, so
  a job's owner is the caller's `current_user`; they reach the database's second connection through
  helpers that are SECURITY DEFINER with a pinned search_path. Those build one fixed call each from
  quoted values, so a caller can log, end, misname and look up jobs, as with the extension, and do
  nothing else as the installer. An ordinary role logs without seeing the password and, when a superuser
  installed the API, without dblink wanting one. `auth()` runs as its caller: only who may read
  `dblink_mapping_jobmon` gets the connection string from it.
- An error of that connection is raised anew with its SQLSTATE and sentence, without the string.
- `sql_step` leaves the job open, whatever the outcome: close or fail it when the steps are done. The
  extension closes it after each good step, so that it says OK although a later one failed.
- `sql_job` of a name that is already running runs nothing, and its own job ends as WARNING.
- Ending or updating what does not exist is a WARNING, a null argument error 22004, an unknown fail
  level error 22023 that leaves the job as it was.
- `cancel_job` acts on an open job whose session is the one that logged it; otherwise it warns,
  changes nothing and is false.
- A job counts once in its streak however often it is updated. `job_log_clear` spares running jobs and
  forgets the failures of jobs that it deletes.
- `check_job_status` writes nothing. Several codes in one streak count together when no single one
  suffices. As in the extension, an inactive configuration silences its job, and thresholds run from
  the start of the latest run.
"""

from collections.abc import Sequence
from typing import LiteralString

from psycopg import sql

from backend.jobmon.api.bridge import BRIDGE_ROUTINES
from backend.jobmon.api.check import CHECK_ROUTINES
from backend.jobmon.api.control import CONTROL_ROUTINES
from backend.jobmon.api.probe import PROBE
from backend.jobmon.api.remote import REMOTE_ROUTINES
from backend.jobmon.api.routine import Names, Routine, quoted
from backend.jobmon.api.runsql import SQL_ROUTINES
from backend.jobmon.api.show import SHOW_ROUTINES
from backend.jobmon.api.tables import TABLE_NAMES, TABLES, TRIGGER_ROUTINES, TRIGGERS

API_VERSION: LiteralString = "1"

# A function, unlike a comment, survives every dump, and its source is the version.
OWN_MARKER: LiteralString = "pgtui_jobmon_version"

VERSION = Routine(
    OWN_MARKER,
    types="",
    arguments="",
    returns="integer",
    language="sql",
    volatility="IMMUTABLE",
    body=f"SELECT {API_VERSION}",
)

ROUTINES: tuple[Routine, ...] = (
    *TRIGGER_ROUTINES,
    *REMOTE_ROUTINES,
    *BRIDGE_ROUTINES,
    *CONTROL_ROUTINES,
    *SQL_ROUTINES,
    *SHOW_ROUTINES,
    *CHECK_ROUTINES,
    PROBE,
    VERSION,
)

# Whoever may create a schema could plant a marker; only those who could do anything anyway are believed.
INSTALLED = sql.SQL("""\
SELECT n.nspname AS schema, substring(p.prosrc FROM '\\d+')::integer AS version, o.rolname AS owner
  FROM pg_catalog.pg_proc AS p
  JOIN pg_catalog.pg_namespace AS n
    ON n.oid = p.pronamespace
  JOIN pg_catalog.pg_roles AS o
    ON o.oid = p.proowner
  JOIN pg_catalog.pg_database AS d
    ON d.datname = pg_catalog.current_database()
 WHERE p.proname = {marker}
   AND p.pronargs = 0
   AND (o.rolsuper OR o.oid = d.datdba OR o.rolname = CURRENT_USER)
 ORDER BY n.nspname""").format(marker=sql.Literal(OWN_MARKER))

_GUARD: LiteralString = """
BEGIN
    IF to_regclass(format('%I.job_log', {schema_name})) IS NOT NULL
       AND to_regprocedure(format('%I.{marker}()', {schema_name})) IS NULL THEN
        RAISE EXCEPTION 'schema % has a job_log that pgtui did not create', quote_ident({schema_name})
        USING ERRCODE = 'duplicate_table',
              HINT = 'Choose another schema, or keep using what is installed there.';
    END IF;
END
"""

_OURS: LiteralString = """
BEGIN
    IF to_regprocedure(format('%I.{marker}()', {schema_name})) IS NULL THEN
        RAISE EXCEPTION 'schema % has no job log that pgtui created', quote_ident({schema_name})
        USING ERRCODE = 'undefined_object';
    END IF;
END
"""

_DROP_SCHEMA: LiteralString = """
BEGIN
    DROP SCHEMA {schema} RESTRICT;
EXCEPTION
    WHEN dependent_objects_still_exist THEN
        RAISE NOTICE 'schema % stays: it has other objects', quote_ident({schema_name});
END
"""


def dblink_statements(dblink_schema: str) -> list[sql.Composed]:
    """What creates dblink where it is missing; needs a superuser."""
    schema = sql.Identifier(dblink_schema)
    return [
        sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema),
        sql.SQL("CREATE EXTENSION IF NOT EXISTS dblink SCHEMA {}").format(schema),
    ]


def install_statements(schema: str, dblink_schema: str) -> list[sql.Composed]:
    """What creates the API in a schema, or brings it up to date there with all rows kept; one transaction."""
    names = Names(schema, dblink_schema)
    return [
        _anonymous(names, _GUARD.replace("{marker}", OWN_MARKER)),
        names.fill("CREATE SCHEMA IF NOT EXISTS {schema}"),
        *(names.fill(table) for table in TABLES),
        *(routine.create(names) for routine in ROUTINES),
        *(names.fill(trigger) for trigger in TRIGGERS),
    ]


def uninstall_statements(schema: str) -> list[sql.Composed]:
    """What drops exactly the API, log included; one transaction. dblink and objects of others stay."""
    names = Names(schema, "")
    return [
        _anonymous(names, _OURS.replace("{marker}", OWN_MARKER)),
        *(routine.drop(names) for routine in _without_triggers(ROUTINES)),
        *(_drop_table(names, table) for table in TABLE_NAMES),
        *(routine.drop(names) for routine in TRIGGER_ROUTINES),
        _anonymous(names, _DROP_SCHEMA),
    ]


def _without_triggers(routines: Sequence[Routine]) -> list[Routine]:
    return [routine for routine in reversed(routines) if routine not in TRIGGER_ROUTINES]


def _drop_table(names: Names, table: LiteralString) -> sql.Composed:
    return sql.SQL("DROP TABLE IF EXISTS {} RESTRICT").format(sql.Identifier(names.schema, table))


def _anonymous(names: Names, body: LiteralString) -> sql.Composed:
    return sql.SQL("DO {}").format(quoted(names.fill(body)))
