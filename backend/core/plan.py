"""Plans: exactly what would run, in order, before any of it has.

Steps are values. Their text is what the preview, the dry run, the audit and `S` show, and is built from
the very statement or argument list that runs; a secret is masked in the text and sent as a parameter.
"""

from __future__ import annotations

import difflib
import hashlib
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any, ClassVar, LiteralString, Protocol

from psycopg import sql

from backend.core.clean import mask
from backend.core.declare import Danger
from backend.core.rendering import preview

Statement = sql.Composable | LiteralString


@dataclass(frozen=True, slots=True)
class Answer:
    """What a step answered: rows as mappings, and how many rows it touched; or why it failed."""

    rows: tuple[Mapping[str, Any], ...] = ()
    count: int = 0
    text: str = ""
    error: str = ""

    @property
    def first(self) -> Mapping[str, Any]:
        """The first row; empty when there is none."""
        return self.rows[0] if self.rows else {}

    @property
    def scalar(self) -> Any:
        """The first value of the first row, or None."""
        return next(iter(self.first.values()), None)


Answers = Sequence[Answer]


@dataclass(frozen=True, slots=True)
class Sql:
    """One statement, or several in one transaction.

    `keys` names what a selection acts on; it belongs to the text but not to the shape, so that a selection
    that has shrunk since it was confirmed is still the same plan. `autocommit` statements (VACUUM, CALL)
    stand alone by nature. `dbname` runs it in another database of the same server. When a `lenient` one
    fails the run goes on, and ends as failed after all other steps. While a `followed` one runs, the server
    is asked how far it is.
    """

    kind: ClassVar[str] = "sql"
    statements: tuple[sql.Composable, ...]
    _: KW_ONLY
    keys: tuple[str, ...] = ()
    elided: tuple[sql.Composable, ...] = ()
    note: str = ""
    dbname: str | None = None
    on: str | None = None
    undo: Step | None = None
    quiet_log: bool = False
    lenient: bool = False
    followed: bool = False

    @property
    def text(self) -> str:
        """The SQL, complete enough to be pasted into psql."""
        return _script(self.statements)

    @property
    def shape(self) -> str:
        """The text without the keys of a selection."""
        return _script(self.elided or self.statements)


@dataclass(frozen=True, slots=True)
class Command:
    """A program on the target's host, as an argument list; `long` ones outlive the connection."""

    kind: ClassVar[str] = "command"
    argv: tuple[str, ...]
    _: KW_ONLY
    deadline: float = 60
    long: bool = False
    stdin: bytes | None = None
    run_as: str | None = None
    ok: tuple[int, ...] = (0,)
    note: str = ""
    on: str | None = None
    undo: Step | None = None

    @property
    def text(self) -> str:
        """The command line, quoted for a shell."""
        line = shlex.join(mask(a) for a in self.argv)
        return f"sudo -n -u {shlex.quote(self.run_as)} -- {line}" if self.run_as else line

    @property
    def shape(self) -> str:
        """The same as the text."""
        return self.text


@dataclass(frozen=True, slots=True)
class File:
    """A file on the target's host, written atomically; a copy is kept, mode and owner stay."""

    kind: ClassVar[str] = "file"
    path: PurePosixPath
    before: str | None
    after: str
    _: KW_ONLY
    run_as: str | None = None
    note: str = ""
    on: str | None = None
    undo: Step | None = None

    @property
    def text(self) -> str:
        """The change as a unified diff."""
        old = (self.before or "").splitlines(keepends=True)
        name = str(self.path)
        diff = difflib.unified_diff(old, self.after.splitlines(keepends=True), name, name)
        return mask("".join(diff)) or f"{name}: unchanged"

    @property
    def shape(self) -> str:
        """The same as the text."""
        return self.text


@dataclass(frozen=True, slots=True)
class Copy:
    """COPY in from a file here, out to a file here, or through into another target.

    Given with `path` it moves data between the statement and that file; with `into`, between the statement
    and the `into` statement on target `into_on`.
    """

    kind: ClassVar[str] = "copy"
    statement: sql.Composable
    _: KW_ONLY
    path: str | None = None
    data: bytes | None = None
    into: sql.Composable | None = None
    into_on: str | None = None
    note: str = ""
    dbname: str | None = None
    on: str | None = None
    undo: Step | None = None

    @property
    def text(self) -> str:
        """The COPY statement and where its data comes from or goes to."""
        main = preview(self.statement)
        if self.into is not None:
            return f"{main}; -- through to {self.into_on or 'the same target'}: {preview(self.into)};"
        where = shlex.quote(self.path) if self.path else f"{len(self.data or b'')} bytes"
        return f"{main}; -- {where}"

    @property
    def shape(self) -> str:
        """The same as the text."""
        return self.text


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows in COPY's text format; `read` is how many bytes of the source they and all before them took."""

    data: bytes
    rows: int
    read: int


class Source(Protocol):
    """Records somewhere here, translated into rows while they are read."""

    @property
    def text(self) -> str:
        """What is read, precisely enough to see that it has changed."""
        ...

    @property
    def size(self) -> int:
        """Its length in bytes, for progress."""
        ...

    def chunks(self, every: int | None) -> Iterator[Chunk]:
        """All rows; no chunk goes beyond a multiple of `every` rows. A bad record raises."""
        ...


@dataclass(frozen=True, slots=True)
class Load:
    """COPY in of translated records, all in one transaction or `every` so many rows in one of their own.

    `before` runs first in each; its last statement answers with schema and name of the table, so that the
    server says at that moment which one it is.
    """

    kind: ClassVar[str] = "copy"
    source: Source
    before: tuple[sql.Composable, ...]
    columns: tuple[str, ...]
    _: KW_ONLY
    every: int | None = None
    unit: str = "rows"
    note: str = ""
    dbname: str | None = None
    on: str | None = None
    undo: Step | None = None

    def copy_into(self, *table: str) -> sql.Composed:
        """The COPY statement for a table."""
        columns = sql.SQL(", ").join(map(sql.Identifier, self.columns))
        return sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(*table), columns)

    @property
    def text(self) -> str:
        """One of its transactions, and where the rows come from."""
        each = f"\n-- and again for every {self.every} {self.unit}" if self.every else ""
        copied = f"{preview(self.copy_into('the table named'))}; -- {mask(self.source.text)}"
        before = "".join(f"{preview(s).strip()};\n" for s in self.before)
        return f"BEGIN;\n{before}{copied}\nCOMMIT;{each}"

    @property
    def shape(self) -> str:
        """The same as the text."""
        return self.text


@dataclass(frozen=True, slots=True)
class Wait:
    """Ask again and again until the first value of the answer is true; fail at the deadline."""

    kind: ClassVar[str] = "wait"
    statement: sql.Composable
    _: KW_ONLY
    until: str
    deadline: float = 60
    every: float = 0.5
    note: str = ""
    dbname: str | None = None
    on: str | None = None
    undo: Step | None = None

    @property
    def text(self) -> str:
        """What is waited for, how long, and the question asked."""
        return f"wait up to {self.deadline:g} s until {self.until}: {preview(self.statement)};"

    @property
    def shape(self) -> str:
        """The same as the text."""
        return self.text


@dataclass(frozen=True, slots=True)
class Check:
    """A predicate on the answers so far; when it is false the run ends with the sentence."""

    kind: ClassVar[str] = "check"
    holds: Callable[[Answers], bool]
    _: KW_ONLY
    that: str
    otherwise: str | Callable[[Answers], str]
    hint: str | None = None
    note: str = ""
    on: str | None = None
    undo: Step | None = None

    @property
    def text(self) -> str:
        """What has to be so."""
        return f"check that {self.that}"

    @property
    def shape(self) -> str:
        """The same as the text."""
        return self.text

    def failure(self, answers: Answers) -> str:
        """The sentence to end with."""
        return self.otherwise if isinstance(self.otherwise, str) else self.otherwise(answers)


@dataclass(frozen=True, slots=True)
class Repeat:
    """One statement run again and again, a transaction each, until its first value is 0, false or NULL.

    The first value of each answer is how much was done, or how many rows were touched where it has none;
    `total` is the expected sum, for progress. What is to run `before` it is in the same transaction, which is
    sent whole: no lock waits for the network.
    """

    kind: ClassVar[str] = "repeat"
    statement: sql.Composable
    _: KW_ONLY
    before: tuple[sql.Composable, ...] = ()
    until: str
    total: int | None = None
    pause: float = 0
    unit: str = "rows"
    note: str = ""
    dbname: str | None = None
    on: str | None = None
    undo: Step | None = None

    @property
    def text(self) -> str:
        """One round, and when they end."""
        pause = f", pausing {self.pause:g} s" if self.pause else ""
        apart = "\n" if self.before else " "
        return f"repeat until {self.until}{pause}:{apart}{_script((*self.before, self.statement))}"

    @property
    def shape(self) -> str:
        """The same as the text."""
        return self.text


Step = Sql | Command | File | Copy | Load | Wait | Check | Repeat


@dataclass(frozen=True, slots=True)
class Plan:
    """What an action would do.

    `notes` and `rows` (the victims, the tables that go) inform and are outside the fingerprint. `always`
    steps run at the end whatever happened. `result` turns the answers into what scripts read; without it
    that is the rows of the last answer. `at` is the one clock reading that the plan was made with.
    """

    subject: str
    steps: tuple[Step, ...]
    _: KW_ONLY
    danger: Danger = Danger.NONE
    notes: tuple[str, ...] = ()
    rows: tuple[Any, ...] = ()
    always: tuple[Step, ...] = ()
    result: Callable[[Answers], Any] | None = None
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def fingerprint(self) -> str:
        """A hash of danger, subject, kind and text of each step."""
        return self._hash(s.text for s in (*self.steps, *self.always))

    @property
    def shape(self) -> str:
        """The fingerprint without the keys of selections: what must not change between preview and run."""
        return self._hash(s.shape for s in (*self.steps, *self.always))

    def _hash(self, texts: Iterable[str]) -> str:
        digest = hashlib.sha256(f"{self.danger.word}\0{self.subject}".encode("utf-8", "surrogatepass"))
        for step, text in zip((*self.steps, *self.always), texts, strict=True):
            parts = (step.kind, step.on or "", _unseen(step), text, step.undo.text if step.undo else "")
            digest.update("\0".join(("", *parts)).encode("utf-8", "surrogatepass"))
        digest.update(f"\0{len(self.steps)}".encode())
        return digest.hexdigest()[:16]


def _unseen(step: Step) -> str:
    """What decides what a step does and is not in its text: database, user, bytes sent along."""
    data = getattr(step, "stdin", None) or getattr(step, "data", None) or b""
    return "\0".join((getattr(step, "dbname", None) or "", hashlib.sha256(data).hexdigest() if data else ""))


def statement(*statements: Statement, **kw: Any) -> Sql:
    """A step of one statement, or of several in one transaction."""
    return Sql(tuple(sql.SQL(s) if isinstance(s, str) else s for s in statements), **kw)


def over(
    template: LiteralString,
    keys: Sequence[Sequence[Any]],
    labels: Sequence[str],
    fill: Mapping[str, sql.Composable] | None = None,
    **kw: Any,
) -> Sql:
    """A step on a selection: `{keys}` in the template becomes a VALUES list of the keys.

    Other names in braces are filled from `fill`: the condition that a member still has to meet.
    """
    more = dict(fill or {})
    rows = sql.SQL(", ").join(
        sql.SQL("({})").format(sql.SQL(", ").join(sql.Literal(v) for v in key)) for key in keys
    )
    whole = sql.SQL(template).format(keys=sql.SQL("VALUES {}").format(rows), **more)
    elided = sql.SQL(template).format(keys=sql.SQL("VALUES …"), **more)
    return Sql((whole,), keys=tuple(labels), elided=(elided,), **kw)


def _script(statements: Sequence[sql.Composable]) -> str:
    lines = [preview(s).strip() for s in statements]
    if len(lines) == 1:
        return f"{lines[0]};"
    return "\n".join(["BEGIN;", *(f"{line};" for line in lines), "COMMIT;"])
