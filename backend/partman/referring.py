"""What moving rows does besides: to foreign keys and triggers a row is deleted, and another one inserted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backend.core.clean import clean
from backend.core.errors import Refused
from backend.core.facts import Query
from backend.core.session import Session
from backend.partman.place import ask

_REFERRING = Query("""
SELECT k.conrelid::pg_catalog.regclass::pg_catalog.text AS referring,
       k.confrelid::pg_catalog.regclass::pg_catalog.text AS referred,
       k.confdeltype::pg_catalog.text AS on_delete
  FROM pg_catalog.pg_constraint AS k
 WHERE k.contype = 'f'
   AND k.conparentid = 0
   AND k.confrelid = ANY (%s::pg_catalog.oid[])
 ORDER BY 1, 2
""")
_TRIGGERS = Query("""
SELECT g.tgname::pg_catalog.text AS name
  FROM pg_catalog.pg_trigger AS g
 WHERE g.tgrelid = ANY (%s::pg_catalog.oid[])
   AND NOT g.tgisinternal
   AND g.tgenabled IN ('O', 'A')
   AND g.tgtype & 8 > 0
 GROUP BY g.tgname
 ORDER BY g.tgname
""")
# By pg_constraint.confdeltype: what it says, and what it would do.
_DOES = {
    "c": ("ON DELETE CASCADE", "delete the rows that refer to it"),
    "n": ("ON DELETE SET NULL", "make what refers to it null"),
    "d": ("ON DELETE SET DEFAULT", "change what refers to it"),
}


@dataclass(frozen=True, slots=True)
class Referring:
    """A foreign key to the rows; `on_delete` is one letter of `pg_constraint.confdeltype`."""

    referring: str
    referred: str
    on_delete: str


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger that fires for each row that is deleted."""

    name: str


async def demand_no_loss(s: Session, tables: Sequence[int]) -> tuple[str, ...]:
    """What to be said of rows that leave these tables, by oid; refused where other rows would be lost."""
    referring = await ask(s, Referring, _REFERRING, list(tables))
    for each in referring:
        if does := _DOES.get(each.on_delete):
            raise Refused(
                f"{clean(each.referring)} refers to {clean(each.referred)} {does[0]}: a row that moves is"
                f" deleted and inserted again, and that would {does[1]}",
                hint="drop that foreign key for the time of the move",
            )
    notes = [
        f"{clean(each.referring)} refers to {clean(each.referred)}: a batch with rows that it refers to fails"
        for each in referring
    ]
    if triggers := [clean(g.name) for g in await ask(s, Trigger, _TRIGGERS, list(tables))]:
        notes.append(f"rows that move are deleted and inserted, which fires {', '.join(triggers)}")
    return tuple(notes)
