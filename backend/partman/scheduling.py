"""The action that has maintenance run by itself: through pg_cron, a systemd timer, or a crontab."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from backend.core.clean import clean
from backend.core.declare import Ask, Danger, action
from backend.core.errors import Missing, Refused
from backend.core.facts import Query
from backend.core.plan import Plan
from backend.core.session import Session
from backend.core.values import Interval
from backend.partman import crontab, pgcron, timers
from backend.partman.catalog import partition_sets
from backend.partman.maintaining import drops
from backend.partman.onhost import look
from backend.partman.place import ACTING, ask
from backend.partman.rhythm import rhythm_of

By = Literal["pg_cron", "systemd", "crontab"]

# Settings of a library are listed only once it is loaded.
_AROUND = Query("""
SELECT (SELECT s.setting
          FROM pg_catalog.pg_settings AS s
         WHERE s.name = 'cron.database_name') AS cron_database,
       (SELECT s.setting
          FROM pg_catalog.pg_settings AS s
         WHERE s.name = 'pg_partman_bgw.dbname') AS worker_databases
""")


@dataclass(frozen=True, slots=True)
class Around:
    """What of the server itself could maintain: pg_cron, and pg_partman's own background worker."""

    cron_database: str | None
    worker_databases: str | None


@action("partman.schedule", danger=Danger.CHANGE, needs=ACTING)
async def schedule(
    s: Session,
    every: Annotated[Interval, Ask("Every", help="Such as 15min, 1h, 6h or 1d")] = Interval("1h"),  # noqa: B008
    by: Annotated[By | None, Ask("By", help="The first of them that is there, unless given")] = None,
    remove: Annotated[bool, Ask("Remove", help="Let it run no more")] = False,
) -> Plan:
    """Have all sets maintained again and again: by pg_cron, a systemd timer, or a line in a crontab.

    pg_cron calls pg_partman's own procedure; the others run `partman.maintain --all-sets` on the target's
    host, confirmed in advance. A schedule that is there already is replaced.
    """
    rhythm = rhythm_of(every)
    [around] = await ask(s, Around, _AROUND)
    if not remove:
        _demand_no_worker(s, around)
    notes, danger = ((), Danger.CHANGE) if remove else await _consequences(s)
    match by or await _first(s, around):
        case "pg_cron":
            way = await pgcron.way(s, around.cron_database, rhythm.cron, remove)
        case "systemd":
            way = await timers.way(s, rhythm.calendar, remove)
        case _:
            way = await crontab.way(s, rhythm.cron, remove)
    return Plan(
        s.target.label,
        way.steps,
        danger=danger if way.steps else Danger.CHANGE,
        notes=(*way.notes, *notes) if way.steps else way.notes,
        result=way.result,
    )


def _demand_no_worker(s: Session, around: Around) -> None:
    served = {name.strip() for name in (around.worker_databases or "").split(",")}
    if s.facts.database in served:
        raise Refused(
            f"pg_partman's background worker maintains database {clean(s.facts.database)} already",
            hint="take the database out of pg_partman_bgw.dbname first, or leave it to the worker",
        )


async def _consequences(s: Session) -> tuple[tuple[str, ...], Danger]:
    """What will happen without anybody being asked again."""
    losing = [f for f in await partition_sets(s) if (f.config or {}).get("retention") and drops(f)]
    notes = tuple(
        f"retention of {clean(f.at.parent)} will drop what is older than {(f.config or {})['retention']}"
        for f in losing
    )
    return notes, Danger.DESTROY if losing else Danger.CHANGE


async def _first(s: Session, around: Around) -> By:
    if pgcron.there(s, around.cron_database):
        return "pg_cron"
    ground = await look(s)
    if ground.systemd:
        return "systemd"
    if ground.crontab:
        return "crontab"
    raise Missing(
        f"nothing runs schedules: the server has no pg_cron, and {s.host.where} no systemd and no cron",
        hint="the packages cron, or postgresql-NN-cron for the server's version, bring one",
    )
