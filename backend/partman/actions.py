"""Actions of the room `partman`, in the order in which they are listed."""

from __future__ import annotations

from backend.partman import maintaining, configuring, retaining  # isort: skip

__all__ = ["configuring", "maintaining", "retaining"]
