"""The steps that prove a changed setting: what stands in the file, and what a new session finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from psycopg import sql

from backend.cluster import guc
from backend.cluster.guc import Setting
from backend.core.plan import Answers, Check, Step, statement
from backend.core.session import Session

# Sources that are not the files': a session sees its own value there, whatever the files say.
_OWN = ("session", "client", "database", "user", "database user")


def in_file(setting: Setting, written: str | None) -> list[Step]:
    """What stands in the file is looked at before it is loaded: a list may have become one element."""

    def holds(answers: Answers) -> bool:
        rows = answers[-1].rows
        if written is None:
            return not rows
        return bool(rows) and guc.same(setting, str(rows[0]["value"]), written)

    look = sql.SQL(
        "SELECT f.setting AS value\n  FROM pg_catalog.pg_file_settings AS f\n"
        " WHERE f.name = {name}\n   AND f.sourcefile ~ '/postgresql\\.auto\\.conf$'\n"
        " ORDER BY f.seqno DESC\n LIMIT 1"
    ).format(name=sql.Literal(setting.name))
    return [
        statement(look),
        Check(
            holds,
            that="the file says what was meant",
            otherwise=lambda a: (
                f"the server wrote {a[-1].scalar!r} for {setting.name} and not {written!r}; it was taken back"
            ),
        ),
    ]


def in_force(s: Session, setting: Setting, written: str | None) -> list[Step]:
    """A new session's view of the setting, and whether that is what was meant."""
    look = sql.SQL(
        "SELECT p.name,\n"
        "       CASE WHEN p.source IN ('session', 'client') THEN p.reset_val ELSE p.setting END AS value,\n"
        "       p.source,\n       p.sourcefile,\n       p.pending_restart\n"
        "  FROM pg_catalog.pg_settings AS p\n WHERE p.name = {name}"
    ).format(name=sql.Literal(setting.name))
    return [
        statement(look, dbname=s.facts.database, note="in a new session"),
        Check(
            lambda answers: _took(setting, answers[-1].first, written is not None),
            that=f"{setting.name} took, or waits for the restart",
            otherwise=lambda a: f"the server has not taken {setting.name}: {_found(a[-1].first)}",
        ),
    ]


def _took(setting: Setting, row: Any, is_set: bool) -> bool:
    if row.get("pending_restart"):
        return setting.context == "postmaster"
    if setting.context == "postmaster" and row.get("value") == setting.value:
        return True  # the same value, from another place
    if row.get("source") in _OWN:
        return True
    file = row.get("sourcefile")
    if file is None:
        return not is_set or row.get("source") == "configuration file"
    return str(file).endswith("/postgresql.auto.conf") is is_set


def _found(row: Any) -> str:
    where = row.get("sourcefile") or row.get("source")
    return f"it is {row.get('value')}, from {where}"


def result(setting: Setting) -> Callable[[Answers], Any]:
    """What a change tells at its end."""

    def told(answers: Answers) -> dict[str, Any]:
        row = next((a.first for a in reversed(answers) if "pending_restart" in a.first), {})
        return {
            "name": setting.name,
            "value": row.get("value"),
            "unit": setting.unit,
            "was": setting.value,
            "source": row.get("source"),
            "restart": bool(row.get("pending_restart")),
        }

    return told
