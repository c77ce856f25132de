"""What the server is doing now: sessions, locks, what holds back vacuum, progress, databases."""

from backend.core.declare import Room

ROOM = Room(
    "activity", "Activity", "What the server is doing now, who waits for whom, and what to end.", order=1
)
