"""Actions on pg_partman's configuration itself: change it, or remove what was left in it."""

from __future__ import annotations

from typing import Annotated, Any

from psycopg import sql

from backend.core.clean import clean
from backend.core.declare import Ask, Danger, action
from backend.core.errors import Refused, Usage
from backend.core.plan import Check, Plan, Sql, Step, statement
from backend.core.session import Session
from backend.core.values import Interval
from backend.partman.calls import config_table, demand_schema, find_table, last
from backend.partman.catalog import Config, PartitionSet, configs
from backend.partman.found import find_managed, literal
from backend.partman.place import ACTING
from backend.partman.retention import cutoffs

NONE = "none"
_MOST_PREMADE = 10_000


@action("partman.configure", danger=Danger.CHANGE, needs=ACTING, on=("partman.sets", "partman.settings"))
async def configure(
    s: Session,
    parent: Annotated[str, Ask("Set", choices="partman.settings.parent")],
    premake: Annotated[int | None, Ask("Premake", help="How many partitions ahead", fill=False)] = None,
    retention: Annotated[
        str | None, Ask("Retention", help="An interval, or how many ids; none keeps all", fill=False)
    ] = None,
    retention_schema: Annotated[
        str | None, Ask("Move to schema", help="Of partitions let go; none leaves them", fill=False)
    ] = None,
    keep_table: Annotated[
        bool | None, Ask("Keep table", help="no drops what retention lets go", fill=False)
    ] = None,
    keep_index: Annotated[bool | None, Ask("Keep index", fill=False)] = None,
    automatic: Annotated[bool | None, Ask("Automatic maintenance", fill=False)] = None,
    infinite: Annotated[
        bool | None, Ask("Infinite", help="New partitions also where no new rows come", fill=False)
    ] = None,
    inherit_privileges: Annotated[bool | None, Ask("Inherit privileges", fill=False)] = None,
    ignore_default: Annotated[
        bool | None, Ask("Ignore default", help="Rows in the default partition ask for none", fill=False)
    ] = None,
) -> Plan:
    """Change how a set is maintained; what is not given stays as it is.

    Retention that drops tables does so at the next maintenance, not now.
    """
    found = await find_managed(s, parent)
    if premake is not None and not 1 <= premake <= _MOST_PREMADE:
        raise Usage(f"--premake wants 1 to {_MOST_PREMADE}, not {premake}")
    await _check_retention(s, found, retention)
    if retention_schema not in (None, NONE):
        await demand_schema(s, retention_schema or "", "--retention-schema")
    values: dict[str, Any] = {
        "premake": premake,
        "retention": retention,
        "retention_schema": retention_schema,
        "retention_keep_table": keep_table,
        "retention_keep_index": keep_index,
        "automatic_maintenance": None if automatic is None else "on" if automatic else "off",
        "infinite_time_partitions": infinite,
        "inherit_privileges": inherit_privileges,
        "ignore_default_data": ignore_default,
    }
    given = {column: value for column, value in values.items() if value is not None}
    if not given:
        raise Usage("nothing is to be changed", hint="give --premake, --retention or another option")
    return _set(s, found, given)


async def _check_retention(s: Session, of: PartitionSet, retention: str | None) -> None:
    if retention in (None, NONE):
        return
    if of.timed:
        interval = Interval.parse(retention or "")
        if interval.approximate.total_seconds() <= 0:
            raise Usage("--retention wants more than no time", hint="none keeps all")
        if not await cutoffs(s, [retention]):
            raise Usage(f"--retention {retention} is no interval that PostgreSQL knows")
    elif not (retention or "").isdecimal() or int(retention or 0) < 1:
        raise Usage(f"{clean(of.at.parent)} is partitioned by number: --retention wants how many ids to keep")


def _set(s: Session, of: PartitionSet, given: dict[str, Any]) -> Plan:
    changes = [
        sql.SQL("{} = {}").format(sql.Identifier(c), sql.Literal(None if v == NONE else v))
        for c, v in given.items()
    ]
    returned = sql.SQL(", ").join(sql.SQL("p.{}").format(sql.Identifier(c)) for c in given)
    change = sql.SQL(
        "UPDATE {table} AS p\n   SET {changes}\n WHERE p.parent_table = {parent}\n"
        "RETURNING p.parent_table, {returned}"
    ).format(
        table=config_table(s.facts),
        changes=sql.SQL(",\n       ").join(changes),
        parent=literal(of),
        returned=returned,
    )
    config = of.config or {}
    notes = tuple(_becomes(c, config.get(c), None if v == NONE else v) for c, v in given.items())
    gone = f"pg_partman does not manage {of.at.parent} any more; nothing was changed"
    return Plan(of.at.parent, (statement(change), _one(gone)), notes=notes, result=last)


def _becomes(column: str, before: Any, after: Any) -> str:
    if before == after:
        return f"{column}: {_word(before)} stays"
    return f"{column}: {_word(before)} becomes {_word(after)}"


def _word(value: Any) -> str:
    match value:
        case None:
            return NONE
        case bool():
            return "yes" if value else "no"
        case _:
            return str(value)


def _one(otherwise: str) -> Check:
    return Check(lambda answers: answers[-1].count == 1, that="it was still configured", otherwise=otherwise)


@action("partman.forget", danger=Danger.CHANGE, needs=ACTING, on=("partman.sets", "partman.settings"))
async def forget(
    s: Session,
    parent: Annotated[str, Ask("Set", choices="partman.settings.parent")],
    drop_template: Annotated[
        bool, Ask("Drop template", help="The table that new partitions were made after")
    ] = False,
) -> Plan:
    """Remove the configuration of a set whose table was dropped, which stops maintenance of all others."""
    found = [c for c in await configs(s) if c.parent_table == parent]
    if not found:
        raise Refused(f"pg_partman has no set {clean(parent)}", hint="partman.settings lists them")
    if found[0].present:
        raise Refused(
            f"{clean(parent)} is still there; only what was left of a dropped table is removed",
            hint="partman.undo ends a set that is there",
        )
    steps: list[Step] = [_delete(s, parent), _one(f"{parent} is configured no more, or its table is back")]
    if drop_template:
        steps.append(await _drop_template(s, found[0]))
    danger = Danger.DESTROY if drop_template else Danger.CHANGE
    return Plan(parent, tuple(steps), danger=danger, result=lambda _: {"parent": parent})


def _delete(s: Session, parent: str) -> Sql:
    delete = sql.SQL("""\
DELETE FROM {table} AS p
 WHERE p.parent_table = {parent}
   AND NOT EXISTS (SELECT
                     FROM pg_catalog.pg_class AS c
                     JOIN pg_catalog.pg_namespace AS n
                       ON n.oid = c.relnamespace
                    WHERE n.nspname || '.' || c.relname = p.parent_table
                      AND c.relkind IN ('r', 'p'))
RETURNING p.parent_table""")
    return statement(delete.format(table=config_table(s.facts), parent=sql.Literal(parent)))


async def _drop_template(s: Session, of: Config) -> Sql:
    template = of.settings.get("template_table")
    if not template:
        raise Refused(f"{clean(of.parent_table)} has no template")
    table = await find_table(s, template, "--drop-template")
    return statement(sql.SQL("DROP TABLE {}").format(table.identifier))
