"""The user's own editor on a private copy of a text."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from backend.core.errors import Missing, Refused
from backend.core.params import Draft, Param

USUAL = ("sensible-editor", "vi", "nano")


def to_be_edited(params: Sequence[Param], given: Mapping[str, Any]) -> dict[str, Draft]:
    """What the parameters begin as that are made in an editor and were not given, by name."""
    return {p.name: p.ask.draft for p in params if p.ask.draft and given.get(p.name) is None}


def edit(text: str, name: str, terminal: Path | None = None) -> str:
    """The text as the user leaves it; refused when the editor was killed or ended badly.

    It runs in the terminal of this process, or in the one given. The copy is in a folder that nobody else
    can enter, and gone afterwards.
    """
    with tempfile.TemporaryDirectory(prefix="pgtui-") as folder:
        copy = Path(folder, name)
        copy.write_bytes(text.encode("utf-8", "surrogateescape"))
        copy.chmod(0o600)
        _run([*_editor(), str(copy)], terminal)
        return copy.read_bytes().decode("utf-8", "surrogateescape")


def _editor() -> list[str]:
    words = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "")
    found = words or [next((name for name in USUAL if shutil.which(name)), USUAL[-1])]
    if shutil.which(found[0]) is None:
        raise Missing(f"the editor {found[0]} is not on this machine", hint="EDITOR names another one")
    return found


def _run(words: list[str], terminal: Path | None) -> None:
    if terminal is None:
        code = subprocess.run(words, check=False).returncode
    else:
        with terminal.open("r+b", buffering=0) as stream:
            code = subprocess.run(words, stdin=stream, stdout=stream, stderr=stream, check=False).returncode
    if code:
        how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
        raise Refused(f"the editor {how}; nothing was changed")
