"""A job of pg_cron, which lives in one database of the server and works in all."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from backend.core.clean import clean
from backend.core.errors import Missing, Refused
from backend.core.facts import Query
from backend.core.plan import Answers, Check, Step, statement
from backend.core.session import Session
from backend.partman.onhost import ACTION, Way
from backend.partman.place import ask, schema

_JOBS = Query("""
SELECT j.jobid,
       j.schedule,
       j.command
  FROM cron.job AS j
 WHERE j.jobname = %s
   AND j.username = CURRENT_USER
""")


@dataclass(frozen=True, slots=True)
class Job:
    """A job as pg_cron has it."""

    jobid: int
    schedule: str
    command: str


def there(s: Session, cron_database: str | None) -> bool:
    """Whether pg_cron is loaded, or its extension in this very database."""
    return cron_database is not None or "pg_cron" in s.facts.extensions


async def way(s: Session, cron_database: str | None, when: str, remove: bool) -> Way:
    """The steps that schedule the job or take it away, in the database where pg_cron lives."""
    if not there(s, cron_database):
        raise Missing(
            "the server has not loaded pg_cron, or this role may not see it",
            hint="it needs shared_preload_libraries; GRANT pg_read_all_settings lets a role see that",
        )
    home = s.facts.database if "pg_cron" in s.facts.extensions else cron_database or s.facts.database
    if home == s.facts.database and "pg_cron" not in s.facts.extensions:
        raise Missing(
            f"database {clean(home)} has no extension pg_cron; CREATE EXTENSION pg_cron installs it"
        )
    elsewhere = home != s.facts.database
    job = f"pgtui {ACTION} {s.facts.database}"
    present = [] if elsewhere else await ask(s, Job, _JOBS, job)
    dbname = home if elsewhere else None
    if remove:
        return _gone(job, present, dbname)
    command = sql.SQL("CALL {}()").format(sql.Identifier(schema(s.facts), "run_maintenance_proc"))
    text = command.as_string(None)
    if [(p.schedule, p.command) for p in present] == [(when, text)]:
        return Way((), (f"it is scheduled so already, as job {present[0].jobid}",))
    steps = (*_installed(home, dbname), _look(job, dbname), _schedule(s, job, when, text, dbname))
    notes = [f"replaces job {p.jobid}, which runs at {p.schedule}: {clean(p.command)}" for p in present]
    notes.append("pg_partman's procedure stops at the first set that fails; the other ways go on")
    return Way(steps, tuple(notes), lambda answers: _told(home, job, when, answers))


def _installed(home: str, dbname: str | None) -> tuple[Step, Step]:
    look = statement(
        "SELECT e.extversion\n  FROM pg_catalog.pg_extension AS e\n WHERE e.extname = 'pg_cron'",
        dbname=dbname,
    )
    check = Check(
        lambda answers: bool(answers[-1].rows),
        that="pg_cron is installed there",
        otherwise=f"database {clean(home)} has no extension pg_cron; CREATE EXTENSION pg_cron installs it",
    )
    return look, check


def _look(job: str, dbname: str | None) -> Step:
    return statement(
        sql.SQL(
            "SELECT j.jobid\n  FROM cron.job AS j\n WHERE j.jobname = {}\n   AND j.username = CURRENT_USER"
        ).format(sql.Literal(job)),
        dbname=dbname,
    )


def _schedule(s: Session, job: str, when: str, command: str, dbname: str | None) -> Step:
    given = [sql.Literal(word) for word in (job, when, command, *([s.facts.database] if dbname else []))]
    function = sql.Identifier("cron", "schedule_in_database" if dbname else "schedule")
    return statement(
        sql.SQL("SELECT {}({}) AS job").format(function, sql.SQL(", ").join(given)), dbname=dbname
    )


def _gone(job: str, present: list[Job], dbname: str | None) -> Way:
    if dbname is None and not present:
        raise Refused(f"pg_cron has no job {clean(job)} of this role")
    end = statement(
        sql.SQL(
            "SELECT cron.unschedule(j.jobid) AS removed\n  FROM cron.job AS j\n WHERE j.jobname = {}\n"
            "   AND j.username = CURRENT_USER"
        ).format(sql.Literal(job)),
        dbname=dbname,
    )
    check = Check(
        lambda answers: answers[-1].scalar is True,
        that="the job was there",
        otherwise=f"pg_cron has no job {clean(job)} of this role",
    )
    return Way((end, check), result=lambda _: {"by": "pg_cron", "job": job, "schedule": None})


def _told(home: str, job: str, when: str, answers: Answers) -> dict[str, object]:
    replaced = bool(answers[-2].rows)
    return {"by": "pg_cron", "database": home, "job": job, "schedule": when, "replaced": replaced}
