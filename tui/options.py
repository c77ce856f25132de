"""The options that every command takes, before and after its name, merged into one set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from backend.core.errors import Usage, nearest
from backend.core.record import record
from backend.core.values import Interval

if TYPE_CHECKING:
    from backend.core.target import Inventory, Target

FORMATS = ("table", "json", "csv")
CHECK_FORMATS = (*FORMATS, "nagios", "openmetrics")
ALL_DATABASES = "all"
TIMEOUT = 10.0

V = TypeVar("V")
Words = list[str] | None


@record
class Options:
    """What the common options say; None where nothing was said."""

    targets: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    everything: bool = False
    inventory: Path | None = None
    output: str | None = None
    timeout: float | None = None
    dbname: str | None = None
    read_only: bool = False
    debug: bool = False

    def merged(self, given: Mapping[str, Any]) -> Options:
        """These options with those given at another place of the command line."""
        return replace(
            self,
            targets=(*self.targets, *(given["target"] or ())),
            tags=(*self.tags, *(given["tag"] or ())),
            everything=self.everything or bool(given["everything"]),
            inventory=_one("--inventory", self.inventory, given["inventory"], Path),
            output=_one("--output", self.output, given["output"], _format),
            timeout=_one("--timeout", self.timeout, given["timeout"], _seconds),
            dbname=_one("--dbname", self.dbname, given["dbname"], _dbname),
            read_only=self.read_only or bool(given["read_only"]),
            debug=self.debug or bool(given["debug"]),
        )

    def format(self, *allowed: str) -> str:
        """How to print; the first of the allowed formats when nothing was said."""
        if self.output is None:
            return allowed[0]
        if self.output not in allowed:
            raise Usage(f"this command has no output {self.output}", hint=f"it has {', '.join(allowed)}")
        return self.output

    @property
    def patience(self) -> float:
        """Seconds to connect and to answer in, for each target."""
        return self.timeout or TIMEOUT

    def read_inventory(self) -> Inventory:
        """The inventory that is meant; empty when there is none."""
        from backend.core.target import Inventory

        return Inventory.find(self.inventory)

    def select(self, inventory: Inventory) -> list[Target]:
        """The targets meant, each in the database meant unless that is all of them."""
        chosen = inventory.select(self.targets, self.tags, self.everything)
        return chosen if self.dbname == ALL_DATABASES else [t.database(self.dbname) for t in chosen]


def _one(option: str, before: V | None, words: Words, make: Callable[[str], V]) -> V | None:
    """The one value of an option that may stand at several places, but not with different values."""
    for word in words or ():
        value = make(word)
        if before is not None and before != value:
            raise Usage(f"{option} is given as {before} and as {value}", hint="give it once")
        before = value
    return before


def _format(word: str) -> str:
    if word not in CHECK_FORMATS:
        hint = nearest(word, CHECK_FORMATS) or f"there are {', '.join(CHECK_FORMATS)}"
        raise Usage(f"there is no output {word}", hint=hint)
    return word


def _seconds(word: str) -> float:
    try:
        seconds = float(word)
    except ValueError:
        seconds = Interval.parse(word).approximate.total_seconds()
    if not 0 < seconds < float("inf"):
        raise Usage(f"--timeout wants a time above zero, not {word}")
    return seconds


def _dbname(word: str) -> str:
    if not word:
        raise Usage("--dbname wants a name", hint="or all, for every database of the target")
    return word
