"""A dump of one table in a file on the target's host, and the proof that it is whole."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import quote

from backend.core.clean import clean
from backend.core.errors import Refused, Usage
from backend.core.host import script
from backend.core.plan import Answer, Answers, Check, Command, Step
from backend.core.session import Session
from backend.core.show import size
from backend.partman.catalog import Partition
from backend.partman.programs import bindir, way

# Says in a word what is in the way, or how much room there is.
_LOOK = """\
cd "$1" 2>/dev/null && [ -w . ] || { [ -d "$1" ] && echo closed || echo absent; exit; }
for name in "$2" "$3"; do
    [ ! -e "$name" ] && [ ! -L "$name" ] || { echo "taken $name"; exit; }
done
df -Pk .
"""
_FREE = re.compile(r"\s(\d+)\s+\d+%\s")

# Only who makes a file gets its name: an existing one is never written over, whoever made it meanwhile.
_CLAIM = 'umask 077 && set -C && : >"$1"'
_PUBLISH = f'{_CLAIM.replace("$1", "$2")} && mv -f -- "$1" "$2"'

# The rows are the lines between COPY and its end; in COPY's text form every row is one line.
_COUNT = """\
"$1" --data-only --file=- "$2" | awk '
    reading && $0 == "\\\\." { reading = 0; ended++; next }
    reading { rows++; next }
    / FROM stdin;$/ { reading = 1 }
    END { if (reading || ended != 1) exit 1; printf "%.0f\\n", rows }'
"""


@dataclass(frozen=True, slots=True)
class Dump:
    """How a file is begun, how it is filled, listed and counted, and how it gets its name.

    It has its name only once it is whole; what undoes the beginning never touches a whole one, which may
    then be all that is left of the rows.
    """

    file: str
    claim: Command
    steps: tuple[Step, ...]
    publish: Command


async def dump_of(s: Session, at: Partition, folder: str, room: int) -> Dump:
    """The dump of a table into a folder; refused where that has no place for it.

    The last step answers with the number of rows that the dump holds.
    """
    if not folder.startswith("/"):
        raise Usage(f"--folder {clean(folder)} wants the whole path of a folder on {s.host.where}")
    programs, run_as = await bindir(s), s.target.run_as
    file = PurePosixPath(folder) / f"{quote(f'{at.schema}.{at.name}', safe='')}.dump"
    await _demand_place(s, file, room)
    part = f"{file}.part"
    table = ".".join('"' + name.replace('"', '""') + '"' for name in (at.schema, at.name))
    connection = way(s, "pgtui: pg_dump")
    dump = connection.command(
        (
            f"{programs}/pg_dump", f"--dbname={connection.conninfo}", "--no-password", "--format=custom",
            "--lock-wait-timeout=10s", "--strict-names", f"--table={table}", f"--file={part}",
        ),
        run_as,
    )  # fmt: skip
    restore = f"{programs}/pg_restore"
    listed = Command((restore, "--list", part), run_as=run_as)
    counted = Command(script(_COUNT, restore, part), run_as=run_as, long=True)
    publish = Command(script(_PUBLISH, part, str(file)), run_as=run_as)
    return Dump(str(file), _claim(part, run_as), (dump, listed, _one_table(), counted), publish)


def _claim(part: str, run_as: str | None) -> Command:
    remove = Command(("rm", "-f", "--", part), run_as=run_as)
    return Command(script(_CLAIM, part), run_as=run_as, undo=remove)


async def _demand_place(s: Session, file: PurePosixPath, room: int) -> None:
    run_as = s.target.run_as
    folder, where = clean(str(file.parent)), s.host.where
    look = script(_LOOK, str(file.parent), file.name, f"{file.name}.part")
    said = (await s.host.run(look, run_as=run_as)).demand().text
    word, _, name = said.strip().partition(" ")
    match word:
        case "absent":
            raise Refused(f"there is no folder {folder} on {where}")
        case "closed":
            who = f"{run_as} may" if run_as else "pgtui's user may"
            raise Refused(f"{who} not write into folder {folder} on {where}")
        case "taken":
            raise Refused(
                f"{clean(str(file.with_name(name)))} is there already",
                hint="move it away, or choose another folder",
            )
    free = _FREE.search(said)
    if free and int(free[1]) * 1024 < room:
        raise Refused(
            f"folder {folder} on {where} has {size(int(free[1]) * 1024)} free; the table takes {size(room)}, "
            "and its dump may take as much"
        )


def _one_table() -> Check:
    def holds(answers: Answers) -> bool:
        listed = answers[-1].text
        kinds = [re.findall(rf"^\d+; \d+ \d+ {kind} ", listed, re.MULTILINE) for kind in _KINDS]
        return all(len(found) == 1 for found in kinds)

    return Check(
        holds,
        that="the dump lists one table and its data",
        otherwise="the dump does not list one table and its data",
    )


_KINDS = ("TABLE(?! DATA)", "TABLE DATA")


def rows_of(answer: Answer) -> int:
    """The number of rows that the counting of a dump came to."""
    words = answer.text.split()
    return int(words[-1]) if words and words[-1].isdecimal() else -1


def agrees(table: str) -> Check:
    """The check that a dump, counted before, holds as many rows as its table, counted last."""
    return Check(
        lambda answers: rows_of(answers[-2]) == answers[-1].first["rows"],
        that="the dump holds as many rows as the table",
        otherwise=lambda answers: (
            f"the dump holds {rows_of(answers[-2])} rows and {clean(table)} {answers[-1].first['rows']}"
        ),
        hint="rows came or went while it was dumped; run it again when nobody writes to it",
    )
