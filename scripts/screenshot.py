"""Draw docs/screenshot.svg: the console on the lab, while a chain of locks stands.

The program draws itself; no terminal is needed. The lab is started where it does not run.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path

from backend.core.target import Inventory
from backend.lab.lab import up
from screens.console import Console
from screens.widgets.table import ViewTable
from tui.app import Options, PgtuiApp
from tui.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
SIZE = (120, 34)
PATIENCE = 180.0
VICTIMS = 3


async def draw(inventory: Inventory) -> str:
    """The console's picture as SVG."""
    app = PgtuiApp(inventory.get("lab"), Options(inventory), Settings(theme="pgtui-dark"))
    async with app.run_test(size=SIZE) as pilot:
        end = time.monotonic() + PATIENCE
        while not _is_worth_it(app):
            if time.monotonic() > end:
                raise SystemExit("no chain of locks came up in the lab")
            await pilot.pause(0.2)
        await pilot.press("i")
        _choose_a_victim(app)
        await pilot.pause(1.0)
        # Blanks at the start of a text stay blanks in every program that draws it.
        return app.export_screenshot(title="pgtui").replace("<svg ", '<svg xml:space="preserve" ', 1)


def _is_worth_it(app: PgtuiApp) -> bool:
    """Whether a chain of waiting sessions is on the screen."""
    table = _table(app)
    return table is not None and sum(bool(r.blocked_by) for r in table.rows) >= VICTIMS


def _choose_a_victim(app: PgtuiApp) -> None:
    """Put the cursor on a session that waits for a lock."""
    if table := _table(app):
        table.move_to(next(table.view.key(r) for r in table.rows if r.blocked_by))


def _table(app: PgtuiApp) -> ViewTable | None:
    screen = app.screen
    return screen.pane.table if isinstance(screen, Console) and screen.pane else None


def main() -> None:
    """Write the picture."""
    os.environ.update(TERM="xterm-256color", COLORTERM="truecolor", TEXTUAL_ANIMATIONS="none")
    os.environ.pop("NO_COLOR", None)
    inventory = Inventory.read(up(None).inventory)
    with tempfile.TemporaryDirectory() as folder:
        # The picture is taken with settings of its own, and leaves none behind.
        os.environ["XDG_STATE_HOME"] = folder
        picture = asyncio.run(draw(inventory))
    (ROOT / "docs" / "screenshot.svg").write_text(picture, "utf-8")


if __name__ == "__main__":
    main()
