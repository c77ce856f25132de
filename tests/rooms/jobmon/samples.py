"""A database that logs jobs, and parameters for the room's views and actions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from backend.core.values import Interval
from tests.registry.samples import Samples
from tests.rooms.jobmon.conftest import set_up
from tests.servers import Database


@contextmanager
def populate(database: Database) -> Iterator[Samples]:
    """Jobs that ended well, failed and are open, and a job with thresholds."""
    set_up(database)
    database.execute("SELECT jobmon.close_job(jobmon.add_job('good'))")
    for _ in range(3):
        database.execute("SELECT jobmon.fail_job(jobmon.add_job('bad'))")
    database.execute("SELECT jobmon.close_job(jobmon.add_job('old'))")
    database.execute(
        "UPDATE jobmon.job_log SET start_time = start_time - interval '1 year',"
        " end_time = end_time - interval '1 year' WHERE job_name = 'OLD'"
    )
    database.execute(
        "INSERT INTO jobmon.job_check_config (job_name, warn_threshold, error_threshold)"
        " VALUES ('GOOD', '1 day', '2 days')"
    )
    with psycopg.connect(database.dsn, autocommit=True) as working:
        working.execute("SELECT jobmon.add_step(jobmon.add_job('open'), 'first')")
        [(job_id,)] = database.execute("SELECT job_id FROM jobmon.job_log WHERE job_name = 'OPEN'")
        yield Samples(
            views={"jobmon.steps": {"job_id": job_id}},
            actions={
                "jobmon.cancel": {"job_id": job_id},
                "jobmon.fail": {"job_id": job_id},
                "jobmon.close": {"job_id": job_id},
                "jobmon.configure": {"job": "good", "active": False},
                "jobmon.unconfigure": {"job": "good"},
                "jobmon.clear_streak": {"job": "bad"},
                "jobmon.purge": {"older_than": Interval("90d")},
                "jobmon.run_sql": {"job": "report", "sql": "SELECT 1"},
                "jobmon.install": {},
            },
            on_empty=frozenset({"jobmon.install"}),
        )
