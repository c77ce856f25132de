"""The stack's systemd units, their timers, and what they last wrote to the journal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from backend.cluster.scan import pairs
from backend.core.declare import Col, Health, Verdict
from backend.core.host import script
from backend.core.session import Session


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """One unit."""

    unit: Annotated[str, Col("Unit", key=True, priority=1)]
    active: Annotated[str, Col("State", priority=1)]
    sub: Annotated[str, Col("Detail", priority=3)]
    enabled: Annotated[str | None, Col("Enabled", priority=2, help="Whether it starts with the machine")]
    since: Annotated[datetime | None, Col("Since", priority=3)]
    pid: Annotated[int | None, Col("PID", priority=5)]
    memory: Annotated[int | None, Col("Memory", unit="bytes", priority=4)]
    restarts: Annotated[int | None, Col("Restarts", priority=6)]
    result: Annotated[str | None, Col("Result", priority=5)]
    next_run: Annotated[datetime | None, Col("Next run", priority=3, help="Of a timer")]
    last_run: Annotated[datetime | None, Col("Last run", priority=4, help="Of a timer")]
    starts: Annotated[str | None, Col("Starts", priority=6, help="The unit that a timer starts")]
    description: Annotated[str | None, Col("Description", priority=8)]
    journal: Annotated[str | None, Col("Journal", text=True, priority=4, help="Its last message")]


_PATTERNS = (
    "postgresql*",
    "pgbouncer*",
    "pgbackrest*",
    "patroni*",
    "pgqd*",
    "pgbadger*",
    "barman*",
    "repmgr*",
)

# One message for each unit would be a program each; only those that failed are asked for.
_ASK = """\
[ -d /run/systemd/system ] || exit 0
systemctl show --no-pager "$@" -p Id,Description,LoadState,ActiveState,SubState,UnitFileState,Result \\
    -p MainPID,NRestarts,MemoryCurrent,StateChangeTimestamp --timestamp=unix 2>/dev/null | tr -d '\\0'
printf '\\0'
systemctl list-timers --all --no-pager --output=json 2>/dev/null
printf '\\0'
systemctl list-units --all --plain --no-legend --state=failed "$@" 2>/dev/null |
while read -r unit _; do
    journalctl --no-pager -o json -n 1 -u "$unit" --output-fields=MESSAGE,_SYSTEMD_UNIT,UNIT 2>/dev/null
done
"""


async def service_rows(s: Session) -> list[ServiceRow]:
    """The units of the stack; none where systemd does not run."""
    done = await s.host.run(script(_ASK, *_PATTERNS))
    return services(done.text)


def services(text: str) -> list[ServiceRow]:
    """The units from what systemctl and journalctl said, the three parts ended by zero bytes."""
    shown, timers, journal, *_ = [*text.split("\0"), "", "", ""]
    runs, messages = _timers(timers), _messages(journal)
    rows = []
    for block in shown.strip().split("\n\n"):
        told = dict(pairs(block))
        if told.get("Id") and told.get("LoadState") != "not-found":
            rows.append(_row(told, runs.get(told["Id"], {}), messages.get(told["Id"])))
    return sorted(rows, key=lambda r: r.unit)


def _row(told: Mapping[str, str], run: Mapping[str, Any], message: str | None) -> ServiceRow:
    return ServiceRow(
        told["Id"], told.get("ActiveState", ""), told.get("SubState", ""), told.get("UnitFileState") or None,
        _stamp(told.get("StateChangeTimestamp", "")), _count(told.get("MainPID")) or None,
        _count(told.get("MemoryCurrent")), _count(told.get("NRestarts")), told.get("Result") or None,
        _micro(run.get("next")), _micro(run.get("last")), run.get("activates"),
        told.get("Description") or None, message,
    )  # fmt: skip


def _count(text: str | None) -> int | None:
    # "[not set]", or 2^64-1 for a unit without accounting.
    return int(text) if text and text.isdigit() and int(text) < 1 << 63 else None


def _stamp(text: str) -> datetime | None:
    """`@1795272487`, as systemd 247 and newer write it."""
    seconds = text.removeprefix("@").partition(".")[0]
    return datetime.fromtimestamp(int(seconds), UTC) if seconds.isdigit() and seconds != "0" else None


def _micro(value: Any) -> datetime | None:
    return datetime.fromtimestamp(value / 1_000_000, UTC) if isinstance(value, int) and value > 0 else None


def _timers(text: str) -> dict[str, Mapping[str, Any]]:
    try:
        listed = json.loads(text or "[]")
    except ValueError:
        return {}
    return {t["unit"]: t for t in listed if isinstance(t, dict) and "unit" in t}


def _messages(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in text.splitlines():
        try:
            told = json.loads(line)
        except ValueError:
            continue
        # systemd speaks of a unit in UNIT, the unit's own processes in _SYSTEMD_UNIT.
        found[told.get("UNIT") or told.get("_SYSTEMD_UNIT", "")] = _message(told.get("MESSAGE"))
    return found


def _message(value: Any) -> str:
    """The text; what is no UTF-8 comes as a list of bytes."""
    return bytes(value).decode("utf-8", "surrogateescape") if isinstance(value, list) else str(value or "")


def service_verdict(row: ServiceRow) -> Verdict | None:
    """A unit that failed, or runs now and will not after the next start of the machine."""
    if row.active == "failed":
        said = f": {row.journal}" if row.journal else ""
        return Verdict(Health.CRITICAL, f"it failed ({row.result}){said}")
    if row.active == "active" and row.enabled == "disabled" and not row.starts:
        return Verdict(Health.WARNING, "it runs, and will not after the machine is started again")
    return None
