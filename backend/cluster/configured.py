"""What is the matter with the configuration of each server of a host: what waits, and what is wrong.

The target's own server tells by itself. The others are not connected to for it: their files, their control
files and postmaster.pid tell some of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from backend.cluster.discovery import Cluster, Found
from backend.cluster.hba import rules_in_file
from backend.cluster.place import asked
from backend.cluster.reloading import HBA_ERRORS, SETTING_ERRORS, FileError
from backend.core.errors import PgtuiError
from backend.core.facts import Query
from backend.core.session import Session

_WAITING = Query("""
SELECT ARRAY(SELECT p.name
               FROM pg_catalog.pg_settings AS p
              WHERE p.pending_restart
              ORDER BY p.name) AS names
""")


@dataclass(frozen=True, slots=True)
class _Names:
    names: list[str]


@dataclass(frozen=True, slots=True)
class Configured:
    """The settings that wait for a restart, and how many lines are wrong; None where it is not known."""

    waiting: tuple[str, ...] | None = None
    wrong: int | None = None


async def configured(s: Session, found: Found) -> Mapping[str, Configured]:
    """By data folder."""
    each = await asyncio.gather(*(_of(s, c) for c in found.clusters))
    return {c.data: what for c, what in zip(found.clusters, each, strict=True)}


async def _of(s: Session, c: Cluster) -> Configured:
    if c.own and c.running and (told := await _asked(s)):
        return told
    # That nothing waits is sure only where nothing runs.
    known = c.waiting or (() if c.running is False else None)
    return Configured(known, await _wrong_in_file(s, c))


async def _asked(s: Session) -> Configured | None:
    waiting = await asked(s, _Names, _WAITING)
    if not waiting:
        return None
    try:
        wrong = len([*await s.fetch(FileError, SETTING_ERRORS), *await s.fetch(FileError, HBA_ERRORS)])
    except PgtuiError:
        wrong = None
    return Configured(tuple(waiting[0].names), wrong)


async def _wrong_in_file(s: Session, c: Cluster) -> int | None:
    """How many lines of pg_hba.conf are surely wrong.

    Read as discovery reads: an account that nobody named is not tried again and again, which sudo would log.
    """
    if c.gone:
        return None
    try:
        return sum(rule.error is not None for rule in await rules_in_file(s, c, s.target.run_as))
    except PgtuiError:
        return None
