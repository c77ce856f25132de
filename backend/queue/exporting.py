"""The action that writes the next batches of a consumer to a file."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated

from psycopg import sql

from backend.core.clean import clean
from backend.core.declare import Ask, Danger, action
from backend.core.errors import Refused, Usage
from backend.core.facts import Query
from backend.core.plan import Check, Copy, Plan, Sql, Step, statement
from backend.core.session import Session
from backend.queue.calls import ConsumerName, QueueName, literal, position, subject
from backend.queue.ground import CONSUMING, Queue, Registration, ask, find_consumer
from backend.queue.positions import demand_plain
from backend.queue.snapshot import Snapshot, Span, between

MOST_BATCHES = 1000

# From the consumer's tick on; where a batch is open, what lies within it is no border.
_TICKS = Query("""
SELECT t.tick_id AS id,
       t.tick_snapshot::pg_catalog.text AS snapshot
  FROM pgq.tick AS t
 WHERE t.tick_queue = %s
   AND (t.tick_id = %s OR t.tick_id >= %s)
 ORDER BY t.tick_id
 LIMIT %s
""")

# CSV with two characters that JSON never holds leaves each line as it is.
_EXPORT = """\
COPY (SELECT pg_catalog.row_to_json(r)
        FROM (SELECT e.ev_id, e.ev_time, e.ev_txid, e.ev_retry, e.ev_type, e.ev_data,
                     e.ev_extra1, e.ev_extra2, e.ev_extra3, e.ev_extra4
                FROM (VALUES {batches}) AS b(number, first, ending, running, late)
                JOIN ({events}) AS e
                  ON (e.ev_txid >= b.first AND e.ev_txid < b.ending AND e.ev_txid <> ALL (b.running))
                  OR e.ev_txid = ANY (b.late)
               WHERE e.ev_owner IS NULL OR e.ev_owner = {id}
               ORDER BY b.number, e.ev_id) AS r)
  TO STDOUT WITH (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02')"""

_EVENTS = """\
SELECT t.ev_id, t.ev_time, t.ev_txid, t.ev_owner, t.ev_retry, t.ev_type, t.ev_data,
                             t.ev_extra1, t.ev_extra2, t.ev_extra3, t.ev_extra4
                        FROM {} AS t"""

_BATCH = "({number}, {first}::pg_catalog.int8, {ending}::pg_catalog.int8, {running}, {late})"

_FINISH = """\
SELECT pgq.register_consumer_at({queue}, {consumer}, {tick}) AS registered
  FROM pgq.subscription AS s
  JOIN pgq.consumer AS c
    ON c.co_id = s.sub_consumer
 WHERE s.sub_id = {id}
   AND c.co_name = {consumer}
   AND s.sub_last_tick = {was_at}
   AND s.sub_batch IS NOT DISTINCT FROM {batch}"""


@dataclass(frozen=True, slots=True)
class Tick:
    """A border between batches."""

    id: int
    snapshot: str


@action("queue.export_events", danger=Danger.CHANGE, needs=CONSUMING, on="queue.consumers")
async def export_events(
    s: Session,
    queue: QueueName,
    consumer: ConsumerName,
    file: Annotated[str, Ask("File", help="A new one here, a JSON object a line", fill=False)],
    batches: Annotated[int, Ask("Batches", help="How many of the next ones", fill=False)] = 1,
    finish: Annotated[
        bool, Ask("Finish", help="The consumer then goes on after them, and never gets them", fill=False)
    ] = False,
) -> Plan:
    """Write the events of a consumer's next batches to a file, as JSON lines.

    The consumer gets them all the same, unless --finish has it go on after them once the file is on the disk;
    an open batch is among them. queue.insert reads such a file.
    """
    if not 1 <= batches <= MOST_BATCHES:
        raise Usage(f"--batches wants 1 to {MOST_BATCHES}, not {batches}")
    path = _new_file(file)
    at, found = await find_consumer(s, queue, consumer)
    await demand_plain(s, found, "export those of its main consumer MAIN")
    ticks = await _borders(s, at, found, batches)
    if len(ticks) < 2:
        return Plan(subject(queue, consumer), (), notes=(f"consumer {clean(consumer)} has no batch waiting",))
    steps: list[Step] = [Copy(_copy(at, found, ticks), path=str(path))]
    if finish:
        steps += [_finish(at, found, ticks[-1]), _finished(consumer), position(queue, consumer)]
    number = len(ticks) - 1
    return Plan(
        subject(queue, consumer),
        tuple(steps),
        danger=Danger.DESTROY if finish else Danger.CHANGE,
        notes=tuple(_remarks(found, ticks, finish)),
        result=lambda answers: {
            "queue": queue,
            "consumer": consumer,
            "file": str(path),
            "batches": number,
            "events": answers[0].count,
            "finished": finish,
        },
    )


def _new_file(name: str) -> Path:
    if not name.strip() or "\0" in name:
        raise Usage("--file is empty or holds a zero byte")
    path = Path(name).absolute()
    if path.exists():
        raise Refused(f"{clean(str(path))} is there already")
    if not path.parent.is_dir():
        raise Refused(f"there is no folder {clean(str(path.parent))}")
    return path


async def _borders(s: Session, queue: Queue, of: Registration, batches: int) -> list[Tick]:
    """The consumer's tick and those that end its next batches."""
    if of.last_tick is None:
        return []
    onward = of.last_tick + 1 if of.next_tick is None else of.next_tick
    ticks = await ask(s, Tick, _TICKS, queue.id, of.last_tick, onward, batches + 1)
    if not ticks or ticks[0].id != of.last_tick:
        raise Refused(
            f"tick {of.last_tick}, at which consumer {clean(of.consumer)} stands, is lost",
            hint="queue.reposition moves it to one that is there",
        )
    return ticks


def _copy(queue: Queue, of: Registration, ticks: list[Tick]) -> sql.Composed:
    snapshots = [Snapshot.parse(t.snapshot) for t in ticks]
    spans = [between(a, b) for a, b in pairwise(snapshots)]
    union = sql.SQL("\n                      UNION ALL\n                      ")
    return sql.SQL(_EXPORT).format(
        batches=sql.SQL(", ").join(_batch(n, span) for n, span in enumerate(spans)),
        events=union.join(sql.SQL(_EVENTS).format(table) for table in queue.filled_tables),
        id=sql.Literal(of.id),
    )


def _batch(number: int, span: Span) -> sql.Composed:
    return sql.SQL(_BATCH).format(
        number=sql.Literal(number),
        first=sql.Literal(span.first),
        ending=sql.Literal(span.end),
        running=_numbers(span.still_running),
        late=_numbers(span.late),
    )


def _numbers(values: list[int]) -> sql.Composed:
    listed = sql.SQL(", ").join(map(sql.Literal, values))
    return sql.SQL("ARRAY[{}]::pg_catalog.int8[]").format(listed)


def _finish(queue: Queue, of: Registration, tick: Tick) -> Sql:
    return statement(
        sql.SQL(_FINISH).format(
            queue=literal(queue.name),
            consumer=literal(of.consumer),
            tick=sql.Literal(tick.id),
            id=sql.Literal(of.id),
            was_at=sql.Literal(of.last_tick),
            batch=sql.Literal(of.batch),
        )
    )


def _finished(consumer: str) -> Check:
    return Check(
        lambda answers: answers[-1].count == 1 and answers[-1].scalar == 0,
        that="it had not gone on by itself",
        otherwise=f"consumer {clean(consumer)} has gone on by itself; its events are in the file,"
        " and it was not moved",
    )


def _remarks(of: Registration, ticks: list[Tick], finish: bool) -> list[str]:
    number = "1 batch" if len(ticks) == 2 else f"{len(ticks) - 1} batches"
    notes = [f"{number}, from tick {ticks[0].id} to tick {ticks[-1].id}"]
    if of.batch is not None:
        notes.append(f"its open batch {of.batch} is among them" + (" and is given up" if finish else ""))
    return notes
