"""Targets and the inventory that lists them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import field, replace
from pathlib import Path
from typing import Any, Literal

from backend.core.declare import Threshold
from backend.core.errors import Refused, Usage, nearest, unknown
from backend.core.folders import config_folder
from backend.core.record import record
from backend.core.values import Interval, Size

Guard = Literal["", "name", "read-only"]


@record
class Pooler:
    """A pooler's administration console."""

    dsn: str
    name: str = "pooler"


@record
class Limits:
    """A target's own thresholds for a view's columns, and the rows it is silent about."""

    columns: Mapping[str, tuple[Threshold | str | None, Threshold | str | None]] = field(default_factory=dict)
    silenced: tuple[str, ...] = ()


@record
class Target:
    """One PostgreSQL server to operate: how to connect, its host, its pooler and its backup stanza."""

    name: str
    dsn: str = ""
    act: str | None = None
    ssh: str | None = None
    tags: tuple[str, ...] = ()
    guard: Guard = ""
    peer: str | None = None
    run_as: str | None = None
    jobmon_log: bool = False
    poolers: tuple[Pooler, ...] = ()
    backup: Mapping[str, str] = field(default_factory=dict)
    cluster: Mapping[str, str] = field(default_factory=dict)
    checks: Mapping[str, Limits] = field(default_factory=dict)
    dbname: str | None = None
    listed: bool = False
    inventory: Path | None = None

    def database(self, name: str | None) -> Target:
        """The same target seen from another database."""
        return replace(self, dbname=name) if name else self

    def limits(self, view: str) -> Limits:
        """The target's own thresholds for a view."""
        return self.checks.get(view, Limits())

    @property
    def label(self) -> str:
        """The name, with the database where another one than the DSN's was asked for."""
        return f"{self.name}/{self.dbname}" if self.dbname else self.name


_STRINGS = {"dsn", "act", "ssh", "peer", "run_as"}
_TARGET_KEYS = _STRINGS | {"tags", "guard", "jobmon_log", "pooler", "backup", "cluster", "check"}
_BACKUP_KEYS = {"tool", "stanza", "config"}
_CLUSTER_KEYS = {"data", "bin", "service"}
_GUARDS = ("name", "read-only")


@record
class Inventory:
    """The targets by name, and which one is meant when none is named."""

    path: Path | None = None
    default: str | None = None
    targets: Mapping[str, Target] = field(default_factory=dict)

    @classmethod
    def find(cls, given: Path | None = None) -> Inventory:
        """The inventory from the file given, `$PGTUI_INVENTORY`, or the configuration folder; else empty."""
        named = given or (Path(os.environ["PGTUI_INVENTORY"]) if os.environ.get("PGTUI_INVENTORY") else None)
        path = named or config_folder() / "inventory.toml"
        if named is None and not path.exists():
            return cls()
        return cls.read(path)

    @classmethod
    def read(cls, path: Path) -> Inventory:
        """The inventory in that file; whatever is wrong with it is a usage error naming file and table."""
        import tomllib  # 5 ms, for those who have an inventory

        try:
            data = tomllib.loads(path.read_text("utf-8"))
        except OSError as e:
            raise Usage(f"the inventory {path} cannot be read: {e.strerror or e}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
            raise Usage(f"the inventory {path} is not valid TOML: {e}") from None
        return _Reader(path).inventory(data)

    def get(self, word: str) -> Target:
        """The target of that name, or the one that a DSN describes."""
        if word in self.targets:
            return self.targets[word]
        if is_dsn(word):
            return Target(name=dsn_label(word), dsn=word)
        known = list(self.targets)
        hint = nearest(word, known) or (
            "known: " + ", ".join(known) if known else "the inventory lists no target"
        )
        raise Usage(f"there is no target called {word}", hint=hint)

    def select(self, words: Sequence[str], tags: Sequence[str], everything: bool) -> list[Target]:
        """The targets meant by names or DSNs, tags and `--all` together; without any, the default one."""
        chosen = [self.get(w) for w in words]
        for tag in tags:
            chosen += self._tagged(tag)
        if everything:
            if not self.targets:
                raise Usage("--all was given, but the inventory lists no target")
            chosen += self.targets.values()
        if not (words or tags or everything):
            chosen = [self.standard()]
        return list({t.name: t for t in chosen}.values())

    def _tagged(self, tag: str) -> list[Target]:
        found = [t for t in self.targets.values() if tag in t.tags]
        if not found:
            raise unknown("tag", tag, {t for target in self.targets.values() for t in target.tags})
        return found

    def standard(self) -> Target:
        """The default target, else what libpq's environment means."""
        if self.default:
            return self.targets[self.default]
        return Target(name=dsn_label(""), dsn="")


def is_dsn(word: str) -> bool:
    """Whether the word is a libpq string or URI rather than a name."""
    return "=" in word or word.startswith(("postgres://", "postgresql://"))


def dsn_label(dsn: str) -> str:
    """`host:port/dbname`: how a target given as a DSN is called, never with user or password."""
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        given = {k: str(v) for k, v in conninfo_to_dict(dsn).items() if v is not None}
    except ProgrammingError as e:
        from backend.core.clean import mask

        raise Usage(f"this is not a connection string: {mask(str(e)).strip()}") from None
    if "service" in given and "host" not in given:
        return f"service={given['service']}"
    env = os.environ
    if not dsn and env.get("PGSERVICE"):
        return f"service={env['PGSERVICE']}"
    host = given.get("host") or given.get("hostaddr") or env.get("PGHOST") or "local"
    port = given.get("port") or env.get("PGPORT") or "5432"
    user = given.get("user") or env.get("PGUSER") or env.get("USER") or "postgres"
    return f"{host}:{port}/{given.get('dbname') or env.get('PGDATABASE') or user}"


class _Reader:
    """Turns an inventory's tables into targets, naming file and table in every complaint."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def inventory(self, data: Mapping[str, Any]) -> Inventory:
        self.keys(data, {"default", "target", "tag"}, "the top level")
        tags = {
            name: self.table(t, f"tag.{name}") for name, t in self.table(data.get("tag", {}), "tag").items()
        }
        for name, table in tags.items():
            self.keys(table, _TARGET_KEYS - {"tags"}, f"[tag.{name}]")
        tables = self.table(data.get("target", {}), "target")
        targets = {
            name: self.target(name, self.table(t, f"target.{name}"), tags) for name, t in tables.items()
        }
        default = data.get("default")
        if default is not None and default not in targets:
            raise self.wrong(
                "default", f"names {default!r}, which is no target", nearest(str(default), targets)
            )
        return Inventory(self.path, default, targets)

    def target(self, name: str, own: Mapping[str, Any], tags: Mapping[str, Mapping[str, Any]]) -> Target:
        where = f"[target.{name}]"
        self.keys(own, _TARGET_KEYS, where)
        labels = self.strings(own.get("tags", []), f"{where} tags")
        merged: dict[str, Any] = {}
        for label in labels:
            merged |= tags.get(label, {})
        merged |= own
        for key in _STRINGS & merged.keys():
            if not isinstance(merged[key], str):
                raise self.wrong(where, f"{key} must be a string")
        if not isinstance(merged.get("jobmon_log", False), bool):
            raise self.wrong(where, "jobmon_log must be true or false")
        guard = merged.get("guard", "")
        if guard and guard not in _GUARDS:
            raise self.wrong(
                where, f"guard must be one of {', '.join(_GUARDS)}", nearest(str(guard), _GUARDS)
            )
        return Target(
            name=name,
            listed=True,
            inventory=self.path.absolute(),
            guard=guard,
            tags=labels,
            jobmon_log=bool(merged.get("jobmon_log", False)),
            poolers=self.poolers(merged.get("pooler"), where),
            backup=self.section(merged.get("backup", {}), _BACKUP_KEYS, f"{where[:-1]}.backup]"),
            cluster=self.section(merged.get("cluster", {}), _CLUSTER_KEYS, f"{where[:-1]}.cluster]"),
            checks=self.checks(merged.get("check", {}), f"{where[:-1]}.check]"),
            **{k: merged[k] for k in _STRINGS & merged.keys()},
        )

    def poolers(self, given: Any, where: str) -> tuple[Pooler, ...]:
        if given is None:
            return ()
        listed = given if isinstance(given, list) else [given]
        for table in listed:
            self.keys(self.table(table, f"{where} pooler"), {"dsn", "name"}, f"{where[:-1]}.pooler]")
            if "dsn" not in table:
                raise self.wrong(f"{where[:-1]}.pooler]", "dsn is missing")
            for key, value in table.items():
                if not isinstance(value, str):
                    raise self.wrong(f"{where[:-1]}.pooler]", f"{key} must be a string")
        return tuple(Pooler(**table) for table in listed)

    def checks(self, given: Any, where: str) -> dict[str, Limits]:
        return {
            view: self.limits(self.table(t, where), f"{where} {view}")
            for view, t in self.table(given, where).items()
        }

    def limits(self, given: Mapping[str, Any], where: str) -> Limits:
        columns = {c: self.limit(v, f"{where} {c}") for c, v in given.items() if c != "silenced"}
        return Limits(columns, self.strings(given.get("silenced", []), f"{where} silenced"))

    def limit(self, given: Any, where: str) -> tuple[Threshold | str | None, Threshold | str | None]:
        table = self.table(given, where)
        self.keys(table, {"warn", "crit"}, where)
        return self.threshold(table.get("warn"), where), self.threshold(table.get("crit"), where)

    def threshold(self, given: Any, where: str) -> Threshold | str | None:
        """Text stays as it is: whether `10m` means minutes or megabytes, only the column knows."""
        if given is None or (isinstance(given, (int, float)) and not isinstance(given, bool)):
            return given
        text = given if isinstance(given, str) else ""
        for kind in (Size, Interval):
            with suppress(Usage):
                kind.parse(text)
                return text
        raise self.wrong(where, f"{given!r} is neither a number, a duration nor a size")

    def section(self, given: Any, known: set[str], where: str) -> dict[str, str]:
        table = self.table(given, where)
        self.keys(table, known, where)
        return {k: str(v) for k, v in table.items()}

    def table(self, given: Any, where: str) -> Mapping[str, Any]:
        if not isinstance(given, Mapping):
            raise self.wrong(where, "must be a table")
        return given

    def strings(self, given: Any, where: str) -> tuple[str, ...]:
        if not isinstance(given, list) or not all(isinstance(s, str) for s in given):
            raise self.wrong(where, "must be a list of strings")
        return tuple(given)

    def keys(self, table: Mapping[str, Any], known: set[str], where: str) -> None:
        for key in table:
            if key not in known:
                raise self.wrong(where, f"unknown key {key!r}", nearest(key, known))

    def wrong(self, where: str, what: str, hint: str = "") -> Usage:
        return Usage(f"{self.path}: {where}: {what}", hint=hint or None)


def read_only_refusal(target: Target) -> Refused:
    """The refusal for a target whose guard is `read-only`."""
    return Refused(f"target {target.name} is guarded as read-only", hint="its guard stands in the inventory")
