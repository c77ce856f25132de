"""A form made from parameters: one field each, checked as the command line checks them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Input, Static, TextArea

from backend.core.clean import clean, clean_lines
from backend.core.errors import Usage
from backend.core.params import Param
from screens.modals.dialog import WIDTH, Dialog
from screens.modals.picker import Picker
from screens.widgets.choices import Choices
from screens.widgets.pick import Item
from screens.widgets.viewer import wrap

UNCHANGED = "unchanged"
FEW_WORDS = 5

# Values to choose from; texts may come with what tells one from another.
Choosable = Sequence[Any] | Mapping[str, str]


class Field(Vertical):
    """A label, an input that fits the parameter, and below it the help or what is wrong."""

    DEFAULT_CSS = """
    Field { height: auto; }
    Field > .field--label { height: 1; text-style: bold; }
    Field > .field--note { height: auto; }
    Field > TextArea { height: 6; }
    """

    def __init__(self, param: Param, given: Any, choices: Choosable) -> None:
        super().__init__()
        self.param = param
        described = choices if isinstance(choices, Mapping) else {param.text(c): "" for c in choices}
        self.options: dict[str, str] = dict(described) or dict.fromkeys(param.words, "")
        self._given = given
        self._prefilled = "" if given is None else _visible(param, param.text(given))
        self.entry: Input | Choices | TextArea = self._entry()

    def compose(self) -> ComposeResult:
        """Label, input, note."""
        wanted = "" if self.param.required else "  (optional)"
        yield Static(clean(self.param.ask.label) + wanted, markup=False, classes="field--label")
        yield self.entry
        note = Static(self._help(), markup=False, classes="field--note")
        note.display = bool(self._help())
        yield note

    def value(self) -> Any:
        """The value, None when nothing was given; a usage error when it makes no sense."""
        text = self._text()
        if text == self._prefilled and self._given is not None:
            # What is shown may have been made visible; what it names is the exact value.
            return self._given
        if not text.strip() and not (text and self.param.ask.lines):
            if self.param.required:
                raise Usage("this has to be given")
            return None
        return self.param.parse(text)

    def complain(self, sentence: str) -> None:
        """Say below the input what is wrong with it, or show the help again."""
        note = self.query_one(".field--note", Static)
        note.update(clean(sentence) if sentence else self._help())
        note.display = bool(sentence or self._help())
        note.set_class(bool(sentence), "-wrong")

    def fill(self, text: str) -> None:
        """Put a choice into the input."""
        if isinstance(self.entry, Input):
            self.entry.value = _visible(self.param, text)

    def exactly(self, shown: str) -> str:
        """The choice that is shown like this, or the text itself."""
        return next((o for o in self.options if _visible(self.param, o) == shown), shown)

    def _entry(self) -> Input | Choices | TextArea:
        param = self.param
        if param.type is bool and not param.many:
            words = ["yes", "no"] if self._given is not None or param.required else [UNCHANGED, "yes", "no"]
            return Choices(
                words, words.index("yes" if self._given else words[-1] if self._given is False else words[0])
            )
        if param.words and len(param.words) <= FEW_WORDS and not param.many:
            words = list(param.words) if param.required or self._given else [UNCHANGED, *param.words]
            return Choices(words, words.index(self._given) if self._given in words else 0)
        if param.ask.lines:
            return TextArea(self._prefilled, tab_behavior="focus", soft_wrap=True)
        return Input(self._prefilled, password=param.ask.secret, select_on_focus=False)

    def _text(self) -> str:
        if isinstance(self.entry, Choices):
            return "" if self.entry.value == UNCHANGED else self.entry.value
        if isinstance(self.entry, TextArea):
            return self.entry.text
        return self.exactly(self.entry.value)

    def _help(self) -> str:
        more = "↓ lists the choices" if self.options and isinstance(self.entry, Input) else ""
        return " · ".join(filter(None, [clean(self.param.ask.help), more]))


class Form(Dialog[dict[str, Any]]):
    """Dismisses with the values that were given, by parameter name, or with None.

    `given` fills fields beforehand, `choices` offers values to pick from, both by parameter name; `wrong`
    says why what was given before could not be taken.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "submit", "Go on", show=False),
        Binding("down", "choices", "Choices", show=False),
    ]
    DEFAULT_CSS = "Form VerticalScroll { height: auto; scrollbar-size-vertical: 1; }"
    HINT = "Tab next field · Enter goes on · Esc leaves"

    def __init__(
        self,
        title: str,
        params: Sequence[Param],
        *,
        given: Mapping[str, Any] | None = None,
        choices: Mapping[str, Choosable] | None = None,
        doc: str = "",
        wrong: str = "",
    ) -> None:
        super().__init__(title)
        self.doc = clean(doc)
        self.wrong = clean_lines(wrong)
        self._given = dict(given or {})
        start = {p.name: p.default for p in params if not p.required} | self._given
        offered = choices or {}
        self.fields = [Field(p, start.get(p.name), offered.get(p.name, ())) for p in params]

    def content(self) -> ComposeResult:
        """What it is about, and the fields."""
        if self.doc:
            yield Static(self.doc, markup=False, classes="form--doc")
        if self.wrong:
            yield Static(self.wrong, markup=False, classes="form--wrong")
        with VerticalScroll(can_focus=False):
            yield from self.fields

    def on_mount(self) -> None:
        """Start in the first field that still needs something."""
        empty = [
            f for f in self.fields if f.param.required and isinstance(f.entry, Input) and not f.entry.value
        ]
        left = [f for f in self.fields if f.param.name not in self._given]
        for field in (empty or left or self.fields)[:1]:
            field.entry.focus()

    def on_resize(self) -> None:
        """Let the fields scroll where the terminal is too small."""
        box = self.query_one(VerticalScroll)
        box.styles.max_height = max(3, self.size.height - 6 - self._lines_of_wrong)

    @property
    def _lines_of_wrong(self) -> int:
        width = min(WIDTH, self.size.width) - 4
        return sum(len(wrap(line, width)) for line in self.wrong.split("\n")) + 1 if self.wrong else 0

    def on_input_submitted(self) -> None:
        """Enter goes on."""
        self.action_submit()

    def on_key(self, event: events.Key) -> None:
        """Enter goes on from fields that have no use for it."""
        if event.key == "enter" and not isinstance(self.focused, (Input, TextArea)):
            event.stop()
            self.action_submit()

    def action_submit(self) -> None:
        """Answer with the values, or go to the first field that is wrong."""
        values, wrong = {}, []
        for field in self.fields:
            try:
                value = field.value()
                field.complain("")
            except Usage as e:
                field.complain(e.message + (f"; {e.hint}" if e.hint else ""))
                wrong.append(field)
                continue
            if value is not None:
                values[field.param.name] = value
        if wrong:
            wrong[0].entry.focus()
        else:
            self.dismiss(values)

    def action_choices(self) -> None:
        """Offer the choices of the field."""
        field = next((f for f in self.fields if f.entry is self.focused), None)
        if field is None or not field.options or not isinstance(field.entry, Input):
            return
        items = [Item(option, option, detail) for option, detail in field.options.items()]
        self.app.push_screen(
            Picker(field.param.ask.label, items), lambda v: field.fill(v) if v is not None else None
        )


def _visible(param: Param, text: str) -> str:
    return clean_lines(text) if param.ask.lines else clean(text)
