"""Settings as the server describes them: what a value means, which ones it takes, how a list is written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from backend.cluster.settings import shown
from backend.core.errors import Refused, Usage, nearest
from backend.core.facts import Query
from backend.core.params import parse_bool

SETTINGS = Query("""\
SELECT p.name,
       p.setting,
       p.unit,
       p.context,
       p.vartype,
       p.source,
       p.sourcefile,
       p.sourceline,
       p.min_val,
       p.max_val,
       p.enumvals,
       p.boot_val,
       p.reset_val,
       p.pending_restart
  FROM pg_catalog.pg_settings AS p
 ORDER BY p.name""")

# The server takes one literal for one element of these; a name that ends like this is a list of libraries on
# every version, and the tests hold the pattern to what each server does.
_QUOTED = re.compile(r"(\w+_libraries|search_path|temp_tablespaces|unix_socket_directories)\Z")
_IDENTIFIERS = ("search_path", "temp_tablespaces")  # which the server folds to lower case

# ALTER SYSTEM refuses these although they are no internal ones.
_ONLY_IN_THE_FILE = ("allow_alter_system", "config_file", "data_directory")

_MEMORY = {"B": 1, "kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}
_TIME = {"us": 0.001, "ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_NUMBER = re.compile(
    r"\s*([+-]?(?:0x[0-9a-f]+|\d+\.?\d*(?:e[+-]?\d+)?|\.\d+(?:e[+-]?\d+)?))\s*([a-z]*)\s*", re.I
)
_UNIT = re.compile(r"(\d*)([A-Za-z]+)")
_ELEMENT = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^",]*[^",\s]))\s*')


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a server, as `pg_settings` has it; `setting` is this session's value in `unit`s."""

    name: str
    setting: str | None
    unit: str | None
    context: str
    vartype: str
    source: str
    sourcefile: str | None
    sourceline: int | None
    min_val: str | None
    max_val: str | None
    enumvals: list[str] | None
    boot_val: str | None
    reset_val: str | None
    pending_restart: bool

    @property
    def is_list(self) -> bool:
        """Whether the server quotes each element of its value by itself."""
        return bool(_QUOTED.match(self.name))

    @property
    def needs_trial(self) -> bool:
        """Whether a good value of it can keep the server from starting, which ALTER SYSTEM does not see."""
        return self.context == "postmaster" or self.name.startswith("ssl")

    @property
    def value(self) -> str:
        """What the server gives to a new session; pgtui has settings of its own in those it opens."""
        return (self.reset_val if self.source in ("session", "client") else self.setting) or ""

    @property
    def shown(self) -> str:
        """The value as SHOW writes it: `16MB` and not 2048 blocks of 8kB."""
        return shown(self.value, self.unit)


def find(settings: Sequence[Setting], name: str) -> Setting:
    """The setting of that name, in whatever case; refused with the nearest name when there is none."""
    by_name = {s.name.lower(): s for s in settings}
    if found := by_name.get(name.lower()):
        return found
    hint = nearest(name.lower(), [known for known in by_name if ("." in known) == ("." in name)])
    if not hint and "." in name:
        hint = "the library that knows it has to be loaded first: shared_preload_libraries"
    raise Refused(
        f"the server has no setting called {name}", hint=hint or "the view cluster.settings lists them"
    )


def demand_changeable(setting: Setting) -> None:
    """Refuse what no ALTER SYSTEM can change."""
    if setting.context == "internal":
        raise Refused(
            f"{setting.name} cannot be changed: it was fixed when the server was built or the cluster created"
        )
    if setting.name in _ONLY_IN_THE_FILE:
        raise Refused(f"{setting.name} can only be changed in postgresql.conf itself")
    if setting.source == "command line":
        raise Refused(
            f"{setting.name} is given on the server's command line, which wins over every file",
            hint="it is changed where the server is started: postmaster.opts in the data folder shows how",
        )


def demand_value(setting: Setting, value: str) -> None:
    """A usage error for a value that is no value of the setting, or out of its range."""
    if "\n" in value or "\0" in value:
        raise Usage(f"a value of {setting.name} is one line of text")
    match setting.vartype:
        case "bool":
            _demand_truth(setting, value)
        case "enum":
            _demand_word(setting, value)
        case "integer" | "real":
            _demand_number(setting, value)
        case _ if setting.is_list:
            elements(setting, value)


def _demand_truth(setting: Setting, value: str) -> None:
    try:
        parse_bool(value)
    except ValueError:
        raise Usage(f"{setting.name} wants on or off, not {value!r}") from None


def _demand_word(setting: Setting, value: str) -> None:
    words = setting.enumvals or []
    if value.lower() not in [w.lower() for w in words]:
        raise Usage(f"{setting.name} wants one of {', '.join(words)}, not {value!r}")


def _demand_number(setting: Setting, value: str) -> None:
    number = in_unit(value, setting.unit)
    if number is None:
        raise Usage(f"{setting.name} wants {_wanted(setting)}, not {value!r}")
    if setting.vartype == "integer":
        number = round(number)
    low, high = float(setting.min_val or "-inf"), float(setting.max_val or "inf")
    if not low <= number <= high:
        unit = f" (in units of {setting.unit})" if setting.unit else ""
        raise Usage(f"{setting.name} wants {setting.min_val} to {setting.max_val}{unit}, not {value}")


def _wanted(setting: Setting) -> str:
    _, unit = _split_unit(setting.unit)
    words = _MEMORY if unit in _MEMORY else _TIME if unit in _TIME else {}
    return f"a number, with or without a unit: {', '.join(words)}" if words else "a number"


def in_unit(value: str, unit: str | None) -> float | None:
    """A written number in the setting's own unit; None when it is none, or has another kind of unit."""
    found = _NUMBER.fullmatch(value)
    if not found:
        return None
    number, written = _number(found[1]), found[2]
    if number is None or not written:
        return number
    factor, own = _split_unit(unit)
    scale = next((s for s in (_MEMORY, _TIME) if own in s), {})
    if written not in scale or own not in scale:
        return None
    return number * scale[written] / scale[own] / factor


def _number(text: str) -> float | None:
    digits = text.lstrip("+-").lower()
    try:
        if digits.startswith("0x"):
            size: float = int(digits, 16)
        elif digits.startswith("0") and digits.isdecimal():
            size = int(digits, 8)
        else:
            size = float(digits)
    except ValueError:
        return None
    return -size if text.startswith("-") else size


def _split_unit(unit: str | None) -> tuple[int, str]:
    """`8kB` as 8 and kB."""
    found = _UNIT.fullmatch(unit or "")
    return (int(found[1] or 1), found[2]) if found else (1, "")


def elements(setting: Setting, value: str) -> list[str]:
    """The elements of a list, read as the server reads it: commas between, double quotes around odd ones."""
    found, at = [], 0
    while True:
        match = _ELEMENT.match(value, at)
        if not match:
            raise Usage(
                f"{setting.name} wants a list with commas between, not {value!r}",
                hint='an element with a comma in it goes in double quotes: "a,b"',
            )
        quoted, bare = match.groups()
        found.append(quoted.replace('""', '"') if quoted is not None else _folded(setting, bare))
        at = match.end()
        if at == len(value):
            return found
        if value[at] != ",":
            raise Usage(f"{setting.name} wants a comma before {value[at:]!r}")
        at += 1


def _folded(setting: Setting, element: str) -> str:
    return element.lower() if setting.name in _IDENTIFIERS and element.isascii() else element


def alter_system(setting: Setting, value: str) -> sql.Composed:
    """The ALTER SYSTEM that writes the value; each element of a quoted list is a literal of its own."""
    parts = elements(setting, value) if setting.is_list else [value]
    literals = sql.SQL(", ").join(sql.Literal(p) for p in parts)
    return sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(setting.name), literals)


def alter_system_reset(setting: Setting) -> sql.Composed:
    """The ALTER SYSTEM that takes the setting out of postgresql.auto.conf."""
    return sql.SQL("ALTER SYSTEM RESET {}").format(sql.Identifier(setting.name))


def written(setting: Setting, value: str) -> str:
    """The value as ALTER SYSTEM writes it into postgresql.auto.conf, without the outer quotes."""
    if not setting.is_list:
        return value
    return ", ".join(_quoted(e) for e in elements(setting, value))


def _quoted(element: str) -> str:
    return element if re.fullmatch(r"[a-z_][a-z0-9_]*", element) else '"' + element.replace('"', '""') + '"'


def same(setting: Setting, one: str, other: str) -> bool:
    """Whether two values as they stand in a file are the same."""
    return elements(setting, one) == elements(setting, other) if setting.is_list else one == other


def effect(setting: Setting) -> tuple[str, ...]:
    """For whom a reload makes the change count."""
    match setting.context:
        case "postmaster":
            return ("it takes a restart of the server: until then the old value is in force",)
        case "backend" | "superuser-backend":
            return ("sessions that begin after it have it; those that are open keep the old value",)
        case "user" | "superuser":
            return ("sessions that have set it for themselves keep their value",)
        case _:
            return ()
