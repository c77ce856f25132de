"""Collecting a view once for the command line, or twice where a rate is wanted: that takes two samples."""

from __future__ import annotations

import asyncio

from backend.core.poller import Feed
from backend.core.snapshot import Snapshot

# Seconds between the two samples.
APART = 1.0


async def collect(feed: Feed, *, with_rates: bool) -> Snapshot:
    """The view's state, with rates where they are wanted and the view has some."""
    await feed.collect()
    if with_rates and feed.view.has_rates and not feed.snapshot.error and not feed.snapshot.missing:
        await asyncio.sleep(APART)
        await feed.collect()
    return feed.snapshot
