"""Actions on pgqd, the program that ticks, rotates and puts events back for a whole server."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated

from psycopg import sql

from backend.core.clean import clean
from backend.core.declare import Ask, Danger, action
from backend.core.errors import Failed, Missing, Refused
from backend.core.facts import Needs, Query
from backend.core.host import script
from backend.core.plan import Command, File, Plan, Step, Wait
from backend.core.session import Session
from backend.queue import pgqd
from backend.queue.ground import ADMIN, PGQ, ask

ROOT = "root"
STARTING = 60.0
UNITS = PurePosixPath("/etc/systemd/system")

TICKING = Needs(extensions=PGQ, primary=True)

TickerPeriod = Annotated[
    float | None, Ask("Ticker period", help="Seconds between ticks, 1 if not set", fill=False)
]
MaintPeriod = Annotated[float | None, Ask("Maintenance period", help="Seconds, 120 if not set", fill=False)]
RetryPeriod = Annotated[float | None, Ask("Retry period", help="Seconds, 30 if not set", fill=False)]
CheckPeriod = Annotated[
    float | None,
    Ask("Check period", help="Seconds between looks for new databases, 60 if not set", fill=False),
]
Databases = Annotated[
    list[str] | None, Ask("Databases", help="That it serves; without it all of the server", fill=False)
]
Config = Annotated[
    str | None, Ask("Configuration", help="File of another pgqd than the one pgtui started", fill=False)
]

_UNIT_IS_KNOWN = '"$1" is-active --quiet "$2" || "$1" is-enabled --quiet "$2"'

_TICKERS = Query("""
SELECT a.pid,
       a.datname::pg_catalog.text AS database
  FROM pg_catalog.pg_stat_activity AS a
 WHERE (a.application_name = 'pgqd' OR a.query = 'select pgq.ticker()')
   AND a.datname IS NOT NULL
   AND (%s::pg_catalog.text[] IS NULL OR a.datname = ANY (%s::pg_catalog.text[]))
 ORDER BY a.datname,
          a.pid
""")

_ROLE = Query("""
SELECT r.rolcanlogin AS enters,
       pg_catalog.pg_has_role(r.oid, 'pgq_admin', 'USAGE') AS administers
  FROM pg_catalog.pg_roles AS r
 WHERE r.rolname = %s
""")


@dataclass(frozen=True, slots=True)
class Ticker:
    """A session of a pgqd."""

    pid: int
    database: str


@dataclass(frozen=True, slots=True)
class Role:
    """What the role may that pgqd is to use."""

    enters: bool
    administers: bool


@dataclass(frozen=True, slots=True)
class Files:
    """The files of the pgqd that pgtui looks after."""

    config: PurePosixPath
    pidfile: str
    logfile: str
    unit: str

    @classmethod
    def of(cls, s: Session, place: pgqd.Place) -> Files:
        """Named after the server, in the folder that the place names."""
        stem = pgqd.label(s.target)
        base = place.folder / stem
        return cls(
            base.with_name(f"{stem}.ini"),
            str(base.with_name(f"{stem}.pid")),
            str(base.with_name(f"{stem}.log")),
            f"pgtui-pgqd-{stem}.service",
        )


@action("queue.start_daemon", danger=Danger.CHANGE, needs=TICKING)
async def start_daemon(
    s: Session,
    databases: Databases = None,
    user: Annotated[str | None, Ask("Role", help="That pgqd connects as; else your own", fill=False)] = None,
    ticker_period: TickerPeriod = None,
    maint_period: MaintPeriod = None,
    retry_period: RetryPeriod = None,
    check_period: CheckPeriod = None,
    service: Annotated[
        bool | None, Ask("Service", help="Of systemd; without it where the host runs systemd", fill=False)
    ] = None,
) -> Plan:
    """Start pgqd on the host, with a configuration that pgtui writes.

    Where systemd runs it becomes a service; elsewhere it goes on by itself, whatever happens to pgtui. One
    pgqd serves all databases of a server: a second one for the same is refused.
    """
    periods = _periods(ticker_period, maint_period, retry_period, check_period)
    listed = pgqd.checked_list(databases, s.facts.databases) if databases else ""
    await _demand_role(s, role := user or s.facts.user)
    await _demand_none(s, databases)
    place = await pgqd.place_on(s.host, s.target.run_as)
    files = Files.of(s, place)
    if found := await pgqd.running(s.host, files.pidfile, s.target.run_as):
        raise Refused(
            f"pgqd runs already on {s.host.where}, process {found.pid}", hint="queue.stop_daemon ends it"
        )
    as_service = place.systemctl is not None if service is None else service
    if as_service and place.systemctl is None:
        raise Missing(f"{s.host.where} does not run systemd", hint="--no-service starts pgqd by itself")
    settings = {"base_connstr": pgqd.connection(s.target, role), "initial_database": s.facts.database}
    settings |= {"database_list": listed} if listed else {}
    settings |= {"syslog": "0"} | periods
    if not as_service:
        settings |= {"pidfile": files.pidfile, "logfile": files.logfile}
    write = await _write(s, files.config, pgqd.render(settings))
    begin = await _service(s, place, files) if as_service else _program(s, place, files)
    return Plan(
        s.target.label,
        (_folder(s, place), write, *begin, _ticks(databases[0] if databases else s.facts.database)),
        notes=(f"it connects as {clean(role)}, with what {place.user} has in its pgpass",),
        result=lambda _: {"config": str(files.config), "service": files.unit if as_service else None},
    )


def _periods(*values: float | None) -> dict[str, str]:
    given = zip(pgqd.PERIODS, values, strict=True)
    return {name: pgqd.period(name, value) for name, value in given if value is not None}


async def _demand_role(s: Session, role: str) -> None:
    found = await ask(s, Role, _ROLE, role)
    if not found or not found[0].enters:
        raise Refused(f"there is no role {clean(role)} that may log in", hint="--user names another one")
    if not found[0].administers:
        grant = sql.SQL("GRANT {} TO {}").format(sql.Identifier(ADMIN), sql.Identifier(role))
        raise Missing(f"role {clean(role)} may not tick", hint=f"{clean(grant.as_string(None))} lets it")


async def _demand_none(s: Session, databases: list[str] | None) -> None:
    if found := await ask(s, Ticker, _TICKERS, databases, databases):
        raise Refused(
            f"a pgqd serves database {clean(found[0].database)} already, in server process {found[0].pid}",
            hint="queue.stop_daemon ends it; two of them could mix up the order of events",
        )


def _folder(s: Session, place: pgqd.Place) -> Command:
    return Command(("mkdir", "-p", "-m", "700", "--", str(place.folder)), run_as=s.target.run_as)


async def _write(s: Session, path: PurePosixPath, text: str, run_as: str | None = None) -> File:
    before = None
    with suppress(Failed):
        before = (await s.host.read(str(path), run_as=run_as or s.target.run_as)).decode(
            "utf-8", "surrogateescape"
        )
    return File(path, before, text, run_as=run_as or s.target.run_as)


def _program(s: Session, place: pgqd.Place, files: Files) -> list[Step]:
    run_as = s.target.run_as
    back = pgqd.take_back(files.pidfile, run_as)
    return [Command((place.program, "-q", "-d", str(files.config)), run_as=run_as, undo=back)]


async def _service(s: Session, place: pgqd.Place, files: Files) -> list[Step]:
    systemctl = place.systemctl or "systemctl"
    unit = pgqd.unit(place, files.config, s.target.label)
    return [
        await _write(s, UNITS / files.unit, unit, ROOT),
        Command((systemctl, "daemon-reload"), run_as=ROOT),
        Command(
            (systemctl, "enable", "--now", files.unit),
            run_as=ROOT,
            undo=Command((systemctl, "disable", "--now", files.unit), run_as=ROOT),
        ),
    ]


def _ticks(database: str) -> Wait:
    seen = sql.SQL(
        "SELECT EXISTS (SELECT\n                 FROM pg_catalog.pg_stat_activity AS a\n"
        "                WHERE a.application_name = {}\n                  AND a.datname = {}) AS there"
    ).format(sql.Literal(pgqd.APPLICATION), sql.Literal(database))
    return Wait(seen, until=f"pgqd has connected to {clean(database)}", deadline=STARTING)


@action("queue.stop_daemon", danger=Danger.DISRUPT, needs=TICKING)
async def stop_daemon(s: Session, config: Config = None) -> Plan:
    """Stop pgqd on the host: no queue that it serves ticks any more, so nothing is delivered.

    Only a process that runs pgqd is ended, and only the one that was seen.
    """
    place = await pgqd.place_on(s.host, s.target.run_as)
    files = Files.of(s, place)
    if config is None and await _has_unit(s, place, files):
        stop: Step = Command((place.systemctl or "", "disable", "--now", files.unit), run_as=ROOT)
    else:
        _, process = await _process(s, files, config)
        stop = process.signal("INT", s.target.run_as)
    return Plan(
        s.target.label,
        (stop,),
        notes=(
            await _served(s),
            "queues tick no more, and nothing is delivered, rotated or put back until one runs again",
        ),
        result=lambda _: {"stopped": True},
    )


@action("queue.reload_daemon", danger=Danger.CHANGE, needs=TICKING)
async def reload_daemon(
    s: Session,
    databases: Databases = None,
    ticker_period: TickerPeriod = None,
    maint_period: MaintPeriod = None,
    retry_period: RetryPeriod = None,
    check_period: CheckPeriod = None,
    config: Config = None,
) -> Plan:
    """Have pgqd read its configuration again, after changing what is given."""
    settings = _periods(ticker_period, maint_period, retry_period, check_period)
    if databases:
        settings["database_list"] = pgqd.checked_list(databases, s.facts.databases)
    place = await pgqd.place_on(s.host, s.target.run_as)
    files = Files.of(s, place)
    reload: Step
    if config is None and await _has_unit(s, place, files):
        path = files.config
        text = (await s.host.read(str(path), run_as=s.target.run_as)).decode("utf-8", "surrogateescape")
        reload = Command((place.systemctl or "", "reload", files.unit), run_as=ROOT)
    else:
        path = PurePosixPath(config) if config else files.config
        text, process = await _process(s, files, config)
        reload = process.signal("HUP", s.target.run_as)
    return Plan(
        s.target.label,
        (*_changes(s, path, text, settings), reload),
        notes=(await _served(s),),
        result=lambda _: {"config": str(path), "changed": sorted(settings)},
    )


async def _served(s: Session) -> str:
    names = sorted({t.database for t in await ask(s, Ticker, _TICKERS, None, None)})
    told = ", ".join(clean(n) for n in names[:10]) + (" and more" if len(names) > 10 else "")
    return f"of this server pgqd serves now: {told or 'no database'}"


def _changes(s: Session, path: PurePosixPath, text: str, settings: Mapping[str, str]) -> list[Step]:
    after = pgqd.changed(text, settings)
    return [] if after == text else [File(path, text, after, run_as=s.target.run_as)]


async def _has_unit(s: Session, place: pgqd.Place, files: Files) -> bool:
    """Whether it is a service, also one that systemd has given up or is about to start again."""
    if place.systemctl is None:
        return False
    return not (await s.host.run(script(_UNIT_IS_KNOWN, place.systemctl, files.unit))).code


async def _process(s: Session, files: Files, config: str | None) -> tuple[str, pgqd.Process]:
    """The configuration and the pgqd that runs by it."""
    path = config or str(files.config)
    try:
        text = (await s.host.read(path, run_as=s.target.run_as)).decode("utf-8", "surrogateescape")
    except Failed as e:
        if config:
            raise Refused(e.message) from None
        raise Refused(
            f"pgtui has started no pgqd for this server on {s.host.where}",
            hint="--config names the configuration file of another one",
        ) from None
    pidfile = pgqd.setting(text, "pidfile")
    if not pidfile:
        raise Refused(f"{clean(path)} names no pidfile, so its pgqd cannot be told from others")
    found = await pgqd.running(s.host, pidfile, s.target.run_as)
    if found is None:
        raise Refused(f"no pgqd runs by {clean(path)}", hint=f"{clean(pidfile)} names no process of it")
    return text, found
