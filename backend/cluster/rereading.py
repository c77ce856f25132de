"""The action that makes a server read its configuration again, and proves that it did."""

from __future__ import annotations

import contextlib

from psycopg import sql

from backend.cluster.admission import demand_rules
from backend.cluster.discovery import discover
from backend.cluster.means import means, programs
from backend.cluster.offline import check_step, demand_startable, obstacle
from backend.cluster.own import Own
from backend.cluster.place import HOST, ClusterName
from backend.cluster.reloading import (
    FileError,
    before_all,
    demand_may_reload,
    errors_of_hba,
    errors_of_settings,
    reload,
    reloaded,
    standing,
)
from backend.core.connection import refused_behind_pooler
from backend.core.declare import Danger, action
from backend.core.errors import Missing, PgtuiError, Refused
from backend.core.host import script
from backend.core.plan import Command, Plan, statement
from backend.core.session import Session

# A reload is one signal, whichever program sends it; pg_ctl's is sent by the account that can ask the server.
_RELOAD = """\
bin=$1 data=$2 sockets=$3 port=$4
question='SELECT pg_catalog.pg_conf_load_time()'
ask() { "$bin/psql" -XwAtq -h "$sockets" -p "$port" -d postgres -c "$question" 2>&1; }
before=$(ask); known=$?
"$bin/pg_ctl" reload -s -D "$data" || exit 1
[ $known = 0 ] || { echo "whether it took is not known: $before"; exit 0; }
for each in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    now=$(ask) && [ "$now" != "$before" ] && { echo "read at $now"; exit 0; }
    sleep 0.2
done
echo "the server has not read its configuration, last read at $before; its log says why" >&2
exit 1
"""


@action("cluster.reload", danger=Danger.CHANGE, needs=HOST, on="cluster.clusters")
async def reload_configuration(s: Session, cluster: ClusterName = None) -> Plan:
    """Make a server read its configuration again, once its files are right, and prove that it did.

    An error in postgresql.conf would keep some or all of it from being applied, one in pg_hba.conf leaves the
    old rules in force, and the server says neither to whom reloads it.
    """
    if cluster is None:
        return await _own(s, await _known(s))
    found = await discover(s)
    chosen = found.pick(cluster)
    if chosen.own:
        return await _own(s, Own(chosen))
    if not chosen.running:
        raise Refused(f"{chosen.name} does not run")
    by = await means(s, found, chosen)
    await demand_startable(s.host, programs(by), None, wanted="its files as they are")
    await demand_rules(s, chosen)
    words = script(_RELOAD, chosen.bin or "", chosen.data, chosen.sockets or "", str(chosen.port or ""))
    return Plan(
        chosen.name,
        (check_step(programs(by)), Command(words, run_as=chosen.owner)),
        result=lambda answers: {"cluster": chosen.name, "said": answers[-1].text.strip()},
    )


async def _known(s: Session) -> Own:
    """The target's own server, where its host can be looked at: a reload can do without."""
    try:
        return Own((await discover(s)).own)
    except PgtuiError as e:
        return Own(why=e)


async def _own(s: Session, own: Own) -> Plan:
    await s.open()
    if s.pooled and s.target.act is None:
        raise refused_behind_pooler()
    of = await standing(s)
    demand_may_reload(s, of)
    _demand_right([*await errors_of_settings(s, of), *await errors_of_hba(s, of)])
    if own.cluster:
        with contextlib.suppress(
            Missing
        ):  # where the host's files are out of reach, the server's word has to do
            await demand_rules(s, own.cluster)
    name = own.cluster.name if own.cluster else s.target.label
    proof = sql.SQL(
        "SELECT pg_catalog.pg_conf_load_time() AS loaded,\n"
        "       ARRAY(SELECT p.name\n               FROM pg_catalog.pg_settings AS p\n"
        "              WHERE p.pending_restart\n              ORDER BY p.name) AS pending_restart"
    )
    return Plan(
        name,
        (before_all(undo=False), reload(), reloaded(), statement(proof)),
        notes=await _remarks(s, own),
        result=lambda answers: {"cluster": name, **answers[-1].first},
    )


def _demand_right(found: list[FileError]) -> None:
    if found:
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        raise Refused(
            f"a reload would not apply everything: {found[0].sentence}{more}",
            hint="correct that first; the view cluster.file_errors lists every line",
        )


async def _remarks(s: Session, own: Own) -> tuple[str, ...]:
    """A reload goes well with files that a restart would fail on."""
    if own.programs is None:
        return ()
    try:
        found = await obstacle(s.host, own.programs)
    except PgtuiError:
        return ()
    return (f"the server would not start again with these files: {found}",) if found else ()
