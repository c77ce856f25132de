"""The action that runs SQL as a logged job."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from psycopg import sql

from backend.core.declare import Ask, Danger, action
from backend.core.errors import Refused, Usage
from backend.core.facts import Query
from backend.core.plan import Answers, Check, Plan, Sql, statement
from backend.core.session import Session
from backend.jobmon.calls import call, last, logged_name, text
from backend.jobmon.place import ACTING, ask, schema

_RUNS = Query("""
SELECT j.job_id,
       j.pid
  FROM {jobmon}.job_log AS j
  JOIN pg_catalog.pg_stat_activity AS a
    ON a.pid = j.pid
   AND (a.backend_start IS NULL OR a.backend_start <= j.start_time)
 WHERE j.job_name = %s
   AND j.end_time IS NULL
   AND j.status IS NULL
""")

# What may hold a semicolon that ends no statement: strings, quoted names, dollar quotes, comments.
_QUOTED = re.compile(
    r"""(?<![\w$])[eE]'(?:[^'\\]|''|\\.)*' | '(?:[^']|'')*' | "(?:[^"]|"")*"
        | (?<![\w$])\$(?P<tag>[^\W\d]\w*|)\$.*?\$(?P=tag)\$ | --[^\n]* | /\*""",
    re.VERBOSE | re.DOTALL,
)
_COMMENT = re.compile(r"/\*|\*/")
_OWN_TRANSACTION = re.compile(
    r"(vacuum|begin|start\s+transaction|commit|end|rollback|abort|savepoint|release|prepare\s+transaction"
    r"|(create|drop)\s+(database|tablespace|subscription)|alter\s+system|reindex\s+(database|system)"
    r"|(create\s+(unique\s+)?index|drop\s+index|reindex\s.*)\s+concurrently)\b",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run of the name that is not over."""

    job_id: int
    pid: int


@action("jobmon.run_sql", danger=Danger.DISRUPT, needs=ACTING, exclusive=False)
async def run_sql(
    s: Session,
    job: Annotated[str, Ask("Job", help="The name that it is logged under", choices="jobmon.settings.job")],
    sql: Annotated[str, Ask("SQL", help="One statement", lines=True)],
) -> Plan:
    """Run one SQL statement as a logged job.

    It runs inside a function and in one transaction, so VACUUM or CREATE INDEX CONCURRENTLY cannot run this
    way. When it fails, the job is logged as failed with the server's words, and so is this run.
    """
    wanted = single(sql)
    name = (await logged_name(s, job)).job
    for run in await ask(s, OpenRun, _RUNS, name):
        raise Refused(f"{name} is running already, as job {run.job_id} in session {run.pid}")
    return _plan(schema(s.facts), name, wanted)


def single(given: str) -> str:
    """The one statement that a text holds, without the semicolon at its end; else a usage error."""
    bare = _bare(text(given, "--sql"))
    statements = [part for part in bare.split(";") if part.strip()]
    if not statements:
        raise Usage("--sql holds no statement")
    if len(statements) > 1 and not re.search(r"\bbegin\s+atomic\b", bare, re.IGNORECASE):
        raise Usage(
            f"--sql holds {len(statements)} statements; a job runs one",
            hint="put several into a DO block, or run a job for each",
        )
    if found := _OWN_TRANSACTION.match(bare.strip()):
        what = " ".join(found[0].upper().split())
        raise Usage(f"{what} cannot run inside a transaction, and a logged job is one")
    return given.strip()


def _bare(given: str) -> str:
    """The text without comments and with everything quoted blotted out."""
    parts, at = [], 0
    while found := _QUOTED.search(given, at):
        parts.append(given[at : found.start()])
        parts.append(" " if found[0].startswith(("--", "/*")) else "''")
        at = _end_of_comment(given, found.start()) if found[0] == "/*" else found.end()
    return "".join((*parts, given[at:]))


def _end_of_comment(given: str, at: int) -> int:
    """Where the comment that begins there ends; comments nest."""
    depth = 0
    for mark in _COMMENT.finditer(given, at):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return mark.end()
    return len(given)


def _plan(place: str, name: str, wanted: str) -> Plan:
    steps = (_lock(place, name), _locked(name), _job(place, name, wanted), _outcome(place, name), _good())
    note = "the job is logged as soon as it starts, and stays logged whatever becomes of it"
    return Plan(name, steps, notes=(note,), result=_told)


def _told(answers: Answers) -> dict[str, Any]:
    return {k: v for k, v in last(answers).items() if k != "good"}


def _lock(place: str, name: str) -> Sql:
    """Takes the lock that sql_job takes: it is the same session's, so that one gets it in any case.

    The extension breaks, and leaves a job open for ever, when it does not get it.
    """
    take = sql.SQL("""\
SELECT pg_catalog.pg_try_advisory_lock(pg_catalog.hashtext('sql_log'),
                                       pg_catalog.hashtext({name})) AS mine""")
    return statement(take.format(name=sql.Literal(name)), undo=_left_open(place, name))


def _left_open(place: str, name: str) -> Sql:
    """Fails what the run has left open: the extension does not notice that a job was cancelled.

    After a crash another session undoes it: the job is the last of its name then, and its session has gone.
    """
    end = sql.SQL("""\
SELECT {fail} AS failed
  FROM {log} AS j
  LEFT JOIN pg_catalog.pg_stat_activity AS a
    ON a.pid = j.pid
   AND (a.backend_start IS NULL OR a.backend_start <= j.start_time)
 WHERE j.job_name = {name}
   AND j.end_time IS NULL
   AND (a.pid = pg_catalog.pg_backend_pid()
        OR a.pid IS NULL
           AND j.job_id = (SELECT pg_catalog.max(l.job_id)
                             FROM {log} AS l
                            WHERE l.job_name = {name}))""")
    return statement(
        end.format(
            fail=call(place, "fail_job", sql.SQL("j.job_id")),
            log=sql.Identifier(place, "job_log"),
            name=sql.Literal(name),
        )
    )


def _locked(name: str) -> Check:
    return Check(
        lambda answers: answers[-1].scalar is True,
        that="no other session runs a job of this name",
        otherwise=f"another session runs {name} as a logged job",
    )


def _job(place: str, name: str, wanted: str) -> Sql:
    # What is checked only at the commit would fail after the job was logged as good.
    run = sql.SQL("SELECT {} AS said").format(call(place, "sql_job", name, wanted))
    return statement("SET CONSTRAINTS ALL IMMEDIATE", run)


def _outcome(place: str, name: str) -> Sql:
    look = sql.SQL("""\
SELECT j.job_id, j.job_name AS job, j.status,
       j.status = (SELECT t.alert_text FROM {texts} AS t WHERE t.alert_code = 1) AS good,
       (SELECT d.message
          FROM {detail} AS d
         WHERE d.job_id = j.job_id
         ORDER BY d.step_id DESC
         LIMIT 1) AS message
  FROM {log} AS j
 WHERE j.pid = pg_catalog.pg_backend_pid()
   AND j.job_name = {name}
 ORDER BY j.job_id DESC
 LIMIT 1""")
    tables = {"log": "job_log", "detail": "job_detail", "texts": "job_status_text"}
    return statement(
        look.format(name=sql.Literal(name), **{k: sql.Identifier(place, t) for k, t in tables.items()})
    )


def _good() -> Check:
    def otherwise(answers: Answers) -> str:
        found = answers[-1].first
        if not found:
            return "the job was run, and is not in the log of this database"
        return f"job {found['job_id']} ended as {found['status']}: {found['message']}"

    return Check(
        lambda answers: answers[-1].first.get("good") is True,
        that="the job is logged as good",
        otherwise=otherwise,
        hint="jobmon.steps shows all that it said",
    )
