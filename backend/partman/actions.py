"""Actions of the room `partman`, in the order in which they are listed."""

from __future__ import annotations

__all__: list[str] = []
