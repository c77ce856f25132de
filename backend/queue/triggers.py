"""Actions that let changes of a table flow into a queue, and stop that."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Annotated, Literal

from psycopg import sql

from backend.core.clean import clean
from backend.core.declare import Ask, Danger, action
from backend.core.errors import Refused, Usage
from backend.core.facts import Needs, Query
from backend.core.plan import Check, Plan, statement
from backend.core.session import Session
from backend.core.show import counted
from backend.queue.calls import QueueName
from backend.queue.feeding import ENCODERS, Feeder, drop_trigger, feeders
from backend.queue.filters import try_filter
from backend.queue.ground import PGQ, WRITER, ask, find_queue

# The table's owner may, whatever role of PgQ's they have.
CAPTURING = Needs(extensions=PGQ, primary=True)
Encoding = Literal["urlencoded", "sql", "json"]

_TABLES = Query("""
SELECT c.oid,
       n.nspname::pg_catalog.text AS schema,
       c.relname::pg_catalog.text AS name,
       c.relkind::pg_catalog.text AS kind,
       EXISTS (SELECT
                 FROM pg_catalog.pg_index AS i
                WHERE i.indrelid = c.oid
                  AND i.indisprimary) AS keyed
  FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n
    ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
   AND %s::pg_catalog.text IN (n.nspname || '.' || c.relname,
                               pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname))
""")

_COLUMNS = Query("""
SELECT a.attname::pg_catalog.text AS name,
       pg_catalog.format_type(a.atttypid, NULL) AS type
  FROM pg_catalog.pg_attribute AS a
 WHERE a.attrelid = %s::pg_catalog.oid
   AND a.attnum > 0
   AND NOT a.attisdropped
 ORDER BY a.attnum
""")

_TRIGGERS = Query("""
SELECT t.tgname::pg_catalog.text AS name
  FROM pg_catalog.pg_trigger AS t
 WHERE t.tgrelid = %s::pg_catalog.oid
   AND NOT t.tgisinternal
""")

# The trigger inserts as whoever changes the table.
_BARRED = Query("""
SELECT r.rolname::pg_catalog.text AS name
  FROM pg_catalog.pg_roles AS r
 WHERE NOT r.rolsuper
   AND (pg_catalog.has_table_privilege(r.oid, %s::pg_catalog.oid, 'INSERT')
        OR pg_catalog.has_table_privilege(r.oid, %s::pg_catalog.oid, 'UPDATE')
        OR pg_catalog.has_table_privilege(r.oid, %s::pg_catalog.oid, 'DELETE'))
   AND NOT pg_catalog.pg_has_role(r.oid, 'pgq_writer', 'USAGE')
   AND r.rolname !~ '^pg_'
 ORDER BY r.rolname
""")


@dataclass(frozen=True, slots=True)
class Table:
    """The table that is to feed a queue."""

    oid: int
    schema: str
    name: str
    kind: str
    keyed: bool

    @property
    def identifier(self) -> sql.Identifier:
        """Its name in SQL."""
        return sql.Identifier(self.schema, self.name)

    @property
    def plain(self) -> str:
        """Its name with its schema, as it is spoken of."""
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class Name:
    """A trigger or a role."""

    name: str


@dataclass(frozen=True, slots=True)
class Column:
    """A column, and its type in SQL."""

    name: str
    type: str


@action("queue.attach_trigger", danger=Danger.CHANGE, needs=CAPTURING, on="queue.queues")
async def attach_trigger(
    s: Session,
    queue: QueueName,
    table: Annotated[str, Ask("Table", help="With its schema", fill=False)],
    encoding: Annotated[Encoding, Ask("Encoding", help="Of the row in ev_data", fill=False)] = "urlencoded",
    ignore: Annotated[
        list[str] | None,
        Ask("Ignore", help="Columns left out; changes of them alone are no event", fill=False),
    ] = None,
    key: Annotated[
        list[str] | None, Ask("Key", help="Columns that name a row, instead of the primary key", fill=False)
    ] = None,
    filter: Annotated[
        str | None, Ask("Filter", help="An SQL condition on the row, such as amount > 100", fill=False)
    ] = None,
    backup: Annotated[bool, Ask("Backup", help="The old row of an update in ev_extra2", fill=False)] = False,
    truncate: Annotated[bool, Ask("Truncate", help="An event for TRUNCATE too", fill=False)] = False,
    trigger: Annotated[str | None, Ask("Trigger", help="Its name", fill=False)] = None,
) -> Plan:
    """Let every insert, update and delete of a table be an event of a queue.

    PgQ finds what is wrong with a trigger only when it fires, and then the change itself fails; pgtui looks
    before: columns, key, the filter, and whether all who change the table may insert events.
    """
    await find_queue(s, queue)
    found = await _find_table(s, table)
    types = {c.name: c.type for c in await ask(s, Column, _COLUMNS, found.oid)}
    for column in (*(ignore or ()), *(key or ())):
        _check_column(found, column, types)
    if not found.keyed and not key:
        raise Refused(
            f"table {clean(found.plain)} has no primary key, so every update and delete would fail",
            hint="--key names columns that tell rows apart",
        )
    if filter is not None:
        await try_filter(s, filter, types)
    name = await _trigger_name(s, found, queue, trigger)
    arguments = [queue, *_options(ignore, key, filter, backup)]
    return await _attach(s, found, name, ENCODERS[encoding], arguments, truncate)


async def _find_table(s: Session, name: str) -> Table:
    if not name.strip() or "\0" in name:
        raise Usage("--table is empty or holds a zero byte")
    found = await ask(s, Table, _TABLES, name)
    if not found:
        hint = None if "." in name else "write it with its schema"
        raise Refused(f"there is no table {clean(name)}", hint=hint)
    if found[0].kind not in ("r", "p"):
        raise Refused(f"{clean(name)} is no table, and only tables have such triggers")
    return found[0]


def _check_column(table: Table, column: str, known: Container[str]) -> None:
    if column not in known:
        raise Refused(f"table {clean(table.plain)} has no column {clean(column)}")
    if "," in column:
        raise Refused(f"column {clean(column)} has a comma in its name, which PgQ does not know")


async def _trigger_name(s: Session, table: Table, queue: str, given: str | None) -> str:
    known = {t.name for t in await ask(s, Name, _TRIGGERS, table.oid)}
    if given is None and any(f.identifier == table.identifier for f in await feeders(s, queue)):
        raise Refused(
            f"table {clean(table.plain)} feeds queue {clean(queue)} already",
            hint="--trigger makes another trigger, and then each change is two events",
        )
    name = given if given is not None else f"to_queue_{queue}"
    if not name.strip() or "\0" in name or len(name.encode("utf-8", "surrogateescape")) > 54:
        raise Usage("the trigger's name has to have 1 to 54 bytes", hint="--trigger gives it another one")
    if taken := {name, f"{name}_truncate"} & known:
        raise Refused(
            f"table {clean(table.plain)} has a trigger {clean(min(taken))} already",
            hint="--trigger gives this one another name",
        )
    return name


def _options(
    ignore: list[str] | None, key: list[str] | None, condition: str | None, backup: bool
) -> list[str]:
    return [
        *([f"ignore={','.join(ignore)}"] if ignore else ()),
        *([f"pkey={','.join(key)}"] if key else ()),
        *([f"when={condition}"] if condition is not None else ()),
        *(["backup"] if backup else ()),
    ]


async def _attach(
    s: Session, table: Table, name: str, function: str, arguments: list[str], truncate: bool
) -> Plan:
    barred = [r.name for r in await ask(s, Name, _BARRED, table.oid, table.oid, table.oid)]
    if barred:
        roles = ", ".join(clean(r) for r in barred[:5]) + (" and more" if len(barred) > 5 else "")
        grant = sql.SQL("GRANT {} TO {}").format(
            sql.Identifier(WRITER), sql.SQL(", ").join(map(sql.Identifier, barred))
        )
        raise Refused(
            f"{roles} may change table {clean(table.plain)} and insert no events, so the changes would fail",
            hint=clean(grant.as_string(None)),
        )
    words = sql.SQL(", ").join(map(sql.Literal, arguments))
    row = sql.SQL(
        "CREATE TRIGGER {} AFTER INSERT OR UPDATE OR DELETE ON {} FOR EACH ROW EXECUTE FUNCTION pgq.{}({})"
    ).format(sql.Identifier(name), table.identifier, sql.Identifier(function), words)
    whole = sql.SQL("CREATE TRIGGER {} AFTER TRUNCATE ON {} FOR EACH STATEMENT EXECUTE FUNCTION pgq.{}({})")
    emptied = whole.format(
        sql.Identifier(f"{name}_truncate"),
        table.identifier,
        sql.Identifier(function),
        sql.Literal(arguments[0]),
    )
    notes = ["from now on each change of a row is an event; what is in the table already is none"]
    if table.kind == "p":
        notes.append("events name the partition, and each partition needs a primary key of its own")
    return Plan(
        arguments[0],
        (statement(row, emptied) if truncate else statement(row),),
        notes=tuple(notes),
        result=lambda _: {
            "queue": arguments[0],
            "table": table.plain,
            "trigger": name,
            "arguments": arguments,
        },
    )


@action("queue.detach_trigger", danger=Danger.DISRUPT, needs=CAPTURING, on=("queue.queues", "queue.triggers"))
async def detach_trigger(
    s: Session,
    queue: Annotated[str, Ask("Queue")],
    table: Annotated[str | None, Ask("Table", help="Without it, all that feed the queue")] = None,
    trigger: Annotated[str | None, Ask("Trigger", help="Where there are several of a table")] = None,
) -> Plan:
    """Drop the triggers through which a table, or every table, feeds a queue.

    The queue may be gone already: then every change of the table fails until its trigger is dropped.
    """
    at = None if table is None else await _find_table(s, table)
    found = [
        f
        for f in await feeders(s, queue)
        if (at is None or f.identifier == at.identifier) and trigger in (None, f.trigger)
    ]
    if not found:
        what = "no table" if at is None else f"table {clean(at.plain)} has no trigger that"
        feeds = "feeds" if trigger is None else f"feeds by a trigger {clean(trigger)}"
        raise Refused(f"{what} {feeds} queue {clean(queue)}", hint="queue.triggers lists those that do")
    return Plan(
        queue,
        (statement(*map(drop_trigger, found)), _gone(found)),
        notes=tuple(
            f"changes of {clean(t)} are events of {clean(queue)} no more"
            for t in dict.fromkeys(f.table for f in found)
        ),
        result=lambda _: {"queue": queue, "dropped": [f"{f.table}.{f.trigger}" for f in found]},
    )


def _gone(found: list[Feeder]) -> Check:
    return Check(
        lambda answers: answers[-1].text == "DROP TRIGGER",
        that=f"{counted(found, 'trigger')} went",
        otherwise="the triggers were not dropped",
    )
