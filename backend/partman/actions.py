"""Actions of the room `partman`, in the order in which they are listed."""

from __future__ import annotations

from backend.partman import creating, maintaining, configuring, moving, retaining, subdividing  # isort: skip

__all__ = ["configuring", "creating", "maintaining", "moving", "retaining", "subdividing"]
