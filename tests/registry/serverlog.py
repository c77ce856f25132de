"""What a server was asked, from its log under `log_statement = all`, and which functions that calls."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PREFIX = "\x1e%a\x1f%d\x1f"  # record and unit separators: no statement of ours holds them
SETTINGS = {"log_statement": "all", "log_line_prefix": PREFIX, "log_parameter_max_length": "0"}

_STATEMENT = re.compile(r"LOG:  (?:statement|execute [^:]*): (.*)", re.DOTALL)
_LITERAL = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\$(\w*)\$.*?\$\1\$|--[^\n]*", re.DOTALL)
_CALL = re.compile(r"([a-z_][a-z0-9_.]*)\s*\(", re.IGNORECASE)
# Words before a parenthesis that call nothing, and names given to a list of columns: AS x(a, b), WITH x(a).
_SYNTAX = {
    "all", "and", "any", "array", "as", "by", "case", "coalesce", "distinct", "else", "except", "exists",
    "filter", "from", "greatest", "group", "having", "in", "interval", "is", "join", "lateral", "least",
    "limit", "materialized", "not", "nullif", "on", "or", "order", "over", "row", "rows", "select", "some",
    "then", "union", "using", "values", "when", "where", "with",
}  # fmt: skip
_NAMED_LIST = re.compile(r"\b(?:AS|WITH|RECURSIVE)\s+\w+\s*\(", re.IGNORECASE)
_WRITES = re.compile(
    r"\b(insert|update|delete|merge|create|alter|drop|truncate|copy|vacuum|analyze|call|do|lock|grant|revoke"
    r"|checkpoint|notify|listen|comment|reindex|cluster|refresh|prepare|into|share)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Asked:
    """One statement, and the application that sent it."""

    application: str
    database: str
    statement: str

    @property
    def bare(self) -> str:
        """The statement without literals, quoted names and comments."""
        return _LITERAL.sub("''", self.statement)

    @property
    def functions(self) -> set[str]:
        """The functions that it calls, as they are written."""
        text = _NAMED_LIST.sub(" ", self.bare)
        return {name.lower() for name in _CALL.findall(text)} - _SYNTAX

    @property
    def only_looks(self) -> bool:
        """Whether it is a question, or the frame of one."""
        word = self.bare.split(None, 1)[0].upper().rstrip(";")
        if word in ("BEGIN", "COMMIT", "ROLLBACK", "SHOW"):
            return True
        return word in ("SELECT", "WITH") and not _WRITES.search(self.bare)


def asked(log: Path, start: int = 0) -> list[Asked]:
    """The statements logged from that position on."""
    text = log.read_bytes()[start:].decode("utf-8", "replace")
    return [a for record in text.split("\x1e")[1:] if (a := _parse(record))]


def _parse(record: str) -> Asked | None:
    application, _, rest = record.partition("\x1f")
    database, _, message = rest.partition("\x1f")
    found = _STATEMENT.match(message)
    return Asked(application, database, found[1].strip()) if found else None
