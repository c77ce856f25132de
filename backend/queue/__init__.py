"""PgQ: queues, their consumers, the ticker, and the events in them."""

from backend.core.declare import Room

ROOM = Room(
    "queue",
    "Queues",
    "PgQ queues: ticker, rotation and what keeps it from happening, consumers and how far behind, events.",
    order=4,
    per_database=True,
)
