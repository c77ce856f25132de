"""What the target's host offers to a schedule, and the line that it would run there."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.core.clean import clean
from backend.core.errors import Missing, Refused
from backend.core.host import script
from backend.core.plan import Answers, Step
from backend.core.session import Session
from backend.core.target import dsn_label
from backend.partman.programs import way as way_to

ACTION = "partman.maintain"


@dataclass(frozen=True, slots=True)
class Way:
    """The steps of one way to schedule, with what is to be said of them."""

    steps: tuple[Step, ...]
    notes: tuple[str, ...] = ()
    result: Callable[[Answers], Any] | None = None


@dataclass(frozen=True, slots=True)
class Ground:
    """The user on the host, and what is there; `cron` is whether its daemon seems to run."""

    user: str
    home: str
    systemd: bool
    crontab: bool
    cron: bool
    pgtui: str


_LOOK = """\
id -un
echo "$HOME"
[ -d /run/systemd/system ] && command -v systemctl >/dev/null && echo yes || echo no
command -v crontab >/dev/null && echo yes || echo no
[ -e /run/crond.pid ] || [ -d /run/systemd/system ] && echo yes || echo no
command -v pgtui || echo
"""


async def look(s: Session) -> Ground:
    """What the host offers."""
    said = (await s.host.run(script(_LOOK))).demand().text
    user, home, systemd, crontab, cron, pgtui = said.split("\n")[:6]
    return Ground(user, home, systemd == "yes", crontab == "yes", cron == "yes", pgtui)


async def command(s: Session, ground: Ground) -> tuple[str, ...]:
    """The words of the scheduled command: whole paths, and its confirmation."""
    program = _program(s, ground)
    where, label = _target(s)
    confirmed = dict.fromkeys((label, s.target.name) if s.target.guard else (label,))
    confirmation = ("--yes", *(w for word in confirmed for w in ("--confirm", word)))
    words = (program, "run-action", ACTION, "--all-sets", *where, *confirmation)
    if any(c < " " for word in words for c in word):
        raise Refused("a line that is scheduled can hold no line end or other control character")
    inventory = [str(s.target.inventory)] if "--inventory" in where else []
    await _demand_usable(s, (program, *inventory))
    return words


def _program(s: Session, ground: Ground) -> str:
    if s.target.ssh:
        if not ground.pgtui:
            raise Missing(
                f"pgtui is not on {s.host.where}, where the schedule would run it",
                hint="install it there, or schedule through pg_cron",
            )
        return ground.pgtui
    called, beside = Path(sys.argv[0]), Path(sys.executable).with_name("pgtui")
    found = shutil.which(called if called.name == "pgtui" else "pgtui") or shutil.which(beside)
    if found is None:
        raise Missing(
            "the program pgtui is not found on this machine", hint="it has to be on the search path"
        )
    return str(Path(found).absolute())


def _target(s: Session) -> tuple[tuple[str, ...], str]:
    """The options that name the target for somebody else's shell, and the subject of the run."""
    if s.target.inventory and not s.target.ssh:
        database = ("--dbname", s.target.dbname) if s.target.dbname else ()
        named = ("--inventory", str(s.target.inventory), "--target", s.target.name, *database)
        return named, s.target.label
    connection = way_to(s)
    if connection.password is not None:
        raise Refused(
            f"{clean(s.target.label)} needs a password, which has no place in a schedule",
            hint="put it into the password file of the user that the schedule runs as",
        )
    return ("--target", connection.conninfo), dsn_label(connection.conninfo)


async def _demand_usable(s: Session, files: tuple[str, ...]) -> None:
    run_as = s.target.run_as
    for file in files:
        if (await s.host.run(("test", "-r", file), run_as=run_as)).code:
            raise Refused(
                f"{run_as or 'the schedule'} could not read {clean(file)} on {s.host.where}",
                hint="a schedule runs as the owner of the programs; put the file where that user may read",
            )
