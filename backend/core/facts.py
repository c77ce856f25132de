"""What is known of a target, what a view or an action needs of it, and queries that vary by version."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any, Literal, LiteralString

from backend.core.errors import Missing, Refused
from backend.core.record import record

if TYPE_CHECKING:
    from psycopg import sql

Role = Literal["primary", "standby"]

_STANDBY = "this is a standby; it works on the primary"


@record
class Installed:
    """An extension, or pgtui's own implementation of one, as found in a database."""

    name: str
    version: tuple[int, ...]
    schema: str
    own: bool = False

    @property
    def version_text(self) -> str:
        """The version as it is written."""
        return ".".join(str(n) for n in self.version)


@record
class Facts:
    """What is known of one target: asked once per connection, again after reconnecting or a promotion."""

    version_num: int
    version: str
    role: Role
    database: str
    user: str
    superuser: bool
    member_of: frozenset[str]
    extensions: Mapping[str, Installed]
    databases: tuple[str, ...]
    system_identifier: str | None
    encoding: str
    pooler: bool = False

    @property
    def major(self) -> int:
        """The server's major version, such as 17."""
        return self.version_num // 10000

    def has_role(self, role: str) -> bool:
        """Whether the user may do what that predefined role may."""
        return self.superuser or role in self.member_of


@record
class Needs:
    """What a view or an action requires of a target.

    `extensions` maps a name to the least version; `roles` names predefined roles of which one must be held;
    `tools` are programs on the host; `also` is a further condition that answers with a sentence, empty when
    it holds. With `sql` off the host alone is needed: nothing connects to the server, whose facts may not be
    known then, and a server that is down is no obstacle.
    """

    sql: bool = True
    server: int = 14
    extensions: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    tools: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    primary: bool = False
    also: Callable[[Facts], str] | None = None

    def missing(self, facts: Facts) -> str:
        """A sentence saying what the server lacks; empty when all is there."""
        return next((s for s in self._sentences(facts) if s), "") if self.sql else ""

    def absent(self, tools: frozenset[str]) -> str:
        """A sentence saying which program the host lacks that has these; empty when all are there."""
        return next(
            (f"the program {tool} is not on the host" for tool in self.tools if tool not in tools), ""
        )

    def _sentences(self, facts: Facts) -> list[str]:
        return [
            self._server(facts),
            *(self._extension(facts, name, least) for name, least in self.extensions.items()),
            self._roles(facts),
            _STANDBY if self.primary and facts.role == "standby" else "",
            self.also(facts) if self.also else "",
        ]

    def _server(self, facts: Facts) -> str:
        if facts.major >= self.server:
            return ""
        return f"the server is PostgreSQL {facts.major}; {self.server} or newer is needed"

    def _extension(self, facts: Facts, name: str, least: tuple[int, ...]) -> str:
        found = facts.extensions.get(name)
        if found is None:
            return f"database {facts.database} has no extension {name}; CREATE EXTENSION {name} installs it"
        if found.version < least:
            wanted = ".".join(str(n) for n in least)
            return f"extension {name} is {found.version_text} here; {wanted} or newer is needed"
        return ""

    def _roles(self, facts: Facts) -> str:
        if not self.roles or any(facts.has_role(r) for r in self.roles):
            return ""
        return f"role {facts.user} lacks the privilege; GRANT {self.roles[0]} TO {facts.user} gives it"

    def demand(self, facts: Facts) -> None:
        """Raise `Missing` with the sentence when something is missing; on a standby `Refused`."""
        if sentence := self.missing(facts):
            raise Refused(sentence) if sentence == _STANDBY else Missing(sentence)


@record
class Since:
    """One variant of a query: for servers, or an extension's versions, from this one on."""

    version: int | tuple[int, ...]
    text: LiteralString
    extension: str | None = None

    def fits(self, facts: Facts) -> bool:
        """Whether the variant is for such a target."""
        if self.extension is None:
            return (facts.major,) >= (self.version if isinstance(self.version, tuple) else (self.version,))
        found = facts.extensions.get(self.extension)
        least = self.version if isinstance(self.version, tuple) else (self.version,)
        return found is not None and found.version >= least


class Query:
    """A question in one or several variants, newest first.

    Names in braces are filled with identifiers when it is asked; values go in as parameters.
    """

    __slots__ = ("_composed", "variants")

    def __init__(self, *variants: Since | LiteralString) -> None:
        self.variants = tuple(v if isinstance(v, Since) else Since(0, v) for v in variants)
        self._composed: dict[tuple[Any, ...], bytes] = {}

    def pick(self, facts: Facts) -> LiteralString:
        """The text of the first variant that fits."""
        for variant in self.variants:
            if variant.fits(facts):
                return variant.text
        raise Missing(f"this question has no form for PostgreSQL {facts.major}")

    def compose(self, facts: Facts, identifiers: Mapping[str, str | sql.Composable]) -> bytes:
        """The statement as it is sent; the same bytes each time, so that it stays prepared."""
        text = self.pick(facts)
        key = (text, *sorted((k, str(v)) for k, v in identifiers.items()))
        if key not in self._composed:
            self._composed[key] = _fill(text, identifiers)
        return self._composed[key]


def _fill(text: LiteralString, identifiers: Mapping[str, str | sql.Composable]) -> bytes:
    from psycopg import sql

    if not identifiers:
        return text.encode()
    filled = {k: sql.Identifier(v) if isinstance(v, str) else v for k, v in identifiers.items()}
    return sql.SQL(text).format(**filled).as_bytes(None)
