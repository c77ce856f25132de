"""The triggers through which changes of tables come into queues."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from backend.core.facts import Query
from backend.core.session import Session
from backend.queue.ground import ask

ENCODERS = {"urlencoded": "logutriga", "sql": "sqltriga", "json": "jsontriga"}

# A trigger of a partitioned table has a clone on each partition, which goes with it.
_FEEDERS = Query("""
SELECT n.nspname::pg_catalog.text AS schema,
       c.relname::pg_catalog.text AS name,
       t.tgname::pg_catalog.text AS trigger,
       p.proname::pg_catalog.text AS function,
       t.tgargs AS arguments,
       t.tgenabled <> 'D' AS enabled
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
 ORDER BY n.nspname, c.relname, t.tgname
""")


@dataclass(frozen=True, slots=True)
class Feeder:
    """A trigger that feeds a queue; its arguments as the server keeps them, each ended by a zero byte."""

    schema: str
    name: str
    trigger: str
    function: str
    arguments: bytes
    enabled: bool

    @property
    def words(self) -> list[str]:
        """The arguments: the queue first."""
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


async def feeders(s: Session, queue: str) -> list[Feeder]:
    """The triggers that feed a queue."""
    return [f for f in await ask(s, Feeder, _FEEDERS) if f.queue == queue]


def drop_trigger(of: Feeder) -> sql.Composed:
    """The statement that drops the trigger."""
    return sql.SQL("DROP TRIGGER {} ON {}").format(sql.Identifier(of.trigger), of.identifier)
