"""Actions of the room `partman`, in the order in which they are listed."""

from __future__ import annotations

from backend.partman import maintaining, moving, configuring, creating  # isort: skip
from backend.partman import retaining, archiving, subdividing, scheduling  # isort: skip

__all__ = [
    "archiving",
    "configuring",
    "creating",
    "maintaining",
    "moving",
    "retaining",
    "scheduling",
    "subdividing",
]
