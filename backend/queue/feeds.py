"""Tables whose changes flow into queues, by which trigger, and what will make a change fail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from backend.core.clean import clean
from backend.core.declare import Col, Health, Verdict
from backend.core.facts import Query
from backend.core.session import Session
from backend.queue.decode import Encoding
from backend.queue.ground import Queue, ask, queues

Timing = Literal["after", "before", "instead of"]
Fires = Literal["yes", "no", "replica", "always"]

_TRIGGERS = Query("""
SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS table,
       t.tgname::pg_catalog.text AS trigger,
       p.proname::pg_catalog.text AS function,
       t.tgtype::pg_catalog.int4 AS type,
       t.tgenabled::pg_catalog.text AS enabled,
       t.tgargs AS arguments,
       EXISTS (SELECT
                 FROM pg_catalog.pg_index AS i
                WHERE i.indrelid = c.oid
                  AND i.indisprimary) AS keyed
  FROM pg_catalog.pg_trigger AS t
  JOIN pg_catalog.pg_class AS c
    ON c.oid = t.tgrelid
  JOIN pg_catalog.pg_namespace AS n
    ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_proc AS p
    ON p.oid = t.tgfoid
 WHERE p.pronamespace = pg_catalog.to_regnamespace('pgq')
   AND p.proname IN ('logutriga', 'sqltriga', 'jsontriga')
   AND NOT t.tgisinternal
   AND t.tgparentid = 0
 ORDER BY n.nspname,
          c.relname,
          t.tgname
""")

_ENCODINGS: Mapping[str, Encoding] = {"logutriga": "urlencoded", "sqltriga": "sql", "jsontriga": "json"}
_FIRES: Mapping[str, Fires] = {"O": "yes", "D": "no", "R": "replica", "A": "always"}
_ROW, _BEFORE, _INSTEAD = 1, 2, 64
_OPERATIONS = {4: "insert", 16: "update", 8: "delete", 32: "truncate"}
_WORDS = ("SKIP", "backup", "deny")
_SETTINGS = (
    "ignore", "pkey", "when", "ev_type", "ev_data", "ev_extra1", "ev_extra2", "ev_extra3", "ev_extra4",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Trigger:
    """A trigger as the catalog has it; each of its arguments ends with a zero byte."""

    table: str
    trigger: str
    function: str
    type: int
    enabled: str
    arguments: bytes
    keyed: bool

    @property
    def words(self) -> list[str]:
        """Its arguments: the queue, and what changes how it works."""
        return [w.decode("utf-8", "surrogateescape") for w in self.arguments.split(b"\0")[:-1]]

    @property
    def operations(self) -> list[str]:
        """What it fires on."""
        return [name for bit, name in _OPERATIONS.items() if self.type & bit]

    @property
    def timing(self) -> Timing:
        """When it fires."""
        if self.type & _INSTEAD:
            return "instead of"
        return "before" if self.type & _BEFORE else "after"


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
    found = await ask(s, _Trigger, _TRIGGERS)
    known = {q.name: q for q in await queues(s)} if found else {}
    return [_row(t, known) for t in found]


def _row(of: _Trigger, known: Mapping[str, Queue]) -> TriggerRow:
    queue, *words = of.words or [""]
    settings = {n: v for n, equals, v in (w.partition("=") for w in words) if equals}
    problem = _failing(of, queue, words, known.get(queue))
    return TriggerRow(
        queue=queue if of.words else None,
        table=of.table,
        trigger=of.trigger,
        encoding=_ENCODINGS[of.function],
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


def _failing(of: _Trigger, name: str, words: list[str], queue: Queue | None) -> str:
    """Why every change of the table fails; PgQ finds out only when the trigger fires."""
    strange = [w for w in words if w not in _WORDS and w.partition("=")[0] not in _SETTINGS]
    whole = [o for o in of.operations if o != "truncate"]
    failing = {
        "it names no queue": not of.words,
        f"there is no queue {clean(name)}": queue is None,
        f"inserts into queue {clean(name)} are disabled": bool(queue and queue.inserts_disabled),
        f"PgQ knows no argument {clean(strange[0] if strange else '')}": bool(strange),
        "SKIP works only before a change": "SKIP" in words and of.timing != "before",
        "it has to fire for each row": bool(whole) and not of.type & _ROW,
        "it denies changes": "deny" in words,
    }
    return next((sentence for sentence, holds in failing.items() if holds), "")


def _doubtful(of: _Trigger, settings: Mapping[str, str]) -> str:
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
