"""Partition sets: those that pg_partman manages, and those that nobody does."""

from backend.core.declare import Room

ROOM = Room(
    "partman",
    "Partitions",
    "Partition sets: how long their partitions last, gaps, rows that found none, retention, maintenance.",
    order=3,
    per_database=True,
    run_log="backend.partman.runlog",
)
