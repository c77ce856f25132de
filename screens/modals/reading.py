"""Dialogs to read: the details of a row, the SQL or command line behind something, the help of a room."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from backend.core.declare import Column, Health, View
from backend.core.judge import Finding
from backend.core.show import show
from backend.core.snapshot import Snapshot
from screens.modals.dialog import Dialog
from screens.widgets.cells import GLYPHS, STYLES
from screens.widgets.viewer import Part, Readable, TextView


class TextDialog(Dialog[None]):
    """A text to read and copy; Esc, Enter or q closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,q", "leave", "Close", show=False),
        Binding("y", "copy", "Copy", show=False),
    ]
    HINT = "↑ ↓ scroll · y copies · Esc goes back"

    def __init__(self, title: str, parts: Sequence[Readable], copy: str = "") -> None:
        super().__init__(title)
        self.copy = copy
        self.text = TextView(parts)

    def content(self) -> ComposeResult:
        """The text."""
        yield self.text

    def on_mount(self) -> None:
        """Let keys scroll."""
        self.text.focus()

    def on_resize(self) -> None:
        """Give the text the lines it needs, or all there are."""
        self.room_for(self.text, self.text.line_count(self.text_width), 4)

    def action_copy(self) -> None:
        """Copy the text as it is, not as it is shown."""
        self.app.copy_to_clipboard(
            self.copy or "\n".join(p.text for p in self.text.parts if isinstance(p, Part))
        )
        self.hint("copied · Esc goes back")


class DetailDialog(TextDialog):
    """A row of a view with every column in full."""

    def __init__(
        self, snapshot: Snapshot, row: Any, *, title: str = "", more: Sequence[Readable] = ()
    ) -> None:
        view, key = snapshot.view, snapshot.view.key(row)
        found = snapshot.judgement.of(key)
        named = " ".join(str(k) for k in key if k is not None)
        parts = [*details(view.columns, snapshot, row, found), *more]
        super().__init__(title or f"{view.name}  {named}", parts, _copied(view, snapshot, row))

    def add(self, more: Sequence[Readable]) -> None:
        """Show more below; what is read already stays where it is."""
        self.text.show([*self.text.parts, *more])
        self.on_resize()


class HelpDialog(TextDialog):
    """The keys that work, what the views of a room show, and what their columns mean."""

    def __init__(
        self,
        title: str,
        *,
        doc: str = "",
        keys: Iterable[tuple[str, str]] = (),
        views: Iterable[View[Any]] = (),
    ) -> None:
        super().__init__(title, [*_intro(doc), *_keys(list(keys)), *(p for v in views for p in _help(v))])


def sql_dialog(title: str, sql: str, note: str = "") -> TextDialog:
    """The statement or command line behind something, to read and copy."""
    parts = [Part(note, "muted"), Part("")] if note else []
    return TextDialog(title, [*parts, Part(sql, "code")], sql)


def details(columns: Sequence[Column], snapshot: Snapshot, row: Any, found: Finding) -> list[Readable]:
    """Every column's title and value; long texts below their titles."""
    parts: list[Readable] = []
    if found.health is not Health.OK:
        parts += [Part(f"{GLYPHS[found.health]} {found.sentence}", STYLES[found.health]), Part("")]
    wide = max((len(c.title) for c in columns), default=0)
    for c in columns:
        value = snapshot.value(row, c.name)
        style = STYLES[found.cells[c.name]] if c.name in found.cells else ""
        if c.col.text or (isinstance(value, str) and (len(value) > 60 or "\n" in value)):
            parts += [Part(""), Part(c.title, "muted"), Part(str(value or ""), style or "code", indent=2)]
        else:
            parts.append(Part(f"{c.title.ljust(wide)}  {show(c, value)}", style))
    return parts


def _copied(view: View[Any], snapshot: Snapshot, row: Any) -> str:
    values = ((c.title, snapshot.value(row, c.name)) for c in view.columns)
    return "\n".join(f"{title}: {'' if value is None else value}" for title, value in values)


def _intro(doc: str) -> list[Readable]:
    return [Part(doc), Part("")] if doc else []


def _keys(keys: list[tuple[str, str]]) -> list[Readable]:
    wide = max((len(k) for k, _ in keys), default=0)
    return [
        Part("Keys", "title"),
        *(Part(f"{k.ljust(wide)}  {what}", indent=2) for k, what in keys),
        Part(""),
    ]


def _help(view: View[Any]) -> list[Readable]:
    explained = [c for c in view.columns if c.col.help or c.col.warn is not None or c.col.crit is not None]
    wide = max((len(c.title) for c in explained), default=0)
    lines = [Part(f"{c.title.ljust(wide)}  {_column_help(c)}", indent=2) for c in explained]
    return [Part(view.name, "title"), Part(view.doc, indent=2), *lines, Part("")]


def _column_help(column: Column) -> str:
    limits = [
        f"{word} {'at most' if column.col.low else 'from'} {show(column, limit)}"
        for word, limit in (("warning", column.col.warn), ("critical", column.col.crit))
        if limit is not None
    ]
    return "; ".join(filter(None, [column.col.help, ", ".join(limits)]))
