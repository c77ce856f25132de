"""The line of keys that work now."""

from __future__ import annotations

from collections.abc import Sequence

from textual.screen import Screen

from screens.widgets.bar import Bar, Word
from screens.widgets.cells import width_of

Keys = Sequence[tuple[str, str]]


class KeyFooter(Bar):
    """Keys with what they do, the important ones first; what does not fit is left out.

    The keys are those of the bindings that are active and meant to be shown, until `show` names others.
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._keys: tuple[tuple[str, str], ...] = ()
        self._note = ""
        self._given = False

    def on_mount(self) -> None:
        """Follow the bindings of the screen."""
        self.screen.bindings_updated_signal.subscribe(self, self._bindings_changed)

    def show(self, keys: Keys, note: str = "") -> None:
        """Show these keys, whatever is bound, and at the right a note such as the filter."""
        new = tuple(keys), note
        if not self._given or new != (self._keys, self._note):
            (self._keys, self._note), self._given = new, True
            self._arrange()

    def on_resize(self) -> None:
        """Choose again what fits."""
        self._arrange()

    def _bindings_changed(self, screen: Screen[object]) -> None:
        if self.is_attached and screen is self.screen and not self._given:
            self._keys = tuple(active_keys(screen))
            self._arrange()

    def _arrange(self) -> None:
        room = self.size.width - (width_of(self._note) + 3 if self._note else 1)
        words: list[Word] = [Word(" ")]
        for key, what in self._keys:
            room -= width_of(key) + width_of(what) + 3
            if room < 0:
                break
            words += [Word(key, "key", key), Word(f" {what}  ", "muted", key)]
        self.say(words, [Word(f"{self._note} ", "strong")] if self._note else [])


def active_keys(screen: Screen[object], *, hidden: bool = False) -> list[tuple[str, str]]:
    """The keys that work on a screen now and what they do; `hidden` adds those not meant for the footer."""
    keys: dict[tuple[str, str], list[str]] = {}
    for active in screen.active_bindings.values():
        binding = active.binding
        if active.enabled and binding.description and (binding.show or hidden):
            shown = screen.app.get_key_display(binding)
            keys.setdefault((binding.action, binding.description), []).append(shown)
    return [(" ".join(dict.fromkeys(names)), what) for (_, what), names in keys.items()]
