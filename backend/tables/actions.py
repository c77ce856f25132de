"""Actions of the room `tables`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, LiteralString

from psycopg import sql

from backend.core.declare import Ask, Col, Danger, action
from backend.core.errors import Refused, Usage
from backend.core.facts import Needs, Query
from backend.core.plan import Answers, Check, Plan, Sql, Step, statement
from backend.core.session import Session
from backend.core.values import Interval
from backend.tables.relation import INDEXES, TABLES, Relation, demand_right, find, may_vacuum, size

ON_PRIMARY = Needs(primary=True)

TableName = Annotated[
    str, Ask("Table", choices="tables.tables.table", help="As SQL writes it, such as public.orders")
]

# Those that a rebuild without locking out others left behind when it failed.
_LEFTOVERS = Query("""
SELECT pg_catalog.concat_ws('.',
                            pg_catalog.quote_ident(n.nspname),
                            pg_catalog.quote_ident(c.relname)) AS index
  FROM pg_catalog.pg_index AS i
  JOIN pg_catalog.pg_class AS c
    ON c.oid = i.indexrelid
  JOIN pg_catalog.pg_namespace AS n
    ON n.oid = c.relnamespace
 WHERE NOT i.indisvalid
   AND c.relkind = 'i'
   AND i.indrelid = coalesce((SELECT x.indrelid
                                FROM pg_catalog.pg_index AS x
                               WHERE x.indexrelid = %s::pg_catalog.oid),
                             %s::pg_catalog.oid)
 ORDER BY c.relname
""")


@dataclass(frozen=True, slots=True)
class Leftover:
    """An index that is not valid."""

    index: Annotated[str, Col("Invalid index", key=True, text=True)]


@action("tables.vacuum", danger=Danger.CHANGE, needs=ON_PRIMARY, on="tables.tables")
async def vacuum(
    s: Session,
    table: TableName,
    full: Annotated[
        bool, Ask("Full", help="Rewrites the table; nobody reads or writes it meanwhile")
    ] = False,
    freeze: Annotated[bool, Ask("Freeze", help="Freezes all rows, also young ones")] = False,
    analyze: Annotated[bool, Ask("Analyze", help="Brings the planner's statistics up to date too")] = False,
    truncate: Annotated[
        bool | None, Ask("Truncate", help="no leaves empty pages at the end, which takes no strong lock")
    ] = None,
) -> Plan:
    """Remove the dead rows of a table.

    It goes on beside readers and writers, unless it is full: that rewrites the table and all its indexes,
    wants as much disk space again, and shuts everybody out until it is done.
    """
    if full and truncate is not None:
        raise Usage("--full gives all empty pages back, so --truncate says nothing beside it")
    relation = await _table(s, table, "vacuum")
    words: tuple[tuple[LiteralString, bool], ...] = (("FULL", full), ("FREEZE", freeze), ("ANALYZE", analyze))
    options: list[LiteralString] = [word for word, wanted in words if wanted]
    if truncate is not None:
        options.append("TRUNCATE on" if truncate else "TRUNCATE off")
    notes = [f"nobody can read or write {relation.quoted} until it is rewritten"] if full else []
    return _vacuumed(s, relation, _command("VACUUM", options, relation), "vacuum", notes, full=full)


@action("tables.analyze", danger=Danger.CHANGE, needs=ON_PRIMARY, on="tables.tables")
async def analyze(s: Session, table: TableName) -> Plan:
    """Bring the planner's statistics of a table up to date."""
    relation = await _table(s, table, "analyze")
    return _vacuumed(s, relation, _command("ANALYZE", [], relation), "analyze", [])


@action("tables.reindex", danger=Danger.CHANGE, needs=ON_PRIMARY, on=("tables.tables", "tables.indexes"))
async def reindex(
    s: Session,
    index: Annotated[str | None, Ask("Index", choices="tables.indexes.index")] = None,
    table: Annotated[
        str | None, Ask("Table", choices="tables.tables.table", help="All its indexes; or that of the index")
    ] = None,
    concurrently: Annotated[
        bool, Ask("Concurrently", help="no is faster, and lets nobody write until it is done")
    ] = True,
    lock_wait: Annotated[
        Interval | None,
        Ask("Lock wait", help="Unless given, as long as it takes; 5s where nobody can write meanwhile"),
    ] = None,
) -> Plan:
    """Build an index anew, or all indexes of a table.

    Readers and writers go on beside it, and each index takes its space twice until the old one goes. It waits
    for every transaction that is older, which holds up nobody, so it does that for as long as it takes. When
    it fails or is cancelled, an invalid index named …_ccnew is left, which the view tables.indexes shows.
    """
    relation = await _reindexed(s, index, table)
    if concurrently and relation.system:
        raise Refused(
            f"{relation.quoted} belongs to the system, and is not built concurrently",
            hint="--no-concurrently shuts out its users for that time",
        )
    if concurrently and relation.exclusion:
        raise Refused(
            f"{relation.quoted} serves an exclusion constraint, and is not built concurrently",
            hint="--no-concurrently shuts out writers for that time",
        )
    demand_right(s, relation, "reindex")
    leftovers = await s.fetch(Leftover, _LEFTOVERS, relation.oid, relation.oid)
    patience = _patience(lock_wait or Interval("0s" if concurrently else "5s"))
    return _rebuild(relation, [each.index for each in leftovers], concurrently, patience)


def _patience(wait: Interval) -> Sql:
    milliseconds = round(wait.approximate.total_seconds() * 1000)
    if not 0 <= milliseconds < 2**31:
        raise Usage(f"--lock-wait {wait} is no time to wait", hint="0s waits for as long as it takes")
    return statement(sql.SQL("SET lock_timeout = {}").format(sql.Literal(f"{milliseconds}ms")))


def _rebuild(relation: Relation, leftovers: list[str], concurrently: bool, patience: Sql) -> Plan:
    what = "INDEX" if relation.kind in INDEXES else "TABLE"
    how = sql.SQL(" CONCURRENTLY" if concurrently else "")
    command = sql.SQL("REINDEX {}{} {}").format(sql.SQL(what), how, relation.identifier)
    notes = []
    if others := [name for name in leftovers if name != relation.quoted]:
        notes.append(
            f"invalid: {', '.join(others)}; DROP INDEX CONCURRENTLY removes what a build left behind"
        )
    if concurrently:
        notes.append(
            "cancelled, it leaves invalid indexes named …_ccnew; DROP INDEX CONCURRENTLY removes them"
        )
    else:
        notes.append(f"nobody can write to the table until {relation.quoted} is done, nor read by the index")
    return _measured(relation, (patience,), command, notes, disrupt=not concurrently)


async def _table(s: Session, name: str, verb: str) -> Relation:
    relation = await find(s, "--table", name, TABLES)
    demand_right(s, relation, verb)
    return relation


async def _reindexed(s: Session, index: str | None, table: str | None) -> Relation:
    of = None if table is None else await find(s, "--table", table, TABLES)
    found = None if index is None else await find(s, "--index", index, INDEXES)
    if of and found and (of.schema, of.name) != (found.of_schema, found.of_table):
        raise Refused(f"{found.quoted} is no index of {of.quoted}")
    if relation := found or of:
        return relation
    raise Usage("give --index, or --table for all indexes of a table")


def _command(verb: LiteralString, options: list[LiteralString], relation: Relation) -> sql.Composed:
    words = sql.SQL(", ").join(sql.SQL(each) for each in options)
    listed = sql.SQL(" ({})").format(words) if options else sql.SQL("")
    return sql.SQL("{}{} {}").format(sql.SQL(verb), listed, relation.identifier)


def _vacuumed(
    s: Session,
    relation: Relation,
    command: sql.Composable,
    verb: str,
    notes: list[str],
    *,
    full: bool = False,
) -> Plan:
    # The server only warns a role without the right, and calls it done; so the one that acts is asked.
    ask = statement(may_vacuum(s.facts, relation))
    check = Check(
        lambda answers: answers[-1].scalar is True,
        that=f"the role may {verb} it",
        otherwise=lambda answers: _refusal(relation, verb, answers),
    )
    return _measured(relation, (ask, check), command, notes, disrupt=full)


def _measured(
    relation: Relation,
    before: tuple[Step, ...],
    command: sql.Composable,
    notes: list[str],
    *,
    disrupt: bool,
) -> Plan:
    look = statement(size(relation))
    return Plan(
        relation.quoted,
        (*before, look, statement(command, followed=True), look),
        danger=Danger.DISRUPT if disrupt else Danger.CHANGE,
        notes=tuple(notes),
        result=lambda answers: _told(relation, answers),
    )


def _refusal(relation: Relation, verb: str, answers: Answers) -> str:
    if not answers[-1].rows:
        return f"{relation.quoted} is not there any more"
    return f"the role may not {verb} {relation.quoted}, which belongs to {relation.owner}"


def _told(relation: Relation, answers: Answers) -> dict[str, Any]:
    return {"name": relation.quoted, "bytes_before": answers[-3].scalar, "bytes": answers[-1].scalar}
