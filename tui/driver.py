"""The terminal driver: Textual's, but it sleeps while no key is pressed, and writes whole frames."""

from __future__ import annotations

import codecs
import os
import select

from textual._ansi_sequences import SYNC_END, SYNC_START
from textual._xterm_parser import XTermParser
from textual.constants import ESCAPE_DELAY
from textual.drivers.linux_driver import LinuxDriver

# Seconds after a key until it is surely taken for whole though it might be the beginning of a sequence.
SOON = ESCAPE_DELAY + 0.01


class QuickDriver(LinuxDriver):
    """Its thread sleeps until there is a key, or until it is woken to end.

    Textual's looks ten times a second, which costs more than all else that an idle console does.
    """

    _frame = ""
    _wake: tuple[int, int] | None = None

    def write(self, data: str) -> None:
        """Write what was given, a frame at its end as a whole: the thread that writes is woken once."""
        self._frame += data
        if data == SYNC_END or not self._frame.startswith(SYNC_START):
            whole, self._frame = self._frame, ""
            super().write(whole)

    def start_application_mode(self) -> None:
        """Take the terminal, and begin to read keys."""
        for end in self._wake or ():
            os.close(end)
        self._wake = os.pipe()
        super().start_application_mode()  # type: ignore[no-untyped-call]

    def disable_input(self) -> None:
        """Stop reading keys."""
        if self._wake:
            os.write(self._wake[1], b".")  # stays unread: the thread looks again and again until it may end
        super().disable_input()

    def run_input_thread(self) -> None:
        """Turn what the terminal sends into events; end the program when the terminal is gone."""
        parser, decode = XTermParser(self._debug), codecs.getincrementaldecoder("utf-8")("replace").decode
        watched, patience = [self.fileno, *(self._wake or ())[:1]], None
        while not self.exit_event.is_set():
            readable = select.select(watched, [], [], patience)[0]
            patience = SOON if readable else None
            if self.fileno in readable:
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
