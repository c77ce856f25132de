"""Every PostgreSQL server of a host: whether it runs, how it is configured, its files, logs and storage."""

from backend.core.declare import Room

ROOM = Room(
    "cluster",
    "Clusters",
    "The servers of the host: up or down, settings, who may connect, logs, storage, services.",
    order=7,
)
