"""Prepared transactions: shown, committed, rolled back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from backend.core.confirm import authorize, confirmation
from backend.core.declare import Danger
from backend.core.errors import Missing, Refused
from backend.core.session import Session
from tests.rooms.activity.conftest import Crowd, Look, carry_out, plan, row, rows, run
from tests.servers import Database, OwnClusters, Server

ODD = 'it\'s [/b] "x" %s {gid} \u202e\x1b[2J\n é'


def prepare(crowd: Crowd, gid: str) -> None:
    quoted = gid.replace("'", "''")
    crowd(
        "CREATE TABLE IF NOT EXISTS t (i int)",
        "BEGIN",
        "INSERT INTO t VALUES (1)",
        f"PREPARE TRANSACTION '{quoted}'",
    )


@pytest.mark.parametrize(("action", "left"), [("commit_prepared", 1), ("rollback_prepared", 0)])
async def test_finishes_a_prepared_transaction(
    crowd: Crowd, console: Session, database: Database, action: str, left: int
) -> None:
    prepare(crowd, ODD)
    made = await plan(console, f"activity.{action}", gid=ODD)
    assert (made.subject, made.danger) == (ODD, Danger.DESTROY)
    assert confirmation(made, console.target).word == ODD
    with pytest.raises(Refused):
        authorize(made, console.target, yes=True, words=[])
    assert (await row(console, "activity.prepared", gid=ODD)).database == database.name
    report = await carry_out(console, f"activity.{action}", made, gid=ODD)
    assert (report.status, report.result) == ("ok", {"gid": ODD})
    assert await rows(console, "activity.prepared") == []
    assert database.execute("SELECT count(*) FROM t") == [(left,)]


async def test_runs_in_the_database_of_the_transaction(
    crowd: Crowd, server: Server, look: Look, database: Database
) -> None:
    prepare(crowd, "abroad")
    elsewhere = await look(server.dsn())
    assert (await run(elsewhere, "activity.commit_prepared", gid="abroad")).status == "ok"
    assert database.execute("SELECT count(*) FROM t") == [(1,)]


async def test_an_unknown_name_is_refused(console: Session) -> None:
    with pytest.raises(Refused, match="there is no prepared transaction nothing"):
        await plan(console, "activity.commit_prepared", gid="nothing")


async def test_another_one_prepared_under_the_same_name_is_left_alone(crowd: Crowd, console: Session) -> None:
    prepare(crowd, "g")
    made = await plan(console, "activity.rollback_prepared", gid="g")
    crowd("COMMIT PREPARED 'g'")
    prepare(crowd, "g")
    report = await carry_out(console, "activity.rollback_prepared", made, gid="g")
    assert report.status == "failed"
    assert len(await rows(console, "activity.prepared")) == 1


async def test_only_its_owner_or_a_superuser_may_finish_it(
    few_rights: Server, look: Look, crowd_on: Callable[[str], Crowd]
) -> None:
    prepare(crowd_on(few_rights.dsn(user="app")), "g")
    with pytest.raises(Missing, match="belongs to app"):
        await plan(await look(few_rights.dsn(user="other")), "activity.commit_prepared", gid="g")
    owner = await look(few_rights.dsn(user="app"))
    assert (await run(owner, "activity.commit_prepared", gid="g")).status == "ok"


async def test_a_standby_cannot_finish_it(
    own_cluster: OwnClusters, look: Look, crowd_on: Callable[[str], Crowd]
) -> None:
    primary = own_cluster()
    prepare(crowd_on(primary.dsn()), "g")
    standby = await look(own_cluster.standby(primary).dsn())
    with pytest.raises(Refused, match="this is a standby"):
        await plan(standby, "activity.commit_prepared", gid="g")
