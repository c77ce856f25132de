"""Actions that no room has, for what the command line must do with any: every kind of parameter, slow steps.

Run as a program it is pgtui with these actions besides its own.
"""

from __future__ import annotations

import sys
from typing import Annotated, Literal

from psycopg import sql

from backend.core.declare import ACTIONS, Action, Ask, Danger
from backend.core.facts import Needs
from backend.core.plan import Plan, statement
from backend.core.rendering import SecretLiteral
from backend.core.session import Session
from backend.core.values import Interval, Size


async def nap(
    s: Session,
    seconds: Annotated[int, Ask("How long")],
    before: Annotated[bool, Ask("A step before")] = False,
) -> Plan:
    """Sleep on the server."""
    first = [statement(sql.SQL("SELECT 'rested' AS state"))] if before else []
    asleep = statement(sql.SQL("SELECT pg_catalog.pg_sleep({})").format(sql.Literal(seconds)))
    return Plan(s.target.name, (*first, asleep))


async def dawdle(s: Session) -> Plan:
    """Take long to make a plan."""
    import asyncio

    sys.stderr.write("dawdling\n")
    sys.stderr.flush()
    await asyncio.sleep(60)
    return Plan(s.target.name, ())


async def everything(
    s: Session,
    name: Annotated[str, Ask("Name")],
    count: Annotated[int, Ask("Count")] = 3,
    size: Annotated[Size | None, Ask("Size")] = None,
    wait: Annotated[Interval | None, Ask("Wait")] = None,
    mode: Annotated[Literal["fast", "slow"], Ask("Mode")] = "fast",
    cascade: Annotated[bool | None, Ask("Cascade")] = None,
    column: Annotated[list[str] | None, Ask("Columns")] = None,
) -> Plan:
    """Take every kind of parameter.

    And say what came.
    """
    told = {"name": name, "count": count, "size": size, "wait": wait, "mode": mode, "cascade": cascade}
    step = statement(sql.SQL("SELECT {} AS name").format(sql.Literal(name)))
    return Plan(name, (step,), result=lambda _: told | {"column": column})


async def rekey(
    s: Session,
    secret: Annotated[str, Ask("New password", secret=True)],
    second: Annotated[str | None, Ask("Another", secret=True)] = None,
) -> Plan:
    """Send a secret to the server, which answers how long it is."""
    length = sql.SQL("SELECT length({}::text) AS length").format(SecretLiteral(secret))
    return Plan(s.target.name, (statement(length),), result=lambda answers: answers[0].scalar)


async def boast(s: Session, secret: Annotated[str, Ask("New password", secret=True)]) -> Plan:
    """Make the server complain about a statement with a secret."""
    wrong = sql.SQL("ALTER ROLE nobody_at_all PASSWORD {}").format(sql.Literal(secret))
    return Plan(s.target.name, (statement(wrong),))


async def ruin(s: Session) -> Plan:
    """Do what wants its subject typed."""
    return Plan("ruin", (statement("SELECT 1 AS ruined"),))


async def divide(s: Session) -> Plan:
    """Divide by zero."""
    return Plan(s.target.name, (statement("SELECT 1/0 AS nothing"),))


async def unlikely(s: Session) -> Plan:
    """Need what no server has."""
    return Plan(s.target.name, ())


async def buggy(s: Session) -> Plan:
    """Go wrong inside."""
    raise ZeroDivisionError("password=hunter2")


SAMPLES = (
    Action("activity.nap", nap, Danger.CHANGE, Needs(), (), False),
    Action("activity.dawdle", dawdle, Danger.CHANGE, Needs(), (), False),
    Action("activity.everything", everything, Danger.CHANGE, Needs(), (), False),
    Action("activity.rekey", rekey, Danger.CHANGE, Needs(), (), False),
    Action("activity.boast", boast, Danger.CHANGE, Needs(), (), False),
    Action("activity.buggy", buggy, Danger.CHANGE, Needs(), (), False),
    Action("activity.ruin", ruin, Danger.DESTROY, Needs(), (), False),
    Action("activity.refused_by_server", divide, Danger.CHANGE, Needs(), (), False),
    Action("activity.unlikely", unlikely, Danger.NONE, Needs(extensions={"unlikely": (1,)}), (), False),
)


def by_name() -> dict[str, Action]:
    """The samples as the registry holds them."""
    return {a.name: a for a in SAMPLES}


if __name__ == "__main__":
    from tui.cli import main

    ACTIONS.update(by_name())
    sys.exit(main())
