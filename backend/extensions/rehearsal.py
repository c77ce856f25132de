"""Plans that run a statement, and plans that only try it: in a transaction that is rolled back."""

from __future__ import annotations

from typing import Any, LiteralString

from psycopg import sql

from backend.core.declare import Danger
from backend.core.plan import Answers, Plan, Step, statement

# Short, since others queue up behind a lock that is waited for.
PATIENCE: LiteralString = "SET LOCAL lock_timeout = '200ms'"

NOT_UNDONE = (
    "it is tried and rolled back: what it changes elsewhere stays, such as values of sequences, files, "
    "what a background worker or another server was told; until then its locks hold up others"
)

_STATE: LiteralString = """\
SELECT e.extname AS name,
       e.extversion AS version,
       n.nspname AS schema
  FROM pg_catalog.pg_extension AS e
  JOIN pg_catalog.pg_namespace AS n
    ON n.oid = e.extnamespace
 WHERE e.extname IN ({names})
 ORDER BY e.extname"""


def plan(
    name: str,
    command: sql.Composable,
    *,
    rehearse: bool,
    also: tuple[str, ...] = (),
    guards: tuple[Step, ...] = (),
    danger: Danger = Danger.CHANGE,
    notes: tuple[str, ...] = (),
    rows: tuple[Any, ...] = (),
) -> Plan:
    """The plan for one statement on an extension; its result is what is installed afterwards."""
    names = sql.SQL(", ").join(sql.Literal(each) for each in (name, *also))
    after = statement(sql.SQL(_STATE).format(names=names))
    if not rehearse:
        return Plan(
            name,
            (*guards, statement(command), after),
            danger=danger,
            notes=notes,
            rows=rows,
            result=lambda answers: _told(name, answers),
        )
    return Plan(
        name,
        (*guards, statement("BEGIN"), statement(PATIENCE), statement(command), after),
        danger=Danger.DISRUPT,
        notes=(NOT_UNDONE, *notes),
        rows=rows,
        always=(statement("ROLLBACK"),),
        result=lambda answers: {"rehearsed": True} | _told(name, answers),
    )


def _told(name: str, answers: Answers) -> dict[str, Any]:
    found = [dict(row) for row in answers[-1].rows]
    main = [row for row in found if row["name"] == name]
    told: dict[str, Any] = main[0] if main else {"name": name, "version": None, "schema": None}
    return told | {"also": [row for row in found if row["name"] != name]}
