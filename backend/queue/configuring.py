"""Actions on a queue's settings: the ticker's, rotation, and whether events may come in."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated

from psycopg import sql

from backend.core.clean import clean
from backend.core.declare import Ask, Danger, action
from backend.core.errors import Refused, Usage
from backend.core.plan import Check, Plan, Sql, statement
from backend.core.session import Session
from backend.core.values import Interval
from backend.queue.calls import QueueName, last, literal
from backend.queue.ground import ADMINISTERING, Queue, find_queue

MOST_COUNT = 1_000_000
DAY = timedelta(days=1)
# PgQ takes any value that has the type, so the limits are here: least and most.
LIMITS = {
    "ticker_max_lag": (timedelta(milliseconds=1), DAY),
    "ticker_idle_period": (timedelta(milliseconds=1), DAY),
    "rotation_period": (timedelta(seconds=1), timedelta(days=365)),
}

_LOOK = """\
SELECT q.queue_name AS queue,
       q.queue_ticker_max_count AS ticker_max_count,
       q.queue_ticker_max_lag::pg_catalog.text AS ticker_max_lag,
       q.queue_ticker_idle_period::pg_catalog.text AS ticker_idle_period,
       q.queue_rotation_period::pg_catalog.text AS rotation_period,
       q.queue_ticker_paused AS ticker_paused,
       q.queue_external_ticker AS external_ticker
  FROM pgq.queue AS q
 WHERE q.queue_name = {}"""

_INSERTS = """\
UPDATE pgq.queue AS q
   SET queue_disable_insert = {wanted}
 WHERE q.queue_id = {id}
   AND q.queue_disable_insert IS DISTINCT FROM {wanted}
RETURNING q.queue_name AS queue, q.queue_disable_insert AS inserts_disabled"""


@action("queue.configure", danger=Danger.CHANGE, needs=ADMINISTERING, on="queue.queues")
async def configure(
    s: Session,
    queue: QueueName,
    ticker_max_count: Annotated[
        int | None, Ask("Ticker max count", help="Tick after so many events", fill=False)
    ] = None,
    ticker_max_lag: Annotated[
        Interval | None, Ask("Ticker max lag", help="Tick when an event waits so long", fill=False)
    ] = None,
    ticker_idle_period: Annotated[
        Interval | None, Ask("Ticker idle period", help="Tick so often without events", fill=False)
    ] = None,
    rotation_period: Annotated[
        Interval | None, Ask("Rotation period", help="The least time events are kept", fill=False)
    ] = None,
    ticker_paused: Annotated[bool | None, Ask("Ticker paused", fill=False)] = None,
    external_ticker: Annotated[
        bool | None, Ask("External ticker", help="Ticks come from elsewhere", fill=False)
    ] = None,
) -> Plan:
    """Change the settings of a queue; what is not given stays as it is.

    PgQ would take a negative count or an interval of no length; pgtui does not. To stop the ticks, by pausing
    the ticker or by leaving them to another one, stops every consumer and has to be confirmed.
    """
    found = await find_queue(s, queue)
    if ticker_max_count is not None and not 1 <= ticker_max_count <= MOST_COUNT:
        raise Usage(f"--ticker-max-count wants 1 to {MOST_COUNT}, not {ticker_max_count}")
    given: dict[str, int | Interval | bool | None] = {
        "ticker_max_count": ticker_max_count,
        "ticker_max_lag": _checked("ticker_max_lag", ticker_max_lag),
        "ticker_idle_period": _checked("ticker_idle_period", ticker_idle_period),
        "rotation_period": _checked("rotation_period", rotation_period),
        "ticker_paused": ticker_paused,
        "external_ticker": external_ticker,
    }
    wanted = {name: value for name, value in given.items() if value is not None}
    if not wanted:
        raise Usage("nothing is to be changed", hint="give --ticker-max-count or another option")
    return _configure(found, wanted)


def _checked(name: str, value: Interval | None) -> Interval | None:
    if value is None:
        return None
    least, most = LIMITS[name]
    if not least <= value.approximate <= most:
        option = "--" + name.replace("_", "-")
        raise Usage(f"{option} wants {_short(least)} to {_short(most)}, not {clean(value)}")
    return value


def _short(length: timedelta) -> str:
    if length.days:
        return f"{length.days}d"
    return f"{length.seconds}s" if length.seconds else f"{length.microseconds // 1000}ms"


def _configure(queue: Queue, wanted: Mapping[str, int | Interval | bool]) -> Plan:
    now = {name: getattr(queue, name) for name in wanted}
    changed = {name: value for name, value in wanted.items() if not _same(now[name], value)}
    if not changed:
        raise Refused(f"queue {clean(queue.name)} has these settings already")
    look = statement(sql.SQL(_LOOK).format(sql.Literal(queue.name)))
    stops = changed.get("ticker_paused") is True or changed.get("external_ticker") is True
    return Plan(
        queue.name,
        (_set(queue.name, changed), _all_set(), look, _took(changed)),
        danger=Danger.DISRUPT if stops else Danger.CHANGE,
        notes=tuple(f"{name}: {_word(now[name])} becomes {_word(v)}" for name, v in changed.items()),
        result=last,
    )


def _same(now: object, wanted: object) -> bool:
    if isinstance(now, str) and isinstance(wanted, Interval):
        return Interval(now).approximate == wanted.approximate
    return now == wanted


def _word(value: object) -> str:
    """A setting as text, which is all that PgQ takes."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _set(queue: str, values: Mapping[str, object]) -> Sql:
    calls = sql.SQL(",\n       ").join(
        sql.SQL("pgq.set_queue_config({}, {}, {}) AS {}").format(
            literal(queue), sql.Literal(name), sql.Literal(_word(value)), sql.Identifier(name)
        )
        for name, value in values.items()
    )
    return statement(sql.SQL("SELECT {}").format(calls))


def _all_set() -> Check:
    return Check(
        lambda answers: bool(answers[-1].rows) and all(v == 1 for v in answers[-1].first.values()),
        that="PgQ took every setting",
        otherwise="PgQ did not take every setting",
    )


def _took(values: Mapping[str, object]) -> Check:
    return Check(
        lambda answers: all(_same(answers[-1].first.get(name), v) for name, v in values.items()),
        that="the queue has the new settings",
        otherwise="the queue does not have the new settings; somebody else changes them too",
    )


@action("queue.pause_ticker", danger=Danger.DISRUPT, needs=ADMINISTERING, on="queue.queues")
async def pause_ticker(s: Session, queue: QueueName) -> Plan:
    """Stop the ticks of a queue: events come in, and nothing is delivered until the ticker is resumed."""
    found = await find_queue(s, queue)
    if found.ticker_paused:
        raise Refused(f"the ticker of queue {clean(queue)} is paused already")
    return _configure(found, {"ticker_paused": True})


@action("queue.resume_ticker", danger=Danger.CHANGE, needs=ADMINISTERING, on="queue.queues")
async def resume_ticker(s: Session, queue: QueueName) -> Plan:
    """Let a paused queue tick again."""
    found = await find_queue(s, queue)
    if not found.ticker_paused:
        hint = "its ticks come from elsewhere" if found.external_ticker else None
        raise Refused(f"the ticker of queue {clean(queue)} is not paused", hint=hint)
    return _configure(found, {"ticker_paused": False})


@action("queue.disable_inserts", danger=Danger.DISRUPT, needs=ADMINISTERING, on="queue.queues")
async def disable_inserts(s: Session, queue: QueueName) -> Plan:
    """Let every insert into a queue fail, and with it the transaction of whoever inserts.

    Changes of tables that feed it by a trigger fail too.
    """
    return await _inserts(s, queue, disabled=True)


@action("queue.enable_inserts", danger=Danger.CHANGE, needs=ADMINISTERING, on="queue.queues")
async def enable_inserts(s: Session, queue: QueueName) -> Plan:
    """Let events come into a queue again."""
    return await _inserts(s, queue, disabled=False)


async def _inserts(s: Session, queue: str, *, disabled: bool) -> Plan:
    found = await find_queue(s, queue)
    word = "disabled" if disabled else "enabled"
    if found.inserts_disabled is disabled:
        raise Refused(f"inserts into queue {clean(queue)} are {word} already")
    # PgQ has no function for it.
    change = sql.SQL(_INSERTS).format(wanted=sql.Literal(disabled), id=sql.Literal(found.id))
    check = Check(
        lambda answers: answers[-1].count == 1,
        that=f"they were not {word} before",
        otherwise=f"queue {clean(queue)} was changed or dropped meanwhile; nothing was done",
    )
    # What a connection's inserts have cached is looked up anew by each transaction.
    return Plan(queue, (statement(change), check), result=lambda answers: dict(answers[0].first))
