"""The triggers through which changes of tables come into queues."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from psycopg import sql

from backend.core.facts import Query
from backend.core.session import Session
from backend.queue.decode import Encoding
from backend.queue.ground import ask

Timing = Literal["after", "before", "instead of"]

ENCODERS = {"urlencoded": "logutriga", "sql": "sqltriga", "json": "jsontriga"}
_ENCODINGS: Mapping[str, Encoding] = {"logutriga": "urlencoded", "sqltriga": "sql", "jsontriga": "json"}

# Bits of pg_trigger.tgtype.
_ROW, _BEFORE, _INSTEAD = 1, 2, 64
_OPERATIONS = {4: "insert", 16: "update", 8: "delete", 32: "truncate"}

# A trigger of a partitioned table has a clone on each partition, which goes with it.
_FEEDERS = Query("""
SELECT n.nspname::pg_catalog.text AS schema,
       c.relname::pg_catalog.text AS name,
       pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS quoted,
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


@dataclass(frozen=True, slots=True)
class Feeder:
    """A trigger that feeds a queue, as the catalog has it; `quoted` is its table as SQL writes it."""

    schema: str
    name: str
    quoted: str
    trigger: str
    function: str
    type: int
    enabled: str
    arguments: bytes
    keyed: bool

    @property
    def words(self) -> list[str]:
        """Its arguments, the queue first; the server ends each by a zero byte."""
        return [word.decode("utf-8", "surrogateescape") for word in self.arguments.split(b"\0")[:-1]]

    @property
    def queue(self) -> str:
        """The queue that it feeds; empty where the trigger was made without one."""
        return (self.words or [""])[0]

    @property
    def table(self) -> str:
        """The table with its schema, as it is spoken of."""
        return f"{self.schema}.{self.name}"

    @property
    def identifier(self) -> sql.Identifier:
        """The table in SQL."""
        return sql.Identifier(self.schema, self.name)

    @property
    def encoding(self) -> Encoding:
        """How it writes a row."""
        return _ENCODINGS[self.function]

    @property
    def operations(self) -> list[str]:
        """What it fires on."""
        return [name for bit, name in _OPERATIONS.items() if self.type & bit]

    @property
    def for_each_row(self) -> bool:
        """Whether it fires for each row, not once for a statement."""
        return bool(self.type & _ROW)

    @property
    def timing(self) -> Timing:
        """When it fires."""
        if self.type & _INSTEAD:
            return "instead of"
        return "before" if self.type & _BEFORE else "after"


async def all_feeders(s: Session) -> list[Feeder]:
    """Every trigger of PgQ's, whether or not its queue is there."""
    return await ask(s, Feeder, _FEEDERS)


async def feeders(s: Session, queue: str) -> list[Feeder]:
    """The triggers that feed a queue."""
    return [f for f in await all_feeders(s) if f.queue == queue]


def drop_trigger(of: Feeder) -> sql.Composed:
    """The statement that drops the trigger."""
    return sql.SQL("DROP TRIGGER {} ON {}").format(sql.Identifier(of.trigger), of.identifier)
