"""pg_dump and pg_restore on the target's host: where they are, and how they reach the server."""

from __future__ import annotations

import getpass
import os
import re
from dataclasses import dataclass
from typing import Any

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from backend.core.errors import Missing
from backend.core.facts import Query
from backend.core.host import script
from backend.core.passwords import lookup, service
from backend.core.plan import Command
from backend.core.session import Session
from backend.partman.place import ask

_BINDIR = Query("""
SELECT c.setting AS folder
  FROM pg_catalog.pg_config AS c
 WHERE c.name = 'BINDIR'
""")

# Debian's and the PGDG's folders come before the search path, where any version may lie.
_FOLDERS = ("/usr/lib/postgresql/{}/bin", "/usr/pgsql-{}/bin")
_FIND = """\
found=$(command -v pg_dump) && set -- "$@" "${found%/*}"
for folder; do
    [ -x "$folder/pg_dump" ] && [ -x "$folder/pg_restore" ] || continue
    echo "$folder"
    exec "$folder/pg_dump" --version
done
"""

# The password goes by standard input into the environment, which only the program's own user can see.
_WITH_PASSWORD = 'IFS= read -r PGPASSWORD; export PGPASSWORD; exec "$@" </dev/null'  # noqa: S105
_NOT_PASSED = ("service", "password", "passfile", "sslpassword")


async def bindir(s: Session) -> str:
    """The folder of programs that can dump this server; `Missing` where the host has none."""
    own = s.target.cluster.get("bin")
    folders = (own,) if own else (*await _told(s), *(f.format(s.facts.major) for f in _FOLDERS))
    said = (await s.host.run(script(_FIND, *folders))).text
    found = re.fullmatch(r"(.+)\npg_dump \(PostgreSQL\) (\d+).*\n", said)
    if found is None:
        raise Missing(
            f"the programs pg_dump and pg_restore are not on {s.host.where}",
            hint="they come with the package postgresql-client; cluster.bin in the inventory names a folder",
        )
    if int(found[2]) < s.facts.major:
        raise Missing(
            f"pg_dump on {s.host.where} is {found[2]}, too old for PostgreSQL {s.facts.major}",
            hint=f"the package postgresql-client-{s.facts.major} brings one that is new enough",
        )
    return found[1]


@dataclass(frozen=True, slots=True)
class Setting:
    """A folder that the server was built with."""

    folder: str


async def _told(s: Session) -> tuple[str, ...]:
    """The folder of the server's own programs, which it tells superusers."""
    found = await ask(s, Setting, _BINDIR) if s.facts.superuser else []
    return tuple(f.folder for f in found)


@dataclass(frozen=True, slots=True)
class Way:
    """How a program on the host reaches the database: a connection string, and a password beside it."""

    conninfo: str
    password: str | None

    def command(self, argv: tuple[str, ...], run_as: str | None) -> Command:
        """The step that runs a program which connects; it may take long."""
        if self.password is None:
            return Command(argv, run_as=run_as, long=True)
        given = f"{self.password}\n".encode("utf-8", "surrogateescape")
        return Command(script(_WITH_PASSWORD, *argv), stdin=given, run_as=run_as, long=True)


def way(s: Session, name: str | None = None) -> Way:
    """The target's own connection string, as a program on its host can use it, called `name`."""
    target = s.target
    dsn = target.dsn if target.act is None else target.act
    named: dict[str, Any] = dict(conninfo_to_dict(dsn))
    given = service(named) | named
    if not target.ssh:
        given = _of_the_environment() | given
    user = str(given.get("user") or getpass.getuser())
    given |= {"user": user, "dbname": s.facts.database, "application_name": name}
    password = given.get("password") or s.password(dsn) or _on_file(s, given)
    return Way(
        make_conninfo("", **{k: v for k, v in given.items() if v is not None and k not in _NOT_PASSED}),
        None if password is None else str(password),
    )


def _of_the_environment() -> dict[str, str]:
    names = ("host", "hostaddr", "port", "user", "password", "sslmode")
    return {name: found for name in names if (found := os.environ.get(f"PG{name.upper()}"))}


def _on_file(s: Session, given: dict[str, Any]) -> str | None:
    """The password in pgtui's own password file, which a program elsewhere or of another user cannot read."""
    if s.target.ssh is None and s.target.run_as is None:
        return None
    return lookup(given, str(given.get("host") or "localhost"), int(given.get("port") or 5432))
