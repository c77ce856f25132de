"""The console's one screen: header, navigation, the room that is looked at, and the keys that work now.

Dialogs are imported when one is wanted: they are a tenth of the time to the first rows.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any, ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.timer import Timer

from backend.core.declare import Health, Room, View
from backend.core.errors import PgtuiError
from backend.core.facts import Facts
from backend.core.registry import rooms, views
from backend.core.snapshot import Snapshot
from backend.core.target import Inventory, Target
from screens.desk import Desk
from screens.keys import CLICKS, FOOTER
from screens.memory import Memory
from screens.passwords import Passwords
from screens.room import Frame, RoomPane, pane_for, show_or_hide, worst
from screens.situation import situation
from screens.widgets.bar import Bar
from screens.widgets.footer import KeyFooter
from screens.widgets.header import TargetHeader
from screens.widgets.nav import RoomNav, Tab

# How often views that nobody looks at are asked for their health: once a minute, and those that are slow
# to change less often. Twice a minute they were more statements than the view that is looked at.
HEALTH_EVERY = 60.0
UNSEEN = 12
# Seconds after the first rows until the rest is begun: those rows are painted by then.
LATER = 0.3
# The list of rooms is left out on screens lower than this.
LOW = 8


class Console(Screen[None]):
    """One target: its rooms by digit, its runs, its state in the header."""

    BLANK = True  # its widgets cover it
    DEFAULT_CSS = """
    Console { overflow: hidden; }
    Console #rooms { height: 1fr; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        *[Binding(str((n + 1) % 10), f"room({n})", show=False) for n in range(10)],
        Binding("g", "rooms", "Rooms"),
        Binding("colon,ctrl+p", "palette", "Palette", key_display=":"),
        Binding("space", "pause", "Pause"),
        Binding("r", "refresh", "Refresh", show=False),
        Binding("R", "runs", "Runs", show=False),
        Binding("d", "database", "Database", show=False),
        Binding("t", "targets", "Target", show=False),
        Binding("T", "theme", "Theme", show=False),
        Binding("exclamation_mark", "psql", "psql", show=False),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("escape", "back", "Back", show=False),
        Binding("q", "quit", "Quit"),
    ]

    def __init__(
        self,
        target: Target,
        inventory: Inventory,
        memory: Memory,
        *,
        read_only: bool = False,
        timeout: float = 10,
        make_desk: Callable[..., Desk] = Desk,
    ) -> None:
        super().__init__()
        self.inventory = inventory
        self.memory = memory
        self.read_only = read_only
        self.timeout = timeout
        self.rooms = rooms()
        self._make_desk = make_desk
        self._passwords = Passwords(self._ask_password)
        self.desk = self._desk(target)
        self.pane: RoomPane | None = None
        self._panes: dict[str, RoomPane] = {}
        self._begun = self._quitting = False
        self._first_frame = ExitStack()
        self._ticker: Timer | None = None
        self._healths: dict[str, dict[str, Health]] = {}

    def _desk(self, target: Target) -> Desk:
        return self._make_desk(
            target,
            self.inventory,
            read_only=self.read_only,
            timeout=self.timeout,
            facts_changed=self._facts_changed,
        )

    def compose(self) -> ComposeResult:
        """Header, navigation, the rooms, the keys."""
        # The room's widgets come one after the other; without this each would be a frame of its own.
        self._first_frame.enter_context(self.app.batch_update())
        self._open()
        yield TargetHeader()
        yield RoomNav()
        yield Frame(self._pane_of(self.rooms[0]), id="rooms")
        yield KeyFooter()

    def on_mount(self) -> None:
        """Connecting has begun; the first rows come while the first frame is painted."""
        self.show_room(self.rooms[0])
        self._ticker = self.set_interval(1.0, self._tick)

    def on_resize(self, event: events.Resize) -> None:
        """Rows come before the list of rooms."""
        show_or_hide(self.query_one(RoomNav), event.size.height >= LOW)

    def _open(self) -> None:
        self._passwords.begin(self.desk.target.name)
        self.desk.ask_password = self._passwords.ask
        self.desk.open()

    async def _ask_password(self, prompt: str) -> str | None:
        from screens import dialogs

        return await dialogs.ask_password(self.app, prompt)

    def _begin_in_earnest(self) -> None:
        """What can wait until the first rows are there: the other rooms' health, and earlier runs."""
        if self.desk.is_open:  # another target may be on its way
            self._watch_health()
            self._tell_unfinished()

    # -- rooms -----------------------------------------------------------------------------------

    def show_room(self, room: Room) -> None:
        """Look at another room."""
        pane = self._pane_of(room)
        if self.pane and self.pane is not pane:
            self.pane.leave()
            show_or_hide(self.pane, False)
        if not pane.is_attached:
            self.query_one("#rooms").mount(pane)
        self.pane = pane
        show_or_hide(pane, True)
        if pane.is_mounted:
            pane.enter()
        self._say()

    def _pane_of(self, room: Room) -> RoomPane:
        if room.name not in self._panes:
            self._panes[room.name] = pane_for(room, self.desk, self.memory)
        return self._panes[room.name]

    @on(RoomPane.Ready)
    def _ready(self, event: RoomPane.Ready) -> None:
        if event.pane is self.pane:
            event.pane.enter()
            self._first_frame.close()

    async def show_view(self, name: str) -> None:
        """Look at a view of whatever room."""
        room = next(r for r in self.rooms if r.name == name.partition(".")[0])
        self.show_room(room)
        if self.pane and any(v.name == name for v in self.pane.views):
            self.pane.look_at(name)

    async def action_room(self, index: int) -> None:
        """Open a room by its digit."""
        if index < len(self.rooms) and self.desk.is_open:
            self.show_room(self.rooms[index])

    def _watch_health(self) -> None:
        for room in self.rooms:
            for view in views(room.name):
                if view.judged and not any(p.required for p in view.params):
                    self.desk.feed(view).subscribe(self._note_health, max(HEALTH_EVERY, UNSEEN * view.every))

    def _note_health(self, snapshot: Snapshot) -> None:
        of_room = self._healths.setdefault(snapshot.view.room, {})
        of_room[snapshot.view.name] = worst(snapshot)
        self._say_rooms()

    # -- header ----------------------------------------------------------------------------------

    def _facts_changed(self, facts: Facts) -> None:
        self._say()

    @on(RoomPane.Shown)
    def _shown(self, event: RoomPane.Shown) -> None:
        self._say()
        if not self._begun:
            self._begun = True
            self.set_timer(LATER, self._begin_in_earnest)

    def _tick(self) -> None:
        """Once a second while data is late: its age grows; while all is well nothing ticks."""
        if self._is_late():
            self._say()
            if self.pane:
                self.pane.table.tick()
        elif self._ticker:
            self._ticker.pause()

    def _is_late(self) -> bool:
        if self.pane is None:
            return False
        return bool(self.pane.snapshot.error or not self.desk.facts or self.desk.poller.paused)

    def _say(self) -> None:
        if self._ticker and self._is_late():
            self._ticker.resume()
        self.query_one(TargetHeader).show(situation(self.desk, self.pane), datetime.now(UTC))
        self._say_rooms()
        self._say_keys()

    @on(RoomPane.Arranged)
    def _arranged(self) -> None:
        self._say()

    def _say_keys(self) -> None:
        own = list(self.pane.keys) if self.pane else []
        taken = {key for key, _ in own}
        self.query_one(KeyFooter).show(
            [*own, *(k for k in FOOTER if k[0] not in taken)], self.pane.note if self.pane else ""
        )

    def _say_rooms(self) -> None:
        tabs = [Tab(r.name, r.title, self._health(r.name)) for r in self.rooms]
        self.query_one(RoomNav).show(tabs, self.pane.room.name if self.pane else "")

    def _health(self, room: str) -> Health | None:
        return max(self._healths.get(room, {}).values(), default=None)

    # -- keys ------------------------------------------------------------------------------------

    def action_pause(self) -> None:
        """Stop refreshing, or go on."""
        if self.desk.is_open:
            self.desk.poller.pause(not self.desk.poller.paused)
            self._say()

    def action_refresh(self) -> None:
        """Ask everything again now."""
        if self.desk.is_open:
            self.desk.poller.refresh()

    def action_back(self) -> None:
        """Go back: take away marks and filter, then show the room's first view."""
        self.app.clear_notifications()
        if self.pane:
            self.pane.back()

    def action_quit(self) -> None:
        """Quit; asks first while runs are going on."""
        self._quit()

    @work
    async def _quit(self) -> None:
        from screens import dialogs

        if self._quitting:
            return
        self._quitting = True
        if await dialogs.may_quit(self.app, self.desk):
            await self.desk.end_runs()
            await self.desk.close()
            self.app.exit(0)
        self._quitting = False

    @work
    async def action_rooms(self) -> None:
        """List the rooms."""
        from screens import dialogs

        name = await dialogs.pick_room(self.app, self.rooms)
        if name:
            self.show_room(next(r for r in self.rooms if r.name == name))

    @work
    async def action_palette(self) -> None:
        """Rooms, views, targets and actions by typing."""
        from screens import dialogs

        await dialogs.palette(self)

    @work
    async def action_targets(self) -> None:
        """Choose another target of the inventory."""
        from screens import dialogs

        if name := await dialogs.pick_target(self.app, self.inventory):
            await self.change_target(self.inventory.get(name))

    @work
    async def action_database(self) -> None:
        """Choose another database of this server."""
        from screens import dialogs

        if self.desk.facts and (name := await dialogs.pick_database(self.app, self.desk.facts)):
            await self.change_target(self.desk.target.database(name))

    async def change_target(self, target: Target) -> None:
        """Close this target and open another one."""
        if self.desk.running:
            self.app.notify("a run is still going on; wait for it or cancel it", markup=False)
            return
        room = self.pane.room if self.pane else self.rooms[0]
        if self.pane:
            self.pane.leave()
        await self.desk.close()
        self.pane, self._panes, self._healths = None, {}, {}
        await self.query_one("#rooms").remove_children()
        self.desk = self._desk(target)
        self._begun = False
        self._open()
        self.show_room(room)

    @work
    async def action_runs(self) -> None:
        """The runs of this console, and those that an earlier one left unfinished."""
        from screens import dialogs

        await dialogs.runs(self.app, self.desk)

    @work
    async def action_theme(self) -> None:
        """Choose a theme."""
        from screens import dialogs

        await dialogs.pick_theme(self.app, self.memory)

    @work
    async def action_psql(self) -> None:
        """Open psql on the target."""
        from screens import dialogs

        await dialogs.psql(self.app, self.desk)

    def action_help(self) -> None:
        """Explain the room and its keys."""
        from screens import dialogs

        if self.pane:
            dialogs.show_help(self.app, self.pane)

    @work
    async def _tell_unfinished(self) -> None:
        from screens import unfinished

        await unfinished.offer(self.app, self.desk)

    @on(Bar.Clicked)
    async def _clicked(self, event: Bar.Clicked) -> None:
        if isinstance(event.bar, RoomNav):
            self.show_room(next(r for r in self.rooms if r.name == event.click))
        elif isinstance(event.bar, KeyFooter):
            self.app.simulate_key(CLICKS.get(event.click, event.click))
        elif event.click == "database":
            self.action_database()

    # -- what rooms want -------------------------------------------------------------------------

    @on(RoomPane.Wanted)
    def _wanted(self, event: RoomPane.Wanted) -> None:
        from screens import dialogs

        event.stop()
        if event.what == "details":
            self.run_worker(dialogs.show_details(self.app, event.pane, event.subject))
        elif event.what == "source":
            dialogs.show_source(self.app, self.desk, *event.subject)
        elif event.what == "options":
            self.run_worker(dialogs.view_options(self.app, event.pane))
        elif event.what == "sort":
            self.run_worker(dialogs.pick_sort(self.app, event.subject))
        elif event.what == "actions":
            self.run_worker(self._act(event.pane.room, *event.subject))

    async def _act(self, room: Room, view: View[Any], rows: list[Any]) -> None:
        from screens import acting, dialogs

        try:
            await acting.choose_and_run(self.app, self.desk, room, view, rows)
        except PgtuiError as e:
            dialogs.show_error(self.app, e)
