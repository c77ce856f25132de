"""Actions of the room `queue`, in the order in which they are listed."""

from __future__ import annotations

from backend.queue import creating, configuring, ticking, consuming, batches, inserting  # isort: skip
from backend.queue import triggers, exporting, running  # isort: skip

__all__ = [
    "batches",
    "configuring",
    "consuming",
    "creating",
    "exporting",
    "inserting",
    "running",
    "ticking",
    "triggers",
]
