"""The terminal driver: Textual's, but it leaves at once."""

from __future__ import annotations

import signal

from textual.drivers.linux_driver import LinuxDriver


class QuickDriver(LinuxDriver):
    """Does not wait for its input thread when the program ends: it looks up only ten times a second.

    While the terminal is lent to another program the wait stays, since two readers would share the keys.
    """

    leaving = False

    def disable_input(self) -> None:
        """Stop reading keys."""
        if not self.leaving:
            super().disable_input()
        elif not self.exit_event.is_set():
            signal.signal(signal.SIGWINCH, signal.SIG_DFL)
            self._disable_mouse_support()
            self.exit_event.set()
