"""libpq's own files, read only where a forward hides the original host and port from libpq."""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def service(given: Mapping[str, Any]) -> dict[str, str]:
    """The parameters of the DSN's service; empty without one."""
    name = given.get("service") or os.environ.get("PGSERVICE")
    if not name:
        return {}
    for path in _service_files():
        parser = configparser.ConfigParser(interpolation=None, delimiters=("=",), strict=False)
        try:
            parser.read(path, "utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue
        if parser.has_section(name):
            return dict(parser.items(name))
    return {}


def _service_files() -> list[Path]:
    named = os.environ.get("PGSERVICEFILE")
    system = Path(os.environ.get("PGSYSCONFDIR", "/etc/postgresql-common")) / "pg_service.conf"
    return [Path(named) if named else Path.home() / ".pg_service.conf", system]


def lookup(given: Mapping[str, Any], host: str, port: int) -> str | None:
    """The password that the password file holds for the original host and port."""
    path = Path(given.get("passfile") or os.environ.get("PGPASSFILE") or Path.home() / ".pgpass")
    user = str(given.get("user") or os.environ.get("PGUSER") or os.environ.get("USER") or "")
    wanted = (
        "localhost" if host.startswith("/") else host,
        str(port),
        str(given.get("dbname") or user),
        user,
    )
    try:
        lines = path.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return None
    for line in lines:
        fields = [re.sub(r"\\(.)", r"\1", f) for f in re.split(r"(?<!\\):", line, maxsplit=4)]
        if len(fields) == 5 and all(f in ("*", w) for f, w in zip(fields, wanted, strict=False)):
            return fields[4]
    return None
