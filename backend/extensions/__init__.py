"""What is installed in a database, what could be, and what would break without it."""

from backend.core.declare import Room

ROOM = Room(
    "extensions",
    "Extensions",
    "What is installed, which versions there are, who depends on it, and whether it is loaded.",
    order=5,
    per_database=True,
)
