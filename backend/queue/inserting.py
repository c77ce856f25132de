"""The action that puts events into a queue: one by hand, or a file of them by COPY."""

from __future__ import annotations

from typing import Annotated

from psycopg import sql

from backend.core.clean import clean
from backend.core.declare import Ask, Danger, action
from backend.core.errors import Refused, Usage
from backend.core.plan import Check, Load, Plan, statement
from backend.core.session import Session
from backend.queue.calls import QueueName, literal
from backend.queue.eventfile import COLUMNS, EventFile
from backend.queue.ground import ADMINISTERING, PRODUCING, Queue, find_queue

# A batch of more events than this is more than most consumers expect to hold.
MANY = 50_000_000  # bytes

# Which table is written to is looked up only after the transaction has its id, in a snapshot of its own, as
# PgQ's own insert does: whatever rotates later then gets a higher id, and consumers of batches with this one
# still look into the table left. COPY's own lock keeps rotation from emptying it, and nobody has to wait.
_BEFORE = (
    sql.SQL("SET TRANSACTION ISOLATION LEVEL READ COMMITTED"),
    sql.SQL("SELECT pg_catalog.pg_current_xact_id()"),
)
_TABLE = """\
SELECT n.nspname AS schema, c.relname AS name
  FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n
    ON n.oid = c.relnamespace
 WHERE c.oid = pgq.current_event_table({queue})::pg_catalog.regclass"""


@action("queue.insert", danger=Danger.CHANGE, needs=PRODUCING, on="queue.queues")
async def insert(
    s: Session,
    queue: QueueName,
    type: Annotated[str | None, Ask("Type", help="ev_type of one event", fill=False)] = None,
    data: Annotated[str | None, Ask("Data", help="ev_data of one event", fill=False)] = None,
    extra1: Annotated[str | None, Ask("Extra 1", fill=False)] = None,
    extra2: Annotated[str | None, Ask("Extra 2", fill=False)] = None,
    extra3: Annotated[str | None, Ask("Extra 3", fill=False)] = None,
    extra4: Annotated[str | None, Ask("Extra 4", fill=False)] = None,
    file: Annotated[
        str | None,
        Ask("File", help=".jsonl or .csv with ev_type, ev_data, ev_extra1 to ev_extra4", fill=False),
    ] = None,
    encoding: Annotated[str, Ask("Encoding", help="Of the file", fill=False)] = "utf-8",
    commit_every: Annotated[
        int | None, Ask("Commit every", help="So many events; without it all or none", fill=False)
    ] = None,
    from_line: Annotated[int, Ask("From line", help="Of the file", fill=False)] = 1,
) -> Plan:
    """Insert one event, or all events of a file by COPY.

    A file is one transaction, all or nothing, and one batch for every consumer; --commit-every makes smaller
    ones, and what was committed stays when a later line is wrong. In a CSV file an empty field is NULL.
    """
    found = await find_queue(s, queue)
    if found.inserts_disabled:
        raise Refused(
            f"inserts into queue {clean(queue)} are disabled", hint="queue.enable_inserts lets events in"
        )
    extras = (extra1, extra2, extra3, extra4)
    if file is None:
        return _one(found, type, data, extras)
    if any(value is not None for value in (type, data, *extras)):
        raise Usage("give either --type and --data or --file")
    ADMINISTERING.demand(s.facts)
    return _many(found, EventFile.at(file, encoding, from_line), _size(found, commit_every))


def _one(queue: Queue, type: str | None, data: str | None, extras: tuple[str | None, ...]) -> Plan:
    if type is None:
        raise Usage("give --type, and --data, of one event, or --file with many")
    values = (type, data, *extras)
    if any(v is not None and "\0" in v for v in values):
        raise Usage("an event cannot hold a zero byte")
    call = sql.SQL("SELECT pgq.insert_event({}) AS event").format(
        sql.SQL(", ").join(literal(v) for v in (queue.name, *values))
    )
    inserted = Check(
        lambda answers: answers[-1].scalar is not None,
        that="it has a number",
        otherwise="PgQ gave the event no number",
    )
    return Plan(
        queue.name,
        (statement(call), inserted),
        result=lambda answers: {"queue": queue.name} | dict(answers[0].first),
    )


def _size(queue: Queue, commit_every: int | None) -> int | None:
    """How many events a transaction may have; COPY itself knows nothing of the queue's limit."""
    if commit_every is not None and commit_every < 1:
        raise Usage(f"--commit-every wants 1 or more, not {commit_every}")
    limit = queue.per_tx_limit
    if limit is None or limit <= 0:
        return commit_every
    if commit_every is not None and commit_every > limit:
        raise Refused(
            f"queue {clean(queue.name)} takes {limit} events from one transaction, not {commit_every}"
        )
    return commit_every or limit


def _many(queue: Queue, file: EventFile, every: int | None) -> Plan:
    table = sql.SQL(_TABLE).format(queue=literal(queue.name))
    load = Load(file, (*_BEFORE, table), COLUMNS, every=every, unit="events")
    notes = [f"a transaction for every {every} events" if every else "all events in one transaction, or none"]
    if every is None and file.size > MANY:
        notes.append("each consumer gets them as one batch; --commit-every makes smaller ones")
    return Plan(
        queue.name,
        (load, _some(file)),
        notes=tuple(notes),
        result=lambda answers: {
            "queue": queue.name,
            "events": answers[0].count,
            "transactions": answers[0].first["transactions"],
        },
    )


def _some(file: EventFile) -> Check:
    return Check(
        lambda answers: answers[-1].count > 0,
        that="there were events",
        otherwise=f"{clean(str(file.path))} has no events from line {file.first_line} on",
    )
