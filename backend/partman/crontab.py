"""A line in the crontab of the target's host."""

from __future__ import annotations

import shlex

from backend.core.clean import clean
from backend.core.errors import Missing, Refused
from backend.core.host import script
from backend.core.plan import Check, Command
from backend.core.session import Session
from backend.partman.onhost import ACTION, Way, command, look

# Replaces the line that ends in the mark, and leaves all others as they are at that moment.
_EDIT = """\
old=$(crontab -l 2>&1) || case $old in "no crontab for"*) old= ;; *) echo "$old" >&2; exit 1 ;; esac
{
    [ -z "$old" ] || printf '%s\\n' "$old" | mark=$1 awk '{
        mark = ENVIRON["mark"]
        if (substr($0, length($0) - length(mark) + 1) != mark) print
    }'
    [ -z "$2" ] || printf '%s %s\\n' "$2" "$1"
} | crontab -
"""


async def way(s: Session, when: str, remove: bool) -> Way:
    """The steps that put the line into the crontab, or take it out."""
    ground = await look(s)
    if not ground.crontab:
        raise Missing(f"the program crontab is not on {s.host.where}", hint="it comes with the package cron")
    run_as = s.target.run_as
    mark = _escaped(f"# pgtui {ACTION} {clean(s.target.label)}")
    present = await _present(s, mark)
    if remove and present is None:
        raise Refused(f"the crontab of {run_as or ground.user} on {s.host.where} has no line {mark}")
    new = "" if remove else f"{when} " + _escaped(shlex.join(await command(s, ground)))
    if present == f"{new} {mark}":
        return Way((), (f"it is scheduled so already, in the crontab of {run_as or ground.user}",))
    edit = Command(script(_EDIT, mark, new), run_as=run_as, note=_what(new, present))
    listed = Command(("crontab", "-l"), run_as=run_as, ok=(0, 1))
    check = Check(
        lambda answers: _marked(answers[-1].text, mark) == (None if remove else f"{new} {mark}"),
        that="the line is not there any more" if remove else "the line is there",
        otherwise="the crontab is not as it was to be",
    )
    idle = () if ground.cron or remove else (f"no cron daemon seems to run on {s.host.where}",)
    replaced = () if present is None or remove else (f"replaces: {clean(present)}",)
    told = {"by": "crontab", "schedule": None if remove else when, "replaced": present is not None}
    shown = () if remove else (f"the line: {clean(new)} {mark}",)
    return Way((edit, listed, check), (*shown, *replaced, *idle), lambda _: told)


async def _present(s: Session, mark: str) -> str | None:
    done = await s.host.run(("crontab", "-l"), run_as=s.target.run_as)
    if done.code and b"no crontab for" not in done.err:
        raise Refused(f"the crontab on {s.host.where} cannot be read: {clean(done.complaint)}")
    return _marked(done.text, mark)


def _marked(text: str, mark: str) -> str | None:
    return next((line for line in text.splitlines() if line.endswith(mark)), None)


def _escaped(text: str) -> str:
    """The text as a part of the command, in which cron takes a percent sign for a line end."""
    return text.replace("%", "\\%")


def _what(new: str, present: str | None) -> str:
    if not new:
        return "takes the line out"
    return "adds the line" if present is None else "replaces the line"
