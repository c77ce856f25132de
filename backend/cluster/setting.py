"""Changing settings by ALTER SYSTEM, so that the server starts again, and reloading so that it is proved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from psycopg import sql

from backend.cluster import guc, proving
from backend.cluster.guc import SETTINGS, Setting
from backend.cluster.obstacles import demand_reachable, demand_room
from backend.cluster.offline import Programs, demand_startable, read_auto_conf, replaced
from backend.cluster.own import own_server
from backend.cluster.place import SERVER, ClusterName
from backend.cluster.reloading import (
    Standing,
    before_all,
    demand_may_reload,
    demand_readable,
    errors_of_settings,
    reload,
    reloaded,
    standing,
)
from backend.core.declare import Danger, action
from backend.core.errors import Missing, PgtuiError, Refused
from backend.core.facts import Query
from backend.core.params import Ask
from backend.core.plan import Plan, Step, statement
from backend.core.session import Session

Name = Annotated[str, Ask("Setting", choices="cluster.settings.name")]
Unchecked = Annotated[
    bool, Ask("Unchecked", help="Also where it cannot be tried whether the server will start with it")
]

_IN_FILE = Query("""\
SELECT f.setting AS value
  FROM pg_catalog.pg_file_settings AS f
 WHERE pg_catalog.lower(f.name) = pg_catalog.lower(%s)
   AND f.sourcefile ~ '/postgresql\\.auto\\.conf$'
 ORDER BY f.seqno DESC
 LIMIT 1""")

_BENEATH = Query("""\
SELECT f.setting AS value
  FROM pg_catalog.pg_file_settings AS f
 WHERE pg_catalog.lower(f.name) = pg_catalog.lower(%s)
   AND f.sourcefile !~ '/postgresql\\.auto\\.conf$'
 ORDER BY f.seqno DESC
 LIMIT 1""")

_SHADOWS = Query("""\
SELECT pg_catalog.quote_ident(d.datname) AS database,
       pg_catalog.quote_ident(r.rolname) AS role,
       pg_catalog.substr(c.entry, pg_catalog.length(%s) + 2) AS value
  FROM pg_catalog.pg_db_role_setting AS s
  LEFT JOIN pg_catalog.pg_database AS d
    ON d.oid = s.setdatabase
  LEFT JOIN pg_catalog.pg_roles AS r
    ON r.oid = s.setrole,
       LATERAL pg_catalog.unnest(s.setconfig) AS c(entry)
 WHERE pg_catalog.starts_with(pg_catalog.lower(c.entry), pg_catalog.lower(%s) || '=')
 ORDER BY 1, 2""")


@dataclass(frozen=True, slots=True)
class InFile:
    """What postgresql.auto.conf holds for a setting."""

    value: str | None


@dataclass(frozen=True, slots=True)
class Shadow:
    """A value that a database, a role or both have of their own."""

    database: str | None
    role: str | None
    value: str

    @property
    def sentence(self) -> str:
        """For whom the change does not count."""
        whom = [f"role {self.role}"] if self.role else []
        whom += [f"database {self.database}"] if self.database else []
        return f"{' in '.join(whom) or 'every role'} has {self.value} of its own, which wins there"


@dataclass(frozen=True, slots=True)
class Ground:
    """What a change starts from: the setting, what postgresql.auto.conf has for it, the host's programs."""

    setting: Setting
    before: str | None
    of: Standing
    programs: Programs | None
    why: PgtuiError | None
    auto_conf: str = ""


@action("cluster.set", danger=Danger.CHANGE, needs=SERVER, on="cluster.settings")
async def set_value(
    s: Session,
    name: Name,
    value: Annotated[str, Ask("Value", help="Lists with commas between", fill=False)],
    unchecked: Unchecked = False,
    cluster: ClusterName = None,
) -> Plan:
    """Change a setting for the whole server by ALTER SYSTEM, reload, and prove that it took.

    Before, the server's own program tries the whole configuration with the new value: a library that is not
    there, settings that contradict each other or too much shared memory are refused. Says whether a restart
    is due. When a step fails, the value before is put back.
    """
    ground = await _ground(s, name, cluster)
    setting = ground.setting
    guc.demand_value(setting, value)
    written = guc.written(setting, value)
    if (
        ground.before is not None
        and guc.same(setting, ground.before, written)
        and not setting.pending_restart
    ):
        raise Refused(f"{setting.name} is {ground.before} by ALTER SYSTEM already")
    if not written and setting.is_list:
        raise Refused(
            f"ALTER SYSTEM would write one empty element for {setting.name}, and no empty list",
            hint=f"cluster.reset --name {setting.name} takes its value away",
        )
    notes = await _tried(s, ground, written, f"{setting.name} = {value}", unchecked)
    await _demand_usable(s, ground, value)
    return await _plan(s, ground, guc.alter_system(setting, value), written, notes)


@action("cluster.reset", danger=Danger.CHANGE, needs=SERVER, on="cluster.settings")
async def reset(s: Session, name: Name, unchecked: Unchecked = False, cluster: ClusterName = None) -> Plan:
    """Take back what ALTER SYSTEM set, reload, and prove that it took.

    What postgresql.conf says counts again, else the default. It is tried before as in cluster.set.
    """
    ground = await _ground(s, name, cluster)
    setting = ground.setting
    if ground.before is None:
        raise Refused(f"{setting.name} is not set by ALTER SYSTEM", hint=_whence(setting))
    notes = await _tried(s, ground, None, f"{setting.name} reset", unchecked)
    beneath = await s.fetch(InFile, _BENEATH, setting.name) if ground.of.may_read else []
    await _demand_usable(s, ground, (beneath[0].value if beneath else setting.boot_val) or "")
    return await _plan(s, ground, guc.alter_system_reset(setting), None, notes)


async def _demand_usable(s: Session, ground: Ground, value: str) -> None:
    await demand_room(s, ground.setting, value)
    if ground.programs:
        await demand_reachable(s.host, ground.programs, ground.setting, value)


def _whence(setting: Setting) -> str | None:
    if setting.sourcefile:
        return f"it is set in {setting.sourcefile} line {setting.sourceline}"
    return f"it has its default, {setting.boot_val}" if setting.source == "default" else None


async def _ground(s: Session, name: str, cluster: str | None) -> Ground:
    own = await own_server(s, cluster)
    setting = guc.find(await s.fetch(Setting, SETTINGS), name)
    guc.demand_changeable(setting)
    of = await standing(s, setting.name)
    _demand_rights(s, setting, of)
    demand_may_reload(s, of)
    demand_readable(await errors_of_settings(s, of))
    before = await _in_file(s, setting, of)
    auto_conf, why = "", own.why
    if programs := own.programs:
        try:
            auto_conf = await read_auto_conf(s.host, programs)
        except PgtuiError as e:
            programs, why = None, e
    return Ground(setting, before, of, programs, why, auto_conf)


def _demand_rights(s: Session, setting: Setting, of: Standing) -> None:
    if of.allowed == "off":
        raise Refused(
            "this server does not allow ALTER SYSTEM: allow_alter_system is off",
            hint="who installed it keeps its settings elsewhere and wants them changed there",
        )
    if s.target.act is None and not of.may_set:
        grant = f"GRANT ALTER SYSTEM ON PARAMETER {setting.name} TO {s.facts.user}"
        raise Missing(
            f"role {s.facts.user} may not change {setting.name} for the server",
            hint=grant if s.facts.major >= 15 else "act as a superuser",
        )


async def _in_file(s: Session, setting: Setting, of: Standing) -> str | None:
    """The value in postgresql.auto.conf; a role that may not read it sees only what is in force."""
    if of.may_read:
        found = await s.fetch(InFile, _IN_FILE, setting.name)
        return found[0].value if found else None
    in_force = (setting.sourcefile or "").endswith("/postgresql.auto.conf")
    return setting.shown if in_force else None


async def _tried(
    s: Session, ground: Ground, written: str | None, wanted: str, unchecked: bool
) -> tuple[str, ...]:
    """Try whether the server would start; where that cannot be, say so, or refuse what might keep it down."""
    why = ground.why
    if ground.programs:
        auto_conf = replaced(ground.auto_conf, ground.setting.name, written)
        try:
            await demand_startable(s.host, ground.programs, auto_conf, wanted=wanted)
            return ()
        except Missing as e:
            why = e
    said = why.message if why else "the server's programs cannot be found"
    if ground.setting.needs_trial and not unchecked:
        raise Missing(
            f"whether the server would start with {wanted} cannot be tried: {said}",
            hint=f"{why.hint if why and why.hint else 'see cluster.clusters'}; --unchecked does without",
        )
    return (f"not tried whether the server would start with it: {said}",)


async def _plan(
    s: Session, ground: Ground, change: sql.Composed, written: str | None, notes: tuple[str, ...]
) -> Plan:
    setting = ground.setting
    shadows = await s.fetch(Shadow, _SHADOWS, setting.name, setting.name)
    back = (
        guc.alter_system_reset(setting) if ground.before is None else guc.alter_system(setting, ground.before)
    )
    steps: list[Step] = [before_all(), statement(change, undo=statement(back))]
    if ground.of.may_read:
        steps += proving.in_file(setting, written)
    steps += [reload(), reloaded(), *proving.in_force(s, setting, written)]
    before = f"ALTER SYSTEM had {ground.before}" if ground.before is not None else "not by ALTER SYSTEM"
    told = (
        f"now {setting.shown} ({before})",
        *notes,
        *guc.effect(setting),
        *(shadow.sentence for shadow in shadows),
    )
    return Plan(setting.name, tuple(steps), notes=told, result=proving.result(setting))
