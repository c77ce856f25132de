"""Plans as `--dry-run` prints them, kept in `tests/rooms/ROOM/plans`, so that review sees what changed.

`pytest tests/registry --snapshot-update` writes them. A room whose folder is there keeps all its plans.
They are kept for the newest server; where an extension's version decides, for that one: `Samples.edition`.
"""

from __future__ import annotations

import re
from pathlib import Path

from backend.core.declare import Action
from tests.registry.samples import Samples
from tests.servers import SUPPORTED

ROOMS = Path(__file__).parent.parent / "rooms"

# What is another one each time, and how it is written instead.
_VARYING = [
    (re.compile(pattern, re.MULTILINE), instead)
    for pattern, instead in (
        (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?([+-]\d\d(:\d\d)?)?", "TIME"),
        (r"\d{4}-\d\d-\d\d", "DATE"),
        (r"_p\d{8}\b|_p\d{4}(_\d\d){2}\b", "_pDATE"),
        (r"\b\d+(?=, 'TIME')", "PID"),
        (r"(?<=\bsession )\d+", "PID"),
        (r"(?<=^subject: )\d+$", "PID"),
        (r"'\d+ \d+ \d+'", "'CLASS OBJECT COLUMN'"),
        (r"\b\d+(\.\d+)?[KMG]\b", "SIZE"),
        (r"\b\d+ sessions, \d+ of them active", "N sessions, N of them active"),
        (r"/\S*/\.local/state/pgtui\b", "STATE/pgtui"),
        (r"(?<=^plan: )[0-9a-f]{16}$", "HASH"),
    )
]


def kept_at(name: str) -> Path:
    """The file that keeps a plan."""
    return ROOMS / name.partition(".")[0] / "plans" / f"{name}.txt"


def name_of(action: Action, samples: Samples, major: int) -> str | None:
    """What the action's plan is kept as; None where this server's is not kept."""
    if not kept_at(action.name).parent.is_dir():
        return None
    if action.needs.extensions and samples.edition:
        return f"{action.name}.{samples.edition}"
    return action.name if major == max(SUPPORTED) else None


def settled(text: str, samples: Samples) -> str:
    """The text without what is another one each time; the room's own words for that come first."""
    for word, instead in samples.varying.items():
        text = text.replace(word, instead)
    for pattern, instead in _VARYING:
        text = pattern.sub(instead, text)
    return text


def compare(name: str, text: str, update: bool) -> None:
    """Demand that the plan reads as it is kept; with `update`, keep it as it reads now."""
    path = kept_at(name)
    if update:
        path.write_text(text, "utf-8")
    assert path.exists(), "no plan is kept for it; --snapshot-update writes it"
    assert text == path.read_text("utf-8")
