"""Actions of the room `jobmon`, in the order in which they are listed."""

from __future__ import annotations

from backend.jobmon import sqljob, ending, thresholds, purging, connecting, installing  # isort: skip

__all__ = ["connecting", "ending", "installing", "purging", "sqljob", "thresholds"]
