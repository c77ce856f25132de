"""A systemd timer on the target's host."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import PurePosixPath

from backend.core.clean import clean
from backend.core.errors import Failed, Missing, Refused
from backend.core.plan import Command, File, Step
from backend.core.session import Session
from backend.partman.onhost import ACTION, Way, command, look


async def way(s: Session, calendar: str, remove: bool) -> Way:
    """The steps that write and enable the timer, or disable and remove it."""
    ground = await look(s)
    if not ground.systemd:
        raise Missing(f"systemd does not run on {s.host.where}", hint="--by crontab or --by pg_cron may do")
    root = ground.user == "root"
    if not root and s.target.run_as not in (None, ground.user):
        raise Refused(
            f"only root can have systemd run something as {s.target.run_as}", hint="--by crontab may do"
        )
    folder = PurePosixPath("/etc/systemd/system" if root else f"{ground.home}/.config/systemd/user")
    name = unit_name(s.target.label)
    timer, service = folder / f"{name}.timer", folder / f"{name}.service"
    before = {path: await _read(s, path) for path in (service, timer)}
    control = ("systemctl",) if root else ("systemctl", "--user")
    if remove:
        if before[timer] is None:
            raise Refused(f"{timer} is not there on {s.host.where}")
        return Way(_gone(control, timer, service), result=lambda _: _told(None, replaced=False))
    user = (s.target.run_as or ground.user) if root else None
    label = clean(s.target.label)
    after = {
        service: service_text(label, await command(s, ground), user),
        timer: timer_text(label, calendar),
    }
    files = [_file(path, before[path], text) for path, text in after.items() if before[path] != text]
    steps: tuple[Step, ...] = (
        Command(("mkdir", "-p", str(folder))),
        *files,
        Command(("systemd-analyze", *control[1:], "verify", str(service), str(timer))),
        Command((*control, "daemon-reload")),
        Command((*control, "enable", "--now", timer.name)),
    )
    notes = (
        () if root else (f"it runs while {ground.user} is logged in; loginctl enable-linger changes that",)
    )
    replaced = before[timer] is not None
    return Way(
        steps,
        (*notes, *((f"replaces {timer}",) if replaced and files else ())),
        lambda _: _told(calendar, replaced=replaced),
    )


def _told(calendar: str | None, *, replaced: bool) -> dict[str, object]:
    return {"by": "systemd", "schedule": calendar, "replaced": replaced}


def _gone(control: tuple[str, ...], timer: PurePosixPath, service: PurePosixPath) -> tuple[Step, ...]:
    return (
        Command((*control, "disable", "--now", timer.name)),
        Command(("rm", "-f", "--", str(timer), str(service))),
        Command((*control, "daemon-reload")),
    )


def _file(path: PurePosixPath, before: str | None, after: str) -> File:
    undo: Step = Command(("rm", "-f", "--", str(path))) if before is None else File(path, after, before)
    return File(path, before, after, undo=undo)


async def _read(s: Session, path: PurePosixPath) -> str | None:
    with suppress(Failed):
        return (await s.host.read(str(path))).decode("utf-8", "surrogateescape")
    return None


def unit_name(label: str) -> str:
    """The name of the units for a target: what cannot stand in one becomes _HEX_."""
    return "pgtui-maintain-" + re.sub(r"[^A-Za-z0-9.-]", lambda found: f"_{ord(found[0]):x}_", label)


def service_text(label: str, words: tuple[str, ...], user: str | None) -> str:
    """The unit that runs the command once."""
    return "\n".join([
        f"# By pgtui: partman.schedule on {label}; --remove takes it away",
        "[Unit]",
        f"Description=Partition maintenance of {_escaped(label)} ({ACTION})",
        "",
        "[Service]",
        "Type=oneshot",
        *([f"User={user}"] if user else []),
        f"ExecStart={' '.join(_quoted(word) for word in words)}",
        "",
    ])  # fmt: skip


def timer_text(label: str, calendar: str) -> str:
    """The unit that starts the service again and again, also after the machine was off."""
    return "\n".join([
        f"# By pgtui: partman.schedule on {label}; --remove takes it away",
        "[Unit]",
        f"Description=Partition maintenance of {_escaped(label)}",
        "",
        "[Timer]",
        f"OnCalendar={calendar}",
        "Persistent=true",
        "",
        "[Install]",
        "WantedBy=timers.target",
        "",
    ])  # fmt: skip


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(word: str) -> str:
    """A word of a command line as systemd reads it."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{_escaped(escaped)}"'
