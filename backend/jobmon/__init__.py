"""Logged jobs, by the extension pg_jobmon or by pgtui's own implementation of its API."""

from backend.core.declare import Room

ROOM = Room(
    "jobmon",
    "Jobs",
    "Logged jobs: what ran, what runs, what failed, and what should have run by now.",
    order=2,
    per_database=True,
    run_log="backend.jobmon.runlog",
)
