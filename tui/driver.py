"""The terminal driver: Textual's, but it leaves at once, and sleeps while no key is pressed."""

from __future__ import annotations

import codecs
import os
import select
import signal

from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver

# Seconds until keys are looked for again: soon after some came, since they may be the beginning of a
# sequence, else only to see whether the program ends. Textual looks ten times a second, which costs more
# than all else that an idle console does.
SOON, LATER = 0.1, 0.5


class QuickDriver(LinuxDriver):
    """Does not wait for its input thread when the program ends: it looks up only now and then.

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

    def run_input_thread(self) -> None:
        """Turn what the terminal sends into events; end the program when the terminal is gone."""
        parser, decode = XTermParser(self._debug), codecs.getincrementaldecoder("utf-8")("replace").decode
        patience = SOON
        while not self.exit_event.is_set():
            readable = select.select([self.fileno], [], [], patience)[0]
            patience = SOON if readable else LATER
            if readable:
                if not (data := self._read()):
                    self._loop.call_soon_threadsafe(self._app.exit, 129)
                    return
                # Half a character gives no text yet, and feeding no text would end the parser.
                for event in parser.feed(text) if (text := decode(data)) else ():
                    self.process_message(event)
            for event in parser.tick():
                self.process_message(event)

    def _read(self) -> bytes:
        """What has come; nothing when the terminal is gone, perhaps without a signal reaching us."""
        try:
            return os.read(self.fileno, 4096)
        except OSError:
            return b""
