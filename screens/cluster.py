"""The room `cluster` on screen: servers, and of the one under the cursor its disks and its log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from textual import events
from textual.app import ComposeResult

from backend.core.declare import View
from backend.core.registry import find_view
from backend.core.show import duration, size
from backend.core.snapshot import Snapshot
from screens.below import HIGH, Below, DetailPane
from screens.room import show_or_hide
from screens.widgets.shares import Share, SharesView

LIST = "cluster.clusters"

# What the options of a view are good for, as the line of keys says it.
OPTIONS = {
    "cluster.settings": "changed only, compare",
    "cluster.hba": "who would match",
    "cluster.logs": "severity, pattern",
}

# From how many lines on there is room for the bars, and how many they may be.
BARS, MOST_BARS = 20, 6


class ClustersPane(DetailPane):
    """Servers above, the worst first; below, of the one under the cursor, storage as bars and its log."""

    DETAIL = "cluster.logs"
    FILLED = ("cluster",)
    WORDS = ("clusters", "log")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.detail.sort_by("at", True)
        self.storage = Below(find_view("cluster.storage"), self.desk, self._stored, _nothing, id="storage")
        self.storage.display = False
        self._chosen: str | None = None
        self._placed = False

    def between(self) -> ComposeResult:
        """How full the disks of the server are."""
        yield SharesView(id="shares")
        yield self.storage

    def on_resize(self, event: events.Resize) -> None:
        """Give up what there is no room for."""
        super().on_resize(event)
        self._draw()

    def leave(self) -> None:
        """Watch nothing."""
        super().leave()
        self.storage.stop()

    def look_at(self, name: str) -> None:
        """What the other views tell is of the server that was under the cursor among the servers."""
        if self.view.name == LIST:
            row = self.table.cursor_row
            self._chosen = None if row is None or row.own else row.cluster
        elif _of_cluster(self.view):
            self._chosen = self.options.get("cluster")
        if name != LIST and _of_cluster(find_view(name)):
            rest = {k: v for k, v in self._options.get(name, {}).items() if k != "cluster"}
            self._options[name] = rest | ({"cluster": self._chosen} if self._chosen else {})
        super().look_at(name)

    def prepared(self, snapshot: Snapshot) -> Snapshot:
        """The worst server first, then its own; settings that wait for a restart; the newest message."""
        if snapshot.view.name == "cluster.logs":
            return replace(snapshot, rows=tuple(reversed(snapshot.rows)))
        if snapshot.view.name == "cluster.settings":
            return replace(snapshot, rows=tuple(sorted(snapshot.rows, key=lambda r: not r.pending_restart)))
        if snapshot.view.name != LIST:
            return snapshot
        key = snapshot.view.key
        rows = sorted(snapshot.rows, key=lambda r: (-snapshot.judgement.of(key(r)).health.value, not r.own))
        return replace(snapshot, rows=tuple(rows))

    def has_detail(self, row: Any) -> bool:
        """The log belongs to a server of the list."""
        return self.view.name == LIST and super().has_detail(row)

    def news(self, snapshot: Snapshot) -> None:
        """Whoever came to this target looks at its own server first, however bad another one is."""
        if self.view.name == LIST and not self._placed and snapshot.rows:
            self._placed = True
            own = next((r for r in snapshot.rows if r.own), None)
            if own is not None:
                self.table.move_to(snapshot.view.key(own))
        super().news(snapshot)

    def row_moved(self, row: Any) -> None:
        """Another server has another log and other disks."""
        super().row_moved(row)
        if self.detail.display and self._watching:
            self.storage.watch_row({"cluster": row.cluster})
        else:
            self.storage.stop()
        self._draw()

    def footer_keys(self) -> Sequence[tuple[str, str]]:
        """The other table, and what the view can be asked."""
        asked = OPTIONS.get(self.view.name)
        return [*super().footer_keys(), *([("v", asked)] if asked else [])]

    def _stored(self, snapshot: Snapshot) -> None:
        if self.is_mounted:
            self._draw()

    def _draw(self) -> None:
        view, found = self.query_one(SharesView), self._places()
        wanted = bool(found and found.rows) and self.height >= (BARS if self.detail.display else HIGH)
        show_or_hide(view, wanted)
        if found and wanted:
            shares = shares_of(found)[:MOST_BARS]
            view.styles.height = 1 + len(shares)
            view.show(shares)
        self._leave_room(self.height - (1 + len(view.shares) if wanted else 0))

    def _leave_room(self, lines: int) -> None:
        """A host has few servers as a rule; what they do not need of their half is the log's."""
        needed = 1 + len(self.table.rows)
        few = self.detail.display and needed < lines // 2
        self.query_one("#tables").styles.height = needed if few else "1fr"

    def _places(self) -> Snapshot | None:
        """Where the bars come from: the server's storage, or the view of it."""
        if self.detail.display:
            return self.storage.snapshot
        return self.snapshot if self.view.name == "cluster.storage" else None


def shares_of(snapshot: Snapshot) -> list[Share]:
    """A share for each file system that places are on, the worst first; places on the same one share it."""
    found: dict[Any, Share] = {}
    for row in snapshot.rows:
        health = snapshot.judgement.of(snapshot.view.key(row)).health
        known = found.get(row.mount or row.place)
        if known:
            worse = max(known.health, health)
            found[row.mount or row.place] = replace(known, name=f"{known.name}, {row.place}", health=worse)
        else:
            used = None if row.used_percent is None else row.used_percent / 100
            found[row.mount or row.place] = Share(row.place, used, _told(row), health)
    return sorted(found.values(), key=lambda share: -share.health.value)


def _told(row: Any) -> str:
    if row.used_percent is None:
        return f"{size(row.size)}" if row.size is not None else "not known"
    words = [f"{row.used_percent:.0f}%", f"{size(row.free)} free"]
    if row.full_in is not None:
        words.append(f"full in {duration(row.full_in)}")
    if row.inodes_percent is not None and row.inodes_percent >= 80:
        words.append(f"{row.inodes_percent:.0f}% of inodes")
    return ", ".join(words)


def _of_cluster(view: View[Any]) -> bool:
    return any(param.name == "cluster" for param in view.params)


def _nothing(what: Any) -> None:
    """Nobody follows the places."""


PANE = ClustersPane
