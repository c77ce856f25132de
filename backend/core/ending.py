"""How a run that did not get to its end says so: in words that fit how much had been done by then."""

from __future__ import annotations

from backend.core.errors import Failed, Interrupted, Missing, PgtuiError, Refused, Unreachable
from backend.core.steps import Lost


def ending(error: PgtuiError, total: int, done: int, undone: int) -> PgtuiError:
    """The error of a run whose step number `done` (from 0) of `total` failed; `undone` of those before it."""
    if isinstance(error, Interrupted):
        return _interrupted(error.message, total, done, undone)
    if isinstance(error, Lost):
        told = (
            f"the connection was lost while step {done + 1} of {total} ran: "
            f"it may or may not have been done ({error.message})"
        )
        return Failed(told, hint=error.hint or "look before you run it again", sqlstate=error.sqlstate)
    if done and isinstance(error, (Refused, Missing, Unreachable)):
        # Those words are for targets to which nothing was done.
        return Failed(error.message, hint=error.hint, sqlstate=error.sqlstate)
    return error


def _interrupted(how_far: str, total: int, done: int, undone: int) -> Interrupted:
    during = f" in step {done + 1} of {total}, {how_far}" if how_far else ""
    if not done:
        return Interrupted(f"cancelled{during}" if during else "cancelled; nothing had been done")
    back = f", {undone} of them undone again" if undone else ""
    return Interrupted(f"cancelled{during}; {done} of {total} steps had been done{back}")
