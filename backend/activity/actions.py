"""Actions of the room `activity`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, LiteralString

from psycopg import sql

from backend.activity import signals
from backend.activity.prepared import PreparedRow
from backend.activity.selection import Selection, demand_utf8
from backend.activity.victims import VICTIMS, Chosen, Victim, choose, refusal
from backend.activity.views import prepared
from backend.core.clean import clean
from backend.core.declare import Ask, Danger, action
from backend.core.errors import Failed, Missing, Refused, Usage
from backend.core.facts import Needs
from backend.core.plan import Check, Plan, statement
from backend.core.session import Session
from backend.core.values import Interval

State = Literal[
    "active", "idle", "idle in transaction", "idle in transaction (aborted)", "fastpath function call"
]
ROWS_OF_A_SESSION = ("activity.sessions", "activity.locks", "activity.horizon", "activity.progress")
ROWS_OF_A_PREPARED = ("activity.prepared", "activity.locks")

User = Annotated[str | None, Ask("Role", choices="activity.sessions.username", instead=True)]
Database = Annotated[str | None, Ask("Database", choices="activity.databases.database", instead=True)]
Application = Annotated[str | None, Ask("Application", choices="activity.sessions.application", instead=True)]
Gid = Annotated[str, Ask("Name of the prepared transaction", choices="activity.prepared.gid")]


@action("activity.cancel", danger=Danger.CHANGE, on=ROWS_OF_A_SESSION, exclusive=False)
async def cancel(s: Session, pid: Annotated[int, Ask("Process id", choices="activity.sessions.pid")]) -> Plan:
    """Cancel the statement that a session is running.

    The session and its transaction go on; a session that is running nothing is left alone. It is cancelled
    only while it runs the very statement that was shown.
    """
    [victim] = (await _named(s, [pid], Selection())).victims
    if victim.state == "active":
        return Plan(str(pid), signals.cancel(victim), rows=(victim,), result=signals.told_of_cancel)
    ending = f"; activity.terminate --pid {pid} ends it" if victim.idle_in_transaction else ""
    note = f"process {pid} is {victim.state or 'not running a statement'}: there is nothing to cancel{ending}"
    return Plan(str(pid), (), rows=(victim,), notes=(note,))


@action("activity.terminate", danger=Danger.DISRUPT, on=ROWS_OF_A_SESSION, exclusive=False)
async def terminate(
    s: Session,
    pid: Annotated[list[int] | None, Ask("Process ids", choices="activity.sessions.pid")] = None,
    user: User = None,
    database: Database = None,
    application: Application = None,
    state: Annotated[State | None, Ask("State", instead=True)] = None,
) -> Plan:
    """End sessions, given by process id or by role, database, application and state.

    What is given has to hold together, also when the plan runs: a session that is in another state by then
    is left alone, and a new one never touched. A selection takes client sessions only, and leaves out
    backups and pgtui itself; a process id names any session.
    """
    selection = Selection(user, database, application, state)
    if not pid and selection.empty:
        raise Usage(
            "activity.terminate ends nothing without a selection",
            hint="give --pid, or --user, --database, --application or --state",
        )
    if pid:
        chosen = await _named(s, pid, selection)
    else:
        chosen = _chosen(s, await _everybody(s), selection)
    subject = str(pid[0]) if pid and len(pid) == 1 else s.target.name
    return _termination(subject, chosen, selection)


@action("activity.terminate_idle", danger=Danger.DISRUPT, exclusive=False)
async def terminate_idle(
    s: Session,
    longer_than: Annotated[Interval, Ask("Idle in transaction for longer than", help="Such as 15min or 2h")],
    user: User = None,
    database: Database = None,
    application: Application = None,
) -> Plan:
    """End client sessions that have been idle in a transaction for longer than a time.

    Backups and pgtui itself are left out, unless the application is named.
    """
    if longer_than.startswith("-"):
        raise Usage("--longer-than must not be negative")
    selection = Selection(user, database, application, idle_longer_than=longer_than)
    chosen = _chosen(s, await _everybody(s, longer_than), selection)
    return _termination(s.target.name, chosen, selection)


@action(
    "activity.commit_prepared",
    danger=Danger.DESTROY,
    on=ROWS_OF_A_PREPARED,
    needs=Needs(primary=True),
    exclusive=False,
)
async def commit_prepared(s: Session, gid: Gid) -> Plan:
    """Commit a prepared transaction.

    Its transaction manager may have decided otherwise: ask it first.
    """
    return await _finish(s, gid, "COMMIT PREPARED {}")


@action(
    "activity.rollback_prepared",
    danger=Danger.DESTROY,
    on=ROWS_OF_A_PREPARED,
    needs=Needs(primary=True),
    exclusive=False,
)
async def rollback_prepared(s: Session, gid: Gid) -> Plan:
    """Roll a prepared transaction back; what it did is lost.

    Its transaction manager may have decided otherwise: ask it first.
    """
    return await _finish(s, gid, "ROLLBACK PREPARED {}")


async def _everybody(s: Session, idle_longer_than: Interval | None = None) -> list[Victim]:
    try:
        return await s.fetch(Victim, VICTIMS, idle_longer_than and str(idle_longer_than), s.own_pids)
    except Failed as e:
        if e.sqlstate in ("22007", "22008", "22015"):
            raise Usage(f"{idle_longer_than!r} is not a duration", hint=e.message) from None
        raise


def _chosen(s: Session, everybody: Sequence[Victim], selection: Selection) -> Chosen:
    named, other = selection.application is not None, s.target.act is not None
    return choose(everybody, selection.fits, named=named, acts_as_other=other)


async def _named(s: Session, pids: Sequence[int], selection: Selection) -> Chosen:
    """The sessions of these process ids; refused when one may not be touched, or none is there."""
    wanted = list(dict.fromkeys(pids))
    if own := [pid for pid in wanted if pid in s.own_pids]:
        raise Refused(f"process {own[0]} is pgtui's own connection, which looks at the server")
    found = {v.pid: v for v in await _everybody(s) if v.pid in wanted}
    gone = [str(pid) for pid in wanted if pid not in found]
    if not found:
        raise Refused(f"there is no server process {' or '.join(gone)}", hint="it may have ended already")
    for victim in found.values():
        _demand_signal(s, victim)
    notes = (f"not there, or ended already: {', '.join(gone)}",) if gone else ()
    remarks = [_remark(v) for v in found.values() if not v.client]
    return Chosen(tuple(v for v in found.values() if selection.fits(v)), (*notes, *remarks))


def _remark(victim: Victim) -> str:
    return f"process {victim.pid} is no client's session but a {victim.backend_type}"


def _demand_signal(s: Session, victim: Victim) -> None:
    """Raise when the process can take no signal, or the role may neither see nor signal it."""
    if victim.deaf:
        raise Refused(
            f"process {victim.pid} is the server's {victim.backend_type}, which takes no such signal"
        )
    if victim.backend_start is None:
        raise Missing(
            f"what process {victim.pid} does is not visible to {s.facts.user}, so it cannot be checked",
            hint=f"GRANT pg_read_all_stats TO {s.facts.user} shows it",
        )
    # Another role may act than looks; the statement itself then answers whether it is permitted.
    if not victim.permitted and not s.target.act:
        raise refusal([victim])


def _termination(subject: str, chosen: Chosen, selection: Selection) -> Plan:
    steps = signals.terminate(chosen.victims, selection.condition)
    notes = chosen.notes if steps else (*chosen.notes, "no session is like that: there is nothing to do")
    return Plan(
        subject,
        steps,
        rows=chosen.victims,
        notes=notes,
        result=signals.told_of_termination if steps else None,
    )


async def _finish(s: Session, gid: str, template: LiteralString) -> Plan:
    found = next((p for p in await prepared(s) if p.gid == gid), None)
    if found is None:
        raise Refused(
            f"there is no prepared transaction {clean(gid)}", hint="it may have been finished already"
        )
    demand_utf8(gid)
    _demand_owner(s, found)
    known = sql.SQL(
        "SELECT x.gid FROM pg_catalog.pg_prepared_xacts x WHERE (x.gid, x.prepared) = ({}, {})"
    ).format(sql.Literal(gid), sql.Literal(found.prepared))
    still_there = Check(
        lambda answers: bool(answers[-1].rows),
        that="it is the same prepared transaction still",
        otherwise="it has been finished since, or another one prepared under its name",
    )
    finish = statement(sql.SQL(template).format(sql.Literal(gid)), dbname=found.database)
    return Plan(gid, (statement(known), still_there, finish), rows=(found,), result=lambda _: {"gid": gid})


def _demand_owner(s: Session, found: PreparedRow) -> None:
    if not s.facts.superuser and s.facts.user != found.owner and not s.target.act:
        raise Missing(
            f"prepared transaction {clean(found.gid)} belongs to {clean(found.owner)}",
            hint="only that role and superusers may finish it",
            sqlstate="42501",
        )
