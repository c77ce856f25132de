"""Actions that bring PgQ into a database, and make and drop queues."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from psycopg import sql

from backend.core.clean import clean
from backend.core.declare import Ask, Col, Danger, action
from backend.core.errors import Missing, Refused
from backend.core.facts import Needs, Query
from backend.core.plan import Plan, statement
from backend.core.session import Session
from backend.core.show import counted
from backend.queue.calls import (
    QueueName,
    answered,
    demand_no_node,
    last,
    literal,
    new_name,
)
from backend.queue.feeding import Feeder, drop_trigger, feeders
from backend.queue.ground import (
    ADMIN,
    ADMINISTERING,
    OLDEST,
    READER,
    WRITER,
    Queue,
    find_queue,
    queues,
    registrations,
)
from backend.queue.peek import MOST_COUNTED, count_pending

_GROUND = Query("""
SELECT a.default_version AS version,
       pg_catalog.to_regnamespace('pgq') IS NOT NULL AS present
  FROM (SELECT) AS one
  LEFT JOIN pg_catalog.pg_available_extensions AS a
    ON a.name = 'pgq'
""")


@dataclass(frozen=True, slots=True)
class Ground:
    """What is there to install."""

    version: str | None
    present: bool


@dataclass(frozen=True, slots=True)
class Waiting:
    """A consumer that loses its queue."""

    consumer: Annotated[str, Col("Consumer", key=True, text=True)]
    tick: Annotated[int | None, Col("Tick", help="The last one that it has finished")]
    batch: Annotated[int | None, Col("Batch", help="Open now")]
    pending: Annotated[
        int | None, Col("Pending", help=f"Events that it has not finished, counted up to {MOST_COUNTED}")
    ]


@action("queue.install", danger=Danger.CHANGE, needs=Needs(primary=True))
async def install(s: Session) -> Plan:
    """Install PgQ in this database: CREATE EXTENSION pgq.

    It brings three roles for the whole cluster, where they are missing: members of pgq_reader consume events,
    members of pgq_writer insert them, members of pgq_admin do both and administer queues. A ticker is needed
    too; queue.start_daemon starts one.
    """
    found = (await s.refresh_facts()).extensions.get("pgq")
    if found is not None:
        older = found.version < OLDEST
        raise Refused(
            f"database {s.facts.database} has pgq {found.version_text} already",
            hint="ALTER EXTENSION pgq UPDATE brings it up to date" if older else None,
        )
    [ground] = await s.fetch(Ground, _GROUND)
    _demand_package(s, ground)
    if ground.present:
        raise Refused(
            f"database {s.facts.database} has a schema pgq that belongs to no extension",
            hint="PgQ may have been loaded there as plain SQL",
        )
    if not s.facts.superuser and s.target.act is None:
        raise Missing(f"only a superuser installs pgq, and {s.facts.user} is none")
    return Plan(
        s.facts.database,
        (statement("CREATE EXTENSION pgq"), statement("SELECT pgq.version() AS version")),
        notes=(
            f"GRANT {READER} lets a role consume, GRANT {WRITER} insert, GRANT {ADMIN} administer",
            "nothing is delivered without a ticker: queue.start_daemon starts pgqd",
        ),
        result=last,
    )


def _demand_package(s: Session, ground: Ground) -> None:
    if ground.version is None:
        raise Missing(
            "the server has no extension pgq to install",
            hint=f"it comes with the package postgresql-{s.facts.major}-pgq3",
        )


@action("queue.create", danger=Danger.CHANGE, needs=ADMINISTERING)
async def create(s: Session, queue: Annotated[str, Ask("Name of the new queue", fill=False)]) -> Plan:
    """Create a queue."""
    new_name(queue, "--queue")
    if any(q.name == queue for q in await queues(s)):
        raise Refused(f"there is a queue {clean(queue)} already")
    look = sql.SQL(
        "SELECT q.queue_name AS queue, q.queue_id AS id\n  FROM pgq.queue AS q\n WHERE q.queue_name = {}"
    )
    return Plan(
        queue,
        (
            statement(sql.SQL("SELECT pgq.create_queue({}) AS created").format(literal(queue))),
            answered(
                1, that="it was created", otherwise=f"queue {clean(queue)} was created elsewhere meanwhile"
            ),
            statement(look.format(sql.Literal(queue))),
        ),
        result=last,
    )


@action("queue.drop", danger=Danger.DESTROY, needs=ADMINISTERING, on="queue.queues")
async def drop(
    s: Session,
    queue: QueueName,
    force: Annotated[
        bool, Ask("Force", help="Also with consumers, and with the triggers that feed it", fill=False)
    ] = False,
) -> Plan:
    """Drop a queue with all its events.

    With --force its consumers are unregistered first and the triggers that feed it dropped, all in one
    transaction; a consumer that registers meanwhile stops it.
    """
    found = await find_queue(s, queue)
    await demand_no_node(s, found, "dropping it would break that")
    waiting = await _waiting(s, queue)
    feeding = await feeders(s, queue)
    if not force:
        _demand_unused(found, waiting, feeding)
    return _drop(found, waiting, feeding)


async def _waiting(s: Session, queue: str) -> list[Waiting]:
    known = await registrations(s, queue)
    pending = await count_pending(s, [(queue, r.consumer) for r in known])
    return [Waiting(r.consumer, r.last_tick, r.batch, pending.get((queue, r.consumer))) for r in known]


def _demand_unused(queue: Queue, waiting: list[Waiting], feeding: list[Feeder]) -> None:
    name = clean(queue.name)
    if waiting:
        who = ", ".join(clean(w.consumer) for w in waiting[:5]) + (" and more" if len(waiting) > 5 else "")
        raise Refused(
            f"queue {name} has {counted(waiting, 'consumer')}: {who}",
            hint="queue.unregister removes one; --force removes all of them with the queue",
        )
    if feeding:
        tables = ", ".join(dict.fromkeys(clean(f.table) for f in feeding[:5]))
        raise Refused(
            f"queue {name} is fed by a trigger of {tables}, where every change would fail without it",
            hint="queue.detach_trigger drops the trigger; --force drops it with the queue",
        )


def _drop(queue: Queue, waiting: list[Waiting], feeding: list[Feeder]) -> Plan:
    name = literal(queue.name)
    unregister = sql.SQL("SELECT pgq.unregister_consumer({}, {}) AS removed")
    whole = statement(
        *(drop_trigger(f) for f in feeding),
        *(unregister.format(name, literal(w.consumer)) for w in waiting),
        sql.SQL("SELECT pgq.drop_queue({}, false) AS dropped").format(name),
    )
    most = max((w.pending or 0 for w in waiting), default=0)
    notes = [f"all events of {clean(queue.name)} are lost"]
    if waiting:
        number = "more than " if most >= MOST_COUNTED else ""
        notes.append(
            f"{number}{counted(most, 'event')} not delivered to all of {counted(waiting, 'consumer')}"
        )
    notes += [f"changes of {clean(t)} are queued no more" for t in dict.fromkeys(f.table for f in feeding)]
    return Plan(
        queue.name,
        (whole, answered(1, that="it was dropped", otherwise=f"queue {clean(queue.name)} was not dropped")),
        notes=tuple(notes),
        rows=tuple(waiting),
        result=lambda _: {
            "queue": queue.name,
            "consumers": [w.consumer for w in waiting],
            "triggers": [f"{f.table}.{f.trigger}" for f in feeding],
        },
    )
