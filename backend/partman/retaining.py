"""Actions that take partitions out of a set: by retention, or one by name."""

from __future__ import annotations

from typing import Annotated, Literal

from psycopg import sql

from backend.core.clean import clean
from backend.core.declare import Ask, Danger, action
from backend.core.errors import Refused, Usage
from backend.core.plan import Plan, Sql, Step, statement
from backend.core.session import Session
from backend.core.show import counted, size
from backend.partman.calls import config_table, demand_schema
from backend.partman.catalog import Partition, PartitionSet
from backend.partman.children import due_of
from backend.partman.found import find_partition, find_set
from backend.partman.maintaining import ParentName, target
from backend.partman.place import ACTING, CHANGING, find

Mode = Literal["detach", "drop", "move"]


@action("partman.apply_retention", danger=Danger.DISRUPT, needs=ACTING, on="partman.sets")
async def apply_retention(
    s: Session,
    parent: ParentName,
    mode: Annotated[Mode | None, Ask("Mode", help="As configured, unless given")] = None,
    schema: Annotated[str | None, Ask("Schema", help="Where partitions are moved to")] = None,
) -> Plan:
    """Detach, drop or move the partitions that retention does not keep, each in its own transaction.

    Exactly those that are listed go, and only while they still are partitions of the set; each locks the
    set for a moment.
    """
    found = await find_set(s, parent)
    config = found.config or {}
    if not config.get("retention"):
        raise Refused(
            f"{clean(found.at.parent)} has no retention",
            hint=f"partman.configure --parent {clean(found.at.parent)} --retention … sets one",
        )
    mode = mode or _configured(config)
    into = await _schema(s, mode, schema or config.get("retention_schema"))
    gone = await due_of(s, found)
    if not gone:
        note = f"no partition of {clean(found.at.parent)} is older than {config['retention']}"
        return Plan(found.at.parent, (), notes=(note,))
    return Plan(
        found.at.parent,
        tuple(_let_go(s, found, p, mode, into) for p in gone),
        danger=Danger.DESTROY if mode == "drop" else Danger.DISRUPT,
        notes=(_summary(found, gone, mode),),
        rows=tuple(target(found, p) for p in gone),
        result=lambda _: {"parent": found.at.parent, "mode": mode, "partitions": [p.partition for p in gone]},
    )


def _configured(config: dict[str, object]) -> Mode:
    if config.get("retention_schema"):
        return "move"
    return "detach" if config.get("retention_keep_table") else "drop"


async def _schema(s: Session, mode: Mode, schema: str | None) -> str | None:
    if mode != "move":
        return None
    if schema is None:
        raise Usage("--mode move needs --schema")
    await demand_schema(s, schema, "--schema")
    return schema


def _summary(of: PartitionSet, gone: list[Partition], mode: Mode) -> str:
    sizes = [of.size(p) for p in gone]
    known = sum(b for b in sizes if b is not None)
    word = {"detach": "are detached", "drop": "are dropped with their rows", "move": "are moved"}[mode]
    return f"{counted(gone, 'partition')}, {size(known)}, {word}"


def _let_go(s: Session, of: PartitionSet, at: Partition, mode: Mode, into: str | None) -> Sql:
    detach = sql.SQL("ALTER TABLE {} DETACH PARTITION {}")
    if of.at.relkind != "p":
        detach = sql.SQL("ALTER TABLE {1} NO INHERIT {0}")
    steps: list[sql.Composable] = [detach.format(of.at.identifier, at.identifier)]
    if mode == "drop":
        steps.append(sql.SQL("DROP TABLE {}").format(at.identifier))
    if into is not None:
        steps.append(sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(at.identifier, sql.Identifier(into)))
    if at.relkind == "p" and find(s.facts):
        forget = sql.SQL("DELETE FROM {} AS p\n WHERE p.parent_table = {}")
        steps.append(forget.format(config_table(s.facts), sql.Literal(f"{at.schema}.{at.name}")))
    return Sql(tuple(steps))


@action("partman.detach", danger=Danger.CHANGE, needs=CHANGING, on="partman.partitions")
async def detach(
    s: Session,
    partition: Annotated[str, Ask("Partition")],
    concurrently: Annotated[
        bool | None, Ask("Concurrently", help="Unless the set has a default partition", fill=False)
    ] = None,
) -> Plan:
    """Take a partition out of its set and keep it as a table.

    Concurrently it waits for nobody's rows; a set with a default partition allows no such thing, and its
    readers and writers then wait for a moment.
    """
    found, at = await find_partition(s, partition)
    if found.at.relkind != "p":
        raise Refused(f"{clean(found.at.parent)} is not partitioned but inherited from")
    gently = concurrently if concurrently is not None else found.default is None
    if gently and found.default is not None:
        raise Refused(
            f"{clean(found.at.parent)} has a default partition, so nothing can be detached concurrently",
            hint="--no-concurrently detaches it with a short lock",
        )
    words = sql.SQL(" CONCURRENTLY" if gently else "")
    how = sql.SQL(" FINALIZE") if at.detaching else words
    step: Step = statement(
        sql.SQL("ALTER TABLE {} DETACH PARTITION {}{}").format(found.at.identifier, at.identifier, how)
    )
    return Plan(
        found.at.parent,
        (step,),
        danger=Danger.CHANGE if gently else Danger.DISRUPT,
        rows=(target(found, at),),
        result=lambda _: {"parent": found.at.parent, "partition": at.partition},
    )
