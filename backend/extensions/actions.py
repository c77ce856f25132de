"""Actions of the room `extensions`."""

from __future__ import annotations

from typing import Annotated

from psycopg import sql

from backend.core.declare import Ask, Danger, action
from backend.core.errors import Missing, Refused
from backend.core.facts import Needs
from backend.core.plan import Answers, Check, Plan, Step, statement
from backend.core.session import Session
from backend.extensions import rehearsal
from backend.extensions.dependents import DEPENDENTS, OWN_TABLES, Dependent, OwnTable, others_than
from backend.extensions.ground import (
    Ground,
    Requirement,
    demand_creatable,
    demand_creator,
    demand_schema,
    look,
    look_at_installed,
    requirements,
)
from backend.extensions.installed import OPTIONAL, PRELOADED

ON_PRIMARY = Needs(primary=True)
INSTALLED_ROWS = "extensions.installed"

InstalledName = Annotated[str, Ask("Extension", choices="extensions.installed.name")]
Rehearse = Annotated[
    bool, Ask("Rehearse", help="Tries it in a transaction that is rolled back, waiting 200 ms for locks")
]


@action("extensions.create", danger=Danger.CHANGE, needs=ON_PRIMARY, on="extensions.available")
async def create(
    s: Session,
    name: Annotated[str, Ask("Extension", choices="extensions.available.name")],
    schema: Annotated[str | None, Ask("Schema", fill=False)] = None,
    version: Annotated[str | None, Ask("Version", help="Without it the default one")] = None,
    cascade: Annotated[bool, Ask("Cascade", help="Creates what it needs, too")] = False,
    rehearse: Rehearse = False,
) -> Plan:
    """Install an extension in this database.

    The plan names what comes with it.
    """
    ground = await look(s, name, version, schema)
    demand_creatable(s, ground, version)
    needed = await requirements(s, ground)
    _demand_requirements(ground, needed, cascade)
    wants_superuser = ground.wants_superuser or any(r.wants_superuser for r in needed)
    demand_creator(s, name, wants_superuser, ground.creates)
    if schema is not None:
        demand_schema(s, ground, schema)
    also = tuple(r.name for r in needed)
    command = _created(name, schema, version, bool(needed) and cascade)
    notes = (*(f"{r.name} {r.version} is created too" for r in needed), *_wish(name))
    return rehearsal.plan(name, command, rehearse=rehearse, also=also, notes=notes)


def _demand_requirements(ground: Ground, needed: list[Requirement], cascade: bool) -> None:
    absent = [r.name for r in needed if r.version is None]
    if absent:
        raise Missing(
            f"extension {ground.name} needs {', '.join(absent)}, of which the server has no files",
            hint="the package that brings them has to be installed on the server's host first",
        )
    if needed and not cascade:
        names = ", ".join(r.name for r in needed)
        raise Refused(
            f"extension {ground.name} needs {names}, not installed here",
            hint="--cascade creates what it needs",
        )


def _created(name: str, schema: str | None, version: str | None, cascade: bool) -> sql.Composed:
    parts: list[sql.Composable] = [sql.SQL("CREATE EXTENSION {}").format(sql.Identifier(name))]
    if schema is not None:
        parts.append(sql.SQL("SCHEMA {}").format(sql.Identifier(schema)))
    if version is not None:
        parts.append(sql.SQL("VERSION {}").format(sql.Identifier(version)))
    if cascade:
        parts.append(sql.SQL("CASCADE"))
    return sql.SQL(" ").join(parts)


def _wish(name: str) -> list[str]:
    if name not in PRELOADED:
        return []
    how = "can use" if name in OPTIONAL else "wants"
    return [f"it {how} {PRELOADED[name]} in shared_preload_libraries, which takes a restart of the server"]


@action("extensions.update", danger=Danger.CHANGE, needs=ON_PRIMARY, on=INSTALLED_ROWS)
async def update(
    s: Session,
    name: InstalledName,
    version: Annotated[
        str | None, Ask("Version", help="Without it the one that the files bring", fill=False)
    ] = None,
    rehearse: Rehearse = False,
) -> Plan:
    """Bring an extension to another version."""
    ground = await look_at_installed(s, name, version)
    wanted = version or ground.default_version
    if not ground.available or wanted is None:
        raise Missing(
            f"the server has no files of the extension {name}",
            hint="the package that brings them has to be installed on the server's host again",
        )
    if wanted == ground.installed:
        raise Refused(f"extension {name} is {wanted} already")
    if ground.path is None:
        raise Refused(
            f"extension {name} {ground.installed} has no update path to {wanted}",
            hint=f"the view extensions.versions --name {name} shows where it can go",
        )
    demand_creator(s, name, ground.wants_superuser, creates=True)
    command = sql.SQL("ALTER EXTENSION {} UPDATE TO {}").format(sql.Identifier(name), sql.Identifier(wanted))
    return rehearsal.plan(name, command, rehearse=rehearse, notes=_way(ground))


def _way(ground: Ground) -> tuple[str, ...]:
    there = f"the way is {ground.path}"
    return (there,) if ground.way_back else (there, f"there is no way back to {ground.installed}")


@action("extensions.move", danger=Danger.CHANGE, needs=ON_PRIMARY, on=INSTALLED_ROWS)
async def move(
    s: Session,
    name: InstalledName,
    schema: Annotated[str, Ask("Into schema", fill=False)],
    rehearse: Rehearse = False,
) -> Plan:
    """Move an extension's objects into another schema.

    Who names them without a schema must find it in the search_path afterwards.
    """
    ground = await look_at_installed(s, name, schema=schema)
    if ground.in_schema == schema:
        raise Refused(f"extension {name} is in schema {schema} already")
    if not ground.relocatable:
        raise Refused(f"extension {name} cannot be moved; its files say that it stays where it was created")
    demand_schema(s, ground, schema)
    command = sql.SQL("ALTER EXTENSION {} SET SCHEMA {}").format(sql.Identifier(name), sql.Identifier(schema))
    note = f"who finds it by search_path in {ground.in_schema} needs {schema} there from then on"
    return rehearsal.plan(name, command, rehearse=rehearse, notes=(note,))


@action("extensions.drop", danger=Danger.DISRUPT, needs=ON_PRIMARY, on=INSTALLED_ROWS)
async def drop(
    s: Session,
    name: InstalledName,
    cascade: Annotated[bool, Ask("Cascade", help="Drops what depends on it, with its data")] = False,
    rehearse: Rehearse = False,
) -> Plan:
    """Drop an extension; destroy, unless it is rehearsed.

    The plan lists what goes with it, found in the catalogs. Without --cascade it is refused while something
    depends on it. What has come to depend on it since the plan was made is not dropped: the run ends then.
    """
    await look_at_installed(s, name)
    found = await s.fetch(Dependent, DEPENDENTS, name=sql.Literal(name))
    if found and not cascade:
        raise Refused(f"{_some(found)} on extension {name}", hint="--cascade drops what depends on it, too")
    tables = await s.fetch(OwnTable, OWN_TABLES, name)
    notes = [f"its own tables go with their rows: {', '.join(t.name for t in tables)}"] if tables else []
    command = sql.SQL("DROP EXTENSION {} {}").format(
        sql.Identifier(name), sql.SQL("CASCADE" if cascade else "RESTRICT")
    )
    return rehearsal.plan(
        name,
        command,
        rehearse=rehearse,
        guards=_guards(name, found) if cascade else (),
        danger=Danger.DESTROY,
        notes=(*notes, *(f"goes too: {each.what}" for each in found)),
        rows=tuple(found),
    )


def _some(found: list[Dependent]) -> str:
    names = ", ".join(each.what for each in found[:3])
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return f"{names}{more} depend{'s' if len(found) == 1 else ''}"


def _guards(name: str, known: list[Dependent]) -> tuple[Step, ...]:
    def otherwise(answers: Answers) -> str:
        return f"{answers[-1].first['what']} depends on {name} since the plan was made; nothing was dropped"

    return (
        statement(others_than(name, [each.address for each in known])),
        Check(
            lambda answers: not answers[-1].rows,
            that="nothing else depends on it",
            otherwise=otherwise,
            hint="plan it again",
        ),
    )
