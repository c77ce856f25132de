"""The room `partman` on screen: sets above, the partitions of the set under the cursor below."""

from __future__ import annotations

from screens.below import DetailPane


class PartitionsPane(DetailPane):
    """Sets above, the partitions of the set under the cursor below."""

    DETAIL = "partman.partitions"
    WORDS = ("sets", "partitions")


PANE = PartitionsPane
