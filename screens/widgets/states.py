"""What a table says when it has no rows to show, or when the rows it shows are old."""

from __future__ import annotations

import textwrap
from datetime import datetime
from typing import NamedTuple

from backend.core.clean import clean, clean_lines
from backend.core.declare import Health
from backend.core.errors import AwaitsPassword, Missing
from backend.core.show import duration, moment
from backend.core.snapshot import Snapshot
from backend.core.where import Where


class Saying(NamedTuple):
    """One line of a state: how bad it is, and the words."""

    health: Health
    text: str


def state(snapshot: Snapshot, where: Where, shown: int, width: int) -> list[Saying]:
    """The lines that stand in the place of rows; none when there are rows to show."""
    if snapshot.missing:
        return _wrapped(Health.UNKNOWN, snapshot.missing, width)
    if shown:
        return []
    if snapshot.error:
        unknown = isinstance(snapshot.error, (AwaitsPassword, Missing))
        health = Health.UNKNOWN if unknown else Health.CRITICAL
        sentences = _wrapped(health, snapshot.error.message, width)
        return sentences + _wrapped(Health.OK, snapshot.error.hint or "", width)
    if snapshot.loading:
        return [Saying(Health.OK, "loading…")]
    if snapshot.rows:
        return _wrapped(Health.OK, f"none of {len(snapshot.rows)} rows passes the filter {where.text}", width)
    return _wrapped(Health.OK, snapshot.view.empty, width)


def banner(snapshot: Snapshot, shown: int, now: datetime) -> Saying | None:
    """The line under rows that are old or not complete."""
    if not shown or snapshot.missing:
        return None
    if snapshot.error and snapshot.collected_at:
        age = duration(now - snapshot.collected_at).replace("ms", " ms")
        said = clean(snapshot.error.message)
        return Saying(
            Health.WARNING, f"no answer for {whole(age)}, showing {moment(snapshot.collected_at)}: {said}"
        )
    if unknown := _unknown(snapshot):
        return Saying(Health.UNKNOWN, clean(unknown))
    return Saying(Health.OK, clean(snapshot.note)) if snapshot.note else None


def _unknown(snapshot: Snapshot) -> str:
    """Why something of what is shown is not known, such as a privilege that is missing."""
    judged = snapshot.judgement
    overall = judged.overall.sentence if judged.overall.health is Health.UNKNOWN else ""
    return next((f.sentence for f in judged.findings.values() if f.health is Health.UNKNOWN), overall)


def whole(age: str) -> str:
    """The age without fractions of a second, which nobody reads."""
    return age.partition(".")[0] + "s" if "." in age else age


def _wrapped(health: Health, text: str, width: int) -> list[Saying]:
    lines = [
        part
        for line in clean_lines(text).split("\n")
        for part in textwrap.wrap(line, max(width, 10), replace_whitespace=False) or [""]
    ]
    return [Saying(health, line) for line in lines] if text else []
