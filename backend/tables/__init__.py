"""The health of tables, indexes and sequences: what bloats, ages, is never used, or runs out."""

from backend.core.declare import Room

ROOM = Room(
    "tables",
    "Tables",
    "What is large, full of dead rows, due for vacuum, never used or nearly used up.",
    order=4,
    per_database=True,
)
