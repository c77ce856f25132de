"""`pgtui targets test`: whether the targets answer, and as what."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import Any

from backend.core.errors import PgtuiError
from backend.core.target import Target
from tui import reach
from tui.catalogue import print_objects
from tui.options import FORMATS, Options


def try_targets(options: Options) -> int:
    """Connect to the targets, at the same time, and print what answers."""
    form = options.format(*FORMATS)
    inventory = options.read_inventory()
    named = options.targets or options.tags or options.everything
    chosen = options.select(inventory) if named or not inventory.targets else list(inventory.targets.values())
    return reach.run(lambda interrupts: _try_all(chosen, options, form, interrupts.asking))


async def _try_all(targets: Sequence[Target], options: Options, form: str, asking: reach.Asking) -> int:
    turn = asyncio.Semaphore(reach.AT_ONCE)
    found = await asyncio.gather(*(_try(t, options, turn, asking) for t in targets))
    print_objects([told for told, _ in found], form)
    return reach.together([code for _, code in found])


async def _try(
    target: Target, options: Options, turn: asyncio.Semaphore, asking: reach.Asking
) -> tuple[dict[str, Any], int]:
    began = monotonic()
    told: dict[str, Any] = {"target": target.label, "status": "ok", "version": None, "role": None}
    code, message = 0, ""
    async with turn, reach.session_for(target, options, asking) as session:
        try:
            await reach.within(session.open(), options.patience, target.label, asking)
            told |= {"version": session.facts.version, "role": session.facts.role}
            message = "this is a pooler" if session.facts.pooler else ""
        except PgtuiError as e:
            told["status"], message, code = "failed", e.message, e.exit_code
    return told | {"seconds": round(monotonic() - began, 3), "message": message}, code
