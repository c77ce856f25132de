"""Views of the room `queue`."""

from __future__ import annotations

from typing import Annotated

from backend.core.declare import Ask, view
from backend.core.facts import Needs
from backend.core.session import Session
from backend.queue import consumers, events, feeds, holding, nodes, queues, serving
from backend.queue.ground import LOOKING, PEEKING, PGQ, RETRYING

NO_QUEUES = "there is no queue here; queue.create makes one"


@view("queue.queues", every=2, needs=LOOKING, verdict=queues.queue_verdict, empty=NO_QUEUES)
async def all_queues(s: Session) -> list[queues.QueueRow]:
    """Every queue: ticks, events, its slowest consumer, and why it does not rotate."""
    return await queues.queue_rows(s)


@view("queue.consumers", every=2, needs=LOOKING, verdict=consumers.consumer_verdict,
      empty="no consumer is registered; queue.register does that")  # fmt: skip
async def all_consumers(
    s: Session,
    queue: Annotated[str | None, Ask("Queue", choices="queue.queues.queue")] = None,
    consumer: Annotated[str | None, Ask("Consumer", fill=False)] = None,
    exact: Annotated[bool, Ask("Count events", help="Reads event tables, shortly for each consumer")] = False,
) -> list[consumers.ConsumerRow]:
    """Who reads which queue, how far behind, and whether somebody is stuck in a batch or dead."""
    return await consumers.consumer_rows(s, queue, consumer, exact)


@view("queue.events", every=5, needs=PEEKING, checked=False,
      empty="no event: a consumer's batch can be empty, or it has all up to the last tick")  # fmt: skip
async def some_events(
    s: Session,
    queue: Annotated[str, Ask("Queue", choices="queue.queues.queue")],
    consumer: Annotated[
        str | None, Ask("Consumer", choices="queue.consumers.consumer", help="Its open or next batch")
    ] = None,
    limit: Annotated[int, Ask("At most", fill=False)] = 100,
) -> list[events.EventRow]:
    """What a consumer has open or is given next, else the newest events; nothing is taken or held up."""
    return await events.event_rows(s, queue, consumer, limit)


@view("queue.retries", every=10, needs=RETRYING, empty="no event waits to be delivered again")
async def all_retries(
    s: Session, limit: Annotated[int, Ask("At most", fill=False)] = 1000
) -> list[events.RetryRow]:
    """Events that consumers want again, those that are due first."""
    return await events.retry_rows(s, limit)


@view("queue.triggers", every=30, needs=LOOKING, verdict=feeds.trigger_verdict,
      empty="no table feeds a queue by a trigger; queue.attach_trigger makes one")  # fmt: skip
async def all_triggers(s: Session) -> list[feeds.TriggerRow]:
    """Tables whose changes flow into queues, and what makes such a change fail."""
    return await feeds.trigger_rows(s)


@view("queue.daemon", every=5, needs=Needs(extensions=PGQ, primary=True), verdict=serving.daemon_verdict)
async def the_daemon(s: Session) -> list[serving.DaemonRow]:
    """Whether a pgqd is connected and ticks come, in this database and in others."""
    return await serving.daemon_rows(s)


@view("queue.blockers", every=5, needs=Needs(extensions=PGQ, primary=True), verdict=holding.blocker_verdict,
      empty="no transaction holds a tick")  # fmt: skip
async def all_blockers(s: Session) -> list[holding.Blocker]:
    """Transactions of the whole cluster that hold ticks, and the rotations that wait for them."""
    return await holding.blocker_rows(s)


@view("queue.nodes", every=10, needs=Needs(extensions=PGQ | {"pgq_node": (3, 0)}), verdict=nodes.node_verdict,
      empty="no queue is cascaded")  # fmt: skip
async def all_nodes(s: Session) -> list[nodes.NodeRow]:
    """Nodes of cascaded queues: type, provider, worker, lag, errors."""
    return await nodes.node_rows(s)
