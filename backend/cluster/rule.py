"""A rule of pg_hba.conf."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as `pg_hba_file_rules` has it; lists as the server took them apart, files in them read."""

    file: str
    line: int
    type: str | None
    database: list[str] | None
    user: list[str] | None
    address: str | None
    netmask: str | None
    method: str | None
    options: list[str] | None
    error: str | None
