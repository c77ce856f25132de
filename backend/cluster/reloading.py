"""Reading the configuration again: what would stop it, and the steps that do it and prove that it was done.

`pg_reload_conf()` is true as soon as the signal is sent. An unknown name or a syntax error keeps everything
from being applied; one bad value does not; a bad pg_hba.conf leaves the old rules in force; and
`pg_conf_load_time()` advances in the last two cases. So the files are asked first, and the settings after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from backend.core.errors import Missing, Refused
from backend.core.facts import Query, Since
from backend.core.plan import Sql, Wait, statement
from backend.core.session import Session

SECONDS = 20.0

_STANDING = Query(
    Since(
        15,
        """\
SELECT pg_catalog.current_setting('allow_alter_system', true) AS allowed,
       pg_catalog.has_parameter_privilege(%s, 'ALTER SYSTEM') AS may_set,
       pg_catalog.has_function_privilege('pg_catalog.pg_reload_conf()', 'EXECUTE') AS may_reload,
       pg_catalog.has_function_privilege('pg_catalog.pg_show_all_file_settings()', 'EXECUTE') AS may_read,
       pg_catalog.has_function_privilege('pg_catalog.pg_hba_file_rules()', 'EXECUTE') AS may_read_hba""",
    ),
    Since(
        0,
        """\
SELECT NULL::pg_catalog.text AS allowed,
       %s::pg_catalog.text IS NOT NULL AND r.rolsuper AS may_set,
       pg_catalog.has_function_privilege('pg_catalog.pg_reload_conf()', 'EXECUTE') AS may_reload,
       pg_catalog.has_function_privilege('pg_catalog.pg_show_all_file_settings()', 'EXECUTE') AS may_read,
       pg_catalog.has_function_privilege('pg_catalog.pg_hba_file_rules()', 'EXECUTE') AS may_read_hba
  FROM pg_catalog.pg_roles AS r
 WHERE r.rolname = current_user""",
    ),
)

# A setting that takes a restart is reported like an error until the restart, without a file when it was taken
# out of one; it is none.
SETTING_ERRORS = Query("""\
SELECT f.sourcefile AS file,
       f.sourceline AS line,
       f.name,
       f.error,
       p.name IS NULL AS stops_all
  FROM pg_catalog.pg_file_settings AS f
  LEFT JOIN pg_catalog.pg_settings AS p
    ON pg_catalog.lower(p.name) = pg_catalog.lower(f.name)
 WHERE f.error IS NOT NULL
   AND f.sourcefile IS NOT NULL
   AND p.context IS DISTINCT FROM 'postmaster'
 ORDER BY f.seqno""")

# A rule that has an error is one that fits no connection, such as hostssl while ssl is off; it is loaded.
HBA_ERRORS = Query(
    Since(
        16,
        """\
SELECT r.file_name AS file,
       r.line_number AS line,
       NULL::pg_catalog.text AS name,
       r.error,
       true AS stops_all
  FROM pg_catalog.pg_hba_file_rules AS r
 WHERE r.error IS NOT NULL
   AND r.type IS NULL
 ORDER BY r.file_name, r.line_number""",
    ),
    Since(
        0,
        """\
SELECT pg_catalog.current_setting('hba_file') AS file,
       r.line_number AS line,
       NULL::pg_catalog.text AS name,
       r.error,
       true AS stops_all
  FROM pg_catalog.pg_hba_file_rules AS r
 WHERE r.error IS NOT NULL
   AND r.type IS NULL
 ORDER BY r.line_number""",
    ),
)


@dataclass(frozen=True, slots=True)
class Standing:
    """What this role may do about the server's configuration."""

    allowed: str | None
    may_set: bool
    may_reload: bool
    may_read: bool
    may_read_hba: bool


@dataclass(frozen=True, slots=True)
class FileError:
    """A line that the server cannot use; one that `stops_all` keeps it from applying anything."""

    file: str | None
    line: int | None
    name: str | None
    error: str
    stops_all: bool

    @property
    def sentence(self) -> str:
        """Where it is and what is wrong."""
        what = f"{self.name}: {self.error}" if self.name else self.error
        return f"{self.file} line {self.line}: {what}"


async def standing(s: Session, name: str | None = None) -> Standing:
    """How the configuration stands, for changing that setting."""
    [found] = await s.fetch(Standing, _STANDING, name or "work_mem")
    return found


async def errors_of_settings(s: Session, of: Standing) -> list[FileError]:
    """The lines of its configuration that the server cannot use; none where that may not be read."""
    return await s.fetch(FileError, SETTING_ERRORS) if of.may_read else []


async def errors_of_hba(s: Session, of: Standing) -> list[FileError]:
    """The lines of pg_hba.conf that the server cannot use; none where that may not be read."""
    try:
        return await s.fetch(FileError, HBA_ERRORS) if of.may_read_hba else []
    except Missing as e:
        raise Refused(
            f"the server may not read its own rules: {e.message}",
            hint="correct the file's owner and mode first",
        ) from None


def demand_may_reload(s: Session, of: Standing) -> None:
    """Raise `Missing` for a role that may not reload; one that only acts is judged when it does."""
    if s.target.act is None and not of.may_reload:
        raise Missing(
            f"role {s.facts.user} may not reload the configuration",
            hint=f"GRANT EXECUTE ON FUNCTION pg_catalog.pg_reload_conf() TO {s.facts.user}",
        )


def demand_readable(found: Sequence[FileError]) -> None:
    """Refuse when a reload would apply nothing."""
    if stops := [e for e in found if e.stops_all]:
        raise Refused(
            f"a reload would apply nothing: {stops[0].sentence}",
            hint="correct that line first; the view cluster.file_errors lists them all",
        )


def reload(note: str = "") -> Sql:
    """The step that tells the server to read its configuration again."""
    return statement("SELECT pg_catalog.pg_reload_conf() AS told", note=note)


def before_all(*, undo: bool = True) -> Sql:
    """The first step of a change, for `reloaded`; its undo, last of all, loads what was put back."""
    return statement(
        "SELECT pg_catalog.set_config('pgtui.loaded', pg_catalog.pg_conf_load_time()::pg_catalog.text, false)"
        " AS loaded",
        undo=reload() if undo else None,
    )


def reloaded() -> Wait:
    """The step that waits until the server has read its configuration since `before_all`."""
    return Wait(
        sql.SQL(
            "SELECT pg_catalog.pg_conf_load_time()"
            " > pg_catalog.current_setting('pgtui.loaded')::pg_catalog.timestamptz AS loaded"
        ),
        until="the server has read its configuration again",
        deadline=SECONDS,
        every=0.05,
    )
