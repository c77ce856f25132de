"""What the room's actions share: parameters, steps that ask PgQ, and checks of what it answered.

PgQ says 0, NULL or nothing at all where it did nothing; each call is followed by a check that knows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

from psycopg import sql

from backend.core.clean import clean
from backend.core.declare import Ask
from backend.core.errors import Refused, Usage
from backend.core.facts import Query
from backend.core.plan import Answers, Check, Sql, statement
from backend.core.session import Session
from backend.core.values import Interval
from backend.queue.ground import Queue, cascaded

QueueName = Annotated[str, Ask("Queue", choices="queue.queues.queue")]
ConsumerName = Annotated[str, Ask("Consumer", choices="queue.consumers.consumer")]

LONGEST_NAME = 200
LONGEST_WAIT = timedelta(days=365)

_POSITION = """\
SELECT q.queue_name AS queue, c.co_name AS consumer, s.sub_last_tick AS tick, t.tick_time AS at
  FROM pgq.subscription AS s
  JOIN pgq.queue AS q
    ON q.queue_id = s.sub_queue
  JOIN pgq.consumer AS c
    ON c.co_id = s.sub_consumer
  LEFT JOIN pgq.tick AS t
    ON t.tick_queue = s.sub_queue
   AND t.tick_id = s.sub_last_tick
 WHERE q.queue_name = {queue}
   AND c.co_name = {consumer}"""

_NODES = Query("""
SELECT n.node_name AS name
  FROM pgq_node.node_info AS n
 WHERE n.queue_name = %s
""")


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a cascade."""

    name: str


def subject(queue: str, consumer: str) -> str:
    """What a confirmation of something about a consumer names."""
    return f"{queue}/{consumer}"


def literal(value: str | None) -> sql.Composed:
    """A text for one of PgQ's functions, of which several differ only in their types."""
    return sql.SQL("{}::pg_catalog.text").format(sql.Literal(value))


def new_name(name: str, option: str) -> str:
    """A name that PgQ is to remember; it would take any, also none."""
    if not name.strip() or "\0" in name:
        raise Usage(f"{option} is empty or holds a zero byte", hint="a name has 1 to 200 characters")
    if len(name) > LONGEST_NAME:
        raise Usage(f"{option} has {len(name)} characters; {LONGEST_NAME} are the most")
    return name


def moment(text: str, option: str) -> datetime:
    """A time in the past; without a zone it is that of this machine."""
    try:
        found = datetime.fromisoformat(text.strip())
        found = found if found.tzinfo else found.astimezone()
    except (ValueError, OverflowError):
        raise Usage(
            f"{option} wants a time such as 2026-01-31T10:30, not {clean(text)!r}",
            hint="without a zone it is taken as this machine's",
        ) from None
    if found > datetime.now(found.tzinfo):
        raise Usage(f"{option} {clean(text)} is in the future")
    return found


def whole_seconds(after: Interval, option: str) -> int:
    """The seconds of a duration from now on."""
    length = after.approximate
    if not timedelta(0) <= length <= LONGEST_WAIT:
        raise Usage(f"{option} wants 0s to {LONGEST_WAIT.days}d, not {after}")
    return round(length.total_seconds())


def position(queue: str, consumer: str) -> Sql:
    """A step that reads where a consumer stands."""
    return statement(
        sql.SQL(_POSITION).format(queue=sql.Literal(queue), consumer=sql.Literal(consumer)),
    )


def answered(value: Any, *, that: str, otherwise: str, hint: str | None = None) -> Check:
    """A check that the step before answered with exactly one row, beginning with that value."""
    return Check(
        lambda answers: len(answers[-1].rows) == 1 and answers[-1].scalar == value,
        that=that,
        otherwise=otherwise,
        hint=hint,
    )


def last(answers: Answers) -> dict[str, Any]:
    """The first row of the last answer, as a result that scripts read."""
    return dict(answers[-1].first)


async def demand_no_node(s: Session, queue: Queue, doing: str) -> None:
    """Refuse for the queue of a cascade, whose nodes hold on to it."""
    if cascaded(s.facts) and (nodes := await s.fetch(Node, _NODES, queue.name)):
        raise Refused(
            f"queue {clean(queue.name)} belongs to node {clean(nodes[0].name)} of a cascade, and {doing}",
            hint="drop the node first, with pgq_node.drop_node or Londiste",
        )
