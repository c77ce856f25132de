"""Tables whose changes flow into queues, by which trigger, and what will make a change fail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from backend.core.clean import clean
from backend.core.declare import Col, Health, Verdict
from backend.core.session import Session
from backend.queue.decode import Encoding
from backend.queue.feeding import Feeder, Timing, all_feeders
from backend.queue.ground import Queue, queues

Fires = Literal["yes", "no", "replica", "always"]

_FIRES: Mapping[str, Fires] = {"O": "yes", "D": "no", "R": "replica", "A": "always"}
_WORDS = ("SKIP", "backup", "deny")
_SETTINGS = (
    "ignore", "pkey", "when", "ev_type", "ev_data", "ev_extra1", "ev_extra2", "ev_extra3", "ev_extra4",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TriggerRow:
    """One trigger that feeds a queue."""

    queue: Annotated[str | None, Col("Queue", priority=1)]
    table: Annotated[str, Col("Table", key=True, text=True, priority=1)]
    trigger: Annotated[str, Col("Trigger", key=True, priority=2)]
    encoding: Annotated[Encoding, Col("Encoding", priority=1)]
    operations: Annotated[str, Col("On", priority=2)]
    timing: Annotated[Timing, Col("When", priority=6)]
    fires: Annotated[Fires, Col("Fires", priority=3, help="replica: only for what a replication applies")]
    ignore: Annotated[str | None, Col("Ignores", priority=4, help="Columns left out")]
    key: Annotated[str | None, Col("Key", priority=5, help="Columns that it takes for the primary key")]
    condition: Annotated[str | None, Col("If", priority=4, help="Only rows for which this is true")]
    other: Annotated[str, Col("Arguments", priority=5, help="Its other arguments")]
    problem: Annotated[
        str, Col("Problem", priority=2, help="What makes changes of the table fail, or stay out")
    ]
    fails: Annotated[bool, Col("Fails", hidden=True)]


async def trigger_rows(s: Session) -> list[TriggerRow]:
    """Every trigger of PgQ's, whether or not its queue is there."""
    found = await all_feeders(s)
    known = {q.name: q for q in await queues(s)} if found else {}
    return [_row(t, known) for t in found]


def _row(of: Feeder, known: Mapping[str, Queue]) -> TriggerRow:
    words = of.words[1:]
    settings = {n: v for n, equals, v in (w.partition("=") for w in words) if equals}
    problem = _failing(of, words, known.get(of.queue))
    return TriggerRow(
        queue=of.queue if of.words else None,
        table=of.quoted,
        trigger=of.trigger,
        encoding=of.encoding,
        operations=", ".join(of.operations),
        timing=of.timing,
        fires=_FIRES.get(of.enabled, "yes"),
        ignore=settings.get("ignore"),
        key=settings.get("pkey"),
        condition=settings.get("when"),
        other=" ".join(w for w in words if w.partition("=")[0] not in ("ignore", "pkey", "when")),
        problem=problem or _doubtful(of, settings),
        fails=bool(problem) and of.enabled != "D",
    )


def _failing(of: Feeder, words: list[str], queue: Queue | None) -> str:
    """Why every change of the table fails; PgQ finds out only when the trigger fires."""
    strange = [w for w in words if w not in _WORDS and w.partition("=")[0] not in _SETTINGS]
    whole = [o for o in of.operations if o != "truncate"]
    failing = {
        "it names no queue": not of.words,
        f"there is no queue {clean(of.queue)}": queue is None,
        f"inserts into queue {clean(of.queue)} are disabled": bool(queue and queue.inserts_disabled),
        f"PgQ knows no argument {clean(strange[0] if strange else '')}": bool(strange),
        "SKIP works only before a change": "SKIP" in words and of.timing != "before",
        "it has to fire for each row": bool(whole) and not of.for_each_row,
        "it denies changes": "deny" in words,
    }
    return next((sentence for sentence, holds in failing.items() if holds), "")


def _doubtful(of: Feeder, settings: Mapping[str, str]) -> str:
    if of.enabled == "D":
        return "it is disabled: changes stay out of the queue"
    changes = {"update", "delete"} & set(of.operations)
    return (
        "without a key updates and deletes fail"
        if changes and not of.keyed and "pkey" not in settings
        else ""
    )


def trigger_verdict(row: TriggerRow) -> Verdict | None:
    """A trigger that makes changes of its table fail, or lets them go by."""
    if row.fails and row.problem == "it denies changes":
        return None
    if row.fails:
        return Verdict(Health.CRITICAL, f"changes of {clean(row.table)} fail: {row.problem}")
    return Verdict(Health.WARNING, row.problem) if row.problem else None
