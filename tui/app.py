"""The console: one target at a time, its rooms, its runs.

The first frame is painted before psycopg is imported (86 ms of the start): the desk opens after it.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from dataclasses import field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NoReturn

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

import themes
from backend.core.clean import clean_lines, mask
from backend.core.folders import private, state_folder
from backend.core.record import record
from backend.core.target import Inventory, Target
from screens.console import Console
from tui.driver import QuickDriver
from tui.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from textual.notifications import SeverityLevel


@record
class Options:
    """What the command line says about the console."""

    inventory: Inventory = field(default_factory=Inventory)
    read_only: bool = False
    timeout: float = 10
    dbname: str | None = None
    debug: bool = False


class PgtuiApp(App[int]):
    """The console's application: theme and settings."""

    TITLE = "pgtui"
    CSS_PATH: ClassVar[list[Path]] = list(themes.STYLE_SHEETS)  # type: ignore[assignment]
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c", "ask_quit", "Quit", show=False, priority=True),
        Binding("ctrl+z", "suspend_process", "Suspend", show=False, priority=True),
    ]

    def __init__(self, target: Target, options: Options, settings: Settings | None = None) -> None:
        super().__init__(driver_class=QuickDriver, ansi_color=themes.ansi_color(os.environ))
        self.target = target
        self.options = options
        self.settings = settings or Settings.load()
        self.crash: Exception | None = None
        for theme in themes.THEMES.values():
            self.register_theme(theme)
        self.theme = self.settings.theme or themes.fitting(os.environ)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Variables of the style sheet that a theme from elsewhere may lack."""
        return themes.VARIABLES

    def get_default_screen(self) -> Screen[None]:
        """The console is the only screen that is not a dialog."""
        return Console(
            self.target,
            self.options.inventory,
            self.settings,
            read_only=self.options.read_only,
            timeout=self.options.timeout,
        )

    def on_mount(self) -> None:
        """End by signals as by `q`; that the terminal has vanished, the driver tells."""
        self.set_timer(1.0, _collect_again)
        if not self.is_headless:
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGHUP):
                loop.add_signal_handler(number, self.exit, 128 + number)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Textual's own palette is not used."""
        return ()

    async def action_ask_quit(self) -> None:
        """Quit as `q` does, from wherever it is pressed."""
        for screen in self.screen_stack:
            if isinstance(screen, Console):
                screen.action_quit()

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = False,
    ) -> None:
        """Say something in passing; whatever it quotes is shown literally."""
        super().notify(clean_lines(message), title=title, severity=severity, timeout=timeout, markup=False)

    def _handle_exception(self, error: Exception) -> None:
        """A defect of pgtui ends it with a report to copy; the traceback itself is for `--debug`."""
        if self.options.debug or self.is_headless:
            super()._handle_exception(error)
        else:
            self.crash = error
            self.exit(1)

    async def _shutdown(self) -> None:
        """Ask the server nothing more before the widgets go, which would take the answers."""
        for screen in self.screen_stack:
            if isinstance(screen, Console):
                await screen.desk.close()
        await super()._shutdown()

    async def on_unmount(self) -> None:
        """Remember how the rooms were arranged."""
        self.settings.save()


def crash_report(error: Exception) -> str:
    """What to say of a defect: one sentence, and where the report lies."""
    path = private(state_folder()) / f"crash-{datetime.now(UTC):%Y%m%d-%H%M%S}.txt"
    text = mask("".join(traceback.format_exception(error)))
    try:
        path.write_text(text, "utf-8", "backslashreplace")
    except OSError as e:
        return f"pgtui: a defect of pgtui ended it ({type(error).__name__}); no report: {e.strerror}\n"
    return f"pgtui: a defect of pgtui ended it ({type(error).__name__}); the report is in {path}\n"


def _collect_again() -> None:
    """Leave what the start has made out of all later collections."""
    gc.freeze()
    gc.enable()


def run(targets: Sequence[Target], options: Options) -> NoReturn:
    """Open the console on the first of the targets, and end the process with its exit code."""
    os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
    # Collecting garbage while modules load is a twentieth of the start, and finds none.
    gc.disable()
    target = targets[0].database(options.dbname)
    app = PgtuiApp(target, options)
    code = app.run() or app.return_code or 0
    if app.crash:
        code = 1
        sys.stderr.write(crash_report(app.crash))
    sys.stdout.flush()
    sys.stderr.flush()
    # Connections, settings and runs are closed by now; the interpreter's own farewell takes 100 ms more,
    # most of it waiting for a thread that reads keys.
    os._exit(code)
