"""Actions of the room `cluster`, in the order in which they are listed."""

from __future__ import annotations

from backend.cluster import life, creating, renaming, upgrading, setting, rereading, hba_editing  # isort: skip

__all__ = ["creating", "hba_editing", "life", "renaming", "rereading", "setting", "upgrading"]
